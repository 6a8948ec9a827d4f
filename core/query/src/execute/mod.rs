//! Running plans over a source of rows.

mod input;
mod memory;
mod select;
mod store;
mod write;

use std::sync::Arc;

use craton_types::{Row, RowWrite};

use crate::plan::ResultColumn;

pub use select::execute_select;
pub use write::execute_write;

pub(crate) use memory::Memory;
pub(crate) use select::for_each_row;
pub(crate) use store::{Inserter, build_row, check_not_null};

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
