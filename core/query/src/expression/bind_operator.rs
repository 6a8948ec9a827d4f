//! Binding operators: logic, comparison, arithmetic, patterns and `CASE`.

use craton_types::{ColumnType, Value};
use sqlparser::ast::{self, BinaryOperator, Expr};

use super::arithmetic::result_type;
use super::bind::{Binder, start_of, string_literal};
use super::coerce::{comparable, make_cast, make_shift};
use super::datetime::Interval;
use super::{Arithmetic, Comparison, Expression, Function, Typed};
use crate::types::base;
use crate::{SqlError, SqlState};

fn boolean(expression: Expression, at: u32) -> Typed {
    Typed::new(expression, ColumnType::Bool, at)
}

fn no_operator(left: &Typed, symbol: &str, right: &Typed, at: u32) -> SqlError {
    SqlError::new(
        SqlState::UNDEFINED_FUNCTION,
        format!(
            "operator does not exist: {} {symbol} {}",
            left.type_name(),
            right.type_name()
        ),
    )
    .with_hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
    .at(at)
}

impl Binder<'_> {
    pub(super) fn bind_binary(
        &mut self,
        whole: &Expr,
        left: &Expr,
        operator: &BinaryOperator,
        right: &Expr,
    ) -> Result<Typed, SqlError> {
        match operator {
            BinaryOperator::And | BinaryOperator::Or => self.bind_logic(whole, operator),
            BinaryOperator::Eq => self.bind_comparison(left, Comparison::Equal, right),
            BinaryOperator::NotEq => self.bind_comparison(left, Comparison::NotEqual, right),
            BinaryOperator::Lt => self.bind_comparison(left, Comparison::Less, right),
            BinaryOperator::LtEq => self.bind_comparison(left, Comparison::LessOrEqual, right),
            BinaryOperator::Gt => self.bind_comparison(left, Comparison::Greater, right),
            BinaryOperator::GtEq => self.bind_comparison(left, Comparison::GreaterOrEqual, right),
            BinaryOperator::Plus => self.bind_arithmetic(left, Arithmetic::Add, right),
            BinaryOperator::Minus => self.bind_arithmetic(left, Arithmetic::Subtract, right),
            BinaryOperator::Multiply => self.bind_arithmetic(left, Arithmetic::Multiply, right),
            BinaryOperator::Divide => self.bind_arithmetic(left, Arithmetic::Divide, right),
            BinaryOperator::Modulo => self.bind_arithmetic(left, Arithmetic::Remainder, right),
            BinaryOperator::StringConcat => self.bind_join(left, right),
            BinaryOperator::PGLikeMatch => self.bind_like(left, right, None, false, false),
            BinaryOperator::PGNotLikeMatch => self.bind_like(left, right, None, false, true),
            BinaryOperator::PGILikeMatch => self.bind_like(left, right, None, true, false),
            BinaryOperator::PGNotILikeMatch => self.bind_like(left, right, None, true, true),
            other => Err(SqlError::unsupported(format!("the operator {other}")).at(start_of(whole))),
        }
    }

    /// A chain of one of `AND`, `OR` as one node, however long: the syntax tree leans to the left.
    fn bind_logic(&mut self, whole: &Expr, operator: &BinaryOperator) -> Result<Typed, SqlError> {
        let mut operands = Vec::new();
        let mut node = whole;
        while let Expr::BinaryOp { left, op, right } = node
            && op == operator
        {
            operands.push(right.as_ref());
            node = left;
        }
        operands.push(node);
        let name = if *operator == BinaryOperator::And { "AND" } else { "OR" };
        let mut conditions = Vec::with_capacity(operands.len());
        for operand in operands.into_iter().rev() {
            conditions.push(self.bind_condition(operand, name)?);
        }
        let logic = if *operator == BinaryOperator::And {
            Expression::And
        } else {
            Expression::Or
        };
        Ok(boolean(logic(conditions), start_of(whole)))
    }

    /// Binds both sides and brings them to types that compare.
    fn bind_comparable(&mut self, left: &Expr, symbol: &str, right: &Expr) -> Result<(Typed, Typed), SqlError> {
        let left = self.bind(left)?;
        let right = self.bind(right)?;
        self.make_comparable(left, symbol, right)
    }

    fn make_comparable(&mut self, left: Typed, symbol: &str, right: Typed) -> Result<(Typed, Typed), SqlError> {
        let (left, right) = self.unify_pair(left, right)?;
        match (left.column_type, right.column_type) {
            (Some(a), Some(b)) if comparable(a, b) => Ok((left, right)),
            _ => Err(no_operator(&left, symbol, &right, left.position)),
        }
    }

    fn bind_comparison(&mut self, left: &Expr, operator: Comparison, right: &Expr) -> Result<Typed, SqlError> {
        let (left, right) = self.bind_comparable(left, operator.symbol(), right)?;
        let at = left.position;
        Ok(boolean(
            Expression::Compare {
                operator,
                left: Box::new(left.expression),
                right: Box::new(right.expression),
            },
            at,
        ))
    }

    pub(super) fn bind_distinct(&mut self, left: &Expr, right: &Expr, negated: bool) -> Result<Typed, SqlError> {
        let (left, right) = self.bind_comparable(left, "IS DISTINCT FROM", right)?;
        let at = left.position;
        Ok(boolean(
            Expression::Distinct {
                left: Box::new(left.expression),
                right: Box::new(right.expression),
                negated,
            },
            at,
        ))
    }

    pub(super) fn bind_null_test(&mut self, operand: &Expr, negated: bool) -> Result<Typed, SqlError> {
        let typed = self.bind(operand)?;
        let at = typed.position;
        let (operand, _) = self.resolve_as_text(typed)?;
        Ok(boolean(
            Expression::IsNull {
                operand: Box::new(operand),
                negated,
            },
            at,
        ))
    }

    pub(super) fn bind_truth_test(&mut self, operand: &Expr, value: bool, negated: bool) -> Result<Typed, SqlError> {
        let condition = self.bind_condition(operand, "IS TRUE")?;
        Ok(boolean(
            Expression::IsBool {
                operand: Box::new(condition),
                value,
                negated,
            },
            start_of(operand),
        ))
    }

    pub(super) fn bind_unknown_test(&mut self, operand: &Expr, negated: bool) -> Result<Typed, SqlError> {
        let condition = self.bind_condition(operand, "IS UNKNOWN")?;
        Ok(boolean(
            Expression::IsNull {
                operand: Box::new(condition),
                negated,
            },
            start_of(operand),
        ))
    }

    pub(super) fn bind_in_list(&mut self, operand: &Expr, list: &[Expr], negated: bool) -> Result<Typed, SqlError> {
        let mut operand = self.bind(operand)?;
        let at = operand.position;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            let item = self.bind(item)?;
            let (left, right) = self.make_comparable(operand, "=", item)?;
            operand = left;
            items.push(right.expression);
        }
        Ok(boolean(
            Expression::InList {
                operand: Box::new(operand.expression),
                list: items,
                negated,
            },
            at,
        ))
    }

    /// `a BETWEEN b AND c` is `a >= b AND a <= c`.
    pub(super) fn bind_between(
        &mut self,
        operand: &Expr,
        low: &Expr,
        high: &Expr,
        negated: bool,
    ) -> Result<Typed, SqlError> {
        let low = self.bind_comparison(operand, Comparison::GreaterOrEqual, low)?;
        let high = self.bind_comparison(operand, Comparison::LessOrEqual, high)?;
        let at = low.position;
        let both = Expression::And(vec![low.expression, high.expression]);
        Ok(boolean(
            if negated { Expression::Not(Box::new(both)) } else { both },
            at,
        ))
    }

    pub(super) fn bind_like(
        &mut self,
        operand: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        ignore_case: bool,
        negated: bool,
    ) -> Result<Typed, SqlError> {
        let escape = match escape {
            None => Some('\\'),
            Some(syntax) => escape_character(syntax)?,
        };
        let symbol = if ignore_case { "~~*" } else { "~~" };
        let operand = self.bind(operand)?;
        let operand = self.resolve(operand, ColumnType::Text)?;
        let pattern = self.bind(pattern)?;
        let pattern = self.resolve(pattern, ColumnType::Text)?;
        let is_text = |typed: &Typed| typed.column_type.map(base) == Some(ColumnType::Text);
        if !is_text(&operand) || !is_text(&pattern) {
            return Err(no_operator(&operand, symbol, &pattern, operand.position));
        }
        let at = operand.position;
        Ok(boolean(
            Expression::Like {
                operand: Box::new(operand.expression),
                pattern: Box::new(pattern.expression),
                escape,
                ignore_case,
                negated,
            },
            at,
        ))
    }

    fn bind_arithmetic(&mut self, left: &Expr, operator: Arithmetic, right: &Expr) -> Result<Typed, SqlError> {
        if let (Arithmetic::Add | Arithmetic::Subtract, Some(interval)) = (operator, constant_interval(right)?) {
            return self.bind_shift(left, operator, interval);
        }
        if let (Arithmetic::Add, Some(interval)) = (operator, constant_interval(left)?) {
            return self.bind_shift(right, operator, interval);
        }
        let left = self.bind(left)?;
        let right = self.bind(right)?;
        let at = left.position;
        if left.column_type.is_none() && right.column_type.is_none() {
            return Err(SqlError::new(
                SqlState::AMBIGUOUS_FUNCTION,
                format!("operator is not unique: unknown {} unknown", operator.symbol()),
            )
            .with_hint("Could not choose a best candidate operator. You might need to add explicit type casts.")
            .at(at));
        }
        let (left, right) = self.unify_pair(left, right)?;
        let result = match (left.column_type, right.column_type) {
            (Some(a), Some(b)) => result_type(operator, a, b),
            _ => None,
        };
        let Some(result) = result else {
            return Err(no_operator(&left, operator.symbol(), &right, at));
        };
        Ok(Typed::new(
            Expression::Arithmetic {
                operator,
                left: Box::new(left.expression),
                right: Box::new(right.expression),
                result,
            },
            result,
            at,
        ))
    }

    fn bind_shift(&mut self, operand: &Expr, operator: Arithmetic, interval: Interval) -> Result<Typed, SqlError> {
        let interval = match operator {
            Arithmetic::Subtract => interval
                .negated()
                .ok_or_else(|| SqlError::new(SqlState::DATETIME_OVERFLOW, "interval out of range"))?,
            _ => interval,
        };
        let operand = self.bind(operand)?;
        let operand = self.resolve(operand, ColumnType::TimestampTz)?;
        let (at, found) = (operand.position, operand.type_name());
        let (expression, result) = make_shift(operand, interval).ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("operator does not exist: {found} {} interval", operator.symbol()),
            )
            .at(at)
        })?;
        Ok(Typed::new(expression, result, at))
    }

    /// `||` of texts, of a text and anything, or of byte strings.
    fn bind_join(&mut self, left: &Expr, right: &Expr) -> Result<Typed, SqlError> {
        let left = self.bind(left)?;
        let right = self.bind(right)?;
        let at = left.position;
        let is = |typed: &Typed, wanted| typed.column_type.map(base) == Some(wanted);
        let (left, right, result) = if is(&left, ColumnType::Bytea) || is(&right, ColumnType::Bytea) {
            let (left, right) = self.unify_pair(left, right)?;
            if !is(&left, ColumnType::Bytea) || !is(&right, ColumnType::Bytea) {
                return Err(no_operator(&left, "||", &right, at));
            }
            (left.expression, right.expression, ColumnType::Bytea)
        } else {
            let untyped_or_text = |typed: &Typed| typed.column_type.is_none_or(|t| base(t) == ColumnType::Text);
            if !untyped_or_text(&left) && !untyped_or_text(&right) {
                return Err(no_operator(&left, "||", &right, at));
            }
            (self.as_text(left)?, self.as_text(right)?, ColumnType::Text)
        };
        Ok(Typed::new(
            Expression::Call {
                function: Function::Join,
                arguments: vec![left, right],
            },
            result,
            at,
        ))
    }

    /// The value's text, whatever its type.
    pub(super) fn as_text(&mut self, typed: Typed) -> Result<Expression, SqlError> {
        let (expression, from) = self.resolve_as_text(typed)?;
        if base(from) == ColumnType::Text {
            return Ok(expression);
        }
        make_cast(expression, from, ColumnType::Text)
    }

    pub(super) fn bind_case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&Expr>,
    ) -> Result<Typed, SqlError> {
        let mut tests = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for branch in conditions {
            tests.push(match operand {
                Some(operand) => {
                    self.bind_comparison(operand, Comparison::Equal, &branch.condition)?
                        .expression
                }
                None => self.bind_condition(&branch.condition, "CASE/WHEN")?,
            });
            results.push(self.bind(&branch.result)?);
        }
        let at = results.first().map_or(0, |result| result.position);
        if let Some(otherwise) = otherwise {
            results.push(self.bind(otherwise)?);
        }
        let (mut results, column_type) = self.unify_list(results, "CASE")?;
        let otherwise = if otherwise.is_some() {
            results.pop().map(Box::new)
        } else {
            None
        };
        Ok(Typed::new(
            Expression::Case {
                branches: tests.into_iter().zip(results).collect(),
                otherwise,
            },
            column_type,
            at,
        ))
    }
}

/// The character of `ESCAPE`; an empty text turns escaping off.
fn escape_character(syntax: &Expr) -> Result<Option<char>, SqlError> {
    let refused = || {
        SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
            .with_hint("Escape string must be empty or one character.")
            .at(start_of(syntax))
    };
    let Expr::Value(value) = syntax else {
        return Err(refused());
    };
    let mut characters = string_literal(&value.value).ok_or_else(refused)?.chars();
    match (characters.next(), characters.next()) {
        (first, None) => Ok(first),
        _ => Err(refused()),
    }
}

/// `INTERVAL '1 day'`; an interval is no type of a column here, only a way to move dates and timestamps.
fn constant_interval(syntax: &Expr) -> Result<Option<Interval>, SqlError> {
    match syntax {
        Expr::Nested(inner) => constant_interval(inner),
        Expr::Interval(interval) => {
            let ast::Interval {
                value,
                leading_field,
                leading_precision: None,
                last_field: None,
                fractional_seconds_precision: None,
            } = interval
            else {
                return Err(SqlError::unsupported(format!("the literal {interval}")));
            };
            let Expr::Value(value) = value.as_ref() else {
                return Err(SqlError::unsupported(format!("the literal {interval}")));
            };
            let (ast::Value::SingleQuotedString(text) | ast::Value::Number(text, false)) = &value.value else {
                return Err(SqlError::unsupported(format!("the literal {interval}")));
            };
            let unit = leading_field.as_ref().map(ToString::to_string);
            Interval::parse(text, unit.as_deref()).map(Some)
        }
        Expr::Cast {
            expr,
            data_type:
                ast::DataType::Interval {
                    fields: None,
                    precision: None,
                },
            ..
        } => match expr.as_ref() {
            Expr::Value(value) => match string_literal(&value.value) {
                Some(text) => Interval::parse(text, None).map(Some),
                None => Ok(None),
            },
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// A condition's parts that must all hold.
pub(crate) fn conjuncts(condition: Expression) -> Vec<Expression> {
    match condition {
        Expression::And(list) => list.into_iter().flat_map(conjuncts).collect(),
        Expression::Literal(Value::Bool(true)) => Vec::new(),
        other => vec![other],
    }
}
