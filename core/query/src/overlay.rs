//! A transaction's own writes, and the view that shows them over the rows below.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use craton_types::{Expected, Offset, PrimaryKey, Row, RowWrite, TableId, TableSchema, VersionedRow};

use crate::limits::ROWS_WRITTEN_MAX;
use crate::{Direction, KeyRange, RowSource, Scan, SourceError, SqlError, SqlState};

/// The version that a row inserted by the transaction itself carries: no record has written it yet.
const OWN_VERSION: Offset = Offset::new(u64::MAX);

#[derive(Clone, Debug, PartialEq)]
struct OwnWrite {
    expected: Expected,
    after: Option<Arc<Row>>,
}

impl OwnWrite {
    fn versioned(&self) -> Option<VersionedRow> {
        let version = match self.expected {
            Expected::Absent => OWN_VERSION,
            Expected::Version(offset) => offset,
        };
        self.after.as_ref().map(|row| VersionedRow {
            version,
            row: Arc::clone(row),
        })
    }
}

/// The row writes of an open transaction, merged so that each row has at most one.
///
/// The first `expected` of a row stays: it is what the transaction saw before its own changes. A row that is
/// inserted and deleted again leaves no write at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransactionWrites {
    tables: BTreeMap<TableId, BTreeMap<Vec<u8>, OwnWrite>>,
    count: usize,
}

impl TransactionWrites {
    /// How many rows will be written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing will be written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds one statement's writes, in order.
    ///
    /// `schema` gives the table of a row for the error message when an insert meets a row of this transaction.
    ///
    /// # Errors
    /// `23505` when an insert meets a row that this transaction wrote, `54000` past the most rows of one record.
    /// The writes before the refused one stay merged: the transaction must then be rolled back, as SQL demands.
    pub fn merge(
        &mut self,
        writes: Vec<RowWrite>,
        schema: impl Fn(TableId) -> Option<Arc<TableSchema>>,
    ) -> Result<(), SqlError> {
        for write in writes {
            self.merge_one(write, &schema)?;
        }
        Ok(())
    }

    fn merge_one(
        &mut self,
        write: RowWrite,
        schema: &impl Fn(TableId) -> Option<Arc<TableSchema>>,
    ) -> Result<(), SqlError> {
        let rows = self.tables.entry(write.table).or_default();
        let Some(own) = rows.get_mut(&write.key) else {
            if self.count == ROWS_WRITTEN_MAX {
                return Err(too_many_rows());
            }
            rows.insert(
                write.key,
                OwnWrite {
                    expected: write.expected,
                    after: write.after.map(Arc::new),
                },
            );
            self.count += 1;
            return Ok(());
        };
        if let (Expected::Absent, Some(_), Some(row)) = (write.expected, &own.after, &write.after) {
            return Err(match schema(write.table) {
                Some(table) => SqlError::unique_violation(&table, row),
                None => SqlError::new(SqlState::UNIQUE_VIOLATION, "duplicate primary key"),
            });
        }
        if write.after.is_none() && own.expected == Expected::Absent {
            rows.remove(&write.key);
            self.count -= 1;
        } else {
            own.after = write.after.map(Arc::new);
        }
        Ok(())
    }

    /// The merged writes, by table and key.
    #[must_use]
    pub fn into_writes(self) -> Vec<RowWrite> {
        let mut writes = Vec::with_capacity(self.count);
        for (table, rows) in self.tables {
            writes.extend(rows.into_iter().map(|(key, own)| RowWrite {
                table,
                key,
                expected: own.expected,
                after: own.after.map(Arc::unwrap_or_clone),
            }));
        }
        writes
    }
}

pub(crate) fn too_many_rows() -> SqlError {
    SqlError::new(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        format!("a transaction cannot write more than {ROWS_WRITTEN_MAX} rows"),
    )
    .with_hint("Write in several transactions.")
}

/// A source with a transaction's own writes on top.
#[derive(Debug)]
pub struct Overlay<'a, S: ?Sized> {
    base: &'a S,
    writes: &'a TransactionWrites,
}

impl<'a, S: RowSource + ?Sized> Overlay<'a, S> {
    /// Shows `writes` over `base`.
    #[must_use]
    pub const fn new(base: &'a S, writes: &'a TransactionWrites) -> Self {
        Self { base, writes }
    }
}

impl<S: RowSource + ?Sized> RowSource for Overlay<'_, S> {
    fn get(&self, table: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, SourceError> {
        match self.writes.tables.get(&table).and_then(|rows| rows.get(key.as_bytes())) {
            Some(own) => Ok(own.versioned()),
            None => self.base.get(table, key),
        }
    }

    fn scan<'a>(&'a self, table: TableId, range: KeyRange, direction: Direction) -> Result<Scan<'a>, SourceError> {
        let Some(rows) = self.writes.tables.get(&table).filter(|rows| !rows.is_empty()) else {
            return self.base.scan(table, range, direction);
        };
        if range.is_empty() {
            return Ok(Box::new(std::iter::empty()));
        }
        let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let own = rows.range::<[u8], _>((Bound::Included(range.start.as_slice()), end));
        let own: OwnRows<'a> = match direction {
            Direction::Forward => Box::new(own),
            Direction::Backward => Box::new(own.rev()),
        };
        let base = self.base.scan(table, range, direction)?;
        Ok(Box::new(Merge {
            own: own.peekable(),
            base: base.peekable(),
            direction,
        }))
    }
}

type OwnRows<'a> = Box<dyn Iterator<Item = (&'a Vec<u8>, &'a OwnWrite)> + 'a>;

/// Two ordered runs as one; where both have a key, the transaction's own row counts.
struct Merge<'a> {
    own: std::iter::Peekable<OwnRows<'a>>,
    base: std::iter::Peekable<Scan<'a>>,
    direction: Direction,
}

impl Merge<'_> {
    /// Which run has the next key; `Equal` when both have it.
    fn next_side(&mut self) -> Option<std::cmp::Ordering> {
        use std::cmp::Ordering;
        Some(match (self.own.peek(), self.base.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) | (Some(_), Some(Err(_))) => Ordering::Greater,
            (Some((own, _)), Some(Ok((base, _)))) => {
                let order = own.as_slice().cmp(base.as_bytes());
                match self.direction {
                    Direction::Forward => order,
                    Direction::Backward => order.reverse(),
                }
            }
        })
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<(PrimaryKey, VersionedRow), SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let side = self.next_side()?;
            if side.is_gt() {
                return self.base.next();
            }
            if side.is_eq() {
                self.base.next();
            }
            let (key, own) = self.own.next()?;
            if let Some(row) = own.versioned() {
                return Some(Ok((PrimaryKey::from_bytes(key.clone()), row)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: u8, after: Option<Row>) -> RowWrite {
        RowWrite {
            table: TableId::FIRST_USER,
            key: vec![key],
            expected: Expected::Absent,
            after,
        }
    }

    #[test]
    fn the_rows_of_a_transaction_are_bounded() {
        let mut writes = TransactionWrites::default();
        writes.merge(vec![write(0, Some(Row::new()))], |_| None).expect("one");
        // As if all but one of the others were there.
        writes.count = ROWS_WRITTEN_MAX - 1;
        writes
            .merge(vec![write(1, Some(Row::new()))], |_| None)
            .expect("the last");
        let refused = writes
            .merge(vec![write(2, Some(Row::new()))], |_| None)
            .expect_err("one too many");
        assert_eq!(refused, too_many_rows());
        writes.merge(vec![write(1, None)], |_| None).expect("takes one away");
        writes
            .merge(vec![write(2, Some(Row::new()))], |_| None)
            .expect("fits again");
    }
}
