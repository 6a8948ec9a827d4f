//! Reading at one position.

use std::sync::Arc;

use craton_types::{Offset, PrimaryKey, Row, StreamHead, StreamId, StreamSequence, TableId, VersionedRow};

use crate::memory::{MemoryLayer, Version};
use crate::stored::{Older, Stored};
use crate::{Direction, KeyRange, ProjectionError, Scan};

/// Where versions are, newest first. Each row's versions in one are all newer than its versions in the next.
#[derive(Clone)]
pub(crate) struct Layers {
    pub(crate) active: Arc<MemoryLayer>,
    /// What a flush is writing.
    pub(crate) frozen: Option<Arc<MemoryLayer>>,
    pub(crate) stored: Arc<Stored>,
}

impl Layers {
    pub(crate) fn stream(&self, name: &str) -> Result<Option<StreamHead>, ProjectionError> {
        let in_memory = self.active.streams().head(name);
        let in_memory = in_memory.or_else(|| self.frozen.as_ref().and_then(|frozen| frozen.streams().head(name)));
        if in_memory.is_some() {
            return Ok(in_memory);
        }
        let Some(stream) = self.stored.stream_id(name)? else {
            return Ok(None);
        };
        let stored = self.stored.stream(stream)?.ok_or_else(|| missing_stream(stream))?;
        Ok(Some(StreamHead {
            stream,
            next: stored.next,
        }))
    }

    pub(crate) fn stream_name(&self, stream: StreamId) -> Result<Option<Arc<str>>, ProjectionError> {
        let in_memory = self.active.streams().name(stream);
        let in_memory = in_memory.or_else(|| self.frozen.as_ref().and_then(|frozen| frozen.streams().name(stream)));
        match in_memory {
            Some(name) => Ok(Some(name)),
            None => Ok(self.stored.stream(stream)?.map(|stored| stored.name)),
        }
    }

    /// The name of a stream that has records.
    pub(crate) fn known_stream_name(&self, stream: StreamId) -> Result<Arc<str>, ProjectionError> {
        self.stream_name(stream)?.ok_or_else(|| missing_stream(stream))
    }

    /// Where a stream's records are, oldest first, from one on.
    fn stream_offsets(
        &self,
        name: &str,
        from: StreamSequence,
        end: Offset,
        wanted: usize,
    ) -> Result<Vec<Offset>, ProjectionError> {
        let Some(StreamHead { stream, .. }) = self.stream(name)? else {
            return Ok(Vec::new());
        };
        let mut offsets = Vec::new();
        self.stored.stream_offsets(stream, from, end, wanted, &mut offsets)?;
        for layer in self.frozen.iter().chain([&self.active]) {
            let next = StreamSequence::new(from.get() + offsets.len() as u64);
            let missing = wanted - offsets.len();
            offsets.extend(layer.streams().offsets(stream, next, end, missing));
        }
        Ok(offsets)
    }

    /// The newest version of a row below `end`.
    pub(crate) fn get(
        &self,
        table: TableId,
        key: &PrimaryKey,
        end: Offset,
    ) -> Result<Option<Version>, ProjectionError> {
        let in_memory = || self.active.get(table, key, end);
        let in_frozen = || self.frozen.as_ref().and_then(|frozen| frozen.get(table, key, end));
        match in_memory().or_else(in_frozen) {
            Some(version) => Ok(Some(version)),
            None => self.stored.get(table, key, end),
        }
    }
}

fn missing_stream(stream: StreamId) -> ProjectionError {
    ProjectionError::damaged(format!("stream {} has records and no name", stream.get()))
}

/// A row that exists, or nothing for one that was deleted or never was.
pub(crate) fn visible(version: Option<Version>) -> Option<VersionedRow> {
    let Version { version, row } = version?;
    row.map(|row| VersionedRow { version, row })
}

/// The rows at one position, and at every position before it. Cheap to take and to clone.
#[derive(Clone)]
pub struct Snapshot {
    layers: Layers,
    end: Offset,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(crate) const fn new(layers: Layers, end: Offset) -> Self {
        Self { layers, end }
    }

    /// The exclusive end offset of what the snapshot holds.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// A row as it was at the exclusive end offset `end`, which is at most [`Self::end`].
    ///
    /// # Errors
    /// [`ProjectionError::Ahead`] when `end` is later, or when the file cannot be read or is damaged.
    pub fn get(&self, table: TableId, key: &PrimaryKey, end: Offset) -> Result<Option<VersionedRow>, ProjectionError> {
        self.check_end(end)?;
        self.layers.get(table, key, end).map(visible)
    }

    /// The rows of a table, as they were at `end`, in key order. Rows are read as the iterator advances; it holds one
    /// chunk of keys at most.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn scan(
        &self,
        table: TableId,
        range: KeyRange,
        direction: Direction,
        end: Offset,
    ) -> Result<Scan, ProjectionError> {
        self.check_end(end)?;
        Scan::new(self.layers.clone(), table, range, direction, end)
    }

    /// Where a stream's records are, oldest first, from the sequence `from` on: `wanted` of them, or as many as the
    /// snapshot holds.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn stream_offsets(
        &self,
        name: &str,
        from: StreamSequence,
        wanted: usize,
    ) -> Result<Vec<Offset>, ProjectionError> {
        self.layers.stream_offsets(name, from, self.end, wanted)
    }

    /// The name of a stream, if the snapshot's log may have records of it.
    ///
    /// # Errors
    /// As [`Self::stream_offsets`].
    pub fn stream_name(&self, stream: StreamId) -> Result<Option<Arc<str>>, ProjectionError> {
        self.layers.stream_name(stream)
    }

    /// Every version of a row that the snapshot holds, newest first.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn history(&self, table: TableId, key: &PrimaryKey) -> Result<History, ProjectionError> {
        let mut newest = self.layers.active.versions(table, key, self.end);
        if let Some(frozen) = &self.layers.frozen {
            newest.extend(frozen.versions(table, key, self.end));
        }
        // Nothing in the file is newer than the snapshot, so its newest version is always part of the history.
        newest.extend(self.layers.stored.get(table, key, Offset::new(u64::MAX))?);
        let oldest_so_far = newest.last().map_or(self.end, |version| version.version);
        Ok(History {
            newest: newest.into_iter(),
            older: self.layers.stored.older(table, key, oldest_so_far)?,
        })
    }

    fn check_end(&self, end: Offset) -> Result<(), ProjectionError> {
        if end > self.end {
            Err(ProjectionError::Ahead {
                end,
                published: self.end,
            })
        } else {
            Ok(())
        }
    }
}

/// What a row was from one version on.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// The offset of the record that made it so.
    pub version: Offset,
    /// The row, or `None` when the record deleted it.
    pub row: Option<Arc<Row>>,
}

/// The versions of one row, newest first.
pub struct History {
    newest: std::vec::IntoIter<Version>,
    older: Older,
}

impl Iterator for History {
    type Item = Result<HistoryEntry, ProjectionError>;

    fn next(&mut self) -> Option<Self::Item> {
        let version = self.newest.next().map(Ok).or_else(|| self.older.next())?;
        Some(version.map(|Version { version, row }| HistoryEntry { version, row }))
    }
}
