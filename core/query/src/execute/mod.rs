//! Running plans over a source of rows.

use std::sync::Arc;

use craton_types::{Row, RowWrite};

use crate::{Context, CopyIn, CopyOut, ResultColumn, RowSource, SelectPlan, SqlError, WritePlan};

/// The rows of a `SELECT` or of `RETURNING`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultSet {
    /// The columns, shared with the plan.
    pub columns: Arc<[ResultColumn]>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// What a writing statement proposes to the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteSet {
    /// The row writes, at most one per row.
    pub writes: Vec<RowWrite>,
    /// The command tag, such as `INSERT 0 3`.
    pub tag: String,
    /// The rows of `RETURNING`.
    pub returning: Option<ResultSet>,
}

/// Runs a `SELECT`.
///
/// # Errors
/// When the source fails, an expression fails on some row, or a bound is exceeded.
pub fn execute_select(
    _plan: &SelectPlan,
    _source: &dyn RowSource,
    _context: &Context<'_>,
) -> Result<ResultSet, SqlError> {
    Err(SqlError::unsupported("SELECT"))
}

/// Finds out what an `INSERT`, `UPDATE` or `DELETE` writes.
///
/// # Errors
/// When a value does not fit its column, the source or an expression fails, or a bound is exceeded.
pub fn execute_write(_plan: &WritePlan, _source: &dyn RowSource, _context: &Context<'_>) -> Result<WriteSet, SqlError> {
    Err(SqlError::unsupported("INSERT"))
}

/// Finds out what a `COPY … FROM STDIN` with this data writes.
///
/// # Errors
/// As [`execute_write`]; a malformed line is named with its number and column. Nothing of the data is then written.
pub fn copy_in(
    _plan: &CopyIn,
    _data: &[u8],
    _source: &dyn RowSource,
    _context: &Context<'_>,
) -> Result<WriteSet, SqlError> {
    Err(SqlError::unsupported("COPY"))
}

/// Runs a `COPY … TO STDOUT`: the data, and the number of rows.
///
/// # Errors
/// As [`execute_select`].
pub fn copy_out(_plan: &CopyOut, _source: &dyn RowSource, _context: &Context<'_>) -> Result<(Vec<u8>, u64), SqlError> {
    Err(SqlError::unsupported("COPY"))
}
