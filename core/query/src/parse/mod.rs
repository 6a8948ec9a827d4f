//! From text to statements.

use crate::{SqlError, Statement};

/// Parses the statements of a text; an empty text has none.
///
/// # Errors
/// `42601` when the text does not parse, `54000` and `54001` past a limit.
pub fn parse(_sql: &str) -> Result<Vec<Statement>, SqlError> {
    Err(SqlError::unsupported("SQL"))
}
