//! Giving types to what has none yet, and bringing two types together.

use std::borrow::Cow;

use craton_types::{ColumnType, Value};

use super::bind::Binder;
use super::cast::{CastContext, cast, cast_context, number_rank};
use super::{Expression, datetime};
use crate::types::{base, type_name};
use crate::{SqlError, SqlState, text};

/// An expression and its type. `None` is a string literal, a NULL or a parameter that nothing has told the type of.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub(crate) expression: Expression,
    pub(crate) column_type: Option<ColumnType>,
    /// Where it stands in the text; zero when it is not known.
    pub(crate) position: u32,
}

impl Typed {
    pub(super) fn new(expression: Expression, column_type: ColumnType, position: u32) -> Self {
        Self {
            expression,
            column_type: Some(column_type),
            position,
        }
    }

    /// The type for messages.
    pub(super) fn type_name(&self) -> &'static str {
        self.column_type.map_or("unknown", type_name)
    }
}

impl Binder<'_> {
    /// Gives a type to what has none; what has one stays as it is.
    pub(crate) fn resolve(&mut self, typed: Typed, column_type: ColumnType) -> Result<Typed, SqlError> {
        if typed.column_type.is_some() {
            return Ok(typed);
        }
        let position = typed.position;
        let target = base(column_type);
        let expression = match typed.expression {
            Expression::Literal(Value::Text(spelled)) => {
                Expression::Literal(text::parse(&spelled, target).map_err(|error| error.at(position))?)
            }
            Expression::Parameter(index) => {
                self.parameters
                    .infer(index, target)
                    .map_err(|error| error.at(position))?;
                Expression::Parameter(index)
            }
            other => other,
        };
        Ok(Typed::new(expression, target, position))
    }

    /// Gives `text` to what has no type: the last resort of PostgreSQL, too.
    pub(crate) fn resolve_as_text(&mut self, typed: Typed) -> Result<(Expression, ColumnType), SqlError> {
        let typed = self.resolve(typed, ColumnType::Text)?;
        Ok((typed.expression, typed.column_type.unwrap_or(ColumnType::Text)))
    }

    /// Casts to a type where the context allows it; `None` when it does not.
    pub(crate) fn cast_in(
        &mut self,
        typed: Typed,
        to: ColumnType,
        context: CastContext,
    ) -> Result<Option<Expression>, SqlError> {
        let unresolved = typed.column_type.is_none();
        let typed = self.resolve(typed, to)?;
        let from = typed.column_type.unwrap_or(to);
        let needs_no_cast = from == to || (base(from) == base(to) && base(to) == to);
        if needs_no_cast {
            return Ok(Some(typed.expression));
        }
        // A literal or parameter takes the length or digits of its type like a value of that type.
        let allowed = unresolved || cast_context(from, to).is_some_and(|needed| needed <= context);
        if !allowed {
            return Ok(None);
        }
        make_cast(typed.expression, from, to)
            .map(Some)
            .map_err(|error| error.at(typed.position))
    }

    /// Brings two operands to types that compare; unknown ones take the other's type.
    pub(super) fn unify_pair(&mut self, left: Typed, right: Typed) -> Result<(Typed, Typed), SqlError> {
        match (left.column_type, right.column_type) {
            (Some(_), Some(_)) => Ok((left, right)),
            (Some(known), None) => {
                let right = self.resolve(right, known)?;
                Ok((left, right))
            }
            (None, Some(known)) => {
                let left = self.resolve(left, known)?;
                Ok((left, right))
            }
            (None, None) => Ok((
                self.resolve(left, ColumnType::Text)?,
                self.resolve(right, ColumnType::Text)?,
            )),
        }
    }

    /// Brings the results of `CASE`, `COALESCE` and the like to one type.
    pub(super) fn unify_list(
        &mut self,
        items: Vec<Typed>,
        what: &str,
    ) -> Result<(Vec<Expression>, ColumnType), SqlError> {
        let mut common: Option<ColumnType> = None;
        for item in &items {
            let Some(item_type) = item.column_type.map(base) else {
                continue;
            };
            common = Some(match common {
                None => item_type,
                Some(common) => wider(common, item_type).ok_or_else(|| {
                    SqlError::new(
                        SqlState::DATATYPE_MISMATCH,
                        format!(
                            "{what} types {} and {} cannot be matched",
                            type_name(common),
                            type_name(item_type)
                        ),
                    )
                    .at(item.position)
                })?,
            });
        }
        let common = common.unwrap_or(ColumnType::Text);
        let mut expressions = Vec::with_capacity(items.len());
        for item in items {
            let typed = self.resolve(item, common)?;
            let from = typed.column_type.map_or(common, base);
            expressions.push(if from == common {
                typed.expression
            } else {
                make_cast(typed.expression, from, common)?
            });
        }
        Ok((expressions, common))
    }
}

/// The type that both can become by themselves.
fn wider(a: ColumnType, b: ColumnType) -> Option<ColumnType> {
    if a == b {
        return Some(a);
    }
    if cast_context(a, b) == Some(CastContext::Implicit) {
        return Some(b);
    }
    (cast_context(b, a) == Some(CastContext::Implicit)).then_some(a)
}

/// Whether values of the two types compare.
pub(super) fn comparable(left: ColumnType, right: ColumnType) -> bool {
    let (left, right) = (base(left), base(right));
    let is_json = |column_type| matches!(column_type, ColumnType::Json | ColumnType::Jsonb);
    if is_json(left) || is_json(right) {
        return false;
    }
    let both_numbers = number_rank(left).is_some() && number_rank(right).is_some();
    let is_calendar = |column_type| {
        matches!(
            column_type,
            ColumnType::Date | ColumnType::Timestamp | ColumnType::TimestampTz
        )
    };
    left == right || both_numbers || (is_calendar(left) && is_calendar(right))
}

/// A cast, done now when its operand is a literal.
pub(super) fn make_cast(operand: Expression, from: ColumnType, to: ColumnType) -> Result<Expression, SqlError> {
    if let Expression::Literal(value) = &operand {
        return cast(Cow::Borrowed(value), from, to).map(|value| Expression::Literal(value.into_owned()));
    }
    Ok(Expression::Cast {
        operand: Box::new(operand),
        from,
        to,
    })
}

/// `operand` moved by an interval, and the type of that.
pub(super) fn make_shift(operand: Typed, interval: datetime::Interval) -> Option<(Expression, ColumnType)> {
    let result = match operand.column_type? {
        ColumnType::Date | ColumnType::Timestamp => ColumnType::Timestamp,
        ColumnType::TimestampTz => ColumnType::TimestampTz,
        _ => return None,
    };
    let shift = Expression::Shift {
        operand: Box::new(operand.expression),
        interval,
    };
    Some((shift, result))
}
