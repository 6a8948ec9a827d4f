//! A tenant's log: the system of record. Only committed records, chained by hash, never truncated.
//!
//! # Files of a log
//! - `<first offset>.segment`: records as laid out in `craton_types`' segment module. All but the last are closed: they
//!   end with a footer and are never written again.
//! - `<first offset>.index`: beside each closed segment, where every 64th record begins. Derived.
//! - `level-<n>.hashes`: the Merkle hashes in tlog-tiles order, one file per tile level. Derived.
//! - `synced`: how many records are known to be durable.
//! - `<offset>.<n>.torn`: what crashes left unfinished, kept as evidence.
//! - `<offset>.<n>.damaged`: what stood where a record, header or footer was written again, kept as evidence.
//!
//! # Rules
//! - A record is appended once. Appending the same again, as when the write-ahead log is replayed, is checked
//!   byte for byte and has no effect.
//! - Readers see what was published, durable or not: a record is only ever appended after it was
//!   committed, so the write-ahead log has it until [`TenantLog::sync`] returned.
//! - Every read checks the record's form, its body against `payload_hash` and its hash against the Merkle tree.

mod error;
mod files;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod index;
mod mark;
mod open;
mod reader;
mod records;
mod repair;
mod scrub;
#[cfg(test)]
mod tests;
mod tiles;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use craton_crypto::LinkedRecord;
use craton_proof::Frontier;
use craton_types::{Hash, Offset, Record, RecordHeader, SegmentFooter};

pub use error::TenantLogError;
pub use open::{SyncedDamage, TenantLogRecovery, TornRecords};
pub use reader::LogReader;
pub use records::check_body;
pub use repair::Repaired;
pub use scrub::ScrubStep;

use index::{ClosedSegment, write_index};
use open::create_segment;
use reader::{ActiveSegment, Cursor, Shared, note_position};
use records::{RECORDS_START, encode_record, stored_bytes, with_crc};
use tiles::PendingEntries;

/// The length at which a segment is closed.
pub const TENANT_SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// Appended records are written to the file, though not published, when there are more bytes of them than this.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// A step of [`TenantLog::begin_writeback`]: what a disk takes without keeping others waiting for long.
const WRITEBACK_BYTES: usize = 512 * 1024;

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct TenantLogOptions {
    /// A segment is closed before a record would make it longer than this. A longer record has a segment alone.
    pub segment_bytes: u64,
}

impl Default for TenantLogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: TENANT_SEGMENT_BYTES_DEFAULT,
        }
    }
}

/// The writer of a tenant's log. There is one for each log; [`TenantLog::reader`] gives any number of readers.
pub struct TenantLog {
    shared: Arc<Shared>,
    segment_bytes: u64,
    next: u64,
    last_hash: Hash,
    tree: Frontier,
    active: ActiveTail,
    /// The records after those in the file, as they are stored.
    buffer: Vec<u8>,
    /// Bytes that were written since a sync was begun.
    unsynced_bytes: usize,
    /// What the buffered records add to the sparse index and the hash files.
    pending_positions: Vec<u64>,
    pending_entries: PendingEntries,
    /// Where the last record that was appended again is.
    replay: Option<Cursor>,
    scratch: Vec<u8>,
    recovery: TenantLogRecovery,
    /// What was damaged and came again from the write-ahead log.
    repaired: Vec<Repaired>,
}

/// The end of the last segment.
struct ActiveTail {
    first: u64,
    /// Of this segment's records alone.
    tree: Frontier,
    /// Where the next record goes, after those in the buffer.
    end: u64,
}

impl TenantLog {
    /// What was found when the log was opened.
    #[must_use]
    pub const fn recovery(&self) -> &TenantLogRecovery {
        &self.recovery
    }

    /// Takes out which damaged records were put back because they were appended again.
    pub fn take_repaired(&mut self) -> Vec<Repaired> {
        std::mem::take(&mut self.repaired)
    }

    /// The offset that the next record has.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        Offset::new(self.next)
    }

    /// The record hash of the last record; zero before the first.
    #[must_use]
    pub const fn last_hash(&self) -> Hash {
        self.last_hash
    }

    /// The Merkle tree of all records appended.
    #[must_use]
    pub const fn tree(&self) -> &Frontier {
        &self.tree
    }

    /// A reader of what is published.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader(Arc::clone(&self.shared))
    }

    /// Appends a record to the buffer and returns its hash. A record that the log has already is compared
    /// with it instead.
    ///
    /// # Errors
    /// [`TenantLogError::Diverged`], [`TenantLogError::Gap`], [`TenantLogError::WrongLink`] and
    /// [`TenantLogError::Invalid`] say why the record is not the next one; [`TenantLogError::NoSpace`],
    /// [`TenantLogError::Io`] and [`TenantLogError::Poisoned`] come from writing earlier ones. In every case
    /// this record was not appended.
    pub fn append(&mut self, linked: &LinkedRecord) -> Result<Hash, TenantLogError> {
        self.check_poison()?;
        let record = linked.record();
        let offset = record.header.offset;
        if offset.get() < self.next {
            return self.compare(linked);
        }
        if offset.get() > self.next {
            return Err(TenantLogError::Gap {
                offset,
                next: self.next_offset(),
            });
        }
        self.check_record(linked)?;
        let stored = stored_bytes(record.header.payload_length);
        if self.active.tree.size() > 0 && self.active.end + stored > self.segment_bytes {
            self.close_segment()?;
        }
        if self.buffer.len() > BUFFER_BYTES_MAX {
            self.write_buffer()?;
        }

        encode_record(linked, &mut self.buffer);
        let hash = linked.hash();
        note_position(
            &mut self.pending_positions,
            self.active.first,
            self.next,
            self.active.end,
        );
        self.pending_entries.push(&mut self.tree, hash);
        self.active.tree.push(hash);
        self.active.end += stored;
        self.next += 1;
        self.last_hash = hash;
        Ok(hash)
    }

    /// Writes the appended records to the file, where readers see them from then on. Syncs nothing.
    ///
    /// # Errors
    /// [`TenantLogError::NoSpace`] may be tried again; [`TenantLogError::Io`] poisons the log.
    pub fn publish(&mut self) -> Result<(), TenantLogError> {
        self.check_poison()?;
        self.write_buffer()?;
        self.shared.state.write().published = self.next;
        Ok(())
    }

    /// Makes all appended records durable, published or not, and returns the offset after them.
    ///
    /// # Errors
    /// [`TenantLogError::NoSpace`] when the records cannot be written: the call may be repeated.
    /// [`TenantLogError::Io`] poisons the log.
    pub fn sync(&mut self) -> Result<Offset, TenantLogError> {
        self.begin_sync()?.run()
    }

    /// The part of [`Self::sync`] that waits for the disk, to be run on another thread while this log goes on.
    ///
    /// # Errors
    /// As for [`Self::publish`].
    pub fn begin_sync(&mut self) -> Result<SyncJob, TenantLogError> {
        self.check_poison()?;
        self.write_buffer()?;
        self.unsynced_bytes = 0;
        Ok(SyncJob {
            shared: Arc::clone(&self.shared),
            records: self.next,
        })
    }

    /// The next step of syncing what was written, to be run on another thread; `None` until it is worth it. The records
    /// are not known to be durable then: that remains to [`Self::sync`], which has less to do.
    pub fn begin_writeback(&mut self) -> Option<Writeback> {
        if self.unsynced_bytes < WRITEBACK_BYTES {
            return None;
        }
        self.unsynced_bytes = 0;
        Some(Writeback {
            shared: Arc::clone(&self.shared),
        })
    }

    fn check_poison(&self) -> Result<(), TenantLogError> {
        if self.shared.poisoned.load(Ordering::Acquire) {
            return Err(TenantLogError::Poisoned);
        }
        Ok(())
    }

    fn check_record(&self, linked: &LinkedRecord) -> Result<(), TenantLogError> {
        let record = linked.record();
        let header = &record.header;
        let invalid = |field| TenantLogError::Invalid {
            offset: header.offset,
            field,
        };
        if header.previous_hash != self.last_hash {
            return Err(TenantLogError::WrongLink {
                offset: header.offset,
                expected: self.last_hash,
                found: header.previous_hash,
            });
        }
        if header.tenant != self.shared.tenant {
            return Err(invalid("tenant"));
        }
        if header.chunk_count as usize != record.chunks.len() {
            return Err(invalid("chunk_count"));
        }
        if header.payload_length as usize != Record::body_length(&record.chunks) {
            return Err(invalid("payload_length"));
        }
        RecordHeader::decode(linked.header_bytes()).map_err(|error| invalid(error.field))?;
        Ok(())
    }

    /// Compares a record with the one that the log has at its offset. One that is damaged, and that the log's hashes say is
    /// this one, is put back.
    fn compare(&mut self, linked: &LinkedRecord) -> Result<Hash, TenantLogError> {
        let offset = linked.record().header.offset;
        if offset.get() >= self.shared.state.read().written {
            self.write_buffer()?;
        }
        let error = match self.is_stored(linked) {
            Ok(true) => return Ok(linked.hash()),
            Ok(false) => TenantLogError::Diverged { offset },
            Err(error @ TenantLogError::Corrupt { .. }) => error,
            Err(error) => return Err(error),
        };
        match self.shared.repair(linked) {
            Ok(Some(repaired)) => {
                self.repaired.push(repaired);
                Ok(linked.hash())
            }
            Ok(None)
            | Err(TenantLogError::Corrupt { .. } | TenantLogError::NotProven { .. } | TenantLogError::Invalid { .. }) => {
                Err(error)
            }
            Err(failed) => Err(failed),
        }
    }

    /// Whether the log holds exactly this record at its offset.
    fn is_stored(&mut self, linked: &LinkedRecord) -> Result<bool, TenantLogError> {
        let record = linked.record();
        let offset = record.header.offset.get();
        // Replaying goes from record to record; only the first one is looked up.
        let reusable = self
            .replay
            .take()
            .filter(|cursor| cursor.offset == offset && offset < cursor.end);
        let mut cursor = match reusable {
            Some(cursor) => cursor,
            None => self.shared.locate(offset)?,
        };
        let stored = cursor.header()?;
        if stored.bytes != *linked.header_bytes() {
            return Ok(false);
        }
        let mut body = Vec::with_capacity(record.header.payload_length as usize);
        record.encode_body(&mut body);
        cursor.body(&stored, &mut self.scratch)?;
        if self.scratch != body {
            return Ok(false);
        }
        cursor.advance(&stored);
        self.replay = Some(cursor);
        Ok(true)
    }

    /// Writes the buffered records and what is derived from them.
    fn write_buffer(&mut self) -> Result<(), TenantLogError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = self.try_write_buffer();
        self.poison_unless_full(result)
    }

    fn try_write_buffer(&mut self) -> Result<(), TenantLogError> {
        let (file, written, mut levels) = {
            let state = self.shared.state.read();
            (state.active.file.clone(), state.written, state.levels.clone())
        };
        file.write(&self.buffer, self.active.end - self.buffer.len() as u64)?;
        self.pending_entries.write(&self.shared.files, &mut levels, written)?;
        self.pending_entries.commit(&mut levels);

        let mut state = self.shared.state.write();
        state.active.positions.append(&mut self.pending_positions);
        state.levels = levels;
        state.written = self.next;
        self.unsynced_bytes += self.buffer.len();
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_MAX);
        Ok(())
    }

    /// Ends the last segment with its footer, syncs all of it and begins the next one.
    fn close_segment(&mut self) -> Result<(), TenantLogError> {
        self.write_buffer()?;
        let result = self.try_close_segment();
        self.poison_unless_full(result)
    }

    /// Every step may be repeated when a later one found the disk full.
    fn try_close_segment(&mut self) -> Result<(), TenantLogError> {
        let segment = ClosedSegment {
            first: self.active.first,
            record_count: self.active.tree.size(),
        };
        let footer = SegmentFooter {
            record_count: segment.record_count,
            records_root: self.active.tree.root(),
            last_hash: self.last_hash,
        };
        let (file, levels, positions) = {
            let state = self.shared.state.read();
            (
                state.active.file.clone(),
                state.levels.clone(),
                state.active.positions.clone(),
            )
        };
        file.write(&with_crc(&footer.encode_without_crc()), self.active.end)?;
        self.shared.poison_if_failed(file.sync().and_then(|()| levels.sync()))?;
        self.shared.mark.lock().advance(self.next)?;
        let files = &self.shared.files;
        write_index(files, segment, &self.tree, &positions)?;
        let file = create_segment(files, self.shared.tenant, self.next, self.last_hash)?;

        let mut state = self.shared.state.write();
        state.closed.push(segment);
        state.active = ActiveSegment {
            file,
            first: self.next,
            positions: Vec::new(),
            anchors: Vec::new(),
        };
        self.active = ActiveTail {
            first: self.next,
            tree: Frontier::new(),
            end: RECORDS_START,
        };
        Ok(())
    }

    fn poison_unless_full<T>(&self, result: Result<T, TenantLogError>) -> Result<T, TenantLogError> {
        match result {
            Err(TenantLogError::NoSpace { .. }) => result,
            _ => self.shared.poison_if_failed(result),
        }
    }
}

impl Shared {
    fn poison_if_failed<T>(&self, result: Result<T, TenantLogError>) -> Result<T, TenantLogError> {
        if result.is_err() {
            self.poisoned.store(true, Ordering::Release);
        }
        result
    }
}

/// Written records that wait to be synced, see [`TenantLog::begin_sync`].
#[must_use = "nothing is synced before the job is run"]
pub struct SyncJob {
    shared: Arc<Shared>,
    records: u64,
}

impl SyncJob {
    /// Syncs and returns the offset after the records that are durable now.
    ///
    /// # Errors
    /// [`TenantLogError::Poisoned`], or [`TenantLogError::Io`], which poisons the log.
    pub fn run(self) -> Result<Offset, TenantLogError> {
        if self.shared.poisoned.load(Ordering::Acquire) {
            return Err(TenantLogError::Poisoned);
        }
        let durable = Offset::new(self.records);
        // A segment that was closed since was synced by that; the hash files are derived from the last one again
        // when the log is opened.
        let (file, first) = {
            let state = self.shared.state.read();
            (state.active.file.clone(), state.active.first)
        };
        if self.shared.mark.lock().synced() < self.records && first < self.records {
            self.shared.poison_if_failed(file.sync())?;
            // Without the mark the records are durable all the same, and known to be with the next one.
            match self.shared.mark.lock().advance(self.records) {
                Err(TenantLogError::NoSpace { .. }) => {}
                advanced => self.shared.poison_if_failed(advanced)?,
            }
        }
        Ok(durable)
    }
}

/// Written records on their way to the disk, see [`TenantLog::begin_writeback`].
#[must_use = "nothing is synced before it is run"]
pub struct Writeback {
    shared: Arc<Shared>,
}

impl Writeback {
    /// Syncs the last segment as far as it was written.
    ///
    /// # Errors
    /// [`TenantLogError::Poisoned`], or [`TenantLogError::Io`], which poisons the log.
    pub fn run(self) -> Result<(), TenantLogError> {
        if self.shared.poisoned.load(Ordering::Acquire) {
            return Err(TenantLogError::Poisoned);
        }
        let file = self.shared.state.read().active.file.clone();
        self.shared.poison_if_failed(file.sync())
    }
}
