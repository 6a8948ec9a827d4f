//! Consensus of one: the local write-ahead log is the quorum.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use craton_log::{Wal, WalEntry};
use craton_types::{LogIndex, Term};
use parking_lot::Mutex;

use crate::pipeline::{COMMITTED_ENTRIES_MAX, Pipeline};
use crate::{CommittedEntry, Consensus, ConsensusError};

/// A lone node never votes, so its term never changes.
const ONLY_TERM: Term = Term::new(1);

/// The single-node implementation of [`Consensus`].
pub struct SingleNode {
    pipeline: Arc<Pipeline>,
    recovered: Mutex<Recovered>,
    writer: Option<JoinHandle<()>>,
}

/// Entries that were in the log when it was opened, read back a few at a time.
struct Recovered {
    next: LogIndex,
    last: LogIndex,
    read: VecDeque<WalEntry>,
}

impl SingleNode {
    /// Takes an open log and starts the thread that writes it. The log's entries after `applied` are handed out as
    /// recovered.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(wal: Wal, applied: LogIndex) -> io::Result<Self> {
        let last = wal.last_index().unwrap_or(LogIndex::ZERO);
        // What was purged is applied everywhere, though a tenant that it did not concern may not say so; when
        // everything was purged, nothing is left to hand out.
        let next = wal.first_index().unwrap_or(last.next()).max(applied.next());
        let recovered = Recovered {
            next,
            last,
            read: VecDeque::new(),
        };
        let pipeline = Arc::new(Pipeline::new(wal));
        let written = Arc::clone(&pipeline);
        let writer = std::thread::Builder::new()
            .name("craton-wal".to_owned())
            .spawn(move || written.run())?;
        Ok(Self {
            pipeline,
            recovered: Mutex::new(recovered),
            writer: Some(writer),
        })
    }
}

impl Consensus for SingleNode {
    fn append(&self, payload: Vec<u8>) -> Result<LogIndex, ConsensusError> {
        self.pipeline.append(ONLY_TERM, payload)
    }

    fn wait_durable(&self, index: LogIndex) -> Result<(), ConsensusError> {
        self.pipeline.wait_durable(index)
    }

    fn is_out_of_space(&self) -> bool {
        self.pipeline.is_out_of_space()
    }

    fn next_recovered(&self) -> Result<Option<CommittedEntry>, ConsensusError> {
        let mut recovered = self.recovered.lock();
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
        Ok(entry.map(|entry| CommittedEntry {
            index: entry.index,
            term: entry.term,
            payload: entry.payload,
        }))
    }

    fn next_committed(&self) -> Result<CommittedEntry, ConsensusError> {
        self.pipeline.next_committed()
    }

    fn purge(&self, through: LogIndex) -> Result<(), ConsensusError> {
        Ok(self.pipeline.wal.lock().purge(through)?)
    }

    fn close(&self) {
        self.pipeline.close();
    }
}

impl Drop for SingleNode {
    fn drop(&mut self) {
        self.pipeline.close();
        // A writer that panicked has nothing more to say.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}
