//! The versions in the file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `current` | table, primary key | version (8 bytes, big-endian), the row as CBOR or nothing for a deleted row |
//! | `history` | table, primary key, !version | the row as CBOR or nothing |
//! | `stream_ids` | stream name | stream number |
//! | `streams` | stream number | see [`StoredStream`] |
//! | `stream_blocks` | stream number, block number | where 256 consecutive records of the stream are |
//! | `meta` | `applied` | log index, end offset (8 bytes each, big-endian), hash of the last record |
//! | `meta` | `state` | the kernel's state, opaque here |
//!
//! `current` holds the newest version of every row that ever was, a deleted one as a version without a row, and
//! `history` all older ones. Versions are stored inverted, so that the newest below some end offset is the first at or
//! after a key.

use std::sync::Arc;

use craton_types::planted::{Bug, is_planted};
use craton_types::{Hash, LogIndex, Offset, PrimaryKey, Row, StreamId, StreamSequence, TableId, decode_whole};
use redb::{Database, OwnedRange, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::backend::EncryptedBackend;
use crate::memory::{MemoryLayer, Version};
use crate::streams::{BLOCK_RECORDS, StoredStream, StreamTails, decode_offsets, encode_offsets};
use crate::{Applied, KeyRange, ProjectionError};

type CurrentKey = (u32, &'static [u8]);
type HistoryKey = (u32, &'static [u8], u64);

const CURRENT: TableDefinition<'_, CurrentKey, &[u8]> = TableDefinition::new("current");
const HISTORY: TableDefinition<'_, HistoryKey, &[u8]> = TableDefinition::new("history");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const STREAM_IDS: TableDefinition<'_, &str, u64> = TableDefinition::new("stream_ids");
const STREAMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("streams");
const STREAM_BLOCKS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("stream_blocks");
const APPLIED: &str = "applied";
const STATE: &str = "state";
const APPLIED_BYTES: usize = 8 + 8 + 32;
const VERSION_BYTES: usize = 8;

/// The file at the state that one flush left.
pub(crate) struct Stored {
    // Declared before the database, so that its transaction ends first.
    current: ReadOnlyTable<CurrentKey, &'static [u8]>,
    history: ReadOnlyTable<HistoryKey, &'static [u8]>,
    meta: ReadOnlyTable<&'static str, &'static [u8]>,
    stream_ids: ReadOnlyTable<&'static str, u64>,
    streams: ReadOnlyTable<u64, &'static [u8]>,
    stream_blocks: ReadOnlyTable<(u64, u64), &'static [u8]>,
    database: Arc<Database>,
}

/// A row's newest version in the file, its row still encoded.
pub(crate) struct CurrentEntry {
    pub(crate) key: PrimaryKey,
    pub(crate) version: Offset,
    row: redb::OwnedAccessGuard<&'static [u8]>,
}

impl CurrentEntry {
    pub(crate) fn decode(&self) -> Result<Version, ProjectionError> {
        decode_current(self.row.value())
    }
}

impl Stored {
    /// Opens the store, making an empty one ready.
    pub(crate) fn open(backend: EncryptedBackend, cache_bytes: usize) -> Result<Self, ProjectionError> {
        let database = redb::Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
            .map_err(ProjectionError::from_store)?;
        let database = Arc::new(database);
        if !has_tables(&database)? {
            let transaction = begin_write(&database)?;
            transaction.open_table(CURRENT).map_err(ProjectionError::from_store)?;
            transaction.open_table(HISTORY).map_err(ProjectionError::from_store)?;
            transaction.open_table(META).map_err(ProjectionError::from_store)?;
            transaction
                .open_table(STREAM_IDS)
                .map_err(ProjectionError::from_store)?;
            transaction.open_table(STREAMS).map_err(ProjectionError::from_store)?;
            transaction
                .open_table(STREAM_BLOCKS)
                .map_err(ProjectionError::from_store)?;
            transaction.commit().map_err(ProjectionError::from_store)?;
        }
        Self::at_latest(database)
    }

    fn at_latest(database: Arc<Database>) -> Result<Self, ProjectionError> {
        let transaction = database.begin_read().map_err(ProjectionError::from_store)?;
        Ok(Self {
            current: transaction.open_table(CURRENT).map_err(ProjectionError::from_store)?,
            history: transaction.open_table(HISTORY).map_err(ProjectionError::from_store)?,
            meta: transaction.open_table(META).map_err(ProjectionError::from_store)?,
            stream_ids: transaction
                .open_table(STREAM_IDS)
                .map_err(ProjectionError::from_store)?,
            streams: transaction.open_table(STREAMS).map_err(ProjectionError::from_store)?,
            stream_blocks: transaction
                .open_table(STREAM_BLOCKS)
                .map_err(ProjectionError::from_store)?,
            database,
        })
    }

    /// Writes a layer whose versions are all newer than those in the file, and returns the file as it is then.
    pub(crate) fn write(&self, layer: &MemoryLayer, applied: &Applied, state: &[u8]) -> Result<Self, ProjectionError> {
        let transaction = begin_write(&self.database)?;
        {
            let mut current = transaction.open_table(CURRENT).map_err(ProjectionError::from_store)?;
            let mut history = transaction.open_table(HISTORY).map_err(ProjectionError::from_store)?;
            let mut value = Vec::new();
            layer.visit(|table, key, versions| {
                let Some((newest, older)) = versions.split_last() else {
                    return Ok(());
                };
                for version in older.iter().rev() {
                    value.clear();
                    encode_row(version.row.as_deref(), &mut value);
                    history
                        .insert(history_key(table, key, version.version), value.as_slice())
                        .map_err(ProjectionError::from_store)?;
                }
                if is_planted(Bug::FlushWithoutRows) && newest.version.get() % 5 == 4 {
                    return Ok(());
                }
                value.clear();
                value.extend_from_slice(&newest.version.get().to_be_bytes());
                encode_row(newest.row.as_deref(), &mut value);
                let replaced = current
                    .insert((table.get(), key.as_bytes()), value.as_slice())
                    .map_err(ProjectionError::from_store)?;
                if let Some(replaced) = replaced {
                    let (version, row) = split_current(replaced.value())?;
                    history
                        .insert(history_key(table, key, version), row)
                        .map_err(ProjectionError::from_store)?;
                }
                Ok(())
            })?;
            if !is_planted(Bug::FlushWithoutStreams) {
                write_streams(&transaction, &layer.streams())?;
            }
            let mut meta = transaction.open_table(META).map_err(ProjectionError::from_store)?;
            meta.insert(APPLIED, encode_applied(applied).as_slice())
                .map_err(ProjectionError::from_store)?;
            meta.insert(STATE, state).map_err(ProjectionError::from_store)?;
        }
        transaction.commit().map_err(ProjectionError::from_store)?;
        Self::at_latest(Arc::clone(&self.database))
    }

    pub(crate) fn applied(&self) -> Result<Option<Applied>, ProjectionError> {
        let entry = self.meta.get(APPLIED).map_err(ProjectionError::from_store)?;
        entry.map(|bytes| decode_applied(bytes.value())).transpose()
    }

    pub(crate) fn state(&self) -> Result<Option<Vec<u8>>, ProjectionError> {
        let entry = self.meta.get(STATE).map_err(ProjectionError::from_store)?;
        Ok(entry.map(|bytes| bytes.value().to_vec()))
    }

    pub(crate) fn stream_id(&self, name: &str) -> Result<Option<StreamId>, ProjectionError> {
        let entry = self.stream_ids.get(name).map_err(ProjectionError::from_store)?;
        Ok(entry.map(|id| StreamId::new(id.value())))
    }

    pub(crate) fn stream(&self, stream: StreamId) -> Result<Option<StoredStream>, ProjectionError> {
        let entry = self.streams.get(stream.get()).map_err(ProjectionError::from_store)?;
        entry.map(|bytes| decode_stream(bytes.value())).transpose()
    }

    /// Adds the offsets of a stream's records from `from` on, up to the first that is not below `end`.
    pub(crate) fn stream_offsets(
        &self,
        stream: StreamId,
        from: StreamSequence,
        end: Offset,
        wanted: usize,
        offsets: &mut Vec<Offset>,
    ) -> Result<(), ProjectionError> {
        let Some(stored) = self.stream(stream)? else {
            return Ok(());
        };
        let mut next = from.get();
        while next < stored.next.get() && offsets.len() < wanted {
            let number = next / BLOCK_RECORDS;
            let block = if number == stored.next.get() / BLOCK_RECORDS {
                stored.open.clone()
            } else {
                self.stream_block(stream, number)?
            };
            let within = usize::try_from(next % BLOCK_RECORDS).expect("less than a block");
            let rest = block.get(within..).unwrap_or_default();
            let taken = rest.iter().take(wanted - offsets.len());
            let before = offsets.len();
            offsets.extend(taken.take_while(|offset| **offset < end));
            let added = (offsets.len() - before) as u64;
            if added == 0 {
                break;
            }
            next += added;
        }
        Ok(())
    }

    fn stream_block(&self, stream: StreamId, number: u64) -> Result<Vec<Offset>, ProjectionError> {
        let key = (stream.get(), number);
        let entry = self.stream_blocks.get(key).map_err(ProjectionError::from_store)?;
        entry
            .and_then(|bytes| decode_offsets(bytes.value()))
            .ok_or_else(|| ProjectionError::damaged("a block of a stream is missing or does not decode"))
    }

    /// The newest version of a row below `end`.
    pub(crate) fn get(
        &self,
        table: TableId,
        key: &PrimaryKey,
        end: Offset,
    ) -> Result<Option<Version>, ProjectionError> {
        let entry = self
            .current
            .get((table.get(), key.as_bytes()))
            .map_err(ProjectionError::from_store)?;
        let Some(entry) = entry else { return Ok(None) };
        let (version, _) = split_current(entry.value())?;
        if version < end {
            decode_current(entry.value()).map(Some)
        } else {
            self.get_older(table, key, end)
        }
    }

    /// The newest version of a row below `end` that a newer one has replaced.
    pub(crate) fn get_older(
        &self,
        table: TableId,
        key: &PrimaryKey,
        end: Offset,
    ) -> Result<Option<Version>, ProjectionError> {
        self.older(table, key, end)?.next().transpose()
    }

    /// The replaced versions of a row below `end`, newest first.
    pub(crate) fn older(&self, table: TableId, key: &PrimaryKey, end: Offset) -> Result<Older, ProjectionError> {
        let range = match end.get().checked_sub(1) {
            Some(last) => {
                let first = history_key(table, key, Offset::new(last));
                let past = (table.get(), key.as_bytes(), u64::MAX);
                Some(
                    self.history
                        .range_owned(first..=past)
                        .map_err(ProjectionError::from_store)?,
                )
            }
            None => None,
        };
        Ok(Older(range))
    }

    /// The newest versions of a table's rows in key order, from both ends.
    pub(crate) fn scan(&self, table: TableId, range: &KeyRange) -> Result<CurrentRange, ProjectionError> {
        use std::ops::Bound;
        let table = table.get();
        let upper = match (&range.end, table.checked_add(1)) {
            (Some(end), _) => Bound::Excluded((table, end.as_slice())),
            (None, Some(next_table)) => Bound::Excluded((next_table, &[][..])),
            (None, None) => Bound::Unbounded,
        };
        self.current
            .range_owned((Bound::Included((table, range.start.as_slice())), upper))
            .map_err(ProjectionError::from_store)
    }
}

/// What [`Stored::scan`] walks.
pub(crate) type CurrentRange = OwnedRange<CurrentKey, &'static [u8]>;
/// One step of it.
pub(crate) type ScanStep = Result<
    (
        redb::OwnedAccessGuard<CurrentKey>,
        redb::OwnedAccessGuard<&'static [u8]>,
    ),
    redb::StorageError,
>;

/// Understands one step of a scan.
pub(crate) fn current_entry(step: ScanStep) -> Result<CurrentEntry, ProjectionError> {
    let (key, row) = step.map_err(ProjectionError::from_store)?;
    let (version, _) = split_current(row.value())?;
    Ok(CurrentEntry {
        key: PrimaryKey::from_bytes(key.value().1.to_vec()),
        version,
        row,
    })
}

/// Replaced versions of one row, newest first.
pub(crate) struct Older(Option<OwnedRange<HistoryKey, &'static [u8]>>);

impl Iterator for Older {
    type Item = Result<Version, ProjectionError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.0.as_mut()?.next()?;
        Some(step.map_err(ProjectionError::from_store).and_then(|(key, row)| {
            let version = Offset::new(!key.value().2);
            Ok(Version {
                version,
                row: decode_row(row.value())?,
            })
        }))
    }
}

/// Writes the streams of a layer: full blocks on their own, the rest with the stream.
fn write_streams(transaction: &WriteTransaction, tails: &StreamTails) -> Result<(), ProjectionError> {
    let failed = ProjectionError::from_store;
    let mut ids = transaction.open_table(STREAM_IDS).map_err(failed)?;
    let mut streams = transaction.open_table(STREAMS).map_err(failed)?;
    let mut blocks = transaction
        .open_table(STREAM_BLOCKS)
        .map_err(ProjectionError::from_store)?;
    let mut value = Vec::new();
    for (stream, tail) in tails.iter() {
        let known = streams.get(stream.get()).map_err(ProjectionError::from_store)?;
        let known = known.map(|bytes| decode_stream(bytes.value())).transpose()?;
        let mut stored = match known {
            Some(known) => known,
            None => {
                ids.insert(&*tail.name, stream.get())
                    .map_err(ProjectionError::from_store)?;
                StoredStream {
                    next: StreamSequence::ZERO,
                    name: Arc::clone(&tail.name),
                    open: Vec::new(),
                }
            }
        };
        if stored.next != tail.first {
            return Err(ProjectionError::damaged(
                "a stream in the file is not where its records go on",
            ));
        }
        for offset in &tail.offsets {
            stored.open.push(*offset);
            stored.next = stored.next.next();
            if stored.open.len() as u64 == BLOCK_RECORDS {
                value.clear();
                encode_offsets(&stored.open, &mut value);
                let key = (stream.get(), stored.next.get() / BLOCK_RECORDS - 1);
                blocks
                    .insert(key, value.as_slice())
                    .map_err(ProjectionError::from_store)?;
                stored.open.clear();
            }
        }
        streams
            .insert(stream.get(), stored.encode().as_slice())
            .map_err(ProjectionError::from_store)?;
    }
    Ok(())
}

fn decode_stream(bytes: &[u8]) -> Result<StoredStream, ProjectionError> {
    StoredStream::decode(bytes).ok_or_else(|| ProjectionError::damaged("a stream does not decode"))
}

fn begin_write(database: &Database) -> Result<WriteTransaction, ProjectionError> {
    let mut transaction = database.begin_write().map_err(ProjectionError::from_store)?;
    // Two-phase commits and a saved allocator state: after a crash nothing needs to be walked or guessed.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn has_tables(database: &Database) -> Result<bool, ProjectionError> {
    let transaction = database.begin_read().map_err(ProjectionError::from_store)?;
    match transaction.open_table(META) {
        Ok(_) => Ok(true),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(ProjectionError::from_store(error)),
    }
}

fn history_key(table: TableId, key: &PrimaryKey, version: Offset) -> (u32, &[u8], u64) {
    (table.get(), key.as_bytes(), !version.get())
}

fn encode_row(row: Option<&Row>, out: &mut Vec<u8>) {
    if let Some(row) = row {
        minicbor::encode(row, out).expect("writing to memory does not fail");
    }
}

fn decode_row(bytes: &[u8]) -> Result<Option<Arc<Row>>, ProjectionError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let row: Row = decode_whole(bytes).map_err(|error| ProjectionError::damaged(format!("a row: {error}")))?;
    Ok(Some(Arc::new(row)))
}

fn split_current(value: &[u8]) -> Result<(Offset, &[u8]), ProjectionError> {
    let (version, row) = value
        .split_first_chunk::<VERSION_BYTES>()
        .ok_or_else(|| ProjectionError::damaged("a row without a version"))?;
    Ok((Offset::new(u64::from_be_bytes(*version)), row))
}

fn decode_current(value: &[u8]) -> Result<Version, ProjectionError> {
    let (version, row) = split_current(value)?;
    Ok(Version {
        version,
        row: decode_row(row)?,
    })
}

fn encode_applied(applied: &Applied) -> [u8; APPLIED_BYTES] {
    let mut bytes = [0; APPLIED_BYTES];
    bytes[..8].copy_from_slice(&applied.log_index.get().to_be_bytes());
    bytes[8..16].copy_from_slice(&applied.end.get().to_be_bytes());
    bytes[16..].copy_from_slice(applied.hash.as_bytes());
    bytes
}

fn decode_applied(bytes: &[u8]) -> Result<Applied, ProjectionError> {
    let parse = || {
        let (log_index, rest) = bytes.split_first_chunk::<8>()?;
        let (end, rest) = rest.split_first_chunk::<8>()?;
        let hash: [u8; 32] = rest.try_into().ok()?;
        Some(Applied {
            log_index: LogIndex::new(u64::from_be_bytes(*log_index)),
            end: Offset::new(u64::from_be_bytes(*end)),
            hash: Hash::new(hash),
        })
    };
    parse().ok_or_else(|| ProjectionError::damaged("the applied position has another length"))
}

/// A row with its version as the view holds it, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn stored_row(bytes: &[u8]) -> bool {
    let decoded = decode_current(bytes);
    if let Ok(current) = &decoded {
        let encode = |current: &Version| {
            let mut encoded = current.version.get().to_be_bytes().to_vec();
            encode_row(current.row.as_deref(), &mut encoded);
            encoded
        };
        let encoded = encode(current);
        let again = decode_current(&encoded).expect("what was encoded decodes");
        assert_eq!(encode(&again), encoded);
    }
    decoded.is_ok()
}

/// How far a view is, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn stored_applied(bytes: &[u8]) -> bool {
    let decoded = decode_applied(bytes);
    if let Ok(applied) = &decoded {
        assert_eq!(encode_applied(applied), bytes, "a position has one form");
    }
    decoded.is_ok()
}
