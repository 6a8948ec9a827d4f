//! Where rows come from: a consistent view of the tables at one position of the log.

use std::error::Error;

use craton_types::{PrimaryKey, TableId, VersionedRow};

use crate::{SqlError, SqlState};

/// A half-open range of encoded primary keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// The first key that is inside, or a prefix of it; empty for "from the beginning".
    pub start: Vec<u8>,
    /// The first key that is outside; `None` for "to the end".
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key of a table.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            start: Vec::new(),
            end: None,
        }
    }

    /// Every key that begins with these bytes.
    #[must_use]
    pub fn prefix(bytes: &[u8]) -> Self {
        Self {
            start: bytes.to_vec(),
            end: prefix_end(bytes),
        }
    }

    /// Whether no key can be inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| self.start >= *end)
    }

    /// Whether the key is inside.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }
}

/// The smallest byte string after every string that begins with `prefix`; `None` when there is no such string.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Which end of a range comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// Ascending keys.
    #[default]
    Forward,
    /// Descending keys.
    Backward,
}

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
