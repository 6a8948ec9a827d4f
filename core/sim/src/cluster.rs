//! A run of several members: machines that crash, a network that is cut, and clients that go from one member to another.
//!
//! Each machine has a runtime of its own on simulated time; all of them go on by a millisecond in turn. Dropping the runtime
//! is what a crash does to everything that the machine was doing.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use craton_consensus::{Lane, ListedMember, MemberList, Peer, Transport, TransportError};
use craton_engine::{ClusterKeys, ClusterOptions, Member, fetch_cluster_keys};
use craton_log::testing::Crash;
use craton_types::NodeId;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Runtime;

use crate::checkers::{self, Checker, IDENTICAL, LIVENESS, LogMatching, Objection, View, show};
use crate::dice::Dice;
use crate::fault::{Counts, Fault};
use crate::history::{History, Told};
use crate::host::{Host, Node};
use crate::network::{Network, Packet};
use crate::swarm::Swarm;
use crate::trace::Trace;
use crate::workload::{Client, create_schema, request_name, tenant_name};
use crate::world::{Ending, Violation};

const TICK: Duration = Duration::from_millis(1);
/// How many pieces of a member's work are done in each tick.
const PIECES_A_TICK: u64 = 4;
/// A crashed machine is started again after so many milliseconds at most.
const DOWN_MS_MAX: u64 = 2_500;
/// A cut network is mended after so many milliseconds at most.
const CUT_MS_MAX: u64 = 5_000;
/// A flapping network changes after so many milliseconds at most.
const FLAP_MS_MAX: u64 = 150;
/// A healed cluster has answered everybody, and every member has everything, after so many milliseconds.
const HEALING_MS_MAX: u64 = 120_000;
/// A new cluster has its schema after so many milliseconds.
const FORMING_MS_MAX: u64 = 60_000;
/// Members are compared with each other about once in so many milliseconds.
const MS_BETWEEN_CHECKS: u64 = 500;
/// Kinds of requests that clients of a cluster make: appends, transfers and admissions.
const REQUESTS: usize = 3;
/// A crash in a call comes within so many calls.
const CRASH_CALLS_MAX: u64 = 60;
/// How far a clock jumps at most: an hour.
const JUMP_NS_MAX: u64 = 3_600_000_000_000;

struct Machine {
    id: u64,
    host: Host,
    runtime: Option<Runtime>,
    /// When it is started again, while it is down.
    starts_at_ms: u64,
}

pub(crate) struct ClusterWorld {
    swarm: Swarm,
    dice: Dice,
    seed: u64,
    trace: Trace,
    network: Network,
    machines: Vec<Machine>,
    clients: Vec<(Client, usize)>,
    history: Rc<RefCell<History>>,
    log_matching: LogMatching,
    keys: Option<ClusterKeys>,
    now_ms: u64,
    /// When the network is mended; and whether it flaps until then.
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

impl ClusterWorld {
    pub(crate) fn new(seed: u64, mut swarm: Swarm, trace: &Trace, members: u64) -> Self {
        swarm.requests[REQUESTS..].fill(0);
        let history = Rc::new(RefCell::new(History::default()));
        let clients = (0..swarm.clients).map(|number| {
            let machine = usize::try_from(number % members).expect("few members");
            (Client::new(seed, number, &swarm, &history), machine)
        });
        let machines = (1..=members).map(|id| Machine {
            id,
            host: Host::new(seed ^ id.rotate_left(48), &swarm, trace),
            runtime: None,
            starts_at_ms: 0,
        });
        Self {
            dice: Dice::new(seed, "cluster"),
            seed,
            trace: trace.clone(),
            network: Network::new(seed, &swarm, trace),
            machines: machines.collect(),
            clients: clients.collect(),
            history,
            log_matching: LogMatching::default(),
            keys: None,
            now_ms: 0,
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
        self.now_ms * 1_000_000
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

    fn set_armed(&mut self, armed: bool) {
        self.network.set_armed(armed);
        for machine in &self.machines {
            machine.host.disk.set_armed(armed);
        }
    }

    /// The first member forms the cluster, the others join, and the schema is created.
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
                schema.as_mut().now_or_never_again()
            };
            if let Some(created) = created {
                return created.map_err(|what| violation(LIVENESS, what));
            }
            self.tick(false)?;
        }
        Err(violation(LIVENESS, "the schema is never created"))
    }

    fn start(&mut self, index: usize) -> Result<(), Violation> {
        let members = self.machines.iter().map(|machine| ListedMember {
            id: NodeId::new(machine.id),
            peer_address: format!("member-{}", machine.id),
        });
        let members = MemberList {
            generation: 1,
            members: members.collect(),
        };
        let machine = &mut self.machines[index];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("the system gives a runtime");
        let cluster = ClusterOptions {
            node: NodeId::new(machine.id),
            bootstrap: machine.id == 1,
            members,
            transport: self.network.wire(machine.id),
            keys: self.keys.clone(),
            runtime: Some(runtime.handle().clone()),
        };
        let entered = runtime.enter();
        let opened = machine.host.open_member(cluster);
        drop(entered);
        machine.runtime = Some(runtime);
        let Err(error) = opened else { return Ok(()) };
        self.trace
            .note(format_args!("member {} does not open: {error}", machine.id));
        let is_excused = machine.host.disk.is_dead() || self.swarm.rate(Fault::IoError) > 0;
        machine.stop(Crash::Process);
        machine.starts_at_ms = self.now_ms + 10;
        match is_excused {
            true => Ok(()),
            false => Err(violation(
                LIVENESS,
                format!("member {} does not open: {error:?}", machine.id),
            )),
        }
    }

    /// A millisecond of everybody's work.
    fn tick(&mut self, may_begin: bool) -> Result<(), Violation> {
        self.now_ms += 1;
        for packet in self.network.tick() {
            self.deliver(packet);
        }
        for index in 0..self.machines.len() {
            if self.machines[index].runtime.is_none() {
                if self.now_ms >= self.machines[index].starts_at_ms {
                    self.start(index)?;
                }
                continue;
            }
            self.work(index, may_begin);
            self.bury(index);
        }
        Ok(())
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::Answer { answer, waiting, .. } => {
                if let Some(waiting) = waiting {
                    // Whoever asked may have given up.
                    let _ = waiting.send(answer);
                }
            }
            Packet::Request {
                from,
                to,
                bytes,
                waiting,
                ..
            } => {
                let network = self.network.clone();
                let machine = self.machines.iter().find(|machine| machine.id == to);
                let member = machine.and_then(|machine| machine.host.node.as_ref()?.craton.member());
                let runtime = machine.and_then(|machine| machine.runtime.as_ref());
                let answer = move |answer| Packet::Answer {
                    from: to,
                    to: from,
                    answer,
                    waiting,
                };
                match (member, runtime) {
                    (Some(member), Some(runtime)) => {
                        runtime.spawn(async move {
                            let bytes = member.answer(NodeId::new(from), bytes).await;
                            network.send(answer(Ok(bytes)));
                        });
                    }
                    _ => network.send(answer(Err(TransportError::Unreachable {
                        peer: NodeId::new(to),
                        reason: "it is down".to_owned(),
                    }))),
                }
            }
        }
    }

    fn work(&mut self, index: usize, may_begin: bool) {
        let machine = &mut self.machines[index];
        let Some(runtime) = &machine.runtime else { return };
        machine.host.clock.advance(1_000_000);
        let (dice, swarm, trace) = (&mut self.dice, &self.swarm, &self.trace);
        let entered = runtime.enter();
        if let Some(Node { steps, craton }) = machine.host.node.as_mut() {
            for _ in 0..PIECES_A_TICK {
                let worked = match dice.below(12) {
                    0..=3 => steps.propose(false),
                    4..=8 => steps.apply(),
                    9 => steps.write_back(),
                    10 if dice.below(20) == 0 => steps.flush(),
                    _ if dice.below(60) == 0 => steps.scrub() | steps.checkpoint(),
                    _ => false,
                };
                trace.note(format_args!("{} {worked}", machine.id));
            }
            for (number, (client, _)) in self.clients.iter_mut().enumerate().filter(|(_, (_, at))| *at == index) {
                if dice.below(4) != 0 {
                    continue;
                }
                if let Some((request, told)) = client.step(craton, swarm, may_begin) {
                    trace.note(format_args!("client {number}: {request:?} {told:?}"));
                    if told == Told::Done {
                        self.done.add(request_name(&request), 1);
                    }
                }
            }
        }
        drop(entered);
        runtime.block_on(async { tokio::time::sleep(TICK).await });
    }

    /// A machine that died within a call, or whose node stopped by itself, is started again later.
    fn bury(&mut self, index: usize) {
        let machine = &self.machines[index];
        let stopped = machine.host.node.as_ref().and_then(|node| node.craton.stop_reason());
        if machine.host.disk.is_dead() {
            let crash = self.any_crash();
            self.crash(index, crash);
        } else if let Some(reason) = stopped {
            self.trace.note(format_args!("member {} stopped: {reason}", index + 1));
            self.crash(index, Crash::Process);
        }
    }

    fn any_crash(&mut self) -> Crash {
        let chosen: Vec<Fault> = Fault::ALL
            .iter()
            .copied()
            .filter(|fault| fault.is_crash() && self.swarm.rate(*fault) > 0)
            .collect();
        match chosen.is_empty() {
            true => Crash::Process,
            false => {
                let fault = *self.dice.pick(&chosen);
                self.crash_of(fault)
            }
        }
    }

    fn crash_of(&mut self, fault: Fault) -> Crash {
        self.counts.add(fault.name(), 1);
        fault.crash(self.dice.next())
    }

    fn crash(&mut self, index: usize, crash: Crash) {
        let members = self.machines.len() as u64;
        for (client, at) in self.clients.iter_mut().filter(|(_, at)| *at == index) {
            client.hang_up();
            *at = usize::try_from(self.dice.below(members)).expect("few members");
        }
        let down_ms = self.dice.below(DOWN_MS_MAX);
        let machine = &mut self.machines[index];
        machine.stop(crash);
        machine.starts_at_ms = self.now_ms + down_ms;
    }

    /// What the seed has go wrong in this millisecond.
    fn go_wrong(&mut self) {
        if let Some(cut) = &self.cut {
            if self.now_ms >= cut.mended_at_ms {
                self.network.mend();
                self.cut = None;
            } else if cut.flaps && self.dice.below(FLAP_MS_MAX) == 0 {
                let is_cut = self.dice.below(2) == 0;
                for (from, to) in &cut.ways {
                    self.network.cut(*from, *to, is_cut);
                }
            }
        }
        for &fault in Fault::ALL {
            let rate = self.swarm.rate(fault);
            if rate > 0 && !fault.is_in_calls() && self.dice.strikes(rate) {
                self.strike(fault);
            }
        }
    }

    fn strike(&mut self, fault: Fault) {
        let members = self.machines.len() as u64;
        let index = usize::try_from(self.dice.below(members)).expect("few members");
        if fault.is_crash() {
            if self.machines[index].runtime.is_none() {
                return;
            }
            let in_call = self.swarm.rate(Fault::CrashInCall);
            if in_call > 0 && self.dice.strikes(in_call) {
                let calls = self.dice.below(CRASH_CALLS_MAX);
                self.machines[index].host.disk.die_in(calls);
                return;
            }
            let crash = self.crash_of(fault);
            return self.crash(index, crash);
        }
        match fault {
            Fault::ClockForward | Fault::ClockBack => {
                self.counts.add(fault.name(), 1);
                let nanoseconds = self.dice.below(JUMP_NS_MAX);
                let clock = &self.machines[index].host.clock;
                match fault {
                    Fault::ClockForward => clock.advance(nanoseconds),
                    _ => clock.set_back(nanoseconds),
                }
            }
            Fault::ImpatientClient => {
                let number = usize::try_from(self.dice.below(self.swarm.clients)).expect("few clients");
                let (client, at) = &mut self.clients[number];
                if client.is_busy() {
                    self.counts.add(fault.name(), 1);
                    client.hang_up();
                    *at = index;
                }
            }
            Fault::Partition | Fault::OneWayPartition | Fault::FlappingNetwork if self.cut.is_none() => {
                self.counts.add(fault.name(), 1);
                let alone = index as u64 + 1;
                let others: Vec<u64> = (1..=members).filter(|other| *other != alone).collect();
                let away = others.iter().map(|other| (alone, *other));
                let towards = others.iter().map(|other| (*other, alone));
                let ways: Vec<(u64, u64)> = match fault {
                    Fault::OneWayPartition if self.dice.below(2) == 0 => away.collect(),
                    Fault::OneWayPartition => towards.collect(),
                    _ => away.chain(towards).collect(),
                };
                for (from, to) in &ways {
                    self.network.cut(*from, *to, true);
                }
                self.trace.note(format_args!("cut {ways:?}"));
                self.cut = Some(CutNetwork {
                    mended_at_ms: self.now_ms + self.dice.below(CUT_MS_MAX),
                    ways,
                    flaps: fault == Fault::FlappingNetwork,
                });
            }
            _ => {}
        }
    }

    /// Members have the same records as far as both have any.
    fn compare_logs(&mut self) -> Result<(), Violation> {
        self.set_armed(false);
        let compared = self.compare_logs_of_members();
        self.set_armed(true);
        compared
    }

    fn compare_logs_of_members(&mut self) -> Result<(), Violation> {
        let history = self.history.borrow();
        for machine in self.machines.iter().filter(|machine| !machine.host.disk.is_dead()) {
            let Some(node) = &machine.host.node else { continue };
            for number in 0..self.swarm.tenants {
                let Some(tenant) = node.craton.tenant(&tenant_name(number)) else {
                    continue;
                };
                let view = View {
                    tenant: &tenant,
                    number: usize::try_from(number).expect("few tenants"),
                    history: &history,
                    accounts: self.swarm.accounts,
                };
                match self.log_matching.check(&view) {
                    Ok(facts) => self.facts.add(self.log_matching.name(), facts),
                    Err(Objection::Unreadable(_))
                        if node.craton.stop_reason().is_some() || machine.host.disk.is_dead() => {}
                    Err(Objection::Broken(what) | Objection::Unreadable(what)) => {
                        return Err(violation(
                            self.log_matching.name(),
                            format!("member {}: {what}", machine.id),
                        ));
                    }
                }
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
            machine.starts_at_ms = 0;
        }
        let began_ms = self.now_ms;
        while self.clients.iter().any(|(client, _)| client.is_busy()) || !self.is_even() {
            self.tick(false)?;
            if self.now_ms - began_ms > HEALING_MS_MAX {
                return Err(violation(LIVENESS, self.why_not_healed()));
            }
        }
        self.facts.add(LIVENESS, 1);
        self.compare_logs_of_members()?;
        self.check_members()
    }

    fn why_not_healed(&self) -> String {
        let busy = self.clients.iter().filter(|(client, _)| client.is_busy()).count();
        let statuses = self.machines.iter().map(|machine| {
            let node = machine.host.node.as_ref();
            node.and_then(|node| Some(format!("{:?}", node.craton.member()?.status())))
        });
        format!("{busy} clients wait; members: {:?}", statuses.collect::<Vec<_>>())
    }

    /// Whether all members are up and have applied the same.
    fn is_even(&self) -> bool {
        let ends = |machine: &Machine| -> Option<Vec<u64>> {
            let craton = &machine.host.node.as_ref()?.craton;
            let status = craton.member()?.status();
            let tenants = (0..self.swarm.tenants).map(|number| Some(craton.tenant(&tenant_name(number))?.end().get()));
            let mut ends = tenants.collect::<Option<Vec<u64>>>()?;
            ends.extend([status.last.get(), status.committed.get()]);
            (status.last == status.committed).then_some(ends)
        };
        let mut all = self.machines.iter().map(ends);
        let first = all.next().flatten();
        first.is_some() && all.all(|ends| ends == first)
    }

    /// Every member keeps every promise, and all show the same.
    fn check_members(&mut self) -> Result<(), Violation> {
        let history = self.history.borrow();
        let mut shown: Option<Vec<String>> = None;
        for machine in &self.machines {
            let Some(node) = &machine.host.node else { continue };
            let mut checkers = checkers::all();
            let mut shows = Vec::new();
            for number in 0..self.swarm.tenants {
                let Some(tenant) = node.craton.tenant(&tenant_name(number)) else {
                    let what = format!("member {} has no tenant {number}", machine.id);
                    return Err(violation("acknowledged-never-lost", what));
                };
                let view = View {
                    tenant: &tenant,
                    number: usize::try_from(number).expect("few tenants"),
                    history: &history,
                    accounts: self.swarm.accounts,
                };
                for checker in &mut checkers {
                    let name = checker.name();
                    match checker.check(&view) {
                        Ok(facts) => self.facts.add(name, facts),
                        Err(Objection::Broken(what) | Objection::Unreadable(what)) => {
                            return Err(violation(name, format!("member {}: {what}", machine.id)));
                        }
                    }
                }
                let show = show(&tenant, self.swarm.streams);
                shows.push(show.map_err(|objection| violation(IDENTICAL, format!("{objection:?}")))?);
            }
            self.facts.add(IDENTICAL, 1);
            match &shown {
                Some(shown) if *shown != shows => {
                    let what = format!("member {} shows {shows:?}, another one {shown:?}", machine.id);
                    return Err(violation(IDENTICAL, what));
                }
                _ => shown = Some(shows),
            }
        }
        Ok(())
    }
}

impl Machine {
    /// The keys of the cluster, as a new member asks for them.
    fn keys(&self) -> Result<ClusterKeys, Violation> {
        let member = self.host.node.as_ref().and_then(|node| node.craton.member());
        let (Some(member), Some(runtime)) = (member, &self.runtime) else {
            return Err(violation(LIVENESS, "the first member is gone"));
        };
        let peer = Peer {
            id: NodeId::new(self.id),
            address: String::new(),
        };
        let keys = runtime.block_on(fetch_cluster_keys(&Direct(member), peer));
        keys.map_err(|error| violation(LIVENESS, format!("no keys: {error}")))
    }

    /// Everything that it does ends; what it did not sync is treated as the crash says.
    fn stop(&mut self, crash: Crash) {
        self.host.crash(crash);
        drop(self.runtime.take());
    }
}

/// Asks a member without a network.
struct Direct(Member);

impl Transport for Direct {
    fn call(&self, _: Peer, _: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let member = self.0.clone();
        async move { Ok(member.answer(NodeId::new(u64::MAX), request).await) }.boxed()
    }
}

/// Looks once whether a future has completed.
trait Look: Future + Unpin {
    fn now_or_never_again(&mut self) -> Option<Self::Output> {
        let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(self).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}

impl<F: Future + Unpin> Look for F {}
