//! PostgreSQL's text formats of values: ISO `DateStyle`, UTC, `bytea_output = hex`, shortest floats.
//!
//! Used for casts from and to text, `COPY`, and the text format of the wire.

mod bytes;
mod datetime;
mod json;
mod number;

use craton_types::{ColumnType, Value};

use crate::types::type_name;
use crate::{SqlError, SqlState};

pub(crate) use datetime::{DAY_MICROS, dates_in_range, timestamp_fields, timestamp_from_fields, timestamps_in_range};
pub(crate) use number::{fit_numeric, integer_bounds, one_nan, parse_integer};

/// Parses a value from its text form. The length of a `varchar(n)` is not checked: that is for the assignment.
///
/// # Errors
/// `22P02`, `22007`, `22003` or `22008` when the text spells no value of the type.
pub fn parse(text: &str, column_type: ColumnType) -> Result<Value, SqlError> {
    match column_type {
        ColumnType::Bool => parse_bool(text),
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => parse_integer(text, column_type).map(Value::Int),
        ColumnType::Float4 => number::parse_float4(text).map(Value::Float),
        ColumnType::Float8 => number::parse_float8(text).map(Value::Float),
        ColumnType::Numeric { precision_and_scale } => {
            let number = number::parse_numeric(text)?;
            fit_numeric(number, precision_and_scale).map(Value::Numeric)
        }
        ColumnType::Text | ColumnType::Varchar { .. } => {
            if text.contains('\0') {
                return Err(zero_byte());
            }
            Ok(Value::Text(text.to_owned()))
        }
        ColumnType::Bytea => bytes::parse_bytea(text).map(Value::Bytes),
        ColumnType::Date => datetime::parse_date(text).map(Value::Date),
        ColumnType::Time => datetime::parse_time(text).map(Value::Time),
        ColumnType::Timestamp => datetime::parse_timestamp(text).map(Value::Timestamp),
        ColumnType::TimestampTz => datetime::parse_timestamptz(text).map(Value::TimestampTz),
        ColumnType::Uuid => bytes::parse_uuid(text).map(Value::Uuid),
        ColumnType::Json => json::check(text).map(Value::Json),
        ColumnType::Jsonb => json::normalize(text).map(Value::Json),
    }
}

/// The text form of a value; NULL gives an empty text, which the caller tells apart.
#[must_use]
pub fn format(value: &Value, column_type: ColumnType) -> String {
    let mut out = String::new();
    write(value, column_type, &mut out);
    out
}

/// Appends the text form of a value.
pub fn write(value: &Value, column_type: ColumnType, out: &mut String) {
    match value {
        // Sources give values that are opened; one that is not reads as what it is to the reader: nothing.
        Value::Null | Value::Sealed(_) => {}
        Value::Bool(value) => out.push(if *value { 't' } else { 'f' }),
        Value::Int(value) => number::write_integer(*value, out),
        Value::Float(value) => number::write_float(*value, matches!(column_type, ColumnType::Float4), out),
        Value::Numeric(value) => number::write_numeric(*value, out),
        Value::Text(value) | Value::Json(value) => out.push_str(value),
        Value::Bytes(value) => bytes::write_bytea(value, out),
        Value::Date(value) => datetime::write_date(*value, out),
        Value::Time(value) => datetime::write_time(*value, out),
        Value::Timestamp(value) => datetime::write_timestamp(*value, out),
        Value::TimestampTz(value) => {
            datetime::write_timestamp(*value, out);
            if timestamps_in_range(*value) {
                out.push_str("+00");
            }
        }
        Value::Uuid(value) => bytes::write_uuid(value, out),
    }
}

fn parse_bool(text: &str) -> Result<Value, SqlError> {
    let word = text.trim_ascii().to_ascii_lowercase();
    // PostgreSQL takes any beginning of these words that is not the beginning of two of them.
    let begins = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        Ok(Value::Bool(true))
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        Ok(Value::Bool(false))
    } else {
        Err(invalid(text, ColumnType::Bool))
    }
}

/// `22P02` with the words of PostgreSQL's input functions.
pub(crate) fn invalid(text: &str, column_type: ColumnType) -> SqlError {
    SqlError::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!(
            "invalid input syntax for type {}: \"{}\"",
            type_name(column_type),
            excerpt(text)
        ),
    )
}

/// `22003` for a text whose number does not fit.
fn out_of_range(text: &str, column_type: ColumnType) -> SqlError {
    SqlError::new(
        SqlState::NUMERIC_OUT_OF_RANGE,
        format!(
            "value \"{}\" is out of range for type {}",
            excerpt(text),
            type_name(column_type)
        ),
    )
}

fn zero_byte() -> SqlError {
    SqlError::new(
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        "invalid byte sequence for encoding \"UTF8\": 0x00",
    )
}

/// The beginning of a long text, for messages.
pub(crate) fn excerpt(text: &str) -> &str {
    const CHARACTERS_MAX: usize = 200;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests;
