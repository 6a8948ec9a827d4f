//! A run of several members: machines that crash, a network that is cut, members that come and go, and clients that go from
//! one member to another.
//!
//! Each machine has a runtime of its own on simulated time; all of them go on by a millisecond in turn. Dropping the runtime
//! is what a crash does to everything that the machine was doing.

mod compare;
mod machine;
mod membership;
mod strike;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use craton_engine::{ClusterKeys, ClusterOptions};
use craton_log::testing::Crash;
use craton_types::NodeId;
use tokio::runtime::Runtime;

use crate::checkers::{LIVENESS, LogMatching, OneLeader};
use crate::dice::Dice;
use crate::fault::{Counts, Fault};
use crate::history::{History, Told};
use crate::host::Node;
use crate::network::{Network, Packet};
use crate::swarm::Swarm;
use crate::trace::Trace;
use crate::workload::{Client, create_schema, request_name, tenant_name};
use crate::world::{Ending, Violation};
use compare::Finding;
use machine::Machine;

const TICK: Duration = Duration::from_millis(1);
const TICK_NS: u64 = 1_000_000;
/// How many pieces of a member's work are done in each tick.
const PIECES_A_TICK: u64 = 4;
/// A healed cluster has answered everybody, and every member has everything, after so many milliseconds.
const HEALING_MS_MAX: u64 = 120_000;
/// A member whose disk may be damaged is replaced when it does not do the same after so many milliseconds.
const DAMAGED_MS_MAX: u64 = 40_000;
/// A new cluster has its schema after so many milliseconds.
const FORMING_MS_MAX: u64 = 60_000;
/// Members are compared with each other about once in so many milliseconds.
const MS_BETWEEN_CHECKS: u64 = 500;
/// A crash while a member opens comes within so many calls.
const CRASH_OPENING_CALLS_MAX: u64 = 150;
/// A member that stopped in good order is started again after so many milliseconds at most.
const CLOSED_MS_MAX: u64 = 500;
/// A slow disk holds a machine up for one of so many parts of what a slow call takes at most.
const STALL_PARTS: u64 = 8;

pub(crate) struct ClusterWorld {
    swarm: Swarm,
    dice: Dice,
    seed: u64,
    trace: Trace,
    network: Network,
    /// All that there ever were, by id.
    machines: Vec<Machine>,
    /// Who shall be a member, and the generation of that list.
    wanted: Vec<u64>,
    generation: u64,
    is_changing: bool,
    members_min: usize,
    clients: Vec<(Client, usize)>,
    history: Rc<RefCell<History>>,
    log_matching: LogMatching,
    one_leader: OneLeader,
    keys: Option<ClusterKeys>,
    now_ms: u64,
    is_armed: bool,
    cut: Option<CutNetwork>,
    pub(crate) counts: Counts,
    pub(crate) facts: Counts,
    pub(crate) done: Counts,
}

struct CutNetwork {
    mended_at_ms: u64,
    ways: Vec<(u64, u64)>,
    flaps: bool,
}

fn violation(checker: &'static str, what: impl Into<String>) -> Violation {
    let what = what.into();
    Violation { checker, what }
}

/// Where the machine with an id is.
fn index_of(id: u64) -> usize {
    usize::try_from(id - 1).expect("few machines")
}

impl ClusterWorld {
    pub(crate) fn new(seed: u64, swarm: Swarm, trace: &Trace, members: u64) -> Self {
        let history = Rc::new(RefCell::new(History::default()));
        let clients = (0..swarm.clients).map(|number| {
            let machine = usize::try_from(number % members).expect("few members");
            (Client::new(seed, number, &swarm, &history), machine)
        });
        let mut dice = Dice::new(seed, "cluster");
        let unlucky = dice.below(members) + 1;
        let machines = (1..=members).map(|id| Machine::new(seed, id, &swarm, trace, id == unlucky && swarm.damages()));
        Self {
            dice,
            seed,
            trace: trace.clone(),
            network: Network::new(seed, &swarm, trace),
            machines: machines.collect(),
            wanted: (1..=members).collect(),
            generation: 1,
            is_changing: true,
            members_min: usize::try_from(members).expect("few members"),
            clients: clients.collect(),
            history,
            log_matching: LogMatching::default(),
            one_leader: OneLeader::default(),
            keys: None,
            now_ms: 0,
            is_armed: false,
            cut: None,
            swarm,
            counts: Counts::default(),
            facts: Counts::default(),
            done: Counts::default(),
        }
    }

    /// How often nodes were opened.
    pub(crate) fn lives(&self) -> u64 {
        self.machines.iter().map(|machine| machine.host.lives()).sum()
    }

    /// How much time passed, in nanoseconds.
    pub(crate) const fn elapsed_ns(&self) -> u64 {
        self.now_ms * TICK_NS
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Result<Ending, Violation> {
        craton_consensus::seed_elections(self.seed);
        let ended = self.run_phases();
        self.counts.merge(&self.network.counts());
        for machine in &self.machines {
            self.counts.merge(&machine.host.disk.counts());
        }
        self.clients.clear();
        for machine in &mut self.machines {
            machine.stop(Crash::Process);
        }
        ended.map(|()| Ending::Healed)
    }

    fn run_phases(&mut self) -> Result<(), Violation> {
        self.form()?;
        self.set_armed(true);
        for _ in 0..self.swarm.steps {
            self.tick(true)?;
            self.go_wrong();
            if self.dice.below(MS_BETWEEN_CHECKS) == 0 {
                self.compare_logs()?;
            }
        }
        self.set_armed(false);
        self.heal()
    }

    /// Lets things go wrong, or not; whether they could before.
    fn set_armed(&mut self, armed: bool) -> bool {
        self.network.set_armed(armed);
        for machine in &self.machines {
            machine.host.disk.set_armed(armed);
        }
        std::mem::replace(&mut self.is_armed, armed)
    }

    /// The first member forms the cluster, the schema is created, and the others join.
    fn form(&mut self) -> Result<(), Violation> {
        self.start(0)?;
        self.keys = Some(self.machines[0].keys()?);
        for index in 1..self.machines.len() {
            self.start(index)?;
        }
        let Some(Node { craton, .. }) = &self.machines[0].host.node else {
            return Err(violation(LIVENESS, "the first member is gone"));
        };
        let craton = craton.clone();
        let (tenants, accounts) = (self.swarm.tenants, self.swarm.accounts);
        let mut schema = Box::pin(async move { create_schema(&craton, tenants, accounts).await });
        for _ in 0..FORMING_MS_MAX {
            let created = {
                let runtime = self.machines[0].runtime.as_ref();
                let _entered = runtime.map(Runtime::enter);
                schema.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            };
            if let Poll::Ready(created) = created {
                created.map_err(|what| violation(LIVENESS, what))?;
                return self.wait_for_members();
            }
            self.tick(false)?;
        }
        Err(violation(LIVENESS, "the schema is never created"))
    }

    fn wait_for_members(&mut self) -> Result<(), Violation> {
        for _ in 0..FORMING_MS_MAX {
            if !self.is_changing {
                return Ok(());
            }
            self.tick(false)?;
        }
        Err(violation(LIVENESS, self.why_not_healed()))
    }

    fn start(&mut self, index: usize) -> Result<(), Violation> {
        let in_opening = self.swarm.rate(Fault::CrashInOpening);
        let dies = self.is_armed && in_opening > 0 && self.dice.strikes(in_opening);
        let members = self.list();
        let machine = &mut self.machines[index];
        if dies && machine.host.lives() > 0 {
            machine.host.disk.die_in(self.dice.below(CRASH_OPENING_CALLS_MAX));
        }
        let (id, transport, keys) = (machine.id, self.network.wire(machine.id), self.keys.clone());
        machine.told_generation = members.generation;
        let opened = machine.open(|runtime| ClusterOptions {
            node: NodeId::new(id),
            bootstrap: id == 1,
            members,
            transport,
            keys,
            runtime: Some(runtime.handle().clone()),
        });
        if machine.host.disk.is_dead() {
            self.counts.add(Fault::CrashInOpening.name(), 1);
            let crash = self.any_crash();
            self.crash(index, crash);
            return Ok(());
        }
        let Err(error) = opened else { return Ok(()) };
        self.trace.note(format_args!("member {id} does not open: {error}"));
        machine.stop(Crash::Process);
        machine.starts_at_ms = self.now_ms + 10;
        let is_excused = [Fault::IoError, Fault::NoSpace, Fault::DiskFull]
            .iter()
            .any(|fault| self.swarm.rate(*fault) > 0);
        if machine.is_unlucky {
            self.replace_damaged(index);
            return Ok(());
        }
        match is_excused && self.is_armed {
            true => Ok(()),
            false => Err(violation(LIVENESS, format!("member {id} does not open: {error}"))),
        }
    }

    /// A millisecond of everybody's work.
    fn tick(&mut self, may_begin: bool) -> Result<(), Violation> {
        self.now_ms += 1;
        for packet in self.network.tick() {
            self.deliver(packet);
        }
        for index in 0..self.machines.len() {
            let machine = &mut self.machines[index];
            if machine.space_at_ms.is_some_and(|at_ms| self.now_ms >= at_ms) {
                machine.space_at_ms = None;
                machine.host.disk.make_space();
            }
            match &machine.stands_still {
                _ if machine.is_gone => {}
                _ if !machine.is_up() => {
                    if self.now_ms >= machine.starts_at_ms {
                        self.start(index)?;
                    }
                }
                Some(stands_still) if self.now_ms < stands_still.until_ms => {}
                _ => {
                    for packet in machine.go_on(self.now_ms) {
                        machine.take(packet, &self.network);
                    }
                    self.work(index, may_begin);
                    self.bury(index)?;
                }
            }
        }
        self.look_at_members();
        self.check_leaders()
    }

    fn deliver(&mut self, packet: Packet) {
        let to = match &packet {
            Packet::Request { to, .. } | Packet::Answer { to, .. } => *to,
        };
        self.machines[index_of(to)].take(packet, &self.network);
    }

    fn work(&mut self, index: usize, may_begin: bool) {
        let machine = &mut self.machines[index];
        let Some(runtime) = &machine.runtime else { return };
        machine.host.clock.advance(TICK_NS);
        let (dice, swarm, trace) = (&mut self.dice, &self.swarm, &self.trace);
        let entered = runtime.enter();
        if let Some(Node { steps, craton }) = machine.host.node.as_mut() {
            for _ in 0..PIECES_A_TICK {
                let worked = match dice.below(12) {
                    0..=3 => steps.propose(false),
                    4..=8 => steps.apply(),
                    9 => steps.write_back(),
                    10 if dice.below(20) == 0 => steps.flush(),
                    _ if dice.below(60) == 0 => steps.scrub() | steps.checkpoint() | steps.erase(),
                    _ => false,
                };
                if worked {
                    trace.note(format_args!("{} works", machine.id));
                }
            }
            for (number, (client, _)) in self.clients.iter_mut().enumerate().filter(|(_, (_, at))| *at == index) {
                if dice.below(4) != 0 {
                    continue;
                }
                if let Some((request, told)) = client.step(craton, swarm, may_begin) {
                    trace.note(format_args!("client {number} at {}: {request:?} {told:?}", machine.id));
                    if told == Told::Done {
                        self.done.add(request_name(&request), 1);
                    }
                }
            }
        }
        drop(entered);
        machine.run_tasks();
        let stalled_ms = machine.host.disk.take_stalled_ns() / TICK_NS / STALL_PARTS;
        if stalled_ms > 0 {
            self.stand_still(index, stalled_ms);
        }
    }

    /// A machine that died within a call, or whose node stopped by itself or in good order, is started again later.
    fn bury(&mut self, index: usize) -> Result<(), Violation> {
        let machine = &mut self.machines[index];
        let stopped = machine.host.node.as_ref().and_then(|node| node.craton.stop_reason());
        if machine.host.disk.is_dead() {
            let crash = self.any_crash();
            self.crash(index, crash);
        } else if let Some(reason) = stopped {
            self.trace.note(format_args!("member {} stopped: {reason}", index + 1));
            self.crash(index, Crash::Process);
        } else if machine.draining.as_ref().is_some_and(|draining| draining.is_finished()) {
            self.leave_clients(index);
            let machine = &mut self.machines[index];
            let closed = machine.close();
            machine.stop(Crash::Process);
            machine.starts_at_ms = self.now_ms + self.dice.below(CLOSED_MS_MAX);
            let is_excused = self.is_armed || machine.is_unlucky;
            if let (Err(error), false) = (closed, is_excused) {
                return Err(violation(
                    LIVENESS,
                    format!("member {} does not close: {error}", index + 1),
                ));
            }
        }
        Ok(())
    }

    /// Nothing goes wrong any more: everybody gets an answer, and every member has everything.
    fn heal(&mut self) -> Result<(), Violation> {
        self.trace.note("heals");
        self.network.mend();
        self.cut = None;
        for machine in &mut self.machines {
            machine.host.disk.live_on();
            machine.host.disk.make_space();
            machine.space_at_ms = None;
            machine.starts_at_ms = 0;
        }
        loop {
            self.wait_until_even()?;
            self.facts.add(LIVENESS, 1);
            self.compare_logs()?;
            match self.check_members() {
                Ok(()) => return Ok(()),
                Err(Finding::Violation(violation)) => return Err(violation),
                // Every machine that may be damaged is replaced once at most.
                Err(Finding::Damaged(index)) => self.replace_damaged(index),
            }
        }
    }

    fn wait_until_even(&mut self) -> Result<(), Violation> {
        let began_ms = self.now_ms;
        while self.clients.iter().any(|(client, _)| client.is_busy()) || !self.is_even() {
            self.tick(false)?;
            if self.now_ms - began_ms == DAMAGED_MS_MAX {
                let damaged = self
                    .machines
                    .iter()
                    .position(|machine| machine.is_unlucky && !machine.is_gone);
                damaged.into_iter().for_each(|index| self.replace_damaged(index));
            }
            if self.now_ms - began_ms > HEALING_MS_MAX {
                return Err(violation(LIVENESS, self.why_not_healed()));
            }
        }
        Ok(())
    }

    fn why_not_healed(&self) -> String {
        let busy = self
            .clients
            .iter()
            .filter_map(|(client, at)| Some(format!("{:?} at member {}", client.wanted()?, at + 1)));
        let busy: Vec<String> = busy.collect();
        let here = self.machines.iter().filter(|machine| !machine.is_gone);
        let statuses: Vec<_> = here
            .map(|machine| Some(format!("{:?}", machine.member()?.status())))
            .collect();
        format!(
            "clients wait for {busy:?}; {:?} shall be members; they are {statuses:?}",
            self.wanted
        )
    }

    /// Whether all members are who they shall be, are up and have applied the same.
    fn is_even(&self) -> bool {
        let ends = |machine: &Machine| -> Option<Vec<u64>> {
            let craton = &machine.host.node.as_ref()?.craton;
            let status = craton.member()?.status();
            let tenants = (0..self.swarm.tenants).map(|number| Some(craton.tenant(&tenant_name(number))?.end().get()));
            let mut ends = tenants.collect::<Option<Vec<u64>>>()?;
            ends.extend([status.last.get(), status.committed.get()]);
            (status.last == status.committed).then_some(ends)
        };
        let mut all = self.machines.iter().filter(|machine| !machine.is_gone).map(ends);
        let first = all.next().flatten();
        !self.is_changing && first.is_some() && all.all(|ends| ends == first)
    }
}
