//! What the applier tells the state tree, so that the tree need not open the records again.

use craton_kernel::{CATALOGUE_TABLE, StateCheckpoint, ViewWrite};
use craton_state::{Position, RowState};
use craton_types::{Offset, RecordHeader, RecordKind, TableId};
use parking_lot::Mutex;

/// The most bytes that wait, estimated. With more, the feed starts anew, and the tree reads what was dropped from the log.
const FEED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What an item takes beside its key.
const ITEM_BYTES: usize = 96;

/// One thing that the tree must know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A row of a user's table was written.
    Row(RowState),
    /// Tables were created or dropped: the record says which, and which rows it writes.
    Record,
    /// A checkpoint committed to the state of so many records.
    Checkpoint(u64),
}

/// Everything since a record, as long as it fits.
#[derive(Default)]
pub(crate) struct Feed(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Everything from this record on is here.
    from: Offset,
    items: Vec<(Offset, Item)>,
    bytes: usize,
}

impl Feed {
    /// An empty feed that knows everything from `from` on.
    pub(super) fn starting_at(from: Offset) -> Self {
        Self(Mutex::new(Inner {
            from,
            ..Inner::default()
        }))
    }

    /// Notes a record, in log order: what it does to the view, and the last checkpoint as of the record.
    pub(crate) fn push(&self, header: &RecordHeader, writes: &[ViewWrite], last: Option<StateCheckpoint>) {
        match (header.kind, last) {
            (RecordKind::Data, _) => self.0.lock().push_rows(header.offset, writes),
            (RecordKind::Checkpoint, Some(last)) => self.0.lock().push(header.offset, Item::Checkpoint(last.size)),
            _ => {}
        }
    }

    /// Takes everything before `end` out. `None` when not everything from `start` on is here; then nothing is taken, but
    /// what lies before `start` is forgotten.
    pub(super) fn take(&self, start: Offset, end: Offset) -> Option<Vec<(Offset, Item)>> {
        let mut inner = self.0.lock();
        let known = inner.items.partition_point(|(offset, _)| *offset < start);
        drop(inner.split(known));
        if inner.from > start {
            return None;
        }
        let taken = inner.items.partition_point(|(offset, _)| *offset < end);
        inner.from = end;
        Some(inner.split(taken))
    }

    /// The first record from which on everything is here.
    pub(super) fn from(&self) -> Offset {
        self.0.lock().from
    }
}

impl Inner {
    /// The changes of a transaction are in the order of its writes: the first one is chunk 1.
    fn push_rows(&mut self, offset: Offset, writes: &[ViewWrite]) {
        if writes.iter().any(|write| write.table == CATALOGUE_TABLE) {
            return self.push(offset, Item::Record);
        }
        for (chunk_index, write) in (1..).zip(writes) {
            if write.table >= TableId::FIRST_USER {
                let position = write.row.as_ref().map(|_| Position { offset, chunk_index });
                let row = RowState {
                    table: write.table,
                    key: write.key.clone(),
                    position,
                };
                self.push(offset, Item::Row(row));
            }
        }
    }

    fn push(&mut self, offset: Offset, item: Item) {
        if offset < self.from {
            return;
        }
        self.bytes += item.bytes();
        self.items.push((offset, item));
        if self.bytes > FEED_BYTES_MAX {
            *self = Self {
                from: offset.next(),
                ..Self::default()
            };
        }
    }

    /// Takes the first `count` items out.
    fn split(&mut self, count: usize) -> Vec<(Offset, Item)> {
        let rest = self.items.split_off(count);
        let taken = std::mem::replace(&mut self.items, rest);
        self.bytes -= taken.iter().map(|(_, item)| item.bytes()).sum::<usize>();
        taken
    }
}

impl Item {
    fn bytes(&self) -> usize {
        ITEM_BYTES
            + match self {
                Self::Row(row) => row.key.as_bytes().len(),
                Self::Record | Self::Checkpoint(_) => 0,
            }
    }
}

#[cfg(test)]
mod tests {
    use craton_types::PrimaryKey;
    use std::sync::Arc;

    use super::*;

    fn write(table: TableId, key_bytes: usize) -> ViewWrite {
        ViewWrite {
            table,
            key: PrimaryKey::from_bytes(vec![1; key_bytes]),
            row: Some(Arc::new(Vec::new())),
        }
    }

    #[test]
    fn what_is_taken_is_complete_or_nothing() {
        let feed = Feed::starting_at(Offset::new(3));
        for offset in 3..6 {
            feed.0.lock().push_rows(
                Offset::new(offset),
                &[write(TableId::FIRST_USER, 1), write(TableId::new(2), 1)],
            );
        }
        assert_eq!(feed.take(Offset::new(2), Offset::new(5)), None);
        let taken = feed.take(Offset::new(3), Offset::new(5)).expect("complete");
        assert_eq!(taken.iter().map(|(offset, _)| offset.get()).collect::<Vec<_>>(), [3, 4]);
        assert!(matches!(&taken[0].1, Item::Row(row) if row.position.is_some_and(|at| at.chunk_index == 1)));
        assert_eq!(feed.from(), Offset::new(5));
        assert_eq!(
            feed.take(Offset::new(5), Offset::new(9)).map(|taken| taken.len()),
            Some(1)
        );
        assert_eq!(feed.0.lock().bytes, 0);
    }

    #[test]
    fn records_that_change_tables_are_read_from_the_log() {
        let feed = Feed::default();
        let writes = [write(CATALOGUE_TABLE, 1), write(TableId::FIRST_USER, 1)];
        feed.0.lock().push_rows(Offset::ZERO, &writes);
        assert_eq!(
            feed.take(Offset::ZERO, Offset::new(1)),
            Some(vec![(Offset::ZERO, Item::Record)])
        );
    }

    #[test]
    fn memory_is_bounded_and_what_is_dropped_is_known() {
        let feed = Feed::default();
        let row = write(TableId::FIRST_USER, 1_000);
        let fits = FEED_BYTES_MAX / (1_000 + ITEM_BYTES);
        for offset in 0..fits as u64 {
            feed.0.lock().push_rows(Offset::new(offset), std::slice::from_ref(&row));
        }
        assert_eq!(feed.from(), Offset::ZERO);
        let last = Offset::new(fits as u64);
        feed.0.lock().push_rows(last, &[row.clone(), row.clone()]);
        assert_eq!((feed.from(), feed.0.lock().items.len()), (last.next(), 0));
        feed.0.lock().push_rows(last.next(), &[row]);
        assert_eq!(feed.take(Offset::ZERO, Offset::new(u64::MAX)), None);
        assert_eq!(
            feed.take(last.next(), Offset::new(u64::MAX)).map(|taken| taken.len()),
            Some(1)
        );
    }
}
