//! SQL values as text for people, in the manner of SQL literals.

use craton_types::Value;

use crate::calendar::{date_text, date_time_text, time_text};

/// A value as an SQL literal would show it. Control characters are escaped: what a log says must not be able to
/// drive the terminal of the person who checks it.
#[must_use]
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Numeric(value) => value.to_string(),
        Value::Text(text) | Value::Json(text) => format!("'{}'", printable(text).replace('\'', "''")),
        Value::Bytes(bytes) => format!("'\\x{}'", hex(bytes)),
        Value::Date(days) => format!("'{}'", date_text(i64::from(*days))),
        Value::Time(micros) => format!("'{}'", time_text(*micros)),
        Value::Timestamp(micros) => format!("'{}'", date_time_text(*micros)),
        Value::TimestampTz(micros) => format!("'{}+00'", date_time_text(*micros)),
        Value::Uuid(bytes) => format!("'{}'", craton_types::ActorId::new(*bytes)),
        // No key was at hand to open it.
        Value::Sealed(_) => "(erased or withheld)".to_owned(),
    }
}

/// Text with control characters (and the characters that reverse the direction of writing) escaped.
#[must_use]
pub fn printable(text: &str) -> String {
    let directional = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || directional(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
            write!(out, "{byte:02x}").expect("writing to memory does not fail");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_show_as_literals() {
        for (value, text) in [
            (Value::Null, "NULL"),
            (Value::Bool(true), "true"),
            (Value::Int(-7), "-7"),
            (Value::Float(1.5), "1.5"),
            (Value::Text("O'Brien".into()), "'O''Brien'"),
            (
                Value::Text("red\u{1b}[31m\n\u{202e}".into()),
                "'red\\u{1b}[31m\\n\\u{202e}'",
            ),
            (Value::Json("{\"a\": 1}".into()), "'{\"a\": 1}'"),
            (Value::Bytes(vec![0, 0xff]), "'\\x00ff'"),
            (Value::Date(0), "'1970-01-01'"),
            (Value::Time(1), "'00:00:00.000001'"),
            (Value::Timestamp(0), "'1970-01-01 00:00:00'"),
            (Value::TimestampTz(0), "'1970-01-01 00:00:00+00'"),
            (Value::Uuid([0x11; 16]), "'11111111-1111-1111-1111-111111111111'"),
        ] {
            assert_eq!(value_text(&value), text);
        }
    }
}
