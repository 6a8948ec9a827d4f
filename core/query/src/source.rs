//! Where rows come from: a consistent view of the tables at one position of the log.

use std::error::Error;

use craton_types::{Direction, KeyRange, PrimaryKey, TableId, VersionedRow};

use crate::{SqlError, SqlState};

/// The view could not be read.
#[derive(Debug, thiserror::Error)]
#[error("rows could not be read")]
pub struct SourceError(#[source] Box<dyn Error + Send + Sync>);

impl SourceError {
    /// Wraps the store's error. A wrapped [`SqlError`] reaches the client as it is.
    #[must_use]
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

impl From<SourceError> for SqlError {
    fn from(error: SourceError) -> Self {
        match error.0.downcast::<Self>() {
            Ok(sql) => *sql,
            Err(other) => {
                let mut message = format!("rows could not be read: {other}");
                let mut cause = other.source();
                while let Some(inner) = cause {
                    message.push_str(": ");
                    message.push_str(&inner.to_string());
                    cause = inner.source();
                }
                Self::new(SqlState::IO_ERROR, message)
            }
        }
    }
}

/// The rows of a scan, in key order.
pub type Scan<'a> = Box<dyn Iterator<Item = Result<(PrimaryKey, VersionedRow), SourceError>> + 'a>;

/// A consistent view of all tables of one tenant at one position.
pub trait RowSource {
    /// The row with this key.
    ///
    /// # Errors
    /// When the store fails.
    fn get(&self, table: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, SourceError>;

    /// The rows whose keys are in the range, in key order or its reverse.
    ///
    /// # Errors
    /// When the store fails, here or at any step.
    fn scan<'a>(&'a self, table: TableId, range: KeyRange, direction: Direction) -> Result<Scan<'a>, SourceError>;
}

impl<S: RowSource + ?Sized> RowSource for &S {
    fn get(&self, table: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, SourceError> {
        (**self).get(table, key)
    }

    fn scan<'a>(&'a self, table: TableId, range: KeyRange, direction: Direction) -> Result<Scan<'a>, SourceError> {
        (**self).scan(table, range, direction)
    }
}
