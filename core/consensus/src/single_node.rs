//! Consensus of one: the local write-ahead log is the quorum.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use craton_log::{LogHead, Vote, Wal, WalEntry, WalError};
use craton_types::planted::{Bug, is_planted};
use craton_types::{LogIndex, Term};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::pipeline::{COMMITTED_ENTRIES_MAX, Pipeline};
use crate::{Alone, CommittedEntry, Consensus, ConsensusError, Lost, Machine, Role};

/// The single-node implementation of [`Consensus`]. Every opening begins a new term: the node votes for itself, and
/// is elected.
pub struct SingleNode {
    pipeline: Arc<Pipeline>,
    term: Term,
    recovered: Mutex<Recovered>,
    threads: Vec<JoinHandle<()>>,
}

/// Entries that were in the log when it was opened, read back a few at a time.
struct Recovered {
    next: LogIndex,
    last: LogIndex,
    read: VecDeque<WalEntry>,
}

impl SingleNode {
    /// Takes an open log, begins a new term in it, and starts the threads that write it. The log's entries after
    /// `applied` are handed out as recovered.
    ///
    /// # Errors
    /// When the vote cannot be made durable, or the system gives no thread.
    pub fn new(wal: Wal, applied: LogIndex) -> Result<Self, ConsensusError> {
        let mut node = Self::without_threads(wal, applied)?;
        node.spawn("craton-wal", Pipeline::run)?;
        node.spawn("craton-wal-space", Pipeline::keep_space_reserved)?;
        Ok(node)
    }

    /// As [`Self::new`], but starts no threads: what they do is done by the calls of [`crate::Stepped`].
    ///
    /// # Errors
    /// When the vote cannot be made durable.
    #[cfg(feature = "simulation")]
    pub fn stepped(wal: Wal, applied: LogIndex) -> Result<Self, ConsensusError> {
        Self::without_threads(wal, applied)
    }

    fn without_threads(mut wal: Wal, applied: LogIndex) -> Result<Self, ConsensusError> {
        let term = wal.vote().term.max(wal.last_term().unwrap_or(Term::ZERO)).next();
        let voted_for = wal.node();
        wal.record_vote(Vote {
            term,
            voted_for,
            // It is the only voter.
            committed: true,
        })?;
        let last = wal.last_index().unwrap_or(LogIndex::ZERO);
        // What was purged is applied everywhere, though a tenant that it did not concern may not say so; when
        // everything was purged, nothing is left to hand out.
        let next = wal.first_index().unwrap_or(last.next()).max(applied.next());
        let recovered = Recovered {
            next,
            last,
            read: VecDeque::new(),
        };
        Ok(Self {
            pipeline: Arc::new(Pipeline::new(wal)),
            term,
            recovered: Mutex::new(recovered),
            threads: Vec::new(),
        })
    }

    fn spawn(&mut self, name: &str, run: fn(&Pipeline)) -> Result<(), ConsensusError> {
        let pipeline = Arc::clone(&self.pipeline);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&pipeline))
            .map_err(ConsensusError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Consensus for SingleNode {
    fn start(&self, _machine: Arc<dyn Machine>) {
        // There is nobody to tell.
    }

    fn role(&self) -> Role {
        Role::Leader
    }

    fn is_ready(&self) -> bool {
        self.pipeline.is_ready()
    }

    fn wait_until_ready(&self) {
        self.pipeline.wait_until_ready();
    }

    fn propose(&self, payload: Vec<u8>, _lost: Lost) -> Result<(), ConsensusError> {
        self.pipeline.append(self.term, payload)
    }

    fn read_index(&self) -> BoxFuture<'static, Result<LogIndex, ConsensusError>> {
        // What was acknowledged was applied here before.
        std::future::ready(Ok(LogIndex::ZERO)).boxed()
    }

    fn commit_alone(&self, payload: Vec<u8>, applied: LogIndex) -> Result<Alone, ConsensusError> {
        self.pipeline.commit_alone(self.term, payload, applied)
    }

    fn is_out_of_space(&self) -> bool {
        self.pipeline.is_out_of_space()
    }

    fn next_recovered(&self) -> Result<Option<CommittedEntry>, ConsensusError> {
        let mut recovered = self.recovered.lock();
        if is_planted(Bug::SkipLastRecovered) && recovered.read.is_empty() && recovered.next == recovered.last {
            return Ok(None);
        }
        if recovered.read.is_empty() && recovered.next <= recovered.last {
            let wal = self.pipeline.wal.lock();
            let entries: Vec<WalEntry> = wal
                .entries_from(recovered.next)?
                .take(COMMITTED_ENTRIES_MAX)
                .collect::<Result<_, _>>()?;
            drop(wal);
            recovered.next = entries.last().map_or(recovered.last, |entry| entry.index).next();
            recovered.read.extend(entries);
        }
        let entry = recovered.read.pop_front();
        Ok(entry.map(CommittedEntry::from))
    }

    fn last_recovered(&self) -> LogIndex {
        self.recovered.lock().last
    }

    fn next_committed(&self) -> Result<CommittedEntry, ConsensusError> {
        self.pipeline.next_committed()
    }

    fn begin_segment(&self) {
        self.pipeline.wal.lock().begin_segment();
    }

    fn segment_count(&self) -> usize {
        self.pipeline.wal.lock().segment_count()
    }

    fn purge(&self, through: LogIndex, heads: &dyn Fn() -> Vec<LogHead>) -> Result<(), ConsensusError> {
        // The log is held neither while the heads are written nor while files are removed.
        let Some(prepared) = self.pipeline.wal.lock().prepare_purge(through) else {
            return Ok(());
        };
        let covered = match prepared.write_heads(heads()) {
            // The next purge tries again.
            Err(WalError::NoSpace { .. }) => return Ok(()),
            covered => covered?,
        };
        let purge = self.pipeline.wal.lock().begin_purge(covered);
        Ok(purge.run()?)
    }

    fn scrub(&self) -> Result<u64, ConsensusError> {
        // The log is not held while it is read.
        let scrub = self.pipeline.wal.lock().scrub();
        Ok(scrub.run()?)
    }

    fn close(&self) {
        self.pipeline.close();
    }
}

#[cfg(feature = "simulation")]
impl crate::Stepped for SingleNode {
    fn write(&self) -> bool {
        matches!(self.pipeline.write_next(), Ok(crate::pipeline::Written::Something))
    }

    fn reserve(&self) -> bool {
        // The log is poisoned by a failure, which the next write reports.
        self.pipeline.wants_space() && self.pipeline.reserve_space().is_ok()
    }

    fn try_next_committed(&self) -> Result<Option<CommittedEntry>, ConsensusError> {
        self.pipeline.try_next_committed()
    }
}

impl Drop for SingleNode {
    fn drop(&mut self) {
        self.pipeline.close();
        for thread in self.threads.drain(..) {
            // One that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}
