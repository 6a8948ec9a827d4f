//! The write-ahead log: consensus entries, synced before they are acknowledged, kept until the tenant logs
//! and views they lead to are durable themselves.
//!
//! # Rules
//! - A batch is one record, and it is synced before the next one is written. A record's own position is thus
//!   the end of the previously synced batch: a record anywhere shows that everything before it was synced.
//! - Damage before a position known to be synced is [`WalError::Corrupt`], never truncated. Damage after it
//!   with no record behind it is a torn tail: set aside and reported in [`WalRecovery`].
//! - A segment is written under a temporary name, its space reserved, synced, renamed, its directory synced.
//!   The end of the log comes from record headers, never from a file's size.
//! - A failed write or sync poisons the log, except that a full disk refuses the batch and nothing else.
//! - Payloads are encrypted under a random key per segment, with the position as nonce. A position is never
//!   written twice: a new segment starts after every opening and after every refused batch.
//!
//! # Deliberately absent
//! Votes and the truncation of conflicting entries (they come with replication), and threads: the caller
//! decides when to append and when to purge.

mod cipher;
mod entries;
mod error;
mod format;
mod recovery;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

use craton_crypto::SecretBytes;
use craton_types::{LogIndex, Term};

pub use entries::{WalEntries, WalEntry};
pub use error::{Damage, WalError};
pub use recovery::{TornTail, WalRecovery};

use entries::{follows, join_entries};
use format::{ENTRY_HEADER_BYTES, RECORD_HEADER_BYTES, RecordKind, SEGMENT_HEADER_LENGTH};
use segment::{Link, Segment, Storage, record_bytes, seal_record};

/// The bytes reserved for a segment unless a batch is longer.
pub const WAL_SEGMENT_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;
/// The longest batch: its payloads and 12 bytes for each entry.
pub const BATCH_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A buffer longer than this is not kept for the next batch.
const BUFFER_BYTES_KEPT: usize = 4 * 1024 * 1024;
/// What a mark occupies. Appends leave room for one.
const MARK_BYTES: u64 = record_bytes(0);

/// Fills a buffer with random bytes. Keys and salts are made of them.
pub type RandomFill = Box<dyn FnMut(&mut [u8]) + Send>;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// The bytes reserved for each segment. A longer batch gets a longer segment.
    pub segment_bytes: u64,
    /// The node's key that wraps the segments' keys.
    pub wrapping_key: SecretBytes,
}

impl WalOptions {
    /// The default segment size.
    #[must_use]
    pub const fn new(wrapping_key: SecretBytes) -> Self {
        Self {
            segment_bytes: WAL_SEGMENT_BYTES_DEFAULT,
            wrapping_key,
        }
    }
}

/// The write-ahead log of a node.
pub struct Wal {
    storage: Storage,
    segment_bytes: u64,
    /// Oldest first; the last one is written to. Never empty.
    segments: Vec<Segment>,
    /// Where batches are put together.
    buffer: Vec<u8>,
    /// Whether the batch at the end is not followed by a mark.
    unmarked: bool,
    /// Whether the last segment must not be written to any more.
    sealed: bool,
    poisoned: bool,
}

impl Wal {
    fn new(storage: Storage, segment_bytes: u64, segments: Vec<Segment>) -> Self {
        Self {
            storage,
            segment_bytes,
            segments,
            buffer: Vec::new(),
            unmarked: false,
            sealed: false,
            poisoned: false,
        }
    }

    /// The first entry that was not purged.
    #[must_use]
    pub fn first_index(&self) -> Option<LogIndex> {
        self.segments.iter().find_map(|segment| segment.first)
    }

    /// The last entry that was ever appended; it may have been purged.
    #[must_use]
    pub fn last_index(&self) -> Option<LogIndex> {
        Some(self.active().last?.0)
    }

    /// The term of the last entry.
    #[must_use]
    pub fn last_term(&self) -> Option<Term> {
        Some(self.active().last?.1)
    }

    /// The entries from `index` to the last one; none when `index` is after it.
    ///
    /// # Errors
    /// [`WalError::Purged`] when entries before the first one left are asked for. The iterator itself yields
    /// [`WalError::Corrupt`] or [`WalError::Io`] and then ends.
    pub fn entries_from(&self, index: LogIndex) -> Result<WalEntries<'_>, WalError> {
        let next = self.last_index().map(LogIndex::next);
        let first = self.first_index().or(next).unwrap_or(index);
        if index < first {
            return Err(WalError::Purged { index, first });
        }
        Ok(WalEntries::new(self, index))
    }

    /// Appends entries and returns when they are durable: one write, one `fdatasync`. No entries, no effect.
    ///
    /// # Errors
    /// [`WalError::OutOfOrder`], [`WalError::BatchTooLong`] and [`WalError::NoSpace`] append nothing and leave
    /// the log usable. [`WalError::Io`] leaves unknown what the disk holds and poisons the log.
    pub fn append(&mut self, entries: &[WalEntry]) -> Result<(), WalError> {
        let Some(first) = entries.first() else { return Ok(()) };
        self.check_poison()?;
        let last = self.check_order(entries)?;
        let text_bytes: usize = entries
            .iter()
            .map(|entry| ENTRY_HEADER_BYTES + entry.payload.len())
            .sum();
        if text_bytes as u64 > BATCH_BYTES_MAX {
            return Err(WalError::BatchTooLong {
                bytes: text_bytes as u64,
                bytes_max: BATCH_BYTES_MAX,
            });
        }
        let entry_count = u32::try_from(entries.len()).expect("a batch is limited to far fewer entries");
        self.make_room(record_bytes(text_bytes))?;

        self.buffer.clear();
        self.buffer
            .reserve(usize::try_from(record_bytes(text_bytes)).unwrap_or_default());
        self.buffer.resize(RECORD_HEADER_BYTES, 0);
        join_entries(entries, &mut self.buffer);
        self.write_record((RecordKind::Entries, first.index, first.term, entry_count))?;
        let position = self.active().end - record_bytes(text_bytes);
        self.active_mut().note_entries(position, first.index, last);
        self.unmarked = true;
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Writes a mark after the last batch and syncs it, as when closing: from then on damage to that batch is
    /// known to be corruption, where it would otherwise be taken for a torn write.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub fn mark_synced(&mut self) -> Result<(), WalError> {
        self.check_poison()?;
        if !self.unmarked || self.sealed {
            return Ok(());
        }
        self.buffer.clear();
        self.buffer.resize(RECORD_HEADER_BYTES, 0);
        self.write_record((RecordKind::Mark, LogIndex::ZERO, Term::ZERO, 0))?;
        self.unmarked = false;
        Ok(())
    }

    /// Removes the segments whose entries all have an index up to `through`. The newest segment stays.
    ///
    /// # Errors
    /// [`WalError::Io`] or [`WalError::Poisoned`]. Nothing is lost by it that was not to be purged.
    pub fn purge(&mut self, through: LogIndex) -> Result<(), WalError> {
        self.check_poison()?;
        while let [oldest, _, ..] = self.segments.as_slice() {
            if oldest.last.is_some_and(|(last, _)| last > through) {
                break;
            }
            self.storage.remove_segment(oldest.header.sequence)?;
            self.segments.remove(0);
        }
        Ok(())
    }

    fn active(&self) -> &Segment {
        self.segments.last().expect("a log has a segment from its opening on")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments
            .last_mut()
            .expect("a log has a segment from its opening on")
    }

    fn check_poison(&self) -> Result<(), WalError> {
        if self.poisoned { Err(WalError::Poisoned) } else { Ok(()) }
    }

    /// Checks that the entries follow the log and each other, and returns the last one.
    fn check_order(&self, entries: &[WalEntry]) -> Result<(LogIndex, Term), WalError> {
        let mut last = self.active().last;
        for entry in entries {
            if !follows(entry.index, entry.term, last) {
                let (last_index, last_term) = last.unwrap_or_default();
                return Err(WalError::OutOfOrder {
                    index: entry.index,
                    term: entry.term,
                    last_index,
                    last_term,
                });
            }
            last = Some((entry.index, entry.term));
        }
        Ok(last.unwrap_or_default())
    }

    /// Starts a new segment when the record, and a mark after it, do not fit into the last one.
    fn make_room(&mut self, bytes: u64) -> Result<(), WalError> {
        let active = self.active();
        if !self.sealed && active.end + bytes + MARK_BYTES <= active.header.capacity {
            return Ok(());
        }
        let mut link = Link {
            sequence: active.header.sequence + 1,
            previous_sequence: active.header.sequence,
            previous_end: active.end,
            previous: active.last,
        };
        let replaced = active.end == SEGMENT_HEADER_LENGTH;
        if replaced {
            link.previous_sequence = active.header.previous_sequence;
            link.previous_end = active.header.previous_end;
        }
        let capacity = self.segment_bytes.max(SEGMENT_HEADER_LENGTH + bytes + MARK_BYTES);
        let mut segment = match self.storage.prepare_segment(&link, capacity, Vec::new()) {
            Ok(segment) => segment,
            Err(error) => return Err(self.poison_unless_full(error)),
        };
        // From here on the new segment may have its name, whatever the calls return.
        let published = self.storage.publish_segment(&mut segment);
        let removed = published.and_then(|()| match replaced {
            true => self.storage.remove_segment(link.sequence - 1),
            false => Ok(()),
        });
        if let Err(error) = removed {
            self.poisoned = true;
            return Err(error);
        }
        if replaced {
            self.segments.pop();
        }
        self.segments.push(segment);
        self.sealed = false;
        self.unmarked = false;
        Ok(())
    }

    /// Writes and syncs the record in the buffer at the end of the log.
    fn write_record(&mut self, properties: (RecordKind, LogIndex, Term, u32)) -> Result<(), WalError> {
        let active = self
            .segments
            .last_mut()
            .expect("a log has a segment from its opening on");
        let buffer = &mut self.buffer;
        seal_record(buffer, 0, &active.cipher, active.end, active.header.salt, properties);
        if let Err(error) = active.file.write_all_at(buffer, active.end) {
            let error = WalError::io("write", &active.path)(error);
            // The position is spent: half of the record may be there. The next segment says that it does not count.
            self.sealed = true;
            return Err(self.poison_unless_full(error));
        }
        if let Err(error) = active.file.sync_data() {
            let error = WalError::failed("sync", &active.path)(error);
            self.poisoned = true;
            return Err(error);
        }
        active.end += buffer.len() as u64;
        Ok(())
    }

    fn poison_unless_full(&mut self, error: WalError) -> WalError {
        self.poisoned |= !matches!(error, WalError::NoSpace { .. });
        error
    }
}
