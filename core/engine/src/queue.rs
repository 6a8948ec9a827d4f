//! The way in: commands wait here until somebody puts them into an entry.
//!
//! Whoever has the *turn* takes commands out, and keeps it until their entry has its place in the log; so commands
//! keep the order in which they came. It is the proposer thread, or a caller that waits on its own thread and finds
//! nobody at work.
//!
//! No tenant starves another one. Each has a queue of its own, and they are drained in turn, so many bytes of each (deficit
//! round robin, Shreedhar and Varghese 1995). And a tenant may have waiting as much as is free for the others (dynamic
//! thresholds, Choudhury and Hahne 1998): one alone has half of the room, and there is always some for the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use craton_kernel::{Command, Outcome};
use craton_types::TenantId;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::entry::{ENTRY_BYTES_TARGET, ENTRY_COMMANDS_MAX};
use crate::health::Health;
use crate::{EngineError, SyncPolicy};

/// The most commands that wait for their turn.
const WAITING_COMMANDS_MAX: usize = 8_192;
/// The most bytes of commands that are not answered yet, waiting or on their way.
const IN_FLIGHT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// How much of a tenant is taken before it is another one's turn.
const TURN_BYTES: usize = 64 * 1024;
/// What a command counts for beside its bytes, so that many small ones are work as well.
const COMMAND_BYTES: usize = 256;
/// When more tenants are known than these, those of which nothing is under way are forgotten.
const TENANTS_KEPT_MAX: usize = 1_024;
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
    counted: Option<Counted>,
}

/// The bytes of a command, in the sums of those that are not answered yet.
struct Counted {
    bytes: usize,
    all: Arc<AtomicUsize>,
    of_tenant: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
        self.of_tenant.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Reply {
    pub(crate) fn send(self, outcome: Result<Outcome, EngineError>) {
        drop(self.counted);
        if let Some(sender) = self.sender {
            // The client may have gone; then nobody needs the answer.
            let _ = sender.send(outcome);
        }
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
    tenants: BTreeMap<TenantId, TenantQueue>,
    /// The tenants that have commands waiting, in the order of their turns.
    turns: VecDeque<TenantId>,
    /// Commands that wait, of all tenants.
    waiting: usize,
    /// And their bytes.
    waiting_bytes: usize,
    /// How many commands were ever pushed.
    pushed: u64,
    /// Segments to begin: behind how many commands that were ever pushed, and who is to be told.
    segments: VecDeque<(u64, oneshot::Sender<()>)>,
    /// Whether somebody has the turn.
    taken: bool,
    closed: bool,
}

/// What waits of a tenant.
#[derive(Default)]
struct TenantQueue {
    /// Each with the number of commands that were pushed before it.
    proposals: VecDeque<(u64, Proposal)>,
    /// What is left to it of its turns, in bytes.
    credit: usize,
    /// Bytes of its commands that are not answered yet.
    in_flight: Arc<AtomicUsize>,
}

/// How much waits, and how much may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueUse {
    /// Commands that wait for an entry.
    pub commands: usize,
    /// The most that may.
    pub commands_max: usize,
    /// Bytes of commands that are not answered yet.
    pub bytes: usize,
    /// The most that may be.
    pub bytes_max: usize,
    /// How many tenants have commands waiting.
    pub tenants: usize,
    /// The most commands that wait of one tenant.
    pub tenant_commands: usize,
    /// The most that may wait of one tenant now.
    pub tenant_commands_max: usize,
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
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.health.stopped());
        }
        let counted = self.count(&mut state, command.tenant, bytes)?;
        let reply = Reply {
            sender: Some(sender),
            counted: Some(counted),
        };
        state.push(Proposal {
            command,
            encoded,
            reply,
        });
        let may_end_a_group = matches!(self.sync_policy, SyncPolicy::Group { .. }) && state.fills_an_entry();
        if (state.waiting >= WAKE_COMMANDS && !state.taken) || may_end_a_group {
            self.wanted.notify_one();
        }
        Ok(answer)
    }

    /// Counts a command in, if there is room for it: for its tenant as much as is free.
    fn count(&self, state: &mut State, tenant: TenantId, bytes: usize) -> Result<Counted, EngineError> {
        // Replies are dropped at any time, so this may be more than there is.
        let all_bytes = self.in_flight.load(Ordering::Relaxed);
        // A lone command may be larger than the limit.
        if state.waiting >= WAITING_COMMANDS_MAX || (all_bytes > 0 && all_bytes + bytes > IN_FLIGHT_BYTES_MAX) {
            return Err(EngineError::Overloaded);
        }
        let own = state.tenant(tenant);
        let (own_commands, own_bytes) = (own.proposals.len(), own.in_flight.load(Ordering::Relaxed));
        let of_tenant = Arc::clone(&own.in_flight);
        let free_bytes = IN_FLIGHT_BYTES_MAX.saturating_sub(all_bytes);
        if own_commands >= WAITING_COMMANDS_MAX - state.waiting || (own_bytes > 0 && own_bytes + bytes > free_bytes) {
            return Err(EngineError::OverShare {
                commands: own_commands,
                bytes: own_bytes,
            });
        }
        self.in_flight.fetch_add(bytes, Ordering::Relaxed);
        of_tenant.fetch_add(bytes, Ordering::Relaxed);
        Ok(Counted {
            bytes,
            all: Arc::clone(&self.in_flight),
            of_tenant,
        })
    }

    /// How much waits.
    pub(crate) fn queue_use(&self) -> QueueUse {
        let state = self.state.lock();
        let fullest = state.tenants.values().map(|tenant| tenant.proposals.len()).max();
        QueueUse {
            commands: state.waiting,
            commands_max: WAITING_COMMANDS_MAX,
            bytes: self.in_flight.load(Ordering::Relaxed),
            bytes_max: IN_FLIGHT_BYTES_MAX,
            tenants: state.turns.len(),
            tenant_commands: fullest.unwrap_or(0),
            tenant_commands_max: WAITING_COMMANDS_MAX - state.waiting,
        }
    }

    /// Asks for a new segment of the write-ahead log behind everything that was pushed before.
    pub(crate) fn push_segment(&self) -> Result<oneshot::Receiver<()>, EngineError> {
        self.health.check()?;
        let (begun, applied) = oneshot::channel();
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.health.stopped());
        }
        let behind = state.pushed;
        state.segments.push_back((behind, begun));
        self.wanted.notify_one();
        Ok(applied)
    }

    /// A reply that nobody waits for.
    pub(crate) const fn no_reply() -> Reply {
        Reply {
            sender: None,
            counted: None,
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
        let is_plain = state.waiting > 0 && state.segments.is_empty();
        if state.taken || !is_plain || state.waiting > commands_max {
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
        let abandoned = std::mem::take(&mut state.tenants);
        (state.waiting, state.waiting_bytes) = (0, 0);
        state.turns.clear();
        state.segments.clear();
        drop(state);
        let mut abandoned: Vec<_> = abandoned.into_values().flat_map(|tenant| tenant.proposals).collect();
        abandoned.sort_unstable_by_key(|(number, _)| *number);
        for (_, proposal) in abandoned {
            proposal.reply.send(Err(self.health.stopped()));
        }
    }
}

impl State {
    fn fills_an_entry(&self) -> bool {
        self.waiting >= ENTRY_COMMANDS_MAX || self.waiting_bytes >= ENTRY_BYTES_TARGET
    }

    fn is_empty(&self) -> bool {
        self.waiting == 0 && self.segments.is_empty()
    }

    fn tenant(&mut self, tenant: TenantId) -> &mut TenantQueue {
        if self.tenants.len() >= TENANTS_KEPT_MAX && !self.tenants.contains_key(&tenant) {
            self.tenants
                .retain(|_, known| !known.proposals.is_empty() || known.in_flight.load(Ordering::Relaxed) > 0);
        }
        self.tenants.entry(tenant).or_default()
    }

    fn push(&mut self, proposal: Proposal) {
        let tenant = proposal.command.tenant;
        let number = self.pushed;
        self.pushed += 1;
        self.waiting += 1;
        self.waiting_bytes += proposal.encoded.len();
        let own = self.tenant(tenant);
        own.proposals.push_back((number, proposal));
        if own.proposals.len() == 1 {
            self.turns.push_back(tenant);
        }
    }

    /// Takes what fits into an entry, some of each tenant in turn, and nothing that was pushed behind a segment.
    fn drain(&mut self, commands_max: usize) -> Batch {
        let before_segment = self.segments.front().map_or(u64::MAX, |(behind, _)| *behind);
        let mut proposals = Vec::with_capacity(commands_max.min(self.waiting));
        let mut bytes = 0;
        // Tenants of which everything that waits was pushed behind the segment.
        let mut passed = 0;
        while proposals.len() < commands_max && bytes < ENTRY_BYTES_TARGET && passed < self.turns.len() {
            let tenant = self.turns.pop_front().expect("there are more than were passed over");
            let own = self.tenants.get_mut(&tenant).expect("whoever has a turn has a queue");
            own.credit += TURN_BYTES;
            let is_alone = self.turns.is_empty();
            let taken_before = proposals.len();
            while proposals.len() < commands_max
                && bytes < ENTRY_BYTES_TARGET
                && let Some((number, next)) = own.proposals.front()
                && *number < before_segment
            {
                let cost = next.encoded.len() + COMMAND_BYTES;
                if cost > own.credit && !is_alone {
                    break;
                }
                own.credit = own.credit.saturating_sub(cost);
                bytes += next.encoded.len();
                proposals.extend(own.proposals.pop_front().map(|(_, proposal)| proposal));
            }
            let may_go_on = match own.proposals.front() {
                None => {
                    own.credit = 0;
                    continue;
                }
                Some((number, _)) => *number < before_segment,
            };
            passed = match may_go_on {
                // Its next command is larger than what it may take yet.
                true => 0,
                false if proposals.len() > taken_before => 1,
                false => passed + 1,
            };
            // What it has left counts the next time, without growing while others fill the entries.
            own.credit = own.credit.min(TURN_BYTES.max(own.proposals.front().map_or(0, cost_of)));
            self.turns.push_back(tenant);
        }
        self.waiting -= proposals.len();
        self.waiting_bytes -= bytes;
        let begun = match proposals.is_empty() {
            true => self.segments.pop_front().map(|(_, begun)| begun),
            false => None,
        };
        Batch { proposals, begun }
    }
}

fn cost_of((_, proposal): &(u64, Proposal)) -> usize {
    proposal.encoded.len() + COMMAND_BYTES
}

#[cfg(test)]
mod tests {
    use craton_kernel::{ExpectedSequence, Operation};
    use craton_types::{ActorId, CorrelationId, IdempotencyId};

    use super::*;

    fn append(bytes: usize) -> Arc<Command> {
        append_of(0, bytes)
    }

    fn append_of(tenant: u8, bytes: usize) -> Arc<Command> {
        Arc::new(Command {
            tenant: TenantId::new([tenant; 16]),
            actor: ActorId::NIL,
            correlation_id: CorrelationId::NIL,
            idempotency_id: IdempotencyId::NIL,
            operation: Operation::Append {
                stream: "a".to_owned(),
                expected: ExpectedSequence::Any,
                events: vec![vec![0; bytes].into()],
                data_class: None,
            },
        })
    }

    fn new_queue() -> ProposalQueue {
        ProposalQueue::new(Arc::default(), SyncPolicy::EveryBatch)
    }

    fn is_overloaded(pushed: &Result<Answer, EngineError>) -> bool {
        matches!(pushed, Err(EngineError::Overloaded))
    }

    fn is_over_share(pushed: &Result<Answer, EngineError>) -> bool {
        matches!(pushed, Err(EngineError::OverShare { .. }))
    }

    /// Pushes commands of a tenant until one is refused; how many were taken.
    fn fill(queue: &ProposalQueue, tenant: u8, answers: &mut Vec<Answer>) -> usize {
        let before = answers.len();
        loop {
            match queue.push(append_of(tenant, 1)) {
                Ok(answer) => answers.push(answer),
                refused => {
                    assert!(is_over_share(&refused) || is_overloaded(&refused));
                    return answers.len() - before;
                }
            }
        }
    }

    /// The tenants of the commands that are taken at a time.
    fn taken(queue: &ProposalQueue) -> Vec<u8> {
        let (_turn, batch) = queue.take().expect("commands wait");
        let tenants = batch
            .proposals
            .iter()
            .map(|proposal| proposal.command.tenant.as_bytes()[0]);
        tenants.collect()
    }

    #[test]
    fn a_tenant_may_have_as_much_waiting_as_is_free() {
        let queue = new_queue();
        let mut answers = Vec::new();
        // Half of the room is one tenant's, half of the rest the next one's, and so on.
        assert_eq!(fill(&queue, 1, &mut answers), WAITING_COMMANDS_MAX / 2);
        assert_eq!(fill(&queue, 2, &mut answers), WAITING_COMMANDS_MAX / 4);
        assert_eq!(fill(&queue, 3, &mut answers), WAITING_COMMANDS_MAX / 8);
        assert!(is_over_share(&queue.push(append_of(1, 1))));
        for tenant in 4..100 {
            assert!(queue.push(append_of(tenant, 1)).is_ok(), "there is room for others");
        }
        let now = queue.queue_use();
        assert_eq!((now.tenants, now.tenant_commands), (99, WAITING_COMMANDS_MAX / 2));
        assert_eq!(now.commands + now.tenant_commands_max, now.commands_max);
        drop(queue.take());
        assert!(queue.push(append_of(4, 1)).is_ok());
    }

    #[test]
    fn the_room_of_all_together_is_bounded() {
        let queue = new_queue();
        let mut answers = Vec::new();
        let mut tenants = 0u64;
        while queue.queue_use().commands < WAITING_COMMANDS_MAX {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&tenants.to_be_bytes());
            tenants += 1;
            let mut command = (*append(1)).clone();
            command.tenant = TenantId::new(id);
            answers.push(queue.push(Arc::new(command)).expect("there is room"));
        }
        assert!(is_overloaded(&queue.push(append_of(255, 1))));
        let (turn, batch) = queue.take().expect("commands wait");
        assert_eq!(batch.proposals.len(), ENTRY_COMMANDS_MAX);
        assert!(queue.push(append_of(255, 1)).is_ok());
        assert!(queue.try_take(usize::MAX).is_none(), "there is one turn");
        drop(turn);
        assert!(queue.try_take(WAKE_COMMANDS).is_none(), "too many for a caller");
    }

    #[test]
    fn bytes_in_flight_are_bounded_until_they_are_answered() {
        let queue = new_queue();
        let large = IN_FLIGHT_BYTES_MAX / 5;
        let answers: Vec<_> = (0..2).map(|_| queue.push(append(large))).collect();
        assert!(answers.iter().all(Result::is_ok));
        assert!(is_over_share(&queue.push(append(large))), "as much must be free");
        let _other = queue.push(append_of(1, large)).expect("another tenant has room");
        let _third = queue.push(append_of(2, large)).expect("and one more");
        assert!(is_overloaded(&queue.push(append_of(3, large))));
        let (_turn, taken) = queue.take().expect("commands wait");
        assert_eq!(taken.proposals.len(), 1, "an entry is closed at its size");
        assert!(is_overloaded(&queue.push(append_of(3, large))), "it is on its way");
        drop(taken);
        assert!(queue.push(append_of(3, large)).is_ok());
    }

    #[test]
    fn a_tenant_that_floods_the_queue_holds_up_nobody_for_more_than_a_turn() {
        for bytes in [1, 1_000, ENTRY_BYTES_TARGET / 2] {
            let queue = new_queue();
            let mut answers = Vec::new();
            let count = 4_000.min(IN_FLIGHT_BYTES_MAX / 4 / bytes);
            for _ in 0..count {
                answers.push(queue.push(append_of(1, bytes)).expect("there is room"));
            }
            for round in 0..3 {
                answers.push(queue.push(append_of(2, 1)).expect("there is room"));
                assert!(taken(&queue).contains(&2), "{bytes} bytes, round {round}");
            }
            assert!(queue.queue_use().commands > 0, "the flood goes on");
        }
    }

    #[test]
    fn tenants_get_equally_many_bytes_whatever_the_size_of_their_commands() {
        let queue = new_queue();
        let mut answers = Vec::new();
        // Commands larger than a turn, small ones, and middling ones.
        let sizes = [(1, 200_000), (2, 2_000), (3, 20_000)];
        for (tenant, bytes) in sizes {
            for _ in 0..(20_000_000 / bytes).min(2_000) {
                if let Ok(answer) = queue.push(append_of(tenant, bytes)) {
                    answers.push(answer);
                }
            }
        }
        let mut bytes = BTreeMap::from([(1, 0), (2, 0), (3, 0)]);
        for tenant in taken(&queue).into_iter().chain(taken(&queue)) {
            let size = sizes.iter().find(|(of, _)| *of == tenant).expect("one of them").1;
            *bytes.get_mut(&tenant).expect("one of them") += size + COMMAND_BYTES;
        }
        let (least, most) = (bytes.values().min(), bytes.values().max());
        let (least, most) = (least.expect("three"), most.expect("three"));
        assert!(most - least <= 2 * TURN_BYTES + 200_000, "{bytes:?}");
    }

    #[test]
    fn commands_of_a_tenant_keep_their_order() {
        let queue = new_queue();
        let mut answers = Vec::new();
        for bytes in 1..=600 {
            for tenant in [1, 2] {
                answers.push(queue.push(append_of(tenant, bytes)).expect("there is room"));
            }
        }
        let mut last = [0; 3];
        while queue.queue_use().commands > 0 {
            let (_turn, batch) = queue.take().expect("commands wait");
            for proposal in batch.proposals {
                let tenant = usize::from(proposal.command.tenant.as_bytes()[0]);
                assert!(proposal.encoded.len() >= last[tenant]);
                last[tenant] = proposal.encoded.len();
            }
        }
    }

    #[test]
    fn tenants_without_commands_are_forgotten() {
        let queue = new_queue();
        for tenant in 0..3 * TENANTS_KEPT_MAX as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&tenant.to_be_bytes());
            let mut command = (*append(1)).clone();
            command.tenant = TenantId::new(id);
            let _answer = queue.push(Arc::new(command)).expect("there is room");
            drop(queue.take());
            assert!(queue.state.lock().tenants.len() <= TENANTS_KEPT_MAX);
        }
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
