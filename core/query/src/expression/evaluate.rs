//! Evaluating an expression over one row.

use std::borrow::Cow;

use craton_types::{PrimaryKey, Row, Value};

use super::{Comparison, Expression, ReceiptKind, arithmetic, cast, compare, function, like};
use crate::{Context, SqlError, SqlState};

impl Expression {
    /// The value for this row. Columns, literals and parameters are borrowed.
    pub(crate) fn evaluate<'e>(
        &'e self,
        row: &'e [Value],
        context: &'e Context<'_>,
    ) -> Result<Cow<'e, Value>, SqlError> {
        let owned = |value| Ok(Cow::Owned(value));
        match self {
            Self::Literal(value) => Ok(Cow::Borrowed(value)),
            Self::Column(position) => {
                let value = row.get(*position);
                value
                    .map(Cow::Borrowed)
                    .ok_or_else(|| SqlError::internal("a row has fewer columns than its table"))
            }
            Self::Parameter(position) => context.parameters.get(*position).map(Cow::Borrowed).ok_or_else(|| {
                SqlError::new(
                    SqlState::UNDEFINED_PARAMETER,
                    format!("there is no parameter ${}", position + 1),
                )
            }),
            Self::Cast { operand, from, to } => cast::cast(operand.evaluate(row, context)?, *from, *to),
            Self::Not(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Compare { .. }
            | Self::Distinct { .. }
            | Self::IsNull { .. }
            | Self::IsBool { .. }
            | Self::InList { .. }
            | Self::Like { .. } => owned(self.truth(row, context)?.map_or(Value::Null, Value::Bool)),
            Self::Arithmetic {
                operator,
                left,
                right,
                result,
            } => {
                let (left, right) = (left.evaluate(row, context)?, right.evaluate(row, context)?);
                if left.is_null() || right.is_null() {
                    return owned(Value::Null);
                }
                owned(arithmetic::apply(*operator, &left, &right, *result)?)
            }
            Self::Negate { operand, result } => {
                let value = operand.evaluate(row, context)?;
                if value.is_null() {
                    Ok(value)
                } else {
                    owned(arithmetic::negate(&value, *result)?)
                }
            }
            Self::Shift { operand, interval } => owned(interval.shift(operand.evaluate(row, context)?.as_ref())?),
            Self::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    if condition.is_true(row, context)? {
                        return result.evaluate(row, context);
                    }
                }
                match otherwise {
                    Some(otherwise) => otherwise.evaluate(row, context),
                    None => owned(Value::Null),
                }
            }
            Self::Call { function, arguments } => function::call(*function, arguments, row, context),
            Self::Receipt { kind, table, key } => {
                let mut values = Row::with_capacity(key.len());
                for part in key {
                    values.push(part.evaluate(row, context)?.into_owned());
                }
                if values.iter().any(Value::is_null) {
                    return owned(Value::Null);
                }
                let key = PrimaryKey::encode(&values)
                    .map_err(|error| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, error.to_string()))?;
                owned(Value::Text(match kind {
                    ReceiptKind::Change => context.functions.receipt(table, &key)?,
                    ReceiptKind::State => context.functions.state_receipt(table, &values)?,
                }))
            }
            Self::Aggregate(_) => Err(SqlError::internal("an aggregate was left in an expression")),
        }
    }

    /// Whether a condition holds; NULL does not.
    pub(crate) fn is_true(&self, row: &[Value], context: &Context<'_>) -> Result<bool, SqlError> {
        Ok(self.truth(row, context)? == Some(true))
    }

    /// The truth value of a boolean expression: `None` is unknown.
    fn truth(&self, row: &[Value], context: &Context<'_>) -> Result<Option<bool>, SqlError> {
        Ok(match self {
            Self::Not(operand) => operand.truth(row, context)?.map(|value| !value),
            Self::And(list) => {
                let mut result = Some(true);
                for condition in list {
                    match condition.truth(row, context)? {
                        Some(false) => return Ok(Some(false)),
                        Some(true) => {}
                        None => result = None,
                    }
                }
                result
            }
            Self::Or(list) => {
                let mut result = Some(false);
                for condition in list {
                    match condition.truth(row, context)? {
                        Some(true) => return Ok(Some(true)),
                        Some(false) => {}
                        None => result = None,
                    }
                }
                result
            }
            Self::Compare { operator, left, right } => {
                let (left, right) = (left.evaluate(row, context)?, right.evaluate(row, context)?);
                compare::compare(&left, &right).map(|order| operator.holds(order))
            }
            Self::Distinct { left, right, negated } => {
                let (left, right) = (left.evaluate(row, context)?, right.evaluate(row, context)?);
                let distinct = match compare::compare(&left, &right) {
                    Some(order) => order.is_ne(),
                    None => left.is_null() != right.is_null(),
                };
                Some(distinct != *negated)
            }
            Self::IsNull { operand, negated } => Some(operand.evaluate(row, context)?.is_null() != *negated),
            Self::IsBool {
                operand,
                value,
                negated,
            } => Some((operand.truth(row, context)? == Some(*value)) != *negated),
            Self::InList { operand, list, negated } => {
                let operand = operand.evaluate(row, context)?;
                let mut found = Some(false);
                for item in list {
                    let item = item.evaluate(row, context)?;
                    match compare::compare(&operand, &item) {
                        Some(order) if Comparison::Equal.holds(order) => return Ok(Some(!negated)),
                        Some(_) => {}
                        None => found = None,
                    }
                }
                found.map(|found| found != *negated)
            }
            Self::Like {
                operand,
                pattern,
                escape,
                ignore_case,
                negated,
            } => {
                let (text, pattern) = (operand.evaluate(row, context)?, pattern.evaluate(row, context)?);
                match (text.as_ref(), pattern.as_ref()) {
                    (Value::Text(text), Value::Text(pattern)) => {
                        Some(like::matches(text, pattern, *escape, *ignore_case)? != *negated)
                    }
                    _ => None,
                }
            }
            other => match other.evaluate(row, context)?.as_ref() {
                Value::Bool(value) => Some(*value),
                Value::Null => None,
                _ => return Err(SqlError::internal("a condition was bound to another type")),
            },
        })
    }
}
