//! Scalar functions.

use std::borrow::Cow;
use std::cmp::Ordering;

use craton_types::{ColumnType, Value};
use rust_decimal::{Decimal, RoundingStrategy};

use super::arithmetic::numeric_overflow;
use super::cast::{check_integer, out_of_range};
use super::compare::compare;
use super::{Expression, Function, datetime};
use crate::text::DAY_MICROS;
use crate::{Context, SqlError, SqlState};

/// The longest text or byte string that a function makes.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Calls a function with its arguments evaluated over a row.
pub(super) fn call<'e>(
    function: Function,
    arguments: &'e [Expression],
    row: &'e [Value],
    context: &'e Context<'_>,
) -> Result<Cow<'e, Value>, SqlError> {
    let owned = |value| Ok(Cow::Owned(value));
    match function {
        Function::Coalesce => {
            for argument in arguments {
                let value = argument.evaluate(row, context)?;
                if !value.is_null() {
                    return Ok(value);
                }
            }
            return owned(Value::Null);
        }
        Function::Greatest => return extreme(arguments, row, context, Ordering::Greater),
        Function::Least => return extreme(arguments, row, context, Ordering::Less),
        Function::NullIf => {
            let [left, right] = arguments else { return Err(arity()) };
            let (left, right) = (left.evaluate(row, context)?, right.evaluate(row, context)?);
            return match compare(&left, &right) {
                Some(Ordering::Equal) => owned(Value::Null),
                _ => Ok(left),
            };
        }
        Function::Concat => {
            let mut out = String::new();
            for argument in arguments {
                if let Value::Text(text) = argument.evaluate(row, context)?.as_ref() {
                    push_bounded(&mut out, text)?;
                }
            }
            return owned(Value::Text(out));
        }
        _ => {}
    }
    let mut values: [Cow<'e, Value>; 3] = [const { Cow::Owned(Value::Null) }; 3];
    if arguments.len() > values.len() {
        return Err(arity());
    }
    for (slot, argument) in values.iter_mut().zip(arguments) {
        let value = argument.evaluate(row, context)?;
        // Every other function gives NULL when an argument is.
        if value.is_null() {
            return owned(Value::Null);
        }
        *slot = value;
    }
    let [a, b, c] = &values;
    owned(strict(function, arguments.len(), a, b, c, context)?)
}

fn arity() -> SqlError {
    SqlError::internal("a function was bound with another number of arguments")
}

fn extreme<'e>(
    arguments: &'e [Expression],
    row: &'e [Value],
    context: &'e Context<'_>,
    wanted: Ordering,
) -> Result<Cow<'e, Value>, SqlError> {
    let mut best: Cow<'e, Value> = Cow::Owned(Value::Null);
    for argument in arguments {
        let value = argument.evaluate(row, context)?;
        if best.is_null() || compare(&value, &best) == Some(wanted) {
            best = value;
        }
    }
    Ok(best)
}

fn push_bounded(out: &mut String, text: &str) -> Result<(), SqlError> {
    if out.len() + text.len() > TEXT_BYTES_MAX {
        return Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("a text cannot be longer than {TEXT_BYTES_MAX} bytes"),
        ));
    }
    out.push_str(text);
    Ok(())
}

/// Functions whose arguments are all there and not NULL. `count` of `a`, `b` and `c` were given.
fn strict(
    function: Function,
    count: usize,
    a: &Value,
    b: &Value,
    c: &Value,
    context: &Context<'_>,
) -> Result<Value, SqlError> {
    let micros = context.now.as_micros();
    Ok(match (function, a, b) {
        (Function::Now, ..) => Value::TimestampTz(micros),
        (Function::LocalTimestamp, ..) => Value::Timestamp(micros),
        (Function::LocalTime, ..) => Value::Time(micros.rem_euclid(DAY_MICROS)),
        (Function::CurrentDate, ..) => {
            Value::Date(i32::try_from(micros.div_euclid(DAY_MICROS)).map_err(|_| out_of_range(ColumnType::Date))?)
        }
        (Function::CurrentDatabase, ..) => Value::Text(context.database.to_owned()),
        (Function::CurrentUser, ..) => Value::Text(context.user.to_owned()),
        (Function::CurrentSetting, Value::Text(name), _) => match context.functions.setting(name) {
            Some(value) => Value::Text(value),
            None if count == 2 && *b == Value::Bool(true) => Value::Null,
            None => {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_OBJECT,
                    format!("unrecognized configuration parameter \"{name}\""),
                ));
            }
        },
        (Function::GenerateUuid, ..) => Value::Uuid(random_uuid(context.functions.random_bytes())),
        (Function::Position, ..) => match context.functions.position() {
            Some(position) => Value::Int(i64::try_from(position).map_err(|_| out_of_range(ColumnType::Int8))?),
            None => Value::Null,
        },
        (Function::LogKey, ..) => Value::Text(context.functions.log_key()),
        (Function::CosignedCheckpoint, ..) => {
            let checkpoint = context.functions.cosigned_checkpoint()?;
            checkpoint.map_or(Value::Null, |checkpoint| Value::Text(checkpoint.note))
        }
        (Function::TimeStamp, ..) => {
            let time_stamp = context
                .functions
                .cosigned_checkpoint()?
                .and_then(|checkpoint| checkpoint.time_stamp);
            time_stamp.map_or(Value::Null, Value::Bytes)
        }

        (Function::Abs(column_type), Value::Int(number), _) => {
            let absolute = number.checked_abs().ok_or_else(|| out_of_range(column_type))?;
            check_integer(absolute, column_type)?;
            Value::Int(absolute)
        }
        (Function::Abs(_), Value::Float(number), _) => Value::Float(number.abs()),
        (Function::Abs(_), Value::Numeric(number), _) => Value::Numeric(number.abs()),
        (Function::Ceil, Value::Float(number), _) => Value::Float(number.ceil()),
        (Function::Ceil, Value::Numeric(number), _) => Value::Numeric(number.ceil()),
        (Function::Floor, Value::Float(number), _) => Value::Float(number.floor()),
        (Function::Floor, Value::Numeric(number), _) => Value::Numeric(number.floor()),
        (Function::Round, Value::Float(number), _) => Value::Float(number.round_ties_even()),
        (Function::Round, Value::Numeric(number), _) if count == 1 => Value::Numeric(round(*number, 0)?),
        (Function::Round, Value::Numeric(number), Value::Int(digits)) => Value::Numeric(round(*number, *digits)?),

        (Function::Join, Value::Text(left), Value::Text(right)) => {
            let mut out = String::with_capacity(left.len().saturating_add(right.len()).min(TEXT_BYTES_MAX));
            push_bounded(&mut out, left)?;
            push_bounded(&mut out, right)?;
            Value::Text(out)
        }
        (Function::Join, Value::Bytes(left), Value::Bytes(right)) => {
            if left.len() + right.len() > TEXT_BYTES_MAX {
                return Err(SqlError::new(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    format!("a byte string cannot be longer than {TEXT_BYTES_MAX} bytes"),
                ));
            }
            Value::Bytes([left.as_slice(), right].concat())
        }
        (Function::Lower, Value::Text(text), _) => Value::Text(text.to_lowercase()),
        (Function::Upper, Value::Text(text), _) => Value::Text(text.to_uppercase()),
        (Function::Length, Value::Text(text), _) => Value::Int(length(text.chars().count())?),
        (Function::Length | Function::OctetLength, Value::Bytes(bytes), _) => Value::Int(length(bytes.len())?),
        (Function::OctetLength, Value::Text(text), _) => Value::Int(length(text.len())?),
        (Function::Left, Value::Text(text), Value::Int(number)) => Value::Text(left(text, *number).to_owned()),
        (Function::Right, Value::Text(text), Value::Int(number)) => Value::Text(right(text, *number).to_owned()),
        (Function::Replace, Value::Text(text), Value::Text(from)) => {
            let Value::Text(to) = c else { return Err(arity()) };
            Value::Text(replace(text, from, to)?)
        }
        (Function::StringPosition, Value::Text(text), Value::Text(part)) => match text.find(part.as_str()) {
            Some(at) => Value::Int(length(text[..at].chars().count())? + 1),
            None => Value::Int(0),
        },
        (Function::Substring, Value::Text(text), Value::Int(from)) => {
            let length = substring_length(count, c)?;
            Value::Text(substring(text, *from, length).to_owned())
        }
        (Function::Trim, Value::Text(text), _) => Value::Text(text.trim_matches(trimmed(count, b)).to_owned()),
        (Function::TrimStart, Value::Text(text), _) => {
            Value::Text(text.trim_start_matches(trimmed(count, b)).to_owned())
        }
        (Function::TrimEnd, Value::Text(text), _) => Value::Text(text.trim_end_matches(trimmed(count, b)).to_owned()),

        (Function::DateTrunc(column_type), Value::Text(field), Value::Timestamp(micros)) => {
            Value::Timestamp(datetime::truncate(field, *micros, column_type)?)
        }
        (Function::DateTrunc(column_type), Value::Text(field), Value::TimestampTz(micros)) => {
            Value::TimestampTz(datetime::truncate(field, *micros, column_type)?)
        }
        (Function::Extract(column_type), Value::Text(field), value) => datetime::extract(field, value, column_type)?,
        _ => return Err(SqlError::internal(format!("{function:?} was bound to another type"))),
    })
}

fn length(count: usize) -> Result<i64, SqlError> {
    i64::try_from(count).map_err(|_| out_of_range(ColumnType::Int4))
}

/// Version 4, variant 1 (RFC 9562, section 5.4).
const fn random_uuid(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    bytes
}

/// Rounds half away from zero to digits after the point, or before it when `digits` is negative.
fn round(number: Decimal, digits: i64) -> Result<Decimal, SqlError> {
    const STRATEGY: RoundingStrategy = RoundingStrategy::MidpointAwayFromZero;
    let Ok(places) = u32::try_from(digits) else {
        let power = u32::try_from(digits.unsigned_abs())
            .ok()
            .and_then(|power| 10i128.checked_pow(power));
        let Some(unit) = power.and_then(|unit| Decimal::try_from_i128_with_scale(unit, 0).ok()) else {
            return Ok(Decimal::ZERO);
        };
        let rounded = (number / unit).round_dp_with_strategy(0, STRATEGY);
        return rounded.checked_mul(unit).ok_or_else(numeric_overflow);
    };
    let places = places.min(Decimal::MAX_SCALE);
    let mut rounded = number.round_dp_with_strategy(places, STRATEGY);
    rounded.rescale(places);
    Ok(rounded)
}

/// The byte where the nth character begins, or the end of the text.
fn byte_at(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}

/// The first `number` characters, or all but the last `-number`.
fn left(text: &str, number: i64) -> &str {
    let count = match usize::try_from(number) {
        Ok(count) => count,
        Err(_) => text
            .chars()
            .count()
            .saturating_sub(usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    &text[..byte_at(text, count)]
}

/// The last `number` characters, or all but the first `-number`.
fn right(text: &str, number: i64) -> &str {
    let skip = match usize::try_from(number) {
        Ok(count) => text.chars().count().saturating_sub(count),
        Err(_) => usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX),
    };
    &text[byte_at(text, skip)..]
}

fn substring_length(count: usize, length: &Value) -> Result<Option<i64>, SqlError> {
    match length {
        _ if count < 3 => Ok(None),
        Value::Int(length) if *length >= 0 => Ok(Some(*length)),
        _ => Err(SqlError::new(
            SqlState::SUBSTRING_ERROR,
            "negative substring length not allowed",
        )),
    }
}

/// Characters from the `from`th, counted from one; those before the first count for the length, too.
fn substring(text: &str, from: i64, length: Option<i64>) -> &str {
    let first = from.max(1);
    let skip = usize::try_from(first - 1).unwrap_or(usize::MAX);
    let tail = &text[byte_at(text, skip)..];
    match length {
        None => tail,
        Some(length) => {
            let end = from.saturating_add(length);
            let take = usize::try_from(end.saturating_sub(first)).unwrap_or(0);
            &tail[..byte_at(tail, take)]
        }
    }
}

fn replace(text: &str, from: &str, to: &str) -> Result<String, SqlError> {
    if from.is_empty() {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    for (index, part) in text.split(from).enumerate() {
        if index > 0 {
            push_bounded(&mut out, to)?;
        }
        push_bounded(&mut out, part)?;
    }
    Ok(out)
}

/// The characters that `trim` removes: blanks unless told.
fn trimmed(count: usize, characters: &Value) -> impl Fn(char) -> bool + Copy {
    let characters = match characters {
        Value::Text(characters) if count > 1 => characters.as_str(),
        _ => " ",
    };
    move |c: char| characters.contains(c)
}
