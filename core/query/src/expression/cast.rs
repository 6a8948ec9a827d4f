//! Casts: which there are, in which context they happen by themselves, and what they do.

use std::borrow::Cow;

use craton_types::{Column, ColumnType, Value};
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use rust_decimal::{Decimal, RoundingStrategy};

use super::compare::as_float;
use crate::text::{self, DAY_MICROS, fit_numeric, integer_bounds};
use crate::types::{base, type_name};
use crate::{SqlError, SqlState};

/// When a cast may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CastContext {
    /// Anywhere.
    Implicit,
    /// When a value is stored in a column.
    Assignment,
    /// When it is asked for.
    Explicit,
}

/// The weakest context in which `from` becomes `to`; `None` when there is no such cast.
pub(crate) fn cast_context(from: ColumnType, to: ColumnType) -> Option<CastContext> {
    use CastContext::{Assignment, Explicit, Implicit};
    use ColumnType::{Bool, Date, Int4, Json, Jsonb, Text, Time, Timestamp, TimestampTz};
    let (from, to) = (base(from), base(to));
    if from == to {
        return Some(Implicit);
    }
    if let (Some(a), Some(b)) = (number_rank(from), number_rank(to)) {
        return Some(if a < b { Implicit } else { Assignment });
    }
    Some(match (from, to) {
        (Date, Timestamp | TimestampTz) | (Timestamp, TimestampTz) => Implicit,
        (Timestamp | TimestampTz, Date | Time) | (TimestampTz, Timestamp) => Assignment,
        (Json, Jsonb) | (Jsonb, Json) => Assignment,
        (Bool, Int4) | (Int4, Bool) => Explicit,
        (_, Text) => Assignment,
        (Text, _) => Explicit,
        _ => return None,
    })
}

/// The order in which numbers are widened.
pub(super) const fn number_rank(column_type: ColumnType) -> Option<u8> {
    match column_type {
        ColumnType::Int2 => Some(0),
        ColumnType::Int4 => Some(1),
        ColumnType::Int8 => Some(2),
        ColumnType::Numeric { .. } => Some(3),
        ColumnType::Float4 => Some(4),
        ColumnType::Float8 => Some(5),
        _ => None,
    }
}

/// Casts a value as `CAST` does: a text is cut to the length of a `varchar(n)`.
pub(crate) fn cast<'v>(value: Cow<'v, Value>, from: ColumnType, to: ColumnType) -> Result<Cow<'v, Value>, SqlError> {
    if value.is_null() {
        return Ok(value);
    }
    let converted = convert(value, from, to)?;
    if let (ColumnType::Varchar { length_max }, Value::Text(text)) = (to, converted.as_ref())
        && let Some((end, _)) = text.char_indices().nth(length_max as usize)
    {
        return Ok(Cow::Owned(Value::Text(text[..end].to_owned())));
    }
    Ok(converted)
}

/// Casts a value for its column and checks that it fits: a text that is too long is an error unless only blanks are.
pub(crate) fn assign<'v>(value: Cow<'v, Value>, from: ColumnType, column: &Column) -> Result<Cow<'v, Value>, SqlError> {
    if value.is_null() {
        return Ok(value);
    }
    let converted = convert(value, from, column.column_type)?;
    if let (ColumnType::Varchar { length_max }, Value::Text(text)) = (column.column_type, converted.as_ref())
        && let Some((end, _)) = text.char_indices().nth(length_max as usize)
    {
        if text[end..].bytes().any(|byte| byte != b' ') {
            return Err(SqlError::new(
                SqlState::STRING_TOO_LONG,
                format!("value too long for type character varying({length_max})"),
            ));
        }
        return Ok(Cow::Owned(Value::Text(text[..end].to_owned())));
    }
    Ok(converted)
}

/// The conversion itself, for a value that is not NULL.
fn convert<'v>(value: Cow<'v, Value>, from: ColumnType, to: ColumnType) -> Result<Cow<'v, Value>, SqlError> {
    let owned = |value| Ok(Cow::Owned(value));
    let fits_as_it_is = base(from) == base(to)
        && !matches!(
            to,
            ColumnType::Numeric {
                precision_and_scale: Some(_)
            }
        );
    if fits_as_it_is {
        return Ok(value);
    }
    match (value.as_ref(), to) {
        (Value::Int(number), ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8) => {
            check_integer(*number, to)?;
            Ok(value)
        }
        (Value::Numeric(number), ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8) => {
            let rounded = number.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero);
            owned(Value::Int(fit_integer(rounded.to_i64(), to)?))
        }
        (Value::Float(number), ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8) => {
            owned(Value::Int(fit_integer(float_to_integer(*number), to)?))
        }
        (Value::Bool(value), ColumnType::Int4) => owned(Value::Int(i64::from(*value))),
        (Value::Int(number), ColumnType::Bool) => owned(Value::Bool(*number != 0)),
        (Value::Int(number), ColumnType::Numeric { precision_and_scale }) => owned(Value::Numeric(fit_numeric(
            Decimal::from(*number),
            precision_and_scale,
        )?)),
        (Value::Numeric(number), ColumnType::Numeric { precision_and_scale }) => {
            owned(Value::Numeric(fit_numeric(*number, precision_and_scale)?))
        }
        (Value::Float(number), ColumnType::Numeric { precision_and_scale }) => {
            let number = float_to_decimal(*number, from == ColumnType::Float4)?;
            owned(Value::Numeric(fit_numeric(number, precision_and_scale)?))
        }
        (Value::Int(_) | Value::Numeric(_) | Value::Float(_), ColumnType::Float8) => {
            owned(Value::Float(as_float(&value).ok_or_else(|| out_of_range(to))?))
        }
        (Value::Int(_) | Value::Numeric(_) | Value::Float(_), ColumnType::Float4) => {
            let number = as_float(&value).ok_or_else(|| out_of_range(to))?;
            owned(Value::Float(to_float4(number)?))
        }
        (Value::Date(days), ColumnType::Timestamp) => owned(Value::Timestamp(i64::from(*days) * DAY_MICROS)),
        (Value::Date(days), ColumnType::TimestampTz) => owned(Value::TimestampTz(i64::from(*days) * DAY_MICROS)),
        (Value::Timestamp(micros), ColumnType::TimestampTz) => owned(Value::TimestampTz(*micros)),
        (Value::TimestampTz(micros), ColumnType::Timestamp) => owned(Value::Timestamp(*micros)),
        (Value::Timestamp(micros) | Value::TimestampTz(micros), ColumnType::Date) => {
            let days = i32::try_from(micros.div_euclid(DAY_MICROS)).map_err(|_| out_of_range(to))?;
            owned(Value::Date(days))
        }
        (Value::Timestamp(micros) | Value::TimestampTz(micros), ColumnType::Time) => {
            owned(Value::Time(micros.rem_euclid(DAY_MICROS)))
        }
        (Value::Bool(value), ColumnType::Text | ColumnType::Varchar { .. }) => {
            owned(Value::Text(if *value { "true" } else { "false" }.to_owned()))
        }
        (value, ColumnType::Text | ColumnType::Varchar { .. }) => owned(Value::Text(text::format(value, from))),
        (Value::Text(text) | Value::Json(text), to) => text::parse(text, to).map(Cow::Owned),
        _ => Err(cannot_cast(from, to)),
    }
}

pub(super) fn cannot_cast(from: ColumnType, to: ColumnType) -> SqlError {
    SqlError::new(
        SqlState::CANNOT_COERCE,
        format!("cannot cast type {} to {}", type_name(from), type_name(to)),
    )
}

pub(super) fn out_of_range(column_type: ColumnType) -> SqlError {
    SqlError::new(
        SqlState::NUMERIC_OUT_OF_RANGE,
        format!("{} out of range", type_name(column_type)),
    )
}

pub(super) fn check_integer(number: i64, column_type: ColumnType) -> Result<(), SqlError> {
    let (min, max) = integer_bounds(column_type);
    if (min..=max).contains(&number) {
        Ok(())
    } else {
        Err(out_of_range(column_type))
    }
}

fn fit_integer(number: Option<i64>, column_type: ColumnType) -> Result<i64, SqlError> {
    let number = number.ok_or_else(|| out_of_range(column_type))?;
    check_integer(number, column_type)?;
    Ok(number)
}

/// Rounds half to even, as PostgreSQL does for floats; `None` outside of `bigint`.
fn float_to_integer(number: f64) -> Option<i64> {
    let rounded = number.round_ties_even();
    // 2^63 is a double; every smaller double of that size fits.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    (-LIMIT..LIMIT).contains(&rounded).then_some(rounded as i64)
}

/// PostgreSQL keeps the digits that the type surely has: 15 of a double, 6 of a single.
fn float_to_decimal(number: f64, single: bool) -> Result<Decimal, SqlError> {
    let overflow = || SqlError::new(SqlState::NUMERIC_OUT_OF_RANGE, "value overflows numeric format");
    if !number.is_finite() {
        return Err(overflow());
    }
    let digits = if single { 6 } else { 15 };
    let scientific = format!("{number:.*e}", digits - 1);
    let exact = Decimal::from_scientific(&scientific)
        .ok()
        .or_else(|| Decimal::from_f64(number));
    Ok(exact.ok_or_else(overflow)?.normalize())
}

/// The nearest single; infinite only when the number was.
pub(super) fn to_float4(number: f64) -> Result<f64, SqlError> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to a single is what is asked for"
    )]
    let single = number as f32;
    if single.is_infinite() && number.is_finite() {
        return Err(out_of_range(ColumnType::Float4));
    }
    Ok(f64::from(single))
}

/// Checks that a parameter's value is one of its type, as a client could send something else.
pub(crate) fn check_parameter(value: &Value, column_type: ColumnType) -> Result<(), SqlError> {
    match (value, column_type) {
        (Value::Null, _)
        | (Value::Bool(_), ColumnType::Bool)
        | (Value::Numeric(_), ColumnType::Numeric { .. })
        | (Value::Bytes(_), ColumnType::Bytea)
        | (Value::Uuid(_), ColumnType::Uuid)
        | (Value::Float(_), ColumnType::Float4 | ColumnType::Float8)
        | (Value::Json(_), ColumnType::Json | ColumnType::Jsonb) => Ok(()),
        (Value::Int(number), ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8) => {
            check_integer(*number, column_type)
        }
        (Value::Text(text), ColumnType::Text | ColumnType::Varchar { .. }) => {
            // The common case takes no copy: a zero byte is all that a text cannot hold.
            if text.as_bytes().contains(&0) {
                text::parse(text, column_type).map(drop)
            } else {
                Ok(())
            }
        }
        (Value::Date(days), ColumnType::Date) if text::dates_in_range(*days) => Ok(()),
        (Value::Time(micros), ColumnType::Time) if (0..=DAY_MICROS).contains(micros) => Ok(()),
        (Value::Timestamp(micros), ColumnType::Timestamp) | (Value::TimestampTz(micros), ColumnType::TimestampTz)
            if text::timestamps_in_range(*micros) =>
        {
            Ok(())
        }
        (Value::Date(_), ColumnType::Date)
        | (Value::Time(_), ColumnType::Time)
        | (Value::Timestamp(_), ColumnType::Timestamp)
        | (Value::TimestampTz(_), ColumnType::TimestampTz) => Err(SqlError::new(
            SqlState::DATETIME_OVERFLOW,
            format!("{} out of range", type_name(column_type)),
        )),
        _ => Err(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!("a parameter's value is not of type {}", type_name(column_type)),
        )),
    }
}

/// A value in the form that a key column's encoding holds. The planner lets only values through that compare with
/// the column's as their bytes do.
pub(crate) fn convert_for_key(value: Cow<'_, Value>, column_type: ColumnType) -> Cow<'_, Value> {
    match (value.as_ref(), column_type) {
        (Value::Float(number), ColumnType::Float4 | ColumnType::Float8) => {
            Cow::Owned(Value::Float(text::one_nan(*number)))
        }
        _ => value,
    }
}
