//! The write-ahead log: consensus entries, synced before they are acknowledged, kept until the tenant logs
//! and views they lead to are durable themselves.
//!
//! # Rules
//! - A batch is one record, and it is synced before the next one is written. A record's own position is thus
//!   the end of the previously synced batch: a record anywhere shows that everything before it was synced. So does the
//!   superblock, which names the segments that must be there and how far the newest is known to be synced.
//! - Damage before a position known to be synced is [`WalError::Corrupt`], never truncated. Damage after it
//!   with no record behind it is a torn tail: set aside and reported in [`WalRecovery`].
//! - A segment is written under a temporary name, its space reserved, synced, renamed, its directory synced.
//!   The end of the log comes from record headers, never from a file's size.
//! - Where a node can get back what it lost, damage may be set aside instead: the log opens with what precedes it, and says
//!   that it is incomplete until it is told otherwise.
//! - A failed write or sync poisons the log, except that a full disk refuses the batch and nothing else.
//! - What a tenant's log must hold is noted before the entries that it came from are forgotten.
//! - The node's vote is a record like any other: vote and entries reach the disk in one order. It is in the superblock as
//!   well before anybody is told of it, so that no damage to the records makes the node vote twice.
//! - Payloads are encrypted under a random key per segment, with the position as nonce. A position is never
//!   written twice: a new segment starts after every opening and after every refused batch. One that got no entry is
//!   left out of the log by the next opening.
//! - Entries that conflict with a leader's are cut off by a new segment that follows the log at an earlier place. Entries
//!   that are committed, as far as the log knows, or forgotten are never cut off.
//!
//! # Deliberately absent
//! Which entries conflict and which are committed (`craton-consensus`), and threads: the caller decides when to append, when
//! to reserve space and when to purge.

mod aside;
mod batch;
mod chain;
mod cipher;
mod entries;
mod error;
mod format;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod heads;
mod purge;
mod recovery;
mod scan;
mod scrub;
mod segment;
mod space;
mod superblock;
mod terms;
#[cfg(test)]
mod tests;
mod truncate;

use std::ops::Range;
use std::sync::Arc;

use craton_crypto::SecretBytes;
use craton_types::{LogIndex, NodeId, Term};

pub use batch::{Placement, SealedBatch};
pub use entries::{WalEntries, WalEntry, WalRange};
pub use error::{Damage, WalError};
#[cfg(feature = "fuzzing")]
pub use heads::wal_heads;
pub use heads::{HeadsDamage, LogHead, LogHeadMismatch};
pub use purge::{CoveredPurge, PreparedPurge, WalPurge};
pub use recovery::{TornTail, WalRecovery};
pub use scrub::WalScrub;
pub use space::WalSpace;
pub use superblock::{RepairedCopy, SuperblockDamage, Vote};

use batch::{Beginning, Content};
use entries::follows;
use format::{ENTRY_HEADER_BYTES, SEGMENT_HEADER_LENGTH, VOTE_BYTES};
use segment::{Link, Segment, Storage, record_bytes};
use terms::Terms;

/// The bytes reserved for a segment unless a batch is longer.
pub const WAL_SEGMENT_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;
/// The longest batch: its payloads and 12 bytes for each entry.
pub const BATCH_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A buffer longer than this is not kept for the next batch.
const BUFFER_BYTES_KEPT: usize = 4 * 1024 * 1024;

/// Fills a buffer with random bytes. Keys and salts are made of them.
pub type RandomFill = Box<dyn FnMut(&mut [u8]) + Send>;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// The bytes reserved for each segment. A longer batch gets a longer segment.
    pub segment_bytes: u64,
    /// Whose log it is.
    pub node: NodeId,
    /// The node's key that wraps the segments' keys.
    pub wrapping_key: SecretBytes,
    /// What becomes of a log that lost what it was known to hold.
    pub on_damage: OnDamage,
}

/// What becomes of a log in which something that was known to be synced is damaged or missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// It is not opened.
    #[default]
    Refuse,
    /// It is opened with what precedes the damage; the rest is kept beside it. The log then says that it is incomplete,
    /// see [`Wal::is_incomplete`]. For a node that gets back from others what it lost. Damage to the superblock or the heads,
    /// and a wrong key, are still refused.
    SetAside,
}

impl WalOptions {
    /// The default segment size.
    #[must_use]
    pub const fn new(node: NodeId, wrapping_key: SecretBytes) -> Self {
        Self {
            segment_bytes: WAL_SEGMENT_BYTES_DEFAULT,
            node,
            wrapping_key,
            on_damage: OnDamage::Refuse,
        }
    }
}

/// The write-ahead log of a node.
///
/// [`Wal::append`] does everything at once. A pipeline takes its steps apart: [`Wal::place`] and
/// [`Wal::note_written`] are short and need the log; [`Placement::seal`] and [`SealedBatch::write`] work without it.
pub struct Wal {
    storage: Arc<Storage>,
    segment_bytes: u64,
    /// Oldest first; batches are placed in the last one. Those that are not published yet come last. Never empty.
    segments: Vec<Segment>,
    /// What is placed, written or not.
    placed: Placed,
    /// Where single batches are put together.
    buffer: Vec<u8>,
    vote: Vote,
    /// The terms of the entries in the segments.
    terms: Terms,
    /// The last entry that was forgotten.
    purged: Option<(LogIndex, Term)>,
    /// Entries up to here are known to be committed.
    committed: LogIndex,
    /// Whether the last segment must not be written to any more.
    sealed: bool,
}

/// What an opening found.
struct Contents {
    segments: Vec<Segment>,
    vote: Vote,
    terms: Terms,
    purged: Option<(LogIndex, Term)>,
    committed: LogIndex,
}

/// Where the next batch goes in the last segment, and what it must follow.
struct Placed {
    end: u64,
    last: Option<(LogIndex, Term)>,
}

impl Wal {
    fn new(storage: Storage, segment_bytes: u64, contents: Contents) -> Self {
        let mut wal = Self {
            storage: Arc::new(storage),
            segment_bytes,
            segments: contents.segments,
            placed: Placed { end: 0, last: None },
            buffer: Vec::new(),
            vote: contents.vote,
            terms: contents.terms,
            purged: contents.purged,
            committed: contents.committed,
            sealed: false,
        };
        wal.place_after_written();
        wal
    }

    /// The first entry that was not purged.
    #[must_use]
    pub fn first_index(&self) -> Option<LogIndex> {
        let first = self.segments.iter().find_map(|segment| segment.first)?;
        let first = first.max(self.purged_through().next());
        self.last_index().filter(|last| first <= *last).map(|_| first)
    }

    /// The last entry that was ever made durable; it may have been purged.
    #[must_use]
    pub fn last_index(&self) -> Option<LogIndex> {
        Some(self.active().last?.0)
    }

    /// How many files the log has, the one that is written to included.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.iter().filter(|segment| segment.published).count()
    }

    /// The term of the last entry.
    #[must_use]
    pub fn last_term(&self) -> Option<Term> {
        Some(self.active().last?.1)
    }

    /// The term of an entry, without reading it: of one that is durable and was not purged, or the last one that was;
    /// otherwise `None`.
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        match self.purged {
            Some((purged, term)) if index == purged => Some(term),
            Some((purged, _)) if index < purged => None,
            _ if index > self.last_index()? => None,
            _ => self.terms.at(index),
        }
    }

    /// The last entry that was forgotten, by a purge or a reset.
    #[must_use]
    pub const fn purged(&self) -> Option<(LogIndex, Term)> {
        self.purged
    }

    fn purged_through(&self) -> LogIndex {
        self.purged.unwrap_or_default().0
    }

    /// The last entry that is known to be committed; zero for none. It is never after the last one. After an opening it
    /// may be an earlier one than before, but never before one that was forgotten.
    #[must_use]
    pub fn committed(&self) -> LogIndex {
        self.committed.max(self.purged_through())
    }

    /// Takes note that the entries up to `index`, as far as they are in the log, are committed. They are not cut off any
    /// more. It costs nothing, and reaches the disk with the next record or [`Self::mark_synced`].
    pub fn note_committed(&mut self, index: LogIndex) {
        let known = index.min(self.last_index().unwrap_or_default());
        self.committed = self.committed.max(known);
    }

    /// The last vote; nobody in term zero for a log without one.
    #[must_use]
    pub const fn vote(&self) -> Vote {
        self.vote
    }

    /// Whose log it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.storage.superblock.lock().get().node
    }

    /// Whether entries were lost that may have been acknowledged, and [`Self::mark_complete`] was not called since. A node
    /// with such a log must not vote, nor stand for election, until it has everything back that a quorum may count on. Its
    /// last entries may be ones that had been cut off.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.storage.superblock.lock().get().incomplete
    }

    /// Says durably that the log has everything back that it lost.
    ///
    /// # Errors
    /// [`WalError::Io`] or [`WalError::Poisoned`].
    pub fn mark_complete(&mut self) -> Result<(), WalError> {
        self.storage.check_poison()?;
        self.storage
            .update_superblock(|superblock| superblock.incomplete = false)
    }

    /// The entry before the first one that any file of the log holds, forgotten or not; zero for none.
    #[must_use]
    pub fn before_oldest_file(&self) -> LogIndex {
        let oldest = self.segments.first().expect("never empty").header.previous;
        oldest.map_or(LogIndex::ZERO, |(index, _)| index)
    }

    /// The last entry before the newest `count` files; zero when there are no more.
    #[must_use]
    pub fn before_newest_files(&self, count: usize) -> LogIndex {
        let mut older = self
            .segments
            .iter()
            .filter(|segment| segment.published)
            .rev()
            .skip(count);
        let last = older.next().and_then(|segment| segment.last);
        last.map_or(LogIndex::ZERO, |(index, _)| index)
    }

    /// Removes, durably, what was set aside because it was damaged, so that nothing is left of entries that must be
    /// forgotten. What a torn tail was cut off from has the key to it, and goes with a purge.
    ///
    /// # Errors
    /// [`WalError::Io`].
    pub fn forget_set_aside(&mut self) -> Result<(), WalError> {
        aside::forget(&self.storage)
    }

    /// What reserves the next segment's space.
    #[must_use]
    pub fn space(&self) -> WalSpace {
        WalSpace {
            storage: Arc::clone(&self.storage),
            segment_bytes: self.segment_bytes,
        }
    }

    /// The index that follows what was placed, durable or not; one for a new log.
    #[must_use]
    pub fn next_index(&self) -> LogIndex {
        self.placed.last.map_or(LogIndex::new(1), |(last, _)| last.next())
    }

    /// The entries from `index` to the last one; none when `index` is after it.
    ///
    /// # Errors
    /// [`WalError::Purged`] when entries before the first one left are asked for. The iterator itself yields
    /// [`WalError::Corrupt`] or [`WalError::Io`] and then ends.
    pub fn entries_from(&self, index: LogIndex) -> Result<WalEntries<'_>, WalError> {
        self.check_not_purged(index)?;
        Ok(WalEntries::new(self, index))
    }

    /// The entries of a range, as far as they are durable, for reading without the log.
    ///
    /// # Errors
    /// [`WalError::Purged`] when entries before the first one left are asked for.
    pub fn range(&self, wanted: Range<LogIndex>) -> Result<WalRange, WalError> {
        self.check_not_purged(wanted.start)?;
        Ok(WalRange::new(self, wanted))
    }

    fn check_not_purged(&self, index: LogIndex) -> Result<(), WalError> {
        let next = self.last_index().map(LogIndex::next);
        let first = self.first_index().or(next).unwrap_or(index);
        match index < first {
            true => Err(WalError::Purged { index, first }),
            false => Ok(()),
        }
    }

    /// Appends entries and returns when they are durable: one write, one `fdatasync`. No entries, no effect.
    ///
    /// # Errors
    /// [`WalError::OutOfOrder`], [`WalError::BatchTooLong`] and [`WalError::NoSpace`] append nothing and leave
    /// the log usable. [`WalError::Io`] leaves unknown what the disk holds and poisons the log.
    pub fn append(&mut self, entries: &[WalEntry]) -> Result<(), WalError> {
        if entries.is_empty() {
            return Ok(());
        }
        let placement = self.place(entries)?;
        let batch = placement.seal(entries, std::mem::take(&mut self.buffer));
        let written = self.write_now(&batch);
        self.buffer = batch.into_buffer();
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        written
    }

    /// Records a vote and returns when it is durable. The same vote again has no effect.
    ///
    /// # Errors
    /// [`WalError::VoteOutOfOrder`] when this or a later term has another vote, an entry has a later term, or a quorum's
    /// vote is for nobody; otherwise as for [`Self::append`].
    pub fn record_vote(&mut self, vote: Vote) -> Result<(), WalError> {
        if vote == self.vote {
            return Ok(());
        }
        let last_term = self.placed.last.map_or(Term::ZERO, |(_, term)| term);
        if !vote.may_follow(&self.vote) || !vote.is_meaningful() || vote.term < last_term {
            let last = self.vote;
            return Err(WalError::VoteOutOfOrder { vote, last });
        }
        self.storage.check_poison()?;
        let placement = self.place_record(Content::Vote(vote), VOTE_BYTES)?;
        let batch = placement.seal_with(Vec::new(), |text| text.extend_from_slice(&vote.encode()));
        self.write_now(&batch)?;
        self.storage.update_superblock(|superblock| superblock.vote = vote)
    }

    fn write_now(&mut self, batch: &SealedBatch) -> Result<(), WalError> {
        let written = batch.write();
        match &written {
            Ok(()) => self.note_written(batch),
            Err(WalError::NoSpace { .. }) => self.take_back(),
            Err(_) => {}
        }
        written
    }

    /// Gives a batch its place after everything placed before. Nothing is written yet; when a new segment is needed,
    /// its space is reserved.
    ///
    /// # Errors
    /// As for [`Self::append`]; nothing is placed then.
    ///
    /// # Panics
    /// When there are no entries.
    pub fn place(&mut self, entries: &[WalEntry]) -> Result<Placement, WalError> {
        let first = entries.first().expect("a batch has entries");
        self.storage.check_poison()?;
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
        let content = Content::Entries {
            first: (first.index, first.term),
            last,
            count: u32::try_from(entries.len()).expect("a batch is limited to far fewer entries"),
            terms: entries.iter().map(|entry| (entry.index, entry.term)).collect(),
        };
        self.place_record(content, text_bytes)
    }

    fn place_record(&mut self, content: Content, text_bytes: usize) -> Result<Placement, WalError> {
        let bytes = record_bytes(text_bytes);
        let beginning = self.make_room(bytes)?;
        let position = self.placed.end;
        self.placed.end += bytes;
        if let Content::Entries { last, .. } = content {
            self.placed.last = Some(last);
        }
        let segment = self.segments.last().expect("never empty");
        Ok(Placement {
            storage: Arc::clone(&self.storage),
            cipher: Arc::clone(&segment.cipher),
            file: Arc::clone(&segment.file),
            path: segment.path.clone(),
            sequence: segment.header.sequence,
            salt: segment.header.salt,
            position,
            content,
            committed: self.committed(),
            beginning,
        })
    }

    /// Takes note that a batch is durable. Batches are noted in the order of their places.
    ///
    /// # Panics
    /// When it is not the oldest batch that was not noted.
    pub fn note_written(&mut self, batch: &SealedBatch) {
        let placement = &batch.placement;
        if let Some(beginning) = &placement.beginning {
            let replaced = |segment: &Segment| Some(segment.header.sequence) == beginning.replaces;
            self.segments.retain(|segment| !replaced(segment));
        }
        let path = self.storage.segment_path(placement.sequence);
        let segment = self
            .segments
            .iter_mut()
            .find(|segment| segment.header.sequence == placement.sequence)
            .expect("a segment with placed batches is kept");
        assert_eq!(segment.end, placement.position, "batches are written in order");
        segment.published = true;
        segment.path = path;
        segment.end = batch.end();
        match &placement.content {
            Content::Entries { first, last, terms, .. } => {
                segment.note_entries(placement.position, first.0, *last);
                self.terms.extend(terms);
            }
            &Content::Vote(vote) => {
                self.vote = vote;
                self.storage.superblock.lock().note(|superblock| superblock.vote = vote);
            }
        }
    }

    /// Makes the next batch begin a new segment, so that a purge can remove everything before it.
    pub fn begin_segment(&mut self) {
        self.sealed = true;
    }

    /// Forgets every place whose batch was not written, after one of them met a full disk. Their positions are
    /// spent, so the next batch begins a new segment.
    pub fn take_back(&mut self) {
        while let Some(unpublished) = self.segments.pop_if(|segment| !segment.published) {
            self.storage.discard(&unpublished.path);
        }
        self.place_after_written();
        self.sealed = true;
    }

    /// Writes into the superblock how far the log is synced, as when closing: from then on damage to the last batch
    /// is known to be corruption, where it would otherwise be taken for a torn write. And which entries are committed.
    ///
    /// # Errors
    /// [`WalError::Io`] or [`WalError::Poisoned`].
    pub fn mark_synced(&mut self) -> Result<(), WalError> {
        self.storage.check_poison()?;
        let (sequence, end) = (self.active().header.sequence, self.active().end);
        let committed = self.committed();
        self.storage.update_superblock(|superblock| {
            superblock.note_synced(sequence, end);
            superblock.committed = committed;
        })
    }

    /// The last segment that belongs to the log.
    fn active(&self) -> &Segment {
        let mut segments = self.segments.iter().rev();
        segments
            .find(|segment| segment.published)
            .expect("a log has a segment from its opening on")
    }

    fn place_after_written(&mut self) {
        let active = self.active();
        self.placed = Placed {
            end: active.end,
            last: active.last,
        };
    }

    /// Checks that the entries follow the log and each other, and returns the last one.
    fn check_order(&self, entries: &[WalEntry]) -> Result<(LogIndex, Term), WalError> {
        let mut last = self.placed.last;
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

    /// Begins a new segment when the record does not fit into the last one.
    fn make_room(&mut self, bytes: u64) -> Result<Option<Beginning>, WalError> {
        let last = self.segments.last().expect("never empty");
        if !self.sealed && self.placed.end + bytes <= last.header.capacity {
            return Ok(None);
        }
        let mut link = Link {
            sequence: last.header.sequence + 1,
            previous_sequence: last.header.sequence,
            previous_end: self.placed.end,
            previous: self.placed.last,
        };
        // Without records a segment is not needed as a link either.
        let replaces = (self.placed.end == SEGMENT_HEADER_LENGTH).then_some(last.header.sequence);
        if replaces.is_some() {
            link.previous_sequence = last.header.previous_sequence;
            link.previous_end = last.header.previous_end;
        }
        let capacity = self.segment_bytes.max(SEGMENT_HEADER_LENGTH + bytes);
        let begun = self.storage.begin_segment(&link, capacity, bytes);
        let (segment, header) = self.storage.poison_unless_full(begun)?;
        self.segments.push(segment);
        self.placed.end = SEGMENT_HEADER_LENGTH;
        self.sealed = false;
        Ok(Some(Beginning { header, replaces }))
    }
}
