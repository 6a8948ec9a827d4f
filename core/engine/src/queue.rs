//! The way in: commands wait here until somebody puts them into an entry.
//!
//! Whoever has the *turn* takes commands out, and keeps it until their entry has its place in the log; so commands
//! keep the order in which they came. It is the proposer thread, or a caller that waits on its own thread and finds
//! nobody at work.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use craton_kernel::{Command, Outcome};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::entry::{ENTRY_BYTES_TARGET, ENTRY_COMMANDS_MAX};
use crate::health::Health;
use crate::{EngineError, SyncPolicy};

/// The most commands that wait for their turn.
const WAITING_COMMANDS_MAX: usize = 8_192;
/// The most bytes of commands that are not answered yet, waiting or on their way.
const IN_FLIGHT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// From this many on, commands that nobody waits for yet wake the proposer.
const WAKE_COMMANDS: usize = 16;

/// A command and who waits for it.
pub(crate) struct Proposal {
    pub(crate) command: Arc<Command>,
    pub(crate) encoded: Vec<u8>,
    pub(crate) reply: Reply,
}

/// Where an outcome goes. Until then the command counts as in flight.
pub(crate) struct Reply {
    sender: Option<oneshot::Sender<Result<Outcome, EngineError>>>,
    in_flight: Arc<AtomicUsize>,
    bytes: usize,
}

impl Reply {
    pub(crate) fn send(mut self, outcome: Result<Outcome, EngineError>) {
        if let Some(sender) = self.sender.take() {
            // The client may have gone; then nobody needs the answer.
            let _ = sender.send(outcome);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a client waits with.
pub(crate) type Answer = oneshot::Receiver<Result<Outcome, EngineError>>;

/// Commands that wait for their turn.
pub(crate) struct ProposalQueue {
    state: Mutex<State>,
    /// Signalled for the proposer thread.
    wanted: Condvar,
    in_flight: Arc<AtomicUsize>,
    health: Arc<Health>,
    sync_policy: SyncPolicy,
}

#[derive(Default)]
struct State {
    proposals: VecDeque<Proposal>,
    /// Segments to begin: behind how many of `proposals`, and who is to be told.
    segments: VecDeque<(usize, oneshot::Sender<()>)>,
    /// Whether somebody has the turn.
    taken: bool,
    closed: bool,
}

/// What is taken at a time: commands, or nothing but the wish to begin a segment.
pub(crate) struct Batch {
    pub(crate) proposals: Vec<Proposal>,
    /// Told when everything before the new segment, and the entry that begins it, is applied.
    pub(crate) begun: Option<oneshot::Sender<()>>,
}

/// The turn: nobody else takes commands until it is dropped.
pub(crate) struct Turn<'a>(&'a ProposalQueue);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.taken = false;
        if !state.is_empty() || state.closed {
            self.0.wanted.notify_one();
        }
    }
}

impl ProposalQueue {
    pub(crate) fn new(health: Arc<Health>, sync_policy: SyncPolicy) -> Self {
        Self {
            state: Mutex::default(),
            wanted: Condvar::new(),
            in_flight: Arc::default(),
            health,
            sync_policy,
        }
    }

    /// Puts a command into the queue. The proposer is not woken for it before [`Self::wake`], or before there are many.
    pub(crate) fn push(&self, command: Arc<Command>) -> Result<Answer, EngineError> {
        self.health.check()?;
        self.health.space.check()?;
        let encoded = minicbor::to_vec(&*command).expect("writing to memory does not fail");
        let bytes = encoded.len();
        let (sender, answer) = oneshot::channel();
        let in_flight = self.in_flight.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let reply = Reply {
            sender: Some(sender),
            in_flight: Arc::clone(&self.in_flight),
            bytes,
        };
        let proposal = Proposal {
            command,
            encoded,
            reply,
        };
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.health.stopped());
        }
        // A lone command may be larger than the limit.
        if state.proposals.len() >= WAITING_COMMANDS_MAX || (in_flight > IN_FLIGHT_BYTES_MAX && in_flight > bytes) {
            return Err(EngineError::Overloaded);
        }
        state.proposals.push_back(proposal);
        let may_end_a_group = matches!(self.sync_policy, SyncPolicy::Group { .. }) && state.fills_an_entry();
        if (state.proposals.len() >= WAKE_COMMANDS && !state.taken) || may_end_a_group {
            self.wanted.notify_one();
        }
        Ok(answer)
    }

    /// Asks for a new segment of the write-ahead log behind everything that was pushed before.
    pub(crate) fn push_segment(&self) -> Result<oneshot::Receiver<()>, EngineError> {
        self.health.check()?;
        let (begun, applied) = oneshot::channel();
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.health.stopped());
        }
        let behind = state.proposals.len();
        state.segments.push_back((behind, begun));
        self.wanted.notify_one();
        Ok(applied)
    }

    /// A reply that nobody waits for.
    pub(crate) fn no_reply(&self) -> Reply {
        Reply {
            sender: None,
            in_flight: Arc::clone(&self.in_flight),
            bytes: 0,
        }
    }

    /// Has the proposer take what waits.
    pub(crate) fn wake(&self) {
        let state = self.state.lock();
        if !state.is_empty() && !state.taken {
            self.wanted.notify_one();
        }
    }

    /// Takes the turn and everything that waits, if nobody has the turn and no more than `commands_max` wait.
    pub(crate) fn try_take(&self, commands_max: usize) -> Option<(Turn<'_>, Batch)> {
        let mut state = self.state.lock();
        let commands_max = match self.sync_policy {
            SyncPolicy::EveryBatch => commands_max,
            SyncPolicy::EveryRecord => commands_max.min(1),
            // Others are to be waited for, which is the proposer's business.
            SyncPolicy::Group { .. } => 0,
        };
        // A segment is the proposer's to begin.
        let is_plain = !state.proposals.is_empty() && state.segments.is_empty();
        if state.taken || !is_plain || state.proposals.len() > commands_max {
            return None;
        }
        state.taken = true;
        Some((Turn(self), state.drain(ENTRY_COMMANDS_MAX)))
    }

    /// Takes the turn and what waits, within an entry's bounds; waits for it. `None` when the queue is closed, empty,
    /// and nobody has the turn.
    pub(crate) fn take(&self) -> Option<(Turn<'_>, Batch)> {
        let mut state = self.state.lock();
        while state.taken || state.is_empty() {
            if state.closed && !state.taken {
                return None;
            }
            self.wanted.wait(&mut state);
        }
        state.taken = true;
        if let SyncPolicy::Group { delay_max } = self.sync_policy {
            let has_room = |state: &mut State| !state.closed && state.segments.is_empty() && !state.fills_an_entry();
            let _ = self.wanted.wait_while_for(&mut state, has_room, delay_max);
        }
        Some((Turn(self), state.drain(self.commands_max())))
    }

    /// As [`Self::take`], but never waits; a group is taken as it is.
    #[cfg(feature = "simulation")]
    pub(crate) fn take_now(&self) -> Option<(Turn<'_>, Batch)> {
        let mut state = self.state.lock();
        if state.taken || state.is_empty() {
            return None;
        }
        state.taken = true;
        Some((Turn(self), state.drain(self.commands_max())))
    }

    fn commands_max(&self) -> usize {
        match self.sync_policy {
            SyncPolicy::EveryBatch | SyncPolicy::Group { .. } => ENTRY_COMMANDS_MAX,
            SyncPolicy::EveryRecord => 1,
        }
    }

    /// Takes no more commands.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wanted.notify_one();
    }

    /// Closes the queue and drops what waits, because nothing can be committed any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let abandoned = std::mem::take(&mut state.proposals);
        state.segments.clear();
        drop(state);
        for proposal in abandoned {
            proposal.reply.send(Err(self.health.stopped()));
        }
    }
}

impl State {
    fn fills_an_entry(&self) -> bool {
        let bytes = || {
            self.proposals
                .iter()
                .map(|proposal| proposal.encoded.len())
                .sum::<usize>()
        };
        self.proposals.len() >= ENTRY_COMMANDS_MAX || bytes() >= ENTRY_BYTES_TARGET
    }

    fn is_empty(&self) -> bool {
        self.proposals.is_empty() && self.segments.is_empty()
    }

    fn drain(&mut self, commands_max: usize) -> Batch {
        let before_segment = match self.segments.front() {
            Some((0, _)) => {
                let begun = self.segments.pop_front().map(|(_, begun)| begun);
                return Batch {
                    proposals: Vec::new(),
                    begun,
                };
            }
            Some((behind, _)) => *behind,
            None => usize::MAX,
        };
        let mut bytes = 0;
        let mut count = 0;
        for proposal in self.proposals.iter().take(commands_max.min(before_segment)) {
            if bytes >= ENTRY_BYTES_TARGET {
                break;
            }
            bytes += proposal.encoded.len();
            count += 1;
        }
        for (behind, _) in &mut self.segments {
            *behind -= count;
        }
        Batch {
            proposals: self.proposals.drain(..count).collect(),
            begun: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use craton_kernel::{ExpectedSequence, Operation};
    use craton_types::{ActorId, CorrelationId, IdempotencyId, TenantId};

    use super::*;

    fn append(bytes: usize) -> Arc<Command> {
        Arc::new(Command {
            tenant: TenantId::NIL,
            actor: ActorId::NIL,
            correlation_id: CorrelationId::NIL,
            idempotency_id: IdempotencyId::NIL,
            operation: Operation::Append {
                stream: "a".to_owned(),
                expected: ExpectedSequence::Any,
                events: vec![vec![0; bytes].into()],
            },
        })
    }

    fn is_overloaded(pushed: &Result<Answer, EngineError>) -> bool {
        matches!(pushed, Err(EngineError::Overloaded))
    }

    #[test]
    fn commands_beyond_the_bound_are_rejected_and_taken_again_when_there_is_room() {
        let queue = ProposalQueue::new(Arc::default(), SyncPolicy::EveryBatch);
        let answers: Vec<_> = (0..WAITING_COMMANDS_MAX).map(|_| queue.push(append(1))).collect();
        assert!(answers.iter().all(Result::is_ok));
        assert!(is_overloaded(&queue.push(append(1))));
        let (turn, taken) = queue.take().expect("commands wait");
        assert_eq!(taken.proposals.len(), ENTRY_COMMANDS_MAX);
        assert!(queue.push(append(1)).is_ok());
        assert!(queue.try_take(usize::MAX).is_none(), "there is one turn");
        drop(turn);
        assert!(queue.try_take(WAKE_COMMANDS).is_none(), "too many for a caller");
    }

    #[test]
    fn bytes_in_flight_are_bounded_until_they_are_answered() {
        let queue = ProposalQueue::new(Arc::default(), SyncPolicy::EveryBatch);
        let large = IN_FLIGHT_BYTES_MAX / 4;
        let answers: Vec<_> = (0..3).map(|_| queue.push(append(large))).collect();
        assert!(answers.iter().all(Result::is_ok));
        assert!(is_overloaded(&queue.push(append(large))));
        let (_turn, taken) = queue.take().expect("commands wait");
        assert_eq!(taken.proposals.len(), 1, "an entry is closed at its size");
        assert!(is_overloaded(&queue.push(append(large))), "it is on its way");
        drop(taken);
        assert!(queue.push(append(large)).is_ok());
    }

    #[test]
    fn the_sync_policy_says_how_many_are_taken() {
        let taken = |sync_policy, by_a_caller: bool| {
            let queue = ProposalQueue::new(Arc::default(), sync_policy);
            let _answers: Vec<_> = (0..3).map(|_| queue.push(append(1))).collect();
            let taken = if by_a_caller { queue.try_take(4) } else { queue.take() };
            taken.map(|(_turn, taken)| taken.proposals.len())
        };
        let group = SyncPolicy::Group {
            delay_max: std::time::Duration::from_millis(1),
        };
        assert_eq!(taken(SyncPolicy::EveryBatch, false), Some(3));
        assert_eq!(taken(SyncPolicy::EveryBatch, true), Some(3));
        assert_eq!(taken(SyncPolicy::EveryRecord, false), Some(1));
        assert_eq!(
            taken(SyncPolicy::EveryRecord, true),
            None,
            "the proposer takes them one by one"
        );
        assert_eq!(taken(group, false), Some(3));
        assert_eq!(taken(group, true), None, "the proposer waits for others");
    }

    #[test]
    fn a_segment_is_begun_behind_what_was_pushed_before_it() {
        let queue = ProposalQueue::new(Arc::default(), SyncPolicy::EveryBatch);
        let _answers: Vec<_> = (0..2).map(|_| queue.push(append(1))).collect();
        let _begun = queue.push_segment().expect("it is open");
        let _answer = queue.push(append(1)).expect("it is open");
        assert!(queue.try_take(4).is_none(), "a caller leaves it to the proposer");
        let taken = std::iter::from_fn(|| {
            let state = queue.state.lock();
            if state.is_empty() {
                return None;
            }
            drop(state);
            queue
                .take()
                .map(|(_turn, batch)| (batch.proposals.len(), batch.begun.is_some()))
        });
        assert_eq!(taken.collect::<Vec<_>>(), [(2, false), (0, true), (1, false)]);
    }

    #[test]
    fn a_closed_queue_gives_out_what_it_holds_and_takes_no_more() {
        let queue = ProposalQueue::new(Arc::default(), SyncPolicy::EveryBatch);
        let _answer = queue.push(append(1)).expect("it is open");
        queue.close();
        assert!(matches!(queue.push(append(1)), Err(EngineError::Stopped { .. })));
        assert_eq!(queue.take().expect("one waits").1.proposals.len(), 1);
        assert!(queue.take().is_none());
    }
}
