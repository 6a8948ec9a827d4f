//! What a statement may know besides the rows: its arguments, the time, who runs it, and the engine's own functions.

use std::sync::Arc;

use craton_types::{PrimaryKey, Row, TableSchema, Timestamp, Value};

use crate::{RecoveryEntry, SqlError};

/// The tables that a statement can name.
pub trait Catalog {
    /// The table with this name, folded as in [`TableSchema::name`].
    fn table(&self, name: &str) -> Option<Arc<TableSchema>>;

    /// Every table, in any order.
    fn tables(&self) -> Vec<Arc<TableSchema>>;
}

/// Answers that only the engine can give.
pub trait Functions {
    /// `craton_receipt`: the receipt text (C2SP `tlog-proof@v1`) of the newest version of a row.
    ///
    /// # Errors
    /// When there is no such row, or no checkpoint covers it.
    fn receipt(&self, table: &TableSchema, key: &PrimaryKey) -> Result<String, SqlError>;

    /// `craton_state_receipt`: the text that proves which change of a row is its newest, or that there is no such row.
    /// `key` has the values of the primary key.
    ///
    /// # Errors
    /// When no checkpoint says what the rows are.
    fn state_receipt(&self, table: &TableSchema, key: &Row) -> Result<String, SqlError>;

    /// `craton_position()`: the position of the log's last record; `None` while the log is empty.
    fn position(&self) -> Option<u64>;

    /// `craton_log_key()`: the C2SP verifier key of this database's log.
    fn log_key(&self) -> String;

    /// `craton_cosigned_checkpoint()` and `craton_timestamp()`: the newest checkpoint that witnesses have cosigned. The
    /// same one throughout a statement, so that the two belong together.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn cosigned_checkpoint(&self) -> Result<Option<CosignedCheckpoint>, SqlError>;

    /// Sixteen random bytes for `gen_random_uuid()`.
    fn random_bytes(&self) -> [u8; 16];

    /// `current_setting(name)`: the session's value of a setting.
    fn setting(&self, name: &str) -> Option<String>;

    /// `craton_history('table')`: every version of every row, oldest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn history(&self, table: &TableSchema) -> Result<Vec<HistoryEntry>, SqlError>;

    /// `craton_recoveries`: what the node mended by itself, in this database and in what all databases share; oldest
    /// first.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn recoveries(&self) -> Result<Vec<RecoveryEntry>, SqlError>;
}

/// A checkpoint that witnesses have cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedCheckpoint {
    /// The C2SP signed note.
    pub note: String,
    /// The time stamp token over the note's bytes (RFC 3161), where there is one.
    pub time_stamp: Option<Vec<u8>>,
}

/// One row of `craton_history('table')`.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// The position of the record.
    pub position: u64,
    /// When the record was proposed.
    pub time: Timestamp,
    /// Who made the change, as text.
    pub actor: String,
    /// The row before; `None` for an insert.
    pub before: Option<Vec<Value>>,
    /// The row after; `None` for a delete.
    pub after: Option<Vec<Value>>,
}

/// Whether an `INSERT` looks for a row with its key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InsertCheck {
    /// No: the kernel refuses the write when it applies it, a moment later. For a statement that is its own transaction.
    #[default]
    AtApply,
    /// Yes, so that the statement fails and not the `COMMIT`. For a statement inside a transaction block.
    Now,
}

/// What one execution knows.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The transaction's time: `now()`.
    pub now: Timestamp,
    /// The user's name: `current_user`.
    pub user: &'a str,
    /// The database's name: `current_database()`.
    pub database: &'a str,
    /// The values of `$1`, `$2`, …, of the types that the plan tells.
    pub parameters: &'a [Value],
    /// The engine's own functions.
    pub functions: &'a dyn Functions,
    /// Who looks for the row that an `INSERT` must not meet.
    pub insert_check: InsertCheck,
    /// The most bytes of rows that the statement may hold at once: its result, what it sorts, groups or writes.
    pub memory_bytes_max: usize,
}
