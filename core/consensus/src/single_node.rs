//! Consensus of one: the local write-ahead log is the quorum.

use std::collections::VecDeque;

use craton_log::{Wal, WalEntry};
use craton_types::{LogIndex, Term};
use parking_lot::{Condvar, Mutex};

use crate::{CommittedEntry, Consensus, ConsensusError};

/// A lone node never votes, so its term never changes.
const ONLY_TERM: Term = Term::new(1);
/// The most entries that wait to be applied; a proposer waits when there are more.
const COMMITTED_ENTRIES_MAX: usize = 8;

/// The single-node implementation of [`Consensus`].
pub struct SingleNode {
    wal: Mutex<Wal>,
    /// Held from append to hand-over, so that entries are handed over in the order of their indexes.
    order: Mutex<()>,
    recovered: Mutex<Recovered>,
    committed: Mutex<Committed>,
    changed: Condvar,
}

/// Entries that were in the log when it was opened, read back a few at a time.
struct Recovered {
    next: LogIndex,
    last: LogIndex,
    read: VecDeque<WalEntry>,
}

/// Entries that became durable since and are not handed out yet.
struct Committed {
    entries: VecDeque<CommittedEntry>,
    closed: bool,
}

impl SingleNode {
    /// Takes an open log. Its entries after `applied` are handed out as recovered.
    #[must_use]
    pub fn new(wal: Wal, applied: LogIndex) -> Self {
        let last = wal.last_index().unwrap_or(LogIndex::ZERO);
        // What was purged is applied everywhere, though a tenant that it did not concern may not say so; when
        // everything was purged, nothing is left to hand out.
        let next = wal.first_index().unwrap_or(last.next()).max(applied.next());
        let recovered = Recovered {
            next,
            last,
            read: VecDeque::new(),
        };
        Self {
            wal: Mutex::new(wal),
            order: Mutex::new(()),
            recovered: Mutex::new(recovered),
            committed: Mutex::new(Committed {
                entries: VecDeque::new(),
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Consensus for SingleNode {
    fn propose(&self, payload: Vec<u8>) -> Result<LogIndex, ConsensusError> {
        let _order = self.order.lock();
        let mut wal = self.wal.lock();
        let index = wal.last_index().map_or(LogIndex::new(1), LogIndex::next);
        let entry = WalEntry {
            index,
            term: ONLY_TERM,
            payload,
        };
        wal.append(std::slice::from_ref(&entry))?;
        drop(wal);
        let mut committed = self.committed.lock();
        while committed.entries.len() >= COMMITTED_ENTRIES_MAX && !committed.closed {
            self.changed.wait(&mut committed);
        }
        if committed.closed {
            return Err(ConsensusError::Closed);
        }
        let payload = entry.payload.into();
        committed.entries.push_back(CommittedEntry {
            index,
            term: ONLY_TERM,
            payload,
        });
        self.changed.notify_all();
        Ok(index)
    }

    fn next_recovered(&self) -> Result<Option<CommittedEntry>, ConsensusError> {
        let mut recovered = self.recovered.lock();
        if recovered.read.is_empty() && recovered.next <= recovered.last {
            let wal = self.wal.lock();
            let entries: Vec<WalEntry> = wal
                .entries_from(recovered.next)?
                .take(COMMITTED_ENTRIES_MAX)
                .collect::<Result<_, _>>()?;
            drop(wal);
            recovered.next = entries.last().map_or(recovered.last, |entry| entry.index).next();
            recovered.read.extend(entries);
        }
        let entry = recovered.read.pop_front();
        Ok(entry.map(|entry| CommittedEntry {
            index: entry.index,
            term: entry.term,
            payload: entry.payload.into(),
        }))
    }

    fn next_committed(&self) -> Result<CommittedEntry, ConsensusError> {
        let mut committed = self.committed.lock();
        loop {
            if let Some(entry) = committed.entries.pop_front() {
                self.changed.notify_all();
                return Ok(entry);
            }
            if committed.closed {
                return Err(ConsensusError::Closed);
            }
            self.changed.wait(&mut committed);
        }
    }

    fn purge(&self, through: LogIndex) -> Result<(), ConsensusError> {
        Ok(self.wal.lock().purge(through)?)
    }

    fn close(&self) {
        self.committed.lock().closed = true;
        self.changed.notify_all();
        // Nothing is lost without the mark; with it, later damage to the last batch is known to be damage.
        if let Err(error) = self.wal.lock().mark_synced() {
            tracing::warn!(%error, "the write-ahead log could not be marked as closed");
        }
    }
}
