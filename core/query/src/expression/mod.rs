//! Expressions bound to columns and types, ready to evaluate.

mod aggregate;
mod arithmetic;
mod bind;
mod bind_function;
mod bind_operator;
mod cast;
mod coerce;
mod compare;
mod datetime;
mod evaluate;
mod function;
mod like;
mod scope;

use std::sync::Arc;

use craton_types::{ColumnType, TableSchema, Value};

pub(crate) use aggregate::{Accumulator, Aggregate, AggregateFunction};
pub(crate) use bind::{Binder, ParameterTypes, is_assignable, start_of};
pub(crate) use bind_operator::conjuncts;
pub(crate) use cast::{CastContext, assign, cast_context, check_parameter, convert_for_key};
pub(crate) use coerce::Typed;
pub(crate) use compare::{compare_for_sort, equal_key};
pub(crate) use datetime::Interval;
pub(crate) use scope::{Scope, ScopeTable, fold};

/// A bound expression. `Column(n)` is the nth value of the row it is evaluated over: a table's row, or a group's
/// keys followed by its aggregates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Literal(Value),
    Column(usize),
    /// `$n`, counted from zero.
    Parameter(usize),
    Cast {
        operand: Box<Self>,
        from: ColumnType,
        to: ColumnType,
    },
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    Compare {
        operator: Comparison,
        left: Box<Self>,
        right: Box<Self>,
    },
    /// `IS [NOT] DISTINCT FROM`: NULLs are equal to each other.
    Distinct {
        left: Box<Self>,
        right: Box<Self>,
        negated: bool,
    },
    IsNull {
        operand: Box<Self>,
        negated: bool,
    },
    /// `IS [NOT] TRUE` and `IS [NOT] FALSE`.
    IsBool {
        operand: Box<Self>,
        value: bool,
        negated: bool,
    },
    InList {
        operand: Box<Self>,
        list: Vec<Self>,
        negated: bool,
    },
    Like {
        operand: Box<Self>,
        pattern: Box<Self>,
        escape: Option<char>,
        ignore_case: bool,
        negated: bool,
    },
    Arithmetic {
        operator: Arithmetic,
        left: Box<Self>,
        right: Box<Self>,
        result: ColumnType,
    },
    Negate {
        operand: Box<Self>,
        result: ColumnType,
    },
    /// A date or timestamp moved by an interval.
    Shift {
        operand: Box<Self>,
        interval: Interval,
    },
    Case {
        branches: Vec<(Self, Self)>,
        otherwise: Option<Box<Self>>,
    },
    Call {
        function: Function,
        arguments: Vec<Self>,
    },
    /// `craton_receipt('table', key…)`, `craton_state_receipt('table', key…)`.
    Receipt {
        kind: ReceiptKind,
        table: Arc<TableSchema>,
        key: Vec<Self>,
    },
    /// The nth aggregate of a grouped query, until grouping turns it into a column of the group's row.
    Aggregate(usize),
}

/// What a receipt is to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceiptKind {
    /// The newest change of a row.
    Change,
    /// That it is the newest, or that there is no row.
    State,
}

impl ReceiptKind {
    pub(crate) fn by_function(name: &str) -> Option<Self> {
        match name {
            "craton_receipt" => Some(Self::Change),
            "craton_state_receipt" => Some(Self::State),
            _ => None,
        }
    }

    pub(crate) const fn function(self) -> &'static str {
        match self {
            Self::Change => "craton_receipt",
            Self::State => "craton_state_receipt",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Scalar functions, after their arguments' types are known. A type is that of the argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Abs(ColumnType),
    Ceil,
    Coalesce,
    /// `concat(…)`: NULLs are left out.
    Concat,
    /// `||`: NULL when an operand is.
    Join,
    CurrentDatabase,
    CurrentDate,
    CurrentSetting,
    CurrentUser,
    DateTrunc(ColumnType),
    CosignedCheckpoint,
    Extract(ColumnType),
    Floor,
    GenerateUuid,
    Greatest,
    Least,
    Left,
    Length,
    LocalTime,
    LocalTimestamp,
    LogKey,
    Lower,
    Now,
    NullIf,
    OctetLength,
    Position,
    Replace,
    TimeStamp,
    Right,
    Round,
    StringPosition,
    Substring,
    Trim,
    TrimEnd,
    TrimStart,
    Upper,
}

impl Expression {
    /// Calls `visit` for this node and every node below it.
    pub(crate) fn walk(&self, visit: &mut impl FnMut(&Self)) {
        visit(self);
        self.for_each_child(&mut |child| child.walk(visit));
    }

    fn for_each_child<'e>(&'e self, visit: &mut impl FnMut(&'e Self)) {
        match self {
            Self::Literal(_) | Self::Column(_) | Self::Parameter(_) | Self::Aggregate(_) => {}
            Self::Cast { operand, .. }
            | Self::Not(operand)
            | Self::IsNull { operand, .. }
            | Self::IsBool { operand, .. }
            | Self::Negate { operand, .. }
            | Self::Shift { operand, .. } => visit(operand),
            Self::And(list) | Self::Or(list) | Self::Call { arguments: list, .. } | Self::Receipt { key: list, .. } => {
                list.iter().for_each(visit);
            }
            Self::Compare { left, right, .. }
            | Self::Distinct { left, right, .. }
            | Self::Arithmetic { left, right, .. } => {
                visit(left);
                visit(right);
            }
            Self::InList { operand, list, .. } => {
                visit(operand);
                list.iter().for_each(visit);
            }
            Self::Like { operand, pattern, .. } => {
                visit(operand);
                visit(pattern);
            }
            Self::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    visit(condition);
                    visit(result);
                }
                if let Some(otherwise) = otherwise {
                    visit(otherwise);
                }
            }
        }
    }

    /// Calls `change` for every direct child.
    pub(crate) fn for_each_child_mut(&mut self, change: &mut impl FnMut(&mut Self)) {
        match self {
            Self::Literal(_) | Self::Column(_) | Self::Parameter(_) | Self::Aggregate(_) => {}
            Self::Cast { operand, .. }
            | Self::Not(operand)
            | Self::IsNull { operand, .. }
            | Self::IsBool { operand, .. }
            | Self::Negate { operand, .. }
            | Self::Shift { operand, .. } => change(operand),
            Self::And(list) | Self::Or(list) | Self::Call { arguments: list, .. } | Self::Receipt { key: list, .. } => {
                list.iter_mut().for_each(change);
            }
            Self::Compare { left, right, .. }
            | Self::Distinct { left, right, .. }
            | Self::Arithmetic { left, right, .. } => {
                change(left);
                change(right);
            }
            Self::InList { operand, list, .. } => {
                change(operand);
                list.iter_mut().for_each(change);
            }
            Self::Like { operand, pattern, .. } => {
                change(operand);
                change(pattern);
            }
            Self::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    change(condition);
                    change(result);
                }
                if let Some(otherwise) = otherwise {
                    change(otherwise);
                }
            }
        }
    }

    /// Whether the value is the same for every row of one execution.
    pub(crate) fn is_row_independent(&self) -> bool {
        let mut independent = true;
        self.walk(&mut |node| {
            independent &= !matches!(
                node,
                Self::Column(_)
                    | Self::Aggregate(_)
                    | Self::Call {
                        function: Function::GenerateUuid,
                        ..
                    }
            );
        });
        independent
    }

    /// The type of a value that does not depend on the row, where the node tells it.
    pub(crate) fn known_type(&self, parameters: &ParameterTypes) -> Option<ColumnType> {
        match self {
            Self::Literal(value) => match value {
                Value::Bool(_) => Some(ColumnType::Bool),
                Value::Int(_) => Some(ColumnType::Int8),
                Value::Float(_) => Some(ColumnType::Float8),
                Value::Text(_) => Some(ColumnType::Text),
                Value::Bytes(_) => Some(ColumnType::Bytea),
                Value::Date(_) => Some(ColumnType::Date),
                Value::Time(_) => Some(ColumnType::Time),
                Value::Timestamp(_) => Some(ColumnType::Timestamp),
                Value::TimestampTz(_) => Some(ColumnType::TimestampTz),
                Value::Uuid(_) => Some(ColumnType::Uuid),
                Value::Null | Value::Numeric(_) | Value::Json(_) | Value::Sealed(_) => None,
            },
            Self::Parameter(index) => parameters.get(*index),
            Self::Cast { to, .. } => Some(*to),
            Self::Arithmetic { result, .. } | Self::Negate { result, .. } => Some(*result),
            Self::Call { function, .. } => match function {
                Function::Now => Some(ColumnType::TimestampTz),
                Function::CurrentDate => Some(ColumnType::Date),
                Function::CurrentUser | Function::CurrentDatabase | Function::Lower | Function::Upper => {
                    Some(ColumnType::Text)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it asks the engine for a receipt.
    pub(crate) fn calls_receipt(&self) -> bool {
        let mut calls = false;
        self.walk(&mut |node| calls |= matches!(node, Self::Receipt { .. }));
        calls
    }

    /// Whether it asks the engine for a receipt of this kind.
    pub(crate) fn calls_receipt_of(&self, wanted: ReceiptKind) -> bool {
        let mut calls = false;
        self.walk(&mut |node| calls |= matches!(node, Self::Receipt { kind, .. } if *kind == wanted));
        calls
    }
}
