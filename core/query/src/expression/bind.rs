//! From syntax to bound expressions: names to columns, literals to values, types to everything.

use craton_types::{ColumnType, Value};
use sqlparser::ast::{self, Expr, UnaryOperator};

use super::coerce::make_cast;
use super::scope::fold;
use super::{Aggregate, CastContext, Expression, Scope, Typed, cast_context};
use crate::limits::{EXPRESSION_DEPTH_MAX, PARAMETERS_MAX};
use crate::parse::{position, too_deep};
use crate::types::{NUMERIC, base, column_type, type_name};
use crate::{Catalog, SqlError, SqlState, text};

/// How much stack one level of an expression may take to be bound, in a build without optimisations, too.
const STACK_LEFT_BYTES_MIN: usize = 128 << 10;
/// How much is added when less than that is left.
const STACK_GROWTH_BYTES: usize = 2 << 20;

/// The types of a statement's parameters, as far as they are known.
#[derive(Debug)]
pub(crate) struct ParameterTypes {
    types: Vec<Option<ColumnType>>,
}

impl ParameterTypes {
    pub(crate) fn new(given: &[Option<ColumnType>]) -> Result<Self, SqlError> {
        if given.len() > PARAMETERS_MAX {
            return Err(too_many_parameters());
        }
        Ok(Self {
            types: given.iter().map(|given| given.map(base)).collect(),
        })
    }

    /// The index of `$n`, counted from zero.
    fn index(&mut self, spelled: &str) -> Result<usize, SqlError> {
        let number = spelled
            .strip_prefix('$')
            .and_then(|digits| digits.parse::<usize>().ok());
        match number {
            Some(number) if (1..=PARAMETERS_MAX).contains(&number) => {
                if number > self.types.len() {
                    self.types.resize(number, None);
                }
                Ok(number - 1)
            }
            Some(number) if number > PARAMETERS_MAX => Err(too_many_parameters()),
            _ => Err(SqlError::syntax(format!("there is no parameter {spelled}"))
                .with_hint("Parameters are written $1, $2, ….")),
        }
    }

    /// Notes the type that a parameter's place gives it.
    pub(super) fn infer(&mut self, index: usize, column_type: ColumnType) -> Result<(), SqlError> {
        match self.types.get_mut(index) {
            Some(slot @ None) => *slot = Some(base(column_type)),
            Some(Some(known)) if *known != base(column_type) => {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!("inconsistent types deduced for parameter ${}", index + 1),
                )
                .with_detail(format!("{} versus {}", type_name(*known), type_name(column_type))));
            }
            _ => {}
        }
        Ok(())
    }

    /// The type of a parameter, counted from zero, when it is known.
    pub(crate) fn get(&self, index: usize) -> Option<ColumnType> {
        self.types.get(index).copied().flatten()
    }

    /// All types; a parameter that nothing tells the type of is a text.
    pub(crate) fn finish(self) -> Vec<ColumnType> {
        self.types
            .into_iter()
            .map(|known| known.unwrap_or(ColumnType::Text))
            .collect()
    }
}

fn too_many_parameters() -> SqlError {
    SqlError::new(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        format!("a statement cannot have more than {PARAMETERS_MAX} parameters"),
    )
}

/// What an aggregate function may do here.
#[derive(Debug)]
pub(crate) enum Aggregates<'a> {
    /// Nothing: the clause's name for the message.
    Refused(&'static str),
    /// Become the next entry.
    Collected(&'a mut Vec<Aggregate>),
}

/// Binds expressions over one scope.
pub(crate) struct Binder<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) catalog: &'a dyn Catalog,
    pub(super) parameters: &'a mut ParameterTypes,
    pub(super) aggregates: Aggregates<'a>,
    depth: usize,
}

impl<'a> Binder<'a> {
    /// A binder for a clause where aggregates are refused.
    pub(crate) fn new(
        scope: Scope<'a>,
        catalog: &'a dyn Catalog,
        parameters: &'a mut ParameterTypes,
        clause: &'static str,
    ) -> Self {
        Self {
            scope,
            catalog,
            parameters,
            aggregates: Aggregates::Refused(clause),
            depth: 0,
        }
    }

    /// The same, collecting aggregates.
    pub(crate) fn collecting(mut self, aggregates: &'a mut Vec<Aggregate>) -> Self {
        self.aggregates = Aggregates::Collected(aggregates);
        self
    }

    /// Binds an expression of any type.
    ///
    /// # Errors
    /// When a name is unknown, types do not go together, or something is not supported.
    pub(crate) fn bind(&mut self, syntax: &Expr) -> Result<Typed, SqlError> {
        if self.depth == EXPRESSION_DEPTH_MAX {
            return Err(too_deep());
        }
        self.depth += 1;
        let bound = stacker::maybe_grow(STACK_LEFT_BYTES_MIN, STACK_GROWTH_BYTES, || self.bind_node(syntax));
        self.depth -= 1;
        bound
    }

    /// Binds a condition.
    pub(crate) fn bind_condition(&mut self, syntax: &Expr, clause: &str) -> Result<Expression, SqlError> {
        let typed = self.bind(syntax)?;
        let typed = self.resolve(typed, ColumnType::Bool)?;
        if typed.column_type == Some(ColumnType::Bool) {
            return Ok(typed.expression);
        }
        Err(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "argument of {clause} must be type boolean, not type {}",
                typed.type_name()
            ),
        )
        .at(typed.position))
    }

    /// Binds an expression that becomes the type by itself, such as the count of `LIMIT`.
    pub(crate) fn bind_as(&mut self, syntax: &Expr, to: ColumnType, what: &str) -> Result<Expression, SqlError> {
        let typed = self.bind(syntax)?;
        let (position, found) = (typed.position, typed.type_name());
        self.cast_in(typed, to, CastContext::Assignment)?.ok_or_else(|| {
            SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("argument of {what} must be type {}, not type {found}", type_name(to)),
            )
            .at(position)
        })
    }

    fn bind_node(&mut self, syntax: &Expr) -> Result<Typed, SqlError> {
        match syntax {
            Expr::Identifier(name) => self.bind_names(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(names) => self.bind_names(names),
            Expr::Value(value) => self.bind_value(&value.value, position(value.span)),
            Expr::Nested(inner) => self.bind(inner),
            Expr::TypedString(typed) => {
                let at = position(typed.value.span);
                let Some(spelled) = string_literal(&typed.value.value) else {
                    return Err(SqlError::syntax("a string literal must follow the type").at(at));
                };
                let to = column_type(&typed.data_type).map_err(|error| error.at(at))?;
                let value = text::parse(spelled, to).map_err(|error| error.at(at))?;
                Ok(Typed::new(make_cast(Expression::Literal(value), base(to), to)?, to, at))
            }
            Expr::Cast {
                kind: ast::CastKind::Cast | ast::CastKind::DoubleColon,
                expr,
                data_type,
                format: None,
            } => self.bind_cast(expr, data_type),
            Expr::UnaryOp { op, expr } => self.bind_unary(*op, expr),
            Expr::BinaryOp { left, op, right } => self.bind_binary(syntax, left, op, right),
            Expr::IsNull(operand) => self.bind_null_test(operand, false),
            Expr::IsNotNull(operand) => self.bind_null_test(operand, true),
            Expr::IsTrue(operand) => self.bind_truth_test(operand, true, false),
            Expr::IsNotTrue(operand) => self.bind_truth_test(operand, true, true),
            Expr::IsFalse(operand) => self.bind_truth_test(operand, false, false),
            Expr::IsNotFalse(operand) => self.bind_truth_test(operand, false, true),
            Expr::IsUnknown(operand) => self.bind_unknown_test(operand, false),
            Expr::IsNotUnknown(operand) => self.bind_unknown_test(operand, true),
            Expr::IsDistinctFrom(left, right) => self.bind_distinct(left, right, false),
            Expr::IsNotDistinctFrom(left, right) => self.bind_distinct(left, right, true),
            Expr::InList { expr, list, negated } => self.bind_in_list(expr, list, *negated),
            Expr::Between {
                expr,
                negated,
                low,
                high,
            } => self.bind_between(expr, low, high, *negated),
            Expr::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => self.bind_like(expr, pattern, escape_char.as_deref(), false, *negated),
            Expr::ILike {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => self.bind_like(expr, pattern, escape_char.as_deref(), true, *negated),
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => self.bind_case(operand.as_deref(), conditions, else_result.as_deref()),
            Expr::Collate { expr, collation } => self.bind_collate(expr, collation),
            _ => self.bind_function_syntax(syntax),
        }
    }

    fn bind_names(&mut self, names: &[ast::Ident]) -> Result<Typed, SqlError> {
        let (place, column) = self.scope.resolve(names)?;
        let at = names.first().map_or(0, |name| position(name.span));
        Ok(Typed::new(Expression::Column(place), column.column_type, at))
    }

    fn bind_value(&mut self, value: &ast::Value, at: u32) -> Result<Typed, SqlError> {
        let unknown = |expression| Typed {
            expression,
            column_type: None,
            position: at,
        };
        if let Some(spelled) = string_literal(value) {
            return Ok(unknown(Expression::Literal(Value::Text(spelled.to_owned()))));
        }
        match value {
            ast::Value::Number(spelled, false) => number_literal(spelled, at),
            ast::Value::Boolean(value) => Ok(Typed::new(
                Expression::Literal(Value::Bool(*value)),
                ColumnType::Bool,
                at,
            )),
            ast::Value::Null => Ok(unknown(Expression::Literal(Value::Null))),
            ast::Value::Placeholder(spelled) => {
                let index = self.parameters.index(spelled).map_err(|error| error.at(at))?;
                Ok(Typed {
                    expression: Expression::Parameter(index),
                    column_type: self.parameters.types[index],
                    position: at,
                })
            }
            other => Err(SqlError::unsupported(format!("the literal {other}")).at(at)),
        }
    }

    fn bind_cast(&mut self, operand: &Expr, data_type: &ast::DataType) -> Result<Typed, SqlError> {
        let at = start_of(operand);
        let to = column_type(data_type).map_err(|error| error.at(at))?;
        let typed = self.bind(operand)?;
        let from = typed.column_type;
        match self.cast_in(typed, to, CastContext::Explicit)? {
            Some(expression) => Ok(Typed::new(expression, to, at)),
            None => Err(super::cast::cannot_cast(from.unwrap_or(ColumnType::Text), to).at(at)),
        }
    }

    fn bind_unary(&mut self, operator: UnaryOperator, operand: &Expr) -> Result<Typed, SqlError> {
        if operator == UnaryOperator::Not {
            let at = start_of(operand);
            let condition = self.bind_condition(operand, "NOT")?;
            return Ok(Typed::new(Expression::Not(Box::new(condition)), ColumnType::Bool, at));
        }
        if !matches!(operator, UnaryOperator::Minus | UnaryOperator::Plus) {
            return Err(SqlError::unsupported(format!("the operator {operator}")).at(start_of(operand)));
        }
        // The least bigint is the negative of a number that is none.
        if let (UnaryOperator::Minus, Expr::Value(value)) = (operator, operand)
            && let ast::Value::Number(spelled, false) = &value.value
        {
            return number_literal(&format!("-{spelled}"), position(value.span));
        }
        let typed = self.bind(operand)?;
        let typed = self.resolve(typed, ColumnType::Float8)?;
        let Some(result) = typed.column_type.and_then(super::arithmetic::negated_type) else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("operator does not exist: {operator} {}", typed.type_name()),
            )
            .at(typed.position));
        };
        if operator == UnaryOperator::Plus {
            return Ok(typed);
        }
        let negated = Expression::Negate {
            operand: Box::new(typed.expression),
            result,
        };
        Ok(Typed::new(negated, result, typed.position))
    }

    /// Texts have one order here, that of their bytes, so only its names are taken.
    fn bind_collate(&mut self, operand: &Expr, collation: &ast::ObjectName) -> Result<Typed, SqlError> {
        let name = collation.to_string();
        let bare = name.trim_start_matches("pg_catalog.").trim_matches('"');
        if !matches!(bare, "C" | "POSIX" | "ucs_basic" | "default") {
            return Err(SqlError::unsupported(format!("collation {name}"))
                .with_hint("Texts are ordered by their bytes: COLLATE \"C\"."));
        }
        self.bind(operand)
    }

    pub(super) fn fold_function_name(&self, name: &ast::ObjectName) -> Result<String, SqlError> {
        let mut parts = Vec::with_capacity(name.0.len());
        for part in &name.0 {
            match part {
                ast::ObjectNamePart::Identifier(ident) => parts.push(fold(ident)?),
                ast::ObjectNamePart::Function(_) => return Err(SqlError::unsupported(format!("the name {name}"))),
            }
        }
        match parts.as_slice() {
            [name] => Ok(name.clone()),
            [schema, name] if schema == "pg_catalog" => Ok(name.clone()),
            _ => Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("function {name}() does not exist"),
            )),
        }
    }
}

/// Where an expression begins; zero when it is not known. Walks down the left side without recursion, unlike the
/// syntax tree's own spans.
pub(crate) fn start_of(syntax: &Expr) -> u32 {
    let mut node = syntax;
    loop {
        node = match node {
            Expr::BinaryOp { left, .. } => left,
            Expr::Cast { expr, .. }
            | Expr::Nested(expr)
            | Expr::UnaryOp { expr, .. }
            | Expr::IsNull(expr)
            | Expr::IsNotNull(expr)
            | Expr::InList { expr, .. }
            | Expr::Between { expr, .. }
            | Expr::Like { expr, .. }
            | Expr::ILike { expr, .. } => expr,
            Expr::Identifier(name) => return position(name.span),
            Expr::CompoundIdentifier(names) => return names.first().map_or(0, |name| position(name.span)),
            Expr::Value(value) => return position(value.span),
            Expr::TypedString(typed) => return position(typed.value.span),
            Expr::Function(function) => {
                return match function.name.0.first() {
                    Some(ast::ObjectNamePart::Identifier(name)) => position(name.span),
                    _ => 0,
                };
            }
            _ => return 0,
        };
    }
}

/// The text of a string literal.
pub(super) fn string_literal(value: &ast::Value) -> Option<&str> {
    match value {
        ast::Value::SingleQuotedString(text)
        | ast::Value::EscapedStringLiteral(text)
        | ast::Value::UnicodeStringLiteral(text) => Some(text),
        ast::Value::DollarQuotedString(quoted) => Some(&quoted.value),
        _ => None,
    }
}

/// The least type that holds the number: `integer`, `bigint`, or `numeric`.
fn number_literal(spelled: &str, at: u32) -> Result<Typed, SqlError> {
    let spelled = spelled.replace('_', "");
    if let Ok(number) = spelled.parse::<i64>() {
        let column_type = if i32::try_from(number).is_ok() {
            ColumnType::Int4
        } else {
            ColumnType::Int8
        };
        return Ok(Typed::new(Expression::Literal(Value::Int(number)), column_type, at));
    }
    let (value, column_type) = match text::parse(&spelled, NUMERIC) {
        Ok(value) => (value, NUMERIC),
        // A number with an exponent that no numeric of ours holds is still a double.
        Err(_) if spelled.contains(['e', 'E']) => {
            let value = text::parse(&spelled, ColumnType::Float8).map_err(|error| error.at(at))?;
            (value, ColumnType::Float8)
        }
        Err(error) => return Err(error.at(at)),
    };
    Ok(Typed::new(Expression::Literal(value), column_type, at))
}

/// Whether a value of one type can be stored in a column of another.
pub(crate) fn is_assignable(from: ColumnType, to: ColumnType) -> bool {
    cast_context(from, to).is_some_and(|needed| needed <= CastContext::Assignment)
}
