//! The proposer: puts waiting commands into one consensus entry after another.
//!
//! While one entry is on its way to the disk, the next commands gather; so the batch grows with the load (group
//! commit). A few commands that meet an idle log are written, synced and applied by the thread that has them, which may
//! be the caller's own: a lone client waits for the disk and for no other thread.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use craton_consensus::{Alone, Consensus, ConsensusError, Lost, LostReason};
use craton_kernel::{Command, Outcome};
use craton_types::Timestamp;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::applier::{Applier, chain};
use crate::cluster::Cluster;
use crate::entry::encode_entry;
use crate::epoch_starts::EpochStarts;
use crate::health::Health;
use crate::queue::{Answer, Batch, ProposalQueue, Reply, Turn};
use crate::wait::may_block;
use crate::{Clock, EngineError};

/// The most commands that one thread takes all the way. With more it pays that the next ones are written while these
/// are applied.
const ALONE_COMMANDS_MAX: usize = 4;

/// An entry's commands and who waits for them.
pub(crate) struct Waiting {
    pub(crate) commands: Vec<Arc<Command>>,
    pub(crate) replies: Vec<Reply>,
    /// Told once the entry is applied.
    pub(crate) begun: Option<oneshot::Sender<()>>,
}

/// Entries that were proposed by this process and are not applied yet, by sequence.
pub(crate) type WaitingEntries = Mutex<HashMap<u64, Waiting>>;

/// A command that was handed over; completes with its outcome. It is committed even when this is dropped.
#[must_use = "the outcome is known when this was awaited"]
pub(crate) struct Proposed(Progress);

enum Progress {
    Failed(Option<EngineError>),
    Waiting {
        answer: Answer,
        proposer: Arc<Proposer>,
        /// Where the command goes when this node turns out not to lead.
        elsewhere: Option<(Arc<Cluster>, Arc<Command>)>,
    },
    /// Another node orders it, or this one when it leads again.
    Routed(JoinHandle<Result<Outcome, EngineError>>),
    Answered,
}

impl Proposed {
    /// A command that is not handed over.
    pub(crate) const fn failed(error: EngineError) -> Self {
        Self(Progress::Failed(Some(error)))
    }
}

impl Future for Proposed {
    type Output = Result<Outcome, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &mut self.0 {
            Progress::Failed(error) => Err(error.take().expect("a future is not polled again")),
            Progress::Waiting {
                answer,
                proposer,
                elsewhere,
            } => {
                let mut polled = Pin::new(&mut *answer).poll(context);
                if polled.is_pending() {
                    if may_block() && proposer.try_alone() {
                        polled = Pin::new(answer).poll(context);
                    } else {
                        proposer.queue.wake();
                    }
                }
                let outcome = match polled {
                    Poll::Ready(outcome) => outcome.unwrap_or_else(|_| Err(proposer.health.stopped())),
                    Poll::Pending => return Poll::Pending,
                };
                if matches!(outcome, Err(EngineError::NotLeader))
                    && let Some((cluster, command)) = elsewhere.take()
                {
                    self.0 = Progress::Routed(cluster.route(Arc::clone(proposer), command));
                    return self.poll(context);
                }
                outcome
            }
            Progress::Routed(routed) => match Pin::new(routed).poll(context) {
                Poll::Ready(outcome) => outcome.unwrap_or(Err(EngineError::OutcomeUnknown)),
                Poll::Pending => return Poll::Pending,
            },
            Progress::Answered => unreachable!("a future is not polled again"),
        };
        self.0 = Progress::Answered;
        Poll::Ready(outcome)
    }
}

impl Drop for Proposed {
    fn drop(&mut self) {
        if let Progress::Waiting { proposer, .. } = &self.0 {
            proposer.queue.wake();
        }
    }
}

/// What the proposer has done since the node was opened.
#[derive(Debug, Default)]
pub(crate) struct ProposerCounters {
    entries: AtomicU64,
    commands: AtomicU64,
    bytes: AtomicU64,
    wait_nanoseconds: AtomicU64,
}

/// How the write-ahead log was used since the node was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogUse {
    /// Entries appended; each takes one `fdatasync`.
    pub entries: u64,
    /// Commands in them.
    pub commands: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Nanoseconds that the proposer waited for the log to take them.
    pub wait_nanoseconds: u64,
}

impl ProposerCounters {
    pub(crate) fn read(&self) -> LogUse {
        LogUse {
            entries: self.entries.load(Ordering::Relaxed),
            commands: self.commands.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            wait_nanoseconds: self.wait_nanoseconds.load(Ordering::Relaxed),
        }
    }
}

/// Who has the turn works with this.
pub(crate) struct Proposer {
    pub(crate) queue: ProposalQueue,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) applier: Arc<Applier>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) waiting: Arc<WaitingEntries>,
    pub(crate) health: Arc<Health>,
    pub(crate) counters: ProposerCounters,
    pub(crate) boot: u64,
    /// Changed by whoever has the turn.
    pub(crate) forming: Mutex<Forming>,
}

/// What the next entry depends on.
pub(crate) struct Forming {
    pub(crate) sequence: u64,
    pub(crate) epochs: EpochStarts,
}

/// An entry on its way into the log.
struct Entry {
    sequence: u64,
    timestamp: Timestamp,
    waiting: Waiting,
    payload: Vec<u8>,
}

impl Proposer {
    /// Hands a command over to be ordered by this node.
    pub(crate) fn propose_here(self: &Arc<Self>, command: Arc<Command>) -> Proposed {
        self.push(command, None)
    }

    /// Hands a command over, here or to another member.
    pub(crate) fn propose(self: &Arc<Self>, command: Command, cluster: Option<&Arc<Cluster>>) -> Proposed {
        let command = Arc::new(command);
        match cluster {
            None => self.push(command, None),
            Some(cluster) if cluster.leads() => {
                let elsewhere = (Arc::clone(cluster), Arc::clone(&command));
                self.push(command, Some(elsewhere))
            }
            Some(cluster) => Proposed(Progress::Routed(cluster.route(Arc::clone(self), command))),
        }
    }

    fn push(self: &Arc<Self>, command: Arc<Command>, elsewhere: Option<(Arc<Cluster>, Arc<Command>)>) -> Proposed {
        Proposed(match self.queue.push(command) {
            Ok(answer) => Progress::Waiting {
                answer,
                proposer: Arc::clone(self),
                elsewhere,
            },
            Err(error) => Progress::Failed(Some(error)),
        })
    }

    /// Has the log go on, by an entry that does nothing unless others are under way; whether it does. Never waits.
    pub(crate) fn propose_nothing(&self) -> bool {
        !self.consensus.is_ready() || self.consensus.propose(Vec::new(), Box::new(|_| {})).is_ok()
    }

    /// Begins a new segment of the write-ahead log behind everything that was handed over before, and waits until all
    /// of that is applied.
    pub(crate) async fn begin_segment(&self) -> Result<(), EngineError> {
        let applied = self.queue.push_segment()?;
        applied.await.map_err(|_| self.health.stopped())
    }

    /// The proposer thread: runs until the queue is closed and empty, the node stops, or the log fails.
    pub(crate) fn run(self: &Arc<Self>) {
        loop {
            // What comes meanwhile goes into the same entry.
            self.consensus.wait_until_ready();
            let Some((turn, batch)) = self.queue.take() else {
                return;
            };
            let few = (1..=ALONE_COMMANDS_MAX).contains(&batch.proposals.len());
            if !self.propose_taken(turn, batch, few) {
                return;
            }
        }
    }

    /// Takes what waits into the log, if anything does; whether it did. With `alone`, little may go all the way.
    #[cfg(feature = "simulation")]
    pub(crate) fn step(self: &Arc<Self>, alone: bool) -> bool {
        let Some((turn, batch)) = self.queue.take_now() else {
            return false;
        };
        let few = (1..=ALONE_COMMANDS_MAX).contains(&batch.proposals.len());
        self.propose_taken(turn, batch, alone && few);
        true
    }

    fn propose_taken(self: &Arc<Self>, turn: Turn<'_>, batch: Batch, alone: bool) -> bool {
        if batch.begun.is_some() {
            self.consensus.begin_segment();
        }
        let goes_on = self.propose_batch(turn, batch, alone);
        if !goes_on {
            self.queue.abandon();
        }
        goes_on
    }

    /// Takes what waits all the way on this thread, if it is little and nobody has the turn. Whether it did.
    fn try_alone(self: &Arc<Self>) -> bool {
        if !self.consensus.is_ready() {
            return false;
        }
        let Some((turn, batch)) = self.queue.try_take(ALONE_COMMANDS_MAX) else {
            return false;
        };
        if !self.propose_batch(turn, batch, true) {
            self.queue.abandon();
        }
        true
    }

    /// Brings one entry into the log, and all the way when it may be `alone` and is; whether to go on.
    fn propose_batch(self: &Arc<Self>, turn: Turn<'_>, batch: Batch, alone: bool) -> bool {
        let mut forming = self.forming.lock();
        let mut entry = self.form(&mut forming, batch);
        if alone && let Some(order) = self.applier.try_order() {
            let started = self.clock.now();
            let committed = self.consensus.commit_alone(entry.payload, order.applied_index());
            self.note_wait(started);
            match committed {
                Ok(Alone::Committed(committed)) => {
                    self.counters.entries.fetch_add(1, Ordering::Relaxed);
                    forming.epochs.finish_entry(true);
                    drop((forming, turn));
                    return order.apply(&committed, entry.timestamp, entry.waiting);
                }
                Ok(Alone::Busy(payload)) => entry.payload = payload,
                Err(error) => {
                    forming.epochs.finish_entry(false);
                    return self.refuse(entry.waiting, &error);
                }
            }
        }
        let Entry {
            sequence,
            waiting,
            payload,
            ..
        } = entry;
        self.waiting.lock().insert(sequence, waiting);
        let started = self.clock.now();
        let proposed = self.consensus.propose(payload, self.when_lost(sequence));
        self.note_wait(started);
        forming.epochs.finish_entry(proposed.is_ok());
        match proposed {
            Ok(()) => {
                self.counters.entries.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(error) => match self.waiting.lock().remove(&sequence) {
                Some(waiting) => self.refuse(waiting, &error),
                None => error.is_out_of_space() || matches!(error, ConsensusError::NotLeader { .. }),
            },
        }
    }

    /// Answers those whose entry this node will not apply, as far as it knows.
    fn when_lost(self: &Arc<Self>, sequence: u64) -> Lost {
        let proposer = Arc::clone(self);
        Box::new(move |reason| {
            // What the entry would have begun was not begun.
            proposer.forming.lock().epochs.begin_again();
            let Some(waiting) = proposer.waiting.lock().remove(&sequence) else {
                return;
            };
            for reply in waiting.replies {
                reply.send(Err(match reason {
                    LostReason::NotLeader { .. } => EngineError::NotLeader,
                    LostReason::Unknown => EngineError::OutcomeUnknown,
                }));
            }
        })
    }

    /// Puts commands into an entry.
    fn form(&self, forming: &mut Forming, batch: Batch) -> Entry {
        let Batch { proposals, begun } = batch;
        let mut commands = Vec::with_capacity(proposals.len());
        let mut replies = Vec::with_capacity(proposals.len());
        let mut encoded = Vec::with_capacity(proposals.len());
        for proposal in proposals {
            if let Some(rotation) = forming.epochs.before(&proposal.command) {
                encoded.push(minicbor::to_vec(&rotation).expect("writing to memory does not fail"));
                commands.push(Arc::new(rotation));
                // Nobody waits for it: it is decided with the command that it precedes.
                replies.push(ProposalQueue::no_reply());
            }
            commands.push(proposal.command);
            replies.push(proposal.reply);
            encoded.push(proposal.encoded);
        }
        forming.sequence += 1;
        let timestamp = self.clock.now();
        let payload = encode_entry(self.boot, forming.sequence, timestamp, &encoded);
        let counters = &self.counters;
        counters.commands.fetch_add(commands.len() as u64, Ordering::Relaxed);
        counters.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        Entry {
            sequence: forming.sequence,
            timestamp,
            waiting: Waiting {
                commands,
                replies,
                begun,
            },
            payload,
        }
    }

    fn note_wait(&self, started: Timestamp) {
        let waited = self.clock.now().get().saturating_sub(started.get());
        self.counters.wait_nanoseconds.fetch_add(waited, Ordering::Relaxed);
    }

    /// Answers those whose entry the log did not take; whether to go on.
    fn refuse(&self, waiting: Waiting, error: &ConsensusError) -> bool {
        let goes_on = error.is_out_of_space() || matches!(error, ConsensusError::NotLeader { .. });
        if !goes_on {
            self.health
                .stop(format!("the write-ahead log failed: {}", chain(error)));
        }
        for reply in waiting.replies {
            reply.send(Err(match error {
                ConsensusError::NotLeader { .. } => EngineError::NotLeader,
                error if error.is_out_of_space() => EngineError::DiskFull,
                _ => self.health.stopped(),
            }));
        }
        goes_on
    }
}
