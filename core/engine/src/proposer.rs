//! The proposer: drains waiting commands into one consensus entry after another.
//!
//! While one entry is being synced and the next one, encrypted, waits behind it, commands gather; so the batch grows
//! with the load and a lone client waits for nobody (group commit).

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use craton_consensus::Consensus;
use craton_kernel::{Command, Outcome};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::applier::chain;
use crate::entry::{ENTRY_BYTES_TARGET, ENTRY_COMMANDS_MAX, encode_entry};
use crate::epoch_starts::EpochStarts;
use crate::health::Health;
use crate::{Clock, EngineError, SyncPolicy};

/// The most commands that wait for the proposer.
const QUEUE_COMMANDS_MAX: usize = 8_192;
/// The most bytes that commands in flight take together, in KiB.
const IN_FLIGHT_KIB_MAX: u32 = 512 * 1024;

/// A command on its way to the proposer.
struct Proposal {
    command: Arc<Command>,
    encoded: Vec<u8>,
    reply: Reply,
}

/// A command that was handed over; completes with its outcome.
#[must_use = "the outcome is known when this was awaited"]
pub(crate) struct Proposed(Progress);

enum Progress {
    Failed(Option<EngineError>),
    Waiting(WaitingClient),
}

struct WaitingClient {
    outcome: oneshot::Receiver<Result<Outcome, EngineError>>,
    health: Arc<Health>,
    _permit: OwnedSemaphorePermit,
}

impl Future for Proposed {
    type Output = Result<Outcome, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Progress::Failed(error) => Poll::Ready(Err(error.take().expect("a future is not polled again"))),
            Progress::Waiting(waiting) => Pin::new(&mut waiting.outcome)
                .poll(context)
                .map(|outcome| outcome.unwrap_or_else(|_| Err(waiting.health.stopped()))),
        }
    }
}

/// What the queue carries.
enum Message {
    Propose(Proposal),
    /// Begins a new segment of the write-ahead log behind everything that was handed over before. Answered when the
    /// entry that begins it is applied.
    BeginSegment(oneshot::Sender<()>),
    /// Wakes the proposer so that it sees that the node closes.
    Stop,
}

/// Where the outcome goes.
pub(crate) type Reply = oneshot::Sender<Result<Outcome, EngineError>>;

/// An entry's commands and who waits for them.
pub(crate) struct Waiting {
    pub(crate) commands: Vec<Arc<Command>>,
    pub(crate) replies: Vec<Reply>,
    /// Told once the entry is applied.
    pub(crate) begun: Option<oneshot::Sender<()>>,
}

/// Entries that were proposed by this process and are not applied yet, by sequence.
pub(crate) type WaitingEntries = Mutex<HashMap<u64, Waiting>>;

/// The way in: clients' tasks hand their commands to it.
pub(crate) struct ProposalQueue {
    sender: mpsc::Sender<Message>,
    in_flight: Arc<Semaphore>,
    health: Arc<Health>,
}

/// The thread's side of the queue.
pub(crate) struct ProposalReceiver(mpsc::Receiver<Message>);

pub(crate) fn proposal_queue(health: Arc<Health>) -> (ProposalQueue, ProposalReceiver) {
    let (sender, receiver) = mpsc::channel(QUEUE_COMMANDS_MAX);
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_KIB_MAX as usize));
    (
        ProposalQueue {
            sender,
            in_flight,
            health,
        },
        ProposalReceiver(receiver),
    )
}

impl ProposalQueue {
    /// Hands a command over. The future completes when it is durable and applied; dropping it changes nothing.
    pub(crate) fn propose(&self, command: Command) -> Proposed {
        Proposed(match self.submit(command) {
            Ok(waiting) => Progress::Waiting(waiting),
            Err(error) => Progress::Failed(Some(error)),
        })
    }

    fn submit(&self, command: Command) -> Result<WaitingClient, EngineError> {
        self.health.check()?;
        self.health.space.check()?;
        let encoded = minicbor::to_vec(&command).expect("writing to memory does not fail");
        let kib = u32::try_from(encoded.len() / 1_024 + 1)
            .unwrap_or(u32::MAX)
            .min(IN_FLIGHT_KIB_MAX);
        let permit = Arc::clone(&self.in_flight)
            .try_acquire_many_owned(kib)
            .map_err(|_| EngineError::Overloaded)?;
        let (reply, outcome) = oneshot::channel();
        let proposal = Proposal {
            command: Arc::new(command),
            encoded,
            reply,
        };
        self.sender
            .try_send(Message::Propose(proposal))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => EngineError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => self.health.stopped(),
            })?;
        Ok(WaitingClient {
            outcome,
            health: Arc::clone(&self.health),
            _permit: permit,
        })
    }

    /// Begins a new segment of the write-ahead log behind everything that was handed over before, and waits until all
    /// of that is applied.
    pub(crate) async fn begin_segment(&self) -> Result<(), EngineError> {
        self.health.check()?;
        let (begun, applied) = oneshot::channel();
        let sent = self.sender.send(Message::BeginSegment(begun)).await;
        sent.map_err(|_| self.health.stopped())?;
        applied.await.map_err(|_| self.health.stopped())
    }

    /// Wakes the proposer after its `stopping` was set.
    pub(crate) fn wake(&self) {
        // A full queue wakes it just as well.
        let _ = self.sender.try_send(Message::Stop);
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

/// What the proposer thread works with.
pub(crate) struct Proposer {
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) waiting: Arc<WaitingEntries>,
    pub(crate) health: Arc<Health>,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) counters: Arc<ProposerCounters>,
    pub(crate) sync_policy: SyncPolicy,
    pub(crate) epochs: EpochStarts,
    pub(crate) boot: u64,
}

impl Proposer {
    /// Runs until the queue is closed, the node stops, or the log fails.
    pub(crate) fn run(mut self, mut queue: ProposalReceiver) {
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let Ok(timer) = timer else {
            self.health.stop("no timer for the proposer".to_owned());
            return;
        };
        let mut sequence = 0;
        let mut next = None;
        while let Some(message) = next.take().or_else(|| queue.0.blocking_recv()) {
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            sequence += 1;
            let go_on = match message {
                Message::Propose(first) => {
                    let (batch, other) = match self.sync_policy {
                        SyncPolicy::EveryBatch => drain(vec![first], &mut queue.0),
                        SyncPolicy::EveryRecord => (vec![first], None),
                        SyncPolicy::Group { delay_max } => {
                            match timer.block_on(gather(first, &mut queue.0, delay_max)) {
                                (group, None) => drain(group, &mut queue.0),
                                ended => ended,
                            }
                        }
                    };
                    next = other;
                    self.propose_batch(sequence, batch, None)
                }
                Message::BeginSegment(begun) => {
                    self.consensus.begin_segment();
                    self.propose_batch(sequence, Vec::new(), Some(begun))
                }
                Message::Stop => return,
            };
            if !go_on {
                return;
            }
        }
    }

    /// Proposes one entry; whether to go on.
    fn propose_batch(&mut self, sequence: u64, batch: Vec<Proposal>, begun: Option<oneshot::Sender<()>>) -> bool {
        let mut commands = Vec::with_capacity(batch.len());
        let mut replies = Vec::with_capacity(batch.len());
        let mut encoded = Vec::with_capacity(batch.len());
        for proposal in batch {
            if let Some(rotation) = self.epochs.before(&proposal.command) {
                encoded.push(minicbor::to_vec(&rotation).expect("writing to memory does not fail"));
                commands.push(Arc::new(rotation));
                // Nobody waits for it: it is decided with the command that it precedes.
                replies.push(oneshot::channel().0);
            }
            commands.push(proposal.command);
            replies.push(proposal.reply);
            encoded.push(proposal.encoded);
        }
        let now = self.clock.now();
        let payload = encode_entry(self.boot, sequence, now, &encoded);
        let counters = &self.counters;
        counters.commands.fetch_add(commands.len() as u64, Ordering::Relaxed);
        counters.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        let waiting = Waiting {
            commands,
            replies,
            begun,
        };
        self.waiting.lock().insert(sequence, waiting);
        let appended = self.consensus.append(payload);
        let waited = self.clock.now().get().saturating_sub(now.get());
        counters.wait_nanoseconds.fetch_add(waited, Ordering::Relaxed);
        self.epochs.finish_entry(appended.is_ok());
        let Err(error) = appended else {
            counters.entries.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let refused = self.waiting.lock().remove(&sequence);
        let out_of_space = error.is_out_of_space();
        if !out_of_space {
            self.health
                .stop(format!("the write-ahead log failed: {}", chain(&error)));
        }
        for reply in refused.into_iter().flat_map(|waiting| waiting.replies) {
            let answer = if out_of_space {
                EngineError::DiskFull
            } else {
                self.health.stopped()
            };
            // The client may have gone; then nobody needs the answer.
            let _ = reply.send(Err(answer));
        }
        out_of_space
    }
}

/// Takes the commands that arrive within a time, within an entry's bounds, and the message that ended them early.
async fn gather(
    first: Proposal,
    queue: &mut mpsc::Receiver<Message>,
    delay_max: Duration,
) -> (Vec<Proposal>, Option<Message>) {
    let mut bytes = first.encoded.len();
    let mut batch = vec![first];
    let mut other = None;
    let gathering = async {
        while batch.len() < ENTRY_COMMANDS_MAX && bytes < ENTRY_BYTES_TARGET {
            match queue.recv().await {
                Some(Message::Propose(next)) => {
                    bytes += next.encoded.len();
                    batch.push(next);
                }
                ended => {
                    other = ended;
                    break;
                }
            }
        }
    };
    // That the time is over is the usual end.
    let _ = tokio::time::timeout(delay_max, gathering).await;
    (batch, other)
}

/// Takes the commands that wait already, within an entry's bounds, and the message that ended them.
fn drain(mut batch: Vec<Proposal>, queue: &mut mpsc::Receiver<Message>) -> (Vec<Proposal>, Option<Message>) {
    let mut bytes: usize = batch.iter().map(|proposal| proposal.encoded.len()).sum();
    while batch.len() < ENTRY_COMMANDS_MAX && bytes < ENTRY_BYTES_TARGET {
        match queue.try_recv() {
            Ok(Message::Propose(next)) => {
                bytes += next.encoded.len();
                batch.push(next);
            }
            Ok(other) => return (batch, Some(other)),
            Err(_) => break,
        }
    }
    (batch, None)
}
