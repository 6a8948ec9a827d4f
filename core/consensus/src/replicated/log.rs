//! Raft's log on the write-ahead log.
//!
//! # Invariants
//! - Entries and votes are durable before the call that brings them returns, in the order of the calls.
//! - A payload's last byte says what it is: a proposal, an entry of consensus itself, or a membership.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use craton_log::{LogHead, Wal, WalEntry, WalError, WalSpace};
use craton_types::planted::{Bug, is_planted};
use craton_types::{LogIndex, NodeId, Term};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, EntryPayload, LogState, OptionalSend, RaftLogReader, StorageIOError};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::blocking;
use super::marks::Marks;
use super::types::{Entry, LogId, Proposal, StorageError, TypeConfig, Vote, log_id, log_index, raft_index, term};
use super::wire::{decode_members, encode_members};

/// What a reader of many entries gets at once, unless a single one is longer.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the newest entries that are kept in memory, for members that follow closely.
const TAIL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A payload's last byte.
const TAG_PROPOSAL: u8 = 0;
const TAG_BLANK: u8 = 1;
const TAG_MEMBERSHIP: u8 = 2;

/// The payload of an entry that carries a proposal.
pub(crate) fn tag_proposal(mut payload: Vec<u8>) -> Vec<u8> {
    payload.push(TAG_PROPOSAL);
    payload
}

/// What an entry of the write-ahead log proposes; `None` for an entry of consensus itself.
pub(crate) fn proposal(payload: Vec<u8>) -> Option<Bytes> {
    let mut payload = Bytes::from(payload);
    let tag = payload.split_off(payload.len().saturating_sub(1));
    (*tag == [TAG_PROPOSAL]).then_some(payload)
}

/// A raft entry as the write-ahead log keeps it.
pub(super) fn stored(entry: &Entry) -> WalEntry {
    let payload = match &entry.payload {
        EntryPayload::Normal(proposal) => {
            let mut payload = Vec::with_capacity(proposal.0.len() + 1);
            payload.extend_from_slice(&proposal.0);
            tag_proposal(payload)
        }
        EntryPayload::Blank => vec![TAG_BLANK],
        EntryPayload::Membership(members) => {
            let mut payload = encode_members(members);
            payload.push(TAG_MEMBERSHIP);
            payload
        }
    };
    WalEntry {
        index: log_index(entry.log_id.index),
        term: term(&entry.log_id),
        payload,
    }
}

/// What [`stored`] made; `None` when it is nothing of ours.
pub(super) fn loaded(entry: WalEntry) -> Option<Entry> {
    let log_id = log_id(entry.index, entry.term)?;
    let (tag, content) = entry.payload.split_last()?;
    let payload = match *tag {
        TAG_PROPOSAL => EntryPayload::Normal(Proposal(proposal(entry.payload)?)),
        TAG_BLANK if content.is_empty() => EntryPayload::Blank,
        TAG_MEMBERSHIP => EntryPayload::Membership(decode_members(content).ok()?),
        _ => return None,
    };
    Some(Entry { log_id, payload })
}

/// The log of a member. What raft does to it comes through [`LogStore`].
pub(super) struct Log {
    wal: Mutex<Wal>,
    tail: Mutex<Tail>,
    pub(super) space: WalSpace,
    pub(super) marks: Mutex<Marks>,
    forgettable: Mutex<Forgettable>,
    /// The last entry of a snapshot that is being brought in: until then the log cannot go on after it.
    installing: watch::Sender<Option<LogId>>,
    /// Whether a vote was written down since consensus started.
    has_voted: AtomicBool,
    failure: Mutex<Option<Arc<WalError>>>,
}

/// How much may be forgotten.
#[derive(Default)]
struct Forgettable {
    /// The last entry that may; nothing is forgotten before somebody said so.
    through: Option<LogId>,
    /// How long the tenants' logs are, which hold what is forgotten.
    heads: Vec<LogHead>,
}

/// The newest entries, in order.
#[derive(Default)]
struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Tail {
    fn push(&mut self, entry: Entry) {
        self.bytes += payload_bytes(&entry);
        self.entries.push_back(entry);
        while self.bytes > TAIL_BYTES_MAX && self.entries.len() > 1 {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| payload_bytes(&entry));
        }
    }

    /// Forgets what lies from an index on.
    fn truncate(&mut self, index: u64) {
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.log_id.index >= index) {
            self.bytes -= payload_bytes(&entry);
        }
    }

    /// The entries from `start` to before `end`; `None` when it does not reach back that far.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.log_id.index;
        let skipped = usize::try_from(start.checked_sub(first)?).ok()?;
        let mut bytes = 0;
        let wanted = self.entries.iter().skip(skipped).take_while(|entry| {
            let is_first = bytes == 0;
            bytes += payload_bytes(entry);
            entry.log_id.index < end && (is_first || bytes <= bytes_max)
        });
        Some(wanted.cloned().collect())
    }
}

fn payload_bytes(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    payload + size_of::<Entry>()
}

impl Log {
    pub(super) fn new(wal: Wal, marks: Marks) -> Self {
        Self {
            space: wal.space(),
            wal: Mutex::new(wal),
            tail: Mutex::default(),
            marks: Mutex::new(marks),
            forgettable: Mutex::default(),
            installing: watch::Sender::new(None),
            has_voted: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    pub(super) fn with_wal<T>(&self, work: impl FnOnce(&mut Wal) -> T) -> T {
        work(&mut self.wal.lock())
    }

    /// Why the log failed, if it did.
    pub(super) fn failure(&self) -> Option<Arc<WalError>> {
        self.failure.lock().clone()
    }

    /// Forgets that it failed, when what it failed of is over.
    pub(super) fn clear_failure(&self) {
        *self.failure.lock() = None;
    }

    /// The last entry that was forgotten.
    pub(super) fn purged(&self) -> Option<LogId> {
        let purged = self.wal.lock().purged();
        purged.and_then(|(index, term)| log_id(index, term))
    }

    /// The first entry that is left, or the one that comes next.
    pub(super) fn first(&self) -> u64 {
        let wal = self.wal.lock();
        let first = wal.first_index().unwrap_or(wal.next_index());
        raft_index(first).unwrap_or_default()
    }

    pub(super) fn last(&self) -> Option<LogId> {
        let wal = self.wal.lock();
        log_id(wal.last_index()?, wal.last_term()?)
    }

    /// The last entry that is known to be committed.
    pub(super) fn committed(&self) -> LogIndex {
        self.wal.lock().committed()
    }

    /// The id of an entry that is in the log, or was the last one to be forgotten.
    pub(super) fn id_at(&self, index: LogIndex) -> Option<LogId> {
        let wal = self.wal.lock();
        if let Some((purged, term)) = wal.purged().filter(|(purged, _)| *purged == index) {
            return log_id(purged, term);
        }
        wal.term_at(index).and_then(|term| log_id(index, term))
    }

    /// The entries of the log from `start` to before `end`, from memory where possible.
    pub(super) fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, WalError> {
        if start >= end {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.tail.lock().read(start, end, bytes_max) {
            return Ok(entries);
        }
        let mut range = self.wal.lock().range(log_index(start)..log_index(end))?;
        let entries = range.read(bytes_max)?.into_iter().map(|entry| {
            let index = entry.index;
            loaded(entry).ok_or(WalError::Unknown { index })
        });
        entries.collect()
    }

    /// Appends entries; they are durable when this returns. Those that a snapshot brought the effects of are left out.
    fn append(&self, entries: &[Entry]) -> Result<(), WalError> {
        let purged = self.purged().map(|purged| purged.index);
        let known = entries.partition_point(|entry| Some(entry.log_id.index) <= purged);
        let entries = &entries[known..];
        let stored: Vec<WalEntry> = entries.iter().map(stored).collect();
        if stored.is_empty() {
            return Ok(());
        }
        let placement = self.wal.lock().place(&stored)?;
        let batch = placement.seal(&stored, Vec::new());
        match batch.write() {
            Ok(()) => self.wal.lock().note_written(&batch),
            Err(error) => {
                if matches!(error, WalError::NoSpace { .. }) {
                    self.wal.lock().take_back();
                }
                return Err(error);
            }
        }
        let mut tail = self.tail.lock();
        entries.iter().for_each(|entry| tail.push(entry.clone()));
        Ok(())
    }

    fn truncate(&self, index: u64) -> Result<(), WalError> {
        self.tail.lock().truncate(index);
        self.wal.lock().truncate_from(log_index(index))
    }

    /// Notes that the entries up to `through` may be forgotten, and which logs of tenants hold them.
    pub(super) fn allow_forgetting(&self, through: LogId, heads: Vec<LogHead>) {
        *self.forgettable.lock() = Forgettable {
            through: Some(through),
            heads,
        };
    }

    /// Forgets the entries up to an index, if they may be. What a snapshot brings in may not be forgotten before it is in,
    /// though consensus takes it for forgotten as soon as the snapshot was offered; then it is forgotten with the rest.
    pub(super) fn purge(&self, last: LogId) -> Result<(), WalError> {
        let heads = {
            let forgettable = self.forgettable.lock();
            if forgettable.through < Some(last) {
                return Ok(());
            }
            forgettable.heads.clone()
        };
        if self.last() < Some(last) {
            return self.wal.lock().reset((log_index(last.index), term(&last)), heads);
        }
        let last = (log_index(last.index), term(&last));
        let Some(prepared) = self.wal.lock().prepare_exact_purge(last) else {
            return Ok(());
        };
        let covered = match prepared.write_heads(heads) {
            // The next purge tries again.
            Err(WalError::NoSpace { .. }) => return Ok(()),
            covered => covered?,
        };
        let purge = self.wal.lock().begin_purge(covered);
        purge.run()
    }

    /// Notes that a snapshot up to `last` is coming in.
    pub(super) fn begin_install(&self, last: LogId) {
        self.installing.send_replace(Some(last));
    }

    /// Makes the log go on after a snapshot, whose effects are durable.
    pub(super) fn finish_install(&self, last: LogId, heads: Vec<LogHead>) -> Result<(), WalError> {
        let index = log_index(last.index);
        let keeps_entries = self.last().is_some_and(|end| end > last) && self.id_at(index) == Some(last);
        self.allow_forgetting(last, heads.clone());
        if keeps_entries {
            self.purge(last)?;
        } else {
            self.tail.lock().truncate(0);
            self.wal.lock().reset((index, term(&last)), heads)?;
        }
        self.installing.send_replace(None);
        Ok(())
    }

    /// A snapshot did not come in: the log is as it was.
    pub(super) fn abandon_install(&self) {
        self.installing.send_replace(None);
    }

    /// Consensus starts: a member that led when it stopped does not lead any more until it is elected again. Otherwise
    /// consensus would let it go on, with what is known here to be committed. That is less than what it acknowledged, and a
    /// read would miss the rest.
    pub(super) fn lead_no_more(&self) {
        self.has_voted.store(false, Ordering::Relaxed);
    }

    fn failed(&self, error: WalError) -> AnyError {
        let error = Arc::new(error);
        *self.failure.lock() = Some(Arc::clone(&error));
        AnyError::new(&*error)
    }
}

/// What openraft is given: the log, and readers of it.
#[derive(Clone)]
pub(super) struct LogStore(pub(super) Arc<Log>);

impl LogStore {
    fn read_error(&self, error: WalError) -> StorageError {
        StorageIOError::read_logs(self.0.failed(error)).into()
    }

    fn write_error(&self, error: WalError) -> StorageError {
        StorageIOError::write_logs(self.0.failed(error)).into()
    }

    /// Waits until no snapshot is coming in.
    async fn installed(&self) {
        let mut installing = self.0.installing.subscribe();
        // The sender is in the log, which is held here.
        let _ = installing.wait_for(Option::is_none).await;
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let first = self.0.first();
        let last_next = self.0.last().map_or(0, |last| last.index + 1);
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        blocking(|| self.0.read(start.max(first), end.min(last_next), usize::MAX))
            .map_err(|error| self.read_error(error))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        blocking(|| self.0.read(start, end, READ_BYTES_MAX)).map_err(|error| self.read_error(error))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let installing = *self.0.installing.borrow();
        Ok(LogState {
            last_purged_log_id: self.0.purged().max(installing),
            last_log_id: self.0.last().max(self.0.purged()).max(installing),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let stored = craton_log::Vote {
            term: Term::new(vote.leader_id.term),
            voted_for: NodeId::new(vote.leader_id.voted_for.unwrap_or_default()),
            committed: vote.committed,
        };
        self.0.has_voted.store(true, Ordering::Relaxed);
        if is_planted(Bug::ForgetVote) {
            return Ok(());
        }
        blocking(|| self.0.wal.lock().record_vote(stored))
            .map_err(|error| StorageIOError::write_vote(self.0.failed(error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let stored = self.0.wal.lock().vote();
        if stored == craton_log::Vote::default() {
            return Ok(None);
        }
        let mut vote = Vote::new(stored.term.get(), stored.voted_for.get());
        let was_elected_before =
            !self.0.has_voted.load(Ordering::Relaxed) && stored.voted_for == self.0.with_wal(|wal| wal.node());
        vote.committed = stored.committed && !was_elected_before;
        Ok(Some(vote))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        if let Some(committed) = committed {
            self.0.wal.lock().note_committed(log_index(committed.index));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        // What is forgotten was applied, and cannot be applied again.
        let committed = self.0.id_at(self.0.committed());
        Ok(committed.filter(|committed| Some(committed) > self.0.purged().as_ref()))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.installed().await;
        blocking(|| self.0.append(&entries)).map_err(|error| self.write_error(error))?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        blocking(|| self.0.truncate(log_id.index)).map_err(|error| self.write_error(error))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        blocking(|| self.0.purge(log_id)).map_err(|error| self.write_error(error))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use craton_crypto::SecretBytes;
    use craton_log::WalOptions;
    use craton_log::testing::MemoryDisk;

    use super::*;

    fn id(index: u64) -> LogId {
        log_id(LogIndex::new(index), Term::new(1)).expect("the first index is one")
    }

    #[test]
    fn nothing_is_forgotten_before_it_may_be() {
        let disk = Arc::new(MemoryDisk::new());
        let options = WalOptions::new(NodeId::new(1), SecretBytes::new([7; 32]));
        let random = Box::new(|bytes: &mut [u8]| bytes.fill(1));
        let (wal, _) = Wal::open(disk.clone(), Path::new("/wal"), options, random).expect("a new log");
        let log = Log::new(wal, Marks::open(disk, Path::new("/consensus")).expect("new marks"));
        let entries = [1, 2, 3].map(|index| Entry {
            log_id: id(index),
            payload: EntryPayload::Blank,
        });
        log.append(&entries).expect("written");
        // Consensus takes for forgotten what a snapshot that was offered brings, which is not in yet.
        for early in [2, 3, 9] {
            log.purge(id(early)).expect("there is nothing to do");
            assert_eq!((log.purged(), log.last()), (None, Some(id(3))), "{early}");
        }
        log.allow_forgetting(id(2), Vec::new());
        log.purge(id(3)).expect("that is too much");
        assert_eq!(log.purged(), None);
        log.purge(id(2)).expect("forgotten");
        assert_eq!((log.purged(), log.last()), (Some(id(2)), Some(id(3))));
    }
}
