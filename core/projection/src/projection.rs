//! The projection itself: taking versions in, publishing them, and moving them into the file.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use craton_crypto::SecretBytes;
use craton_log::DiskFile;
use craton_types::{
    Hash, LogIndex, Offset, PrimaryKey, Row, StreamHead, StreamId, StreamSequence, TableId, VersionedRow,
};
use parking_lot::{Mutex, RwLock};

use crate::ProjectionError;
use crate::backend::EncryptedBackend;
use crate::memory::{MemoryLayer, estimate_bytes};
use crate::snapshot::{Layers, Snapshot, visible};
use crate::stored::Stored;
use crate::streams::StreamTails;

/// How much memory a projection may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectionOptions {
    /// How many bytes of decrypted pages the store keeps.
    pub cache_bytes: usize,
    /// How many bytes of versions, estimated, may wait for a flush; more are refused.
    pub memory_bytes_max: usize,
}

impl Default for ProjectionOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
            memory_bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// The position that the file has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The last consensus entry whose effects are in the file.
    pub log_index: LogIndex,
    /// The offset after the last record whose rows are in the file.
    pub end: Offset,
    /// The hash of that record; zero when there is none.
    pub hash: Hash,
}

/// One version of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowVersion {
    /// The offset of the record that wrote it.
    pub version: Offset,
    /// The row's table.
    pub table: TableId,
    /// The row's encoded primary key.
    pub key: PrimaryKey,
    /// The row, or `None` when the record deleted it.
    pub row: Option<Arc<Row>>,
}

/// The rows of one tenant. Cloning gives another handle to the same rows.
///
/// One thread at a time applies and publishes; any number take snapshots, and a [`Flush`] may be committed on any
/// thread meanwhile.
#[derive(Clone)]
pub struct Projection {
    shared: Arc<Shared>,
}

struct Shared {
    /// Replaced as a whole by freezing and at the end of a flush; otherwise only read.
    layers: RwLock<Layers>,
    /// The end offset that snapshots see.
    published: AtomicU64,
    /// The end offset that the applied versions reach. The lock also puts writers in a row.
    newest: Mutex<Offset>,
    applied: Mutex<Option<Applied>>,
    memory_bytes_max: usize,
}

impl fmt::Debug for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projection")
            .field("end", &self.end())
            .field("applied", &self.applied())
            .field("memory_bytes", &self.memory_bytes())
            .finish()
    }
}

impl Projection {
    /// Opens the projection in a file; an empty one is made ready. Nobody else may write to it meanwhile.
    ///
    /// # Errors
    /// When the file belongs to another key, is of another format version or damaged, or cannot be read. After an error
    /// for which [`ProjectionError::is_rebuildable`] holds, delete the file and open it again.
    pub fn open(
        file: Arc<dyn DiskFile>,
        key: &SecretBytes,
        options: ProjectionOptions,
    ) -> Result<Self, ProjectionError> {
        let backend = EncryptedBackend::open(file, key)?;
        let stored = Stored::open(backend, options.cache_bytes)?;
        let applied = stored.applied()?;
        let end = applied.map_or(Offset::ZERO, |applied| applied.end);
        Ok(Self {
            shared: Arc::new(Shared {
                layers: RwLock::new(Layers {
                    active: Arc::default(),
                    frozen: None,
                    stored: Arc::new(stored),
                }),
                published: AtomicU64::new(end.get()),
                newest: Mutex::new(end),
                applied: Mutex::new(applied),
                memory_bytes_max: options.memory_bytes_max,
            }),
        })
    }

    /// The position that the file has reached: where replaying the log begins after a restart. `None` before the first
    /// flush.
    #[must_use]
    pub fn applied(&self) -> Option<Applied> {
        *self.shared.applied.lock()
    }

    /// The kernel's state at [`Self::applied`], as the last flush saved it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn state(&self) -> Result<Option<Vec<u8>>, ProjectionError> {
        let stored = Arc::clone(&self.shared.layers.read().stored);
        stored.state()
    }

    /// The end offset that snapshots taken now see.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset::new(self.shared.published.load(Ordering::Acquire))
    }

    /// What the versions that are not in the file take in memory, estimated. The engine flushes by this.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let layers = self.shared.layers.read();
        layers.active.bytes() + layers.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    /// Takes versions in, under one lock. They must be in log order, and none older than what is already published.
    /// Snapshots see them after [`Self::publish`].
    ///
    /// # Errors
    /// [`ProjectionError::OutOfOrder`] or [`ProjectionError::MemoryFull`]; nothing was applied then.
    pub fn apply(&self, rows: Vec<RowVersion>) -> Result<(), ProjectionError> {
        let mut newest = self.shared.newest.lock();
        let mut reached = *newest;
        // Several records of one batch, and several rows of one record, come here together: a version may equal the
        // last one, but what was published is complete.
        let mut least = self.end().max(Offset::new(newest.get().saturating_sub(1)));
        for row in &rows {
            if row.version < least {
                return Err(ProjectionError::OutOfOrder {
                    version: row.version,
                    newest: reached,
                });
            }
            least = row.version;
            reached = reached.max(row.version.next());
        }
        let bytes: usize = rows.iter().map(estimate_bytes).sum();
        // Holding the layers keeps a flush from freezing the active one between here and the end.
        let layers = self.shared.layers.read();
        let held = layers.active.bytes() + layers.frozen.as_ref().map_or(0, |frozen| frozen.bytes());
        if held + bytes > self.shared.memory_bytes_max {
            return Err(ProjectionError::MemoryFull {
                bytes: held + bytes,
                bytes_max: self.shared.memory_bytes_max,
            });
        }
        layers.active.apply(rows, bytes);
        *newest = reached;
        Ok(())
    }

    /// A named stream as the records so far left it, published or not; `None` when it has none.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn stream(&self, name: &str) -> Result<Option<StreamHead>, ProjectionError> {
        self.shared.layers.read().stream(name)
    }

    /// Notes a record of a stream, in log order. `new_name` is given with the stream's first record, and with no other.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn append_to_stream(
        &self,
        stream: StreamId,
        new_name: Option<&str>,
        sequence: StreamSequence,
        offset: Offset,
    ) -> Result<(), ProjectionError> {
        let layers = self.shared.layers.read();
        if !layers.active.streams().contains(stream) {
            let name = match new_name {
                Some(name) => name.into(),
                None => layers.known_stream_name(stream)?,
            };
            let begin = |tails: &mut StreamTails| tails.begin(stream, name, sequence);
            layers.active.change_streams(begin);
        }
        layers
            .active
            .change_streams(|tails| tails.push(stream, sequence, offset));
        Ok(())
    }

    /// Shows all versions below `end` to the snapshots taken from now on, at once.
    ///
    /// # Errors
    /// [`ProjectionError::OutOfOrder`] when `end` is below what is published, or below a version that was applied.
    pub fn publish(&self, end: Offset) -> Result<(), ProjectionError> {
        let mut newest = self.shared.newest.lock();
        if end < *newest || end < self.end() {
            return Err(ProjectionError::OutOfOrder {
                version: end,
                newest: *newest,
            });
        }
        *newest = end;
        self.shared.published.store(end.get(), Ordering::Release);
        Ok(())
    }

    /// The newest version of a row below `end`, whether it is published or not: how the kernel reads while it applies.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn get(&self, table: TableId, key: &PrimaryKey, end: Offset) -> Result<Option<VersionedRow>, ProjectionError> {
        let layers = self.shared.layers.read().clone();
        layers.get(table, key, end).map(visible)
    }

    /// A view of everything that is published now. It stays as it is, and costs the memory of what is flushed while it
    /// lives.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let layers = self.shared.layers.read();
        Snapshot::new(layers.clone(), self.end())
    }

    /// Sets everything in memory aside for the file, quickly; [`Flush::commit`] then writes it, on any thread. The
    /// caller takes the kernel's state at the same point, between two batches.
    ///
    /// # Errors
    /// [`ProjectionError::FlushPending`] when an earlier flush was not committed, and
    /// [`ProjectionError::FlushPosition`] unless `applied.end` is exactly what is published and applied.
    pub fn freeze(&self, applied: Applied) -> Result<Flush, ProjectionError> {
        let newest = self.shared.newest.lock();
        let published = self.end();
        if applied.end != published || applied.end != *newest {
            return Err(ProjectionError::FlushPosition {
                end: applied.end,
                published,
                newest: *newest,
            });
        }
        let mut layers = self.shared.layers.write();
        if layers.frozen.is_some() {
            return Err(ProjectionError::FlushPending);
        }
        let frozen = std::mem::take(&mut layers.active);
        layers.frozen = Some(Arc::clone(&frozen));
        Ok(Flush {
            shared: Arc::clone(&self.shared),
            frozen,
            applied,
        })
    }

    /// [`Self::freeze`] and [`Flush::commit`] in one, for callers that can wait.
    ///
    /// # Errors
    /// As both.
    pub fn flush(&self, applied: Applied, state: &[u8]) -> Result<(), ProjectionError> {
        self.freeze(applied)?.commit(state)
    }
}

/// A flush that was begun. Until it is committed, no other can begin, and the rows stay readable from memory. One that
/// is dropped without a commit leaves the projection as it is until it is reopened.
#[must_use = "rows reach the file when the flush is committed"]
pub struct Flush {
    shared: Arc<Shared>,
    frozen: Arc<MemoryLayer>,
    applied: Applied,
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush")
            .field("applied", &self.applied)
            .field("bytes", &self.frozen.bytes())
            .finish()
    }
}

impl Flush {
    /// Writes the rows, the applied position and the kernel's state at that position in one transaction, and returns
    /// when they are on disk.
    ///
    /// # Errors
    /// When the file cannot be written. It then holds the state before or after the flush; reopen the projection.
    pub fn commit(self, state: &[u8]) -> Result<(), ProjectionError> {
        let stored = Arc::clone(&self.shared.layers.read().stored);
        let flushed = Arc::new(stored.write(&self.frozen, &self.applied, state)?);
        *self.shared.applied.lock() = Some(self.applied);
        let frozen = {
            let mut layers = self.shared.layers.write();
            layers.stored = flushed;
            layers.frozen.take()
        };
        // Freeing a large layer takes a while; readers need not wait for it.
        drop(frozen);
        Ok(())
    }
}
