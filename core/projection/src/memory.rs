//! The versions that are not in the file yet, ordered by key.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use craton_types::{Offset, PrimaryKey, Row, TableId, Value};
use parking_lot::{RwLock, RwLockReadGuard};
use smallvec::SmallVec;

use crate::range::range_after;
use crate::streams::StreamTails;
use crate::{Direction, KeyRange, RowVersion};

/// How many keys a scan looks at under one hold of the lock.
pub(crate) const CHUNK_KEYS_MAX: usize = 256;
/// What a version takes beside its key and values: its place in the tree, the offset, pointers and counters.
const VERSION_OVERHEAD_BYTES: usize = 96;

/// What a row was, or that it was deleted (`None`), from one version on.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) version: Offset,
    pub(crate) row: Option<Arc<Row>>,
}

/// The versions of one row, oldest first.
pub(crate) type Versions = SmallVec<[Version; 1]>;
pub(crate) type Tables = BTreeMap<TableId, BTreeMap<PrimaryKey, Versions>>;

/// Versions in memory. Writers add newer ones; what a reader at some end offset sees never changes.
#[derive(Default)]
pub(crate) struct MemoryLayer {
    tables: RwLock<Tables>,
    streams: RwLock<StreamTails>,
    bytes: AtomicUsize,
}

/// Keys of one table in scan order, each with its newest version below the scan's end offset.
pub(crate) struct Chunk {
    pub(crate) versions: Vec<(PrimaryKey, Version)>,
    /// What is left to visit; `None` when this was the last chunk.
    pub(crate) rest: Option<KeyRange>,
}

impl MemoryLayer {
    /// What the versions take, estimated.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The streams that were appended to.
    pub(crate) fn streams(&self) -> RwLockReadGuard<'_, StreamTails> {
        self.streams.read()
    }

    /// Changes the streams; `change` returns the bytes that it added.
    pub(crate) fn change_streams(&self, change: impl FnOnce(&mut StreamTails) -> usize) {
        let bytes = change(&mut self.streams.write());
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds versions, each not older than any before. A second write of one row by one record replaces the first.
    pub(crate) fn apply(&self, rows: Vec<RowVersion>, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut tables = self.tables.write();
        for RowVersion {
            version,
            table,
            key,
            row,
        } in rows
        {
            let versions = tables.entry(table).or_default().entry(key).or_default();
            match versions.last_mut() {
                Some(last) if last.version == version => last.row = row,
                _ => versions.push(Version { version, row }),
            }
        }
    }

    /// The newest version of a row below `end`.
    pub(crate) fn get(&self, table: TableId, key: &PrimaryKey, end: Offset) -> Option<Version> {
        let tables = self.tables.read();
        newest_below(tables.get(&table)?.get(key)?, end).cloned()
    }

    /// The versions of a row below `end`, newest first.
    pub(crate) fn versions(&self, table: TableId, key: &PrimaryKey, end: Offset) -> Vec<Version> {
        let tables = self.tables.read();
        let versions = tables.get(&table).and_then(|keys| keys.get(key));
        versions
            .into_iter()
            .flatten()
            .rev()
            .filter(|version| version.version < end)
            .cloned()
            .collect()
    }

    /// The next keys of a scan.
    pub(crate) fn chunk(&self, table: TableId, range: &KeyRange, direction: Direction, end: Offset) -> Chunk {
        let tables = self.tables.read();
        let mut versions = Vec::new();
        let mut rest = None;
        if let (Some(keys), false) = (tables.get(&table), range.is_empty()) {
            let upper = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut keys = keys.range::<[u8], _>((Bound::Included(range.start.as_slice()), upper));
            for visited in 1.. {
                let next = match direction {
                    Direction::Forward => keys.next(),
                    Direction::Backward => keys.next_back(),
                };
                let Some((key, all)) = next else { break };
                if let Some(version) = newest_below(all, end) {
                    versions.push((key.clone(), version.clone()));
                }
                if visited == CHUNK_KEYS_MAX {
                    rest = Some(range_after(range, key.as_bytes(), direction));
                    break;
                }
            }
        }
        Chunk { versions, rest }
    }

    /// Visits everything in key order. Only for a frozen layer: nobody writes to it, so holding the lock hurts no one.
    pub(crate) fn visit<E>(
        &self,
        mut visit: impl FnMut(TableId, &PrimaryKey, &Versions) -> Result<(), E>,
    ) -> Result<(), E> {
        let tables = self.tables.read();
        tables
            .iter()
            .flat_map(|(table, keys)| keys.iter().map(move |(key, versions)| (*table, key, versions)))
            .try_for_each(|(table, key, versions)| visit(table, key, versions))
    }
}

fn newest_below(versions: &Versions, end: Offset) -> Option<&Version> {
    versions.iter().rev().find(|version| version.version < end)
}

/// What a version takes in memory, estimated.
pub(crate) fn estimate_bytes(row: &RowVersion) -> usize {
    let values = row.row.iter().flat_map(|row| row.iter());
    let content: usize = values
        .map(|value| {
            size_of::<Value>()
                + match value {
                    Value::Text(text) | Value::Json(text) => text.len(),
                    Value::Bytes(bytes) => bytes.len(),
                    Value::Sealed(cell) => size_of_val(&**cell) + cell.sealed.len(),
                    _ => 0,
                }
        })
        .sum();
    VERSION_OVERHEAD_BYTES + row.key.as_bytes().len() + content
}
