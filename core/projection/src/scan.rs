//! Rows in key order, merged from memory and file as they are asked for.

use std::sync::Arc;

use craton_types::{Offset, PrimaryKey, TableId, VersionedRow};

use crate::memory::{MemoryLayer, Version};
use crate::snapshot::{Layers, visible};
use crate::stored::{CurrentEntry, CurrentRange, current_entry};
use crate::{Direction, KeyRange, ProjectionError};

/// An iterator over the rows of a table at one position. It ends after its first error.
pub struct Scan {
    layers: Layers,
    table: TableId,
    direction: Direction,
    end: Offset,
    /// The active layer, then the frozen one when there is one: the first that knows a key below `end` decides.
    memory: Vec<MemoryCursor>,
    stored: StoredCursor,
    failed: bool,
}

impl Scan {
    pub(crate) fn new(
        layers: Layers,
        table: TableId,
        range: KeyRange,
        direction: Direction,
        end: Offset,
    ) -> Result<Self, ProjectionError> {
        let stored = StoredCursor {
            entries: if range.is_empty() {
                None
            } else {
                Some(layers.stored.scan(table, &range)?)
            },
            direction,
            next: None,
        };
        let memory = [Some(&layers.active), layers.frozen.as_ref()]
            .into_iter()
            .flatten()
            .map(|layer| MemoryCursor {
                layer: Arc::clone(layer),
                table,
                direction,
                end,
                rest: Some(range.clone()),
                chunk: Vec::new().into_iter(),
            })
            .collect();
        Ok(Self {
            layers,
            table,
            direction,
            end,
            memory,
            stored,
            failed: false,
        })
    }

    /// The next row, skipping deleted ones and ones that came later.
    fn advance(&mut self) -> Result<Option<(PrimaryKey, VersionedRow)>, ProjectionError> {
        while let Some(key) = self.next_key()? {
            let mut version = None;
            for cursor in &mut self.memory {
                let taken = cursor.take(&key);
                version = version.or(taken);
            }
            let stored = self.stored.take(&key)?;
            let version = match (version, stored) {
                (Some(version), _) => Some(version),
                (None, Some(entry)) if entry.version < self.end => Some(entry.decode()?),
                (None, Some(_)) => self.layers.stored.get_older(self.table, &key, self.end)?,
                (None, None) => None,
            };
            if let Some(row) = visible(version) {
                return Ok(Some((key, row)));
            }
        }
        Ok(None)
    }

    /// The first key in scan order that any layer has left.
    fn next_key(&mut self) -> Result<Option<PrimaryKey>, ProjectionError> {
        let mut first = self.stored.peek()?.map(|entry| entry.key.clone());
        for cursor in &mut self.memory {
            let Some(key) = cursor.peek() else { continue };
            let comes_first = first.as_ref().is_none_or(|first| match self.direction {
                Direction::Forward => key < first,
                Direction::Backward => key > first,
            });
            if comes_first {
                first = Some(key.clone());
            }
        }
        Ok(first)
    }
}

impl Iterator for Scan {
    type Item = Result<(PrimaryKey, VersionedRow), ProjectionError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.advance();
        self.failed = row.is_err();
        row.transpose()
    }
}

/// Walks one layer in memory, a chunk of keys at a time.
struct MemoryCursor {
    layer: Arc<MemoryLayer>,
    table: TableId,
    direction: Direction,
    end: Offset,
    rest: Option<KeyRange>,
    chunk: std::vec::IntoIter<(PrimaryKey, Version)>,
}

impl MemoryCursor {
    fn peek(&mut self) -> Option<&PrimaryKey> {
        while self.chunk.as_slice().is_empty() {
            let range = self.rest.take()?;
            let chunk = self.layer.chunk(self.table, &range, self.direction, self.end);
            self.chunk = chunk.versions.into_iter();
            self.rest = chunk.rest;
        }
        self.chunk.as_slice().first().map(|(key, _)| key)
    }

    /// The version of a key, if the cursor stands at it.
    fn take(&mut self, key: &PrimaryKey) -> Option<Version> {
        if self.peek() == Some(key) {
            self.chunk.next().map(|(_, version)| version)
        } else {
            None
        }
    }
}

/// Walks the newest versions in the file.
struct StoredCursor {
    entries: Option<CurrentRange>,
    direction: Direction,
    next: Option<CurrentEntry>,
}

impl StoredCursor {
    fn peek(&mut self) -> Result<Option<&CurrentEntry>, ProjectionError> {
        if self.next.is_none()
            && let Some(entries) = &mut self.entries
        {
            let step = match self.direction {
                Direction::Forward => entries.next(),
                Direction::Backward => entries.next_back(),
            };
            match step {
                Some(step) => self.next = Some(current_entry(step)?),
                None => self.entries = None,
            }
        }
        Ok(self.next.as_ref())
    }

    /// The entry of a key, if the cursor stands at it.
    fn take(&mut self, key: &PrimaryKey) -> Result<Option<CurrentEntry>, ProjectionError> {
        Ok(if self.peek()?.is_some_and(|entry| entry.key == *key) {
            self.next.take()
        } else {
            None
        })
    }
}
