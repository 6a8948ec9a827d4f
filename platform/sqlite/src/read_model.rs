//! One projection's file: its schema, its checkpoint, its writer and its readers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_platform_kernel::{EventEnvelope, Position, Projection, RecordHash};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tokio::sync::{Semaphore, watch};

use crate::ReadModelError;

/// Readers at one time; further ones wait.
pub const READERS_MAX: usize = 4;

/// The checkpoint's own table, in every file.
const CHECKPOINT_SCHEMA: &str = "
    CREATE TABLE projection_checkpoint (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 0),
        next_position INTEGER NOT NULL,
        record_hash BLOB
    ) STRICT;
    INSERT INTO projection_checkpoint VALUES (0, 0, NULL);";

/// A projection into SQLite.
pub trait SqliteProjection: Projection<View = Connection> {
    /// The statements that create the view's tables in an empty file.
    fn schema(&self) -> &'static str;
}

/// How far a view has come: everything before `next_position` is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) next_position: Position,
    /// The hash of the record at `next_position - 1`, once there is one.
    pub(crate) record_hash: Option<RecordHash>,
}

struct Shared {
    path: PathBuf,
    projection: Arc<dyn SqliteProjection>,
    // Dropped before the writer: the last connection to close tidies up the WAL, and a reader cannot.
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Connection>,
    permits: Semaphore,
    progress: watch::Sender<Position>,
}

/// A view that follows the log. Cheap to clone.
#[derive(Clone)]
pub struct ReadModel(Arc<Shared>);

impl std::fmt::Debug for ReadModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadModel({})", self.name())
    }
}

impl ReadModel {
    /// Opens `<directory>/<name>.sqlite`, making it anew when it is missing or of another version.
    ///
    /// # Errors
    /// When the file cannot be opened, made or removed.
    pub fn open(directory: &Path, projection: Arc<dyn SqliteProjection>) -> Result<Self, ReadModelError> {
        let path = directory.join(format!("{}.sqlite", projection.name()));
        let name = projection.name();
        let (writer, checkpoint) = match open_current(&path, &*projection) {
            Ok(Some(opened)) => opened,
            // A damaged file is as good as an old one: the log has everything.
            Ok(None) | Err(_) => create(&path, &*projection)?,
        };
        let readers = (0..READERS_MAX).map(|_| open_reader(&path)).collect::<Result<_, _>>();
        let readers = readers.map_err(|source| ReadModelError::Sqlite { name, source })?;
        Ok(Self(Arc::new(Shared {
            path,
            projection,
            writer: Mutex::new(writer),
            readers: Mutex::new(readers),
            permits: Semaphore::new(READERS_MAX),
            progress: watch::Sender::new(checkpoint.next_position),
        })))
    }

    /// The projection's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.projection.name()
    }

    /// The position of the first record that is not in the view yet.
    #[must_use]
    pub fn next_position(&self) -> Position {
        *self.0.progress.borrow()
    }

    /// Changes of [`Self::next_position`].
    pub(crate) fn progress(&self) -> watch::Receiver<Position> {
        self.0.progress.subscribe()
    }

    /// Runs a query on a reader, away from the async threads.
    ///
    /// # Errors
    /// When SQLite fails.
    ///
    /// # Panics
    /// When the query panics.
    pub async fn read<T, F>(&self, query: F) -> Result<T, ReadModelError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let model = self.clone();
        let task = async move {
            let shared = &model.0;
            let _permit = shared.permits.acquire().await.expect("the semaphore is never closed");
            let model = model.clone();
            let work = tokio::task::spawn_blocking(move || {
                let reader = model.0.readers.lock().pop().expect("a permit stands for a reader");
                let returned = ReturnedReader {
                    model: &model,
                    reader: Some(reader),
                };
                query(returned.reader.as_ref().expect("taken only on drop"))
            });
            work.await.expect("a query does not panic")
        };
        // The permit must outlive the blocking work even when the caller goes away, hence a task.
        let outcome = tokio::spawn(task).await.expect("a query does not panic");
        outcome.map_err(|source| self.sqlite_error(source))
    }

    /// Applies whole records and moves the checkpoint behind them, all or nothing.
    pub(crate) fn apply(&self, events: &[EventEnvelope]) -> Result<(), ReadModelError> {
        let Some(last) = events.last() else { return Ok(()) };
        let next_position = last.position + 1;
        let mut writer = self.0.writer.lock();
        let transaction = writer.transaction().map_err(|source| self.sqlite_error(source))?;
        for event in events {
            self.0.projection.apply(&transaction, event)?;
        }
        transaction
            .execute(
                "UPDATE projection_checkpoint SET next_position = ?1, record_hash = ?2",
                params![next_position.cast_signed(), last.record_hash.0],
            )
            .and_then(|_| transaction.commit())
            .map_err(|source| self.sqlite_error(source))?;
        self.0.progress.send_replace(next_position);
        Ok(())
    }

    /// The checkpoint as it is in the file.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint, ReadModelError> {
        read_checkpoint(&self.0.writer.lock()).map_err(|source| self.sqlite_error(source))
    }

    /// Empties the view, so that the log can be replayed into it.
    pub(crate) fn reset(&self) -> Result<(), ReadModelError> {
        // Readers are kept out while the file is replaced below them.
        let mut writer = self.0.writer.lock();
        let mut readers = self.0.readers.lock();
        let count = readers.len();
        readers.clear();
        // Closes the old file before it is removed.
        *writer = Connection::open_in_memory().map_err(|source| self.sqlite_error(source))?;
        *writer = create(&self.0.path, &*self.0.projection)?.0;
        for _ in 0..count {
            readers.push(open_reader(&self.0.path).map_err(|source| self.sqlite_error(source))?);
        }
        self.0.progress.send_replace(0);
        Ok(())
    }

    fn sqlite_error(&self, source: rusqlite::Error) -> ReadModelError {
        let name = self.name();
        ReadModelError::Sqlite { name, source }
    }
}

/// Puts a reader back, also when the query panics.
struct ReturnedReader<'a> {
    model: &'a ReadModel,
    reader: Option<Connection>,
}

impl Drop for ReturnedReader<'_> {
    fn drop(&mut self) {
        self.model.0.readers.lock().extend(self.reader.take());
    }
}

/// Opens the file if it has the projection's version.
fn open_current(path: &Path, projection: &dyn SqliteProjection) -> rusqlite::Result<Option<(Connection, Checkpoint)>> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = open_writer(path)?;
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != projection.version() {
        return Ok(None);
    }
    let checkpoint = read_checkpoint(&connection)?;
    Ok(Some((connection, checkpoint)))
}

fn create(path: &Path, projection: &dyn SqliteProjection) -> Result<(Connection, Checkpoint), ReadModelError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ReadModelError::Remove { path, source });
            }
            _ => {}
        }
    }
    let make = || {
        let mut connection = open_writer(path)?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(CHECKPOINT_SCHEMA)?;
        transaction.execute_batch(projection.schema())?;
        transaction.pragma_update(None, "user_version", projection.version())?;
        transaction.commit()?;
        let checkpoint = read_checkpoint(&connection)?;
        Ok((connection, checkpoint))
    };
    let name = projection.name();
    make().map_err(|source| ReadModelError::Sqlite { name, source })
}

fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A power cut may take the last transactions with it, never half of one: the log replays them.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

fn read_checkpoint(connection: &Connection) -> rusqlite::Result<Checkpoint> {
    let query = "SELECT next_position, record_hash FROM projection_checkpoint";
    let checkpoint = connection.query_row(query, [], |row| {
        Ok(Checkpoint {
            next_position: row.get::<_, i64>(0)?.cast_unsigned(),
            record_hash: row.get::<_, Option<[u8; 32]>>(1)?.map(RecordHash),
        })
    });
    checkpoint.optional()?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}
