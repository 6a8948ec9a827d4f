//! PostgreSQL's text formats of values.

use craton_types::{ColumnType, Value};

use crate::SqlError;

/// Parses a value from its text form.
///
/// # Errors
/// When the text spells no value of the type.
pub fn parse(_text: &str, column_type: ColumnType) -> Result<Value, SqlError> {
    Err(SqlError::unsupported(format!("{column_type:?}")))
}

/// The text form of a value; NULL gives an empty text.
#[must_use]
pub fn format(value: &Value, column_type: ColumnType) -> String {
    let mut out = String::new();
    write(value, column_type, &mut out);
    out
}

/// Appends the text form of a value.
pub fn write(value: &Value, _column_type: ColumnType, out: &mut String) {
    out.push_str(&format!("{value:?}"));
}
