//! One run: a safety phase in which everything goes wrong that the seed says, and a healing phase in which nothing does and
//! everybody must get an answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use craton_engine::{EngineError, Tenant};
use craton_log::testing::{Crash, MemoryDisk};

use crate::checkers::{
    self, Checker, LINEARIZABLE, LIVENESS, Objection, REPLAY, View, check_registers, compare_with_replay, show,
};
use crate::dice::Dice;
use crate::fault::{Counts, Fault};
use crate::history::{History, Told};
use crate::host::{Host, Node};
use crate::swarm::Swarm;
use crate::trace::Trace;
use crate::workload::{Client, create_schema, request_name, tenant_name};

/// A node is looked at about once in so many steps.
const STEPS_BETWEEN_CHECKS: u64 = 150;
/// A healed node has answered everybody after so many steps for each client.
const HEALING_STEPS_MAX: u64 = 20_000;
/// How often a start is tried again when the disk makes it fail.
const OPENINGS_MAX: u32 = 50;
/// A crash in a call comes within so many calls.
const CRASH_CALLS_MAX: u64 = 60;
/// The same while a node opens.
const CRASH_OPENING_CALLS_MAX: u64 = 150;
/// How much space a disk that fills up has left at most.
const SPACE_BYTES_MAX: u64 = 200_000;
/// How far a clock jumps at most: an hour.
const JUMP_NS_MAX: u64 = 3_600_000_000_000;
/// How much time a step takes at most.
const STEP_NS_MAX: u64 = 2_000_000;

/// A piece of work, of the node or its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Propose,
    Write,
    Apply,
    WriteBack,
    Reserve,
    Flush,
    Checkpoint,
    Scrub,
    Client,
}

impl Piece {
    const ALL: [Self; 9] = [
        Self::Propose,
        Self::Write,
        Self::Apply,
        Self::WriteBack,
        Self::Reserve,
        Self::Flush,
        Self::Checkpoint,
        Self::Scrub,
        Self::Client,
    ];
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker says so.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}

/// How a run ended, if no promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything is well again.
    Healed,
    /// The node said that its files are damaged, as they are, and did not go on.
    RefusedDamage,
}

pub(crate) struct World {
    swarm: Swarm,
    dice: Dice,
    trace: Trace,
    host: Host,
    clients: Vec<Client>,
    history: Rc<RefCell<History>>,
    checkers: Vec<Box<dyn Checker>>,
    pub(crate) counts: Counts,
    pub(crate) facts: Counts,
    pub(crate) done: Counts,
}

/// Why a run ends early.
enum Stop {
    Violation(Violation),
    RefusedDamage,
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

fn violation(checker: &'static str, what: impl Into<String>) -> Stop {
    let what = what.into();
    Stop::Violation(Violation { checker, what })
}

impl World {
    pub(crate) fn new(seed: u64, swarm: Swarm, trace: &Trace) -> Self {
        let history = Rc::new(RefCell::new(History::default()));
        let clients = (0..swarm.clients).map(|number| Client::new(seed, number, &swarm, &history));
        Self {
            dice: Dice::new(seed, "world"),
            trace: trace.clone(),
            host: Host::new(seed, &swarm, trace),
            clients: clients.collect(),
            history,
            checkers: checkers::all(),
            swarm,
            counts: Counts::default(),
            facts: Counts::default(),
            done: Counts::default(),
        }
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Result<Ending, Violation> {
        let ended = self.run_phases();
        self.counts.merge(&self.host.disk.counts());
        match ended {
            Ok(()) => Ok(Ending::Healed),
            Err(Stop::RefusedDamage) => Ok(Ending::RefusedDamage),
            Err(Stop::Violation(violation)) => Err(violation),
        }
    }

    /// How often the node was opened.
    pub(crate) const fn lives(&self) -> u64 {
        self.host.lives()
    }

    /// How much time passed, in nanoseconds.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        self.host.clock.elapsed_ns()
    }

    fn run_phases(&mut self) -> Result<(), Stop> {
        self.set_up()?;
        self.host.disk.set_armed(true);
        for _ in 0..self.swarm.steps {
            self.step(true)?;
            self.go_wrong()?;
            if self.dice.below(STEPS_BETWEEN_CHECKS) == 0 {
                self.check()?;
            }
        }
        self.host.disk.set_armed(false);
        self.heal()
    }

    /// Opens the node for the first time and creates what the clients need.
    fn set_up(&mut self) -> Result<(), Stop> {
        self.start()?;
        let Some(Node { steps, craton }) = self.host.node.as_mut() else {
            return Err(violation(LIVENESS, "a new node does not open"));
        };
        let craton = craton.clone();
        let mut schema = Box::pin(create_schema(&craton, self.swarm.tenants, self.swarm.accounts));
        for _ in 0..HEALING_STEPS_MAX {
            let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
            if let std::task::Poll::Ready(created) = schema.as_mut().poll(context) {
                return created.map_err(|what| violation(LIVENESS, what));
            }
            while steps.propose(true) || steps.write() || steps.apply() || steps.reserve() {}
        }
        Err(violation(LIVENESS, "the schema is never created"))
    }

    /// One piece of somebody's work.
    fn step(&mut self, may_begin: bool) -> Result<(), Stop> {
        let step_ns = self.dice.below(STEP_NS_MAX);
        self.host.clock.advance(step_ns);
        let piece = self.draw_piece();
        let Some(Node { steps, craton }) = self.host.node.as_mut() else {
            return self.start();
        };
        let worked = match piece {
            Piece::Propose => steps.propose(self.dice.strikes(self.swarm.alone)),
            Piece::Write => steps.write(),
            Piece::Apply => steps.apply(),
            Piece::WriteBack => steps.write_back(),
            Piece::Reserve => steps.reserve(),
            Piece::Flush => steps.flush(),
            Piece::Checkpoint => steps.checkpoint(),
            Piece::Scrub => steps.scrub() | steps.erase(),
            Piece::Client => {
                let number = self.dice.below(self.swarm.clients);
                let client = &mut self.clients[usize::try_from(number).expect("few clients")];
                let told = client.step(craton, &self.swarm, may_begin);
                if let Some((request, told)) = &told {
                    self.trace.note(format_args!("client {number}: {request:?} {told:?}"));
                    if *told == Told::Done {
                        self.done.add(request_name(request), 1);
                    }
                }
                told.is_some()
            }
        };
        self.trace.note(format_args!("{piece:?} {worked}"));
        self.bury()
    }

    fn draw_piece(&mut self) -> Piece {
        // Clients are as busy as the node.
        let node: u64 = self.swarm.pieces[..8].iter().sum();
        let total = node + self.swarm.pieces[8].max(1) * 8;
        let mut rest = self.dice.below(total);
        for (piece, weight) in Piece::ALL.into_iter().zip(self.swarm.pieces) {
            if rest < weight {
                return piece;
            }
            rest -= weight;
        }
        Piece::Client
    }

    /// What the seed has go wrong between two steps.
    fn go_wrong(&mut self) -> Result<(), Stop> {
        for &fault in Fault::ALL {
            let rate = self.swarm.rate(fault);
            if rate > 0 && !fault.is_in_calls() && self.dice.strikes(rate) {
                self.strike(fault)?;
            }
        }
        Ok(())
    }

    fn strike(&mut self, fault: Fault) -> Result<(), Stop> {
        self.trace.note(fault.name());
        match fault {
            fault if fault.is_crash() => {
                let in_call = self.swarm.rate(Fault::CrashInCall);
                if in_call > 0 && self.dice.strikes(in_call) {
                    let calls = self.dice.below(CRASH_CALLS_MAX);
                    self.host.disk.die_in(calls);
                    return Ok(());
                }
                let crash = self.crash_of(fault);
                self.crash(crash);
                self.start()?;
                self.check()
            }
            Fault::DiskFull => {
                self.counts.add(fault.name(), 1);
                let space_bytes = self.dice.below(SPACE_BYTES_MAX);
                self.host.disk.fill_up(space_bytes);
                Ok(())
            }
            Fault::Rot => {
                self.host.disk.rot();
                Ok(())
            }
            Fault::ClockForward | Fault::ClockBack => {
                self.counts.add(fault.name(), 1);
                let nanoseconds = self.dice.below(JUMP_NS_MAX);
                match fault {
                    Fault::ClockForward => self.host.clock.advance(nanoseconds),
                    _ => self.host.clock.set_back(nanoseconds),
                }
                Ok(())
            }
            Fault::ImpatientClient => {
                let number = usize::try_from(self.dice.below(self.swarm.clients)).expect("few clients");
                if self.clients[number].is_busy() {
                    self.counts.add(fault.name(), 1);
                    self.clients[number].hang_up();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn crash_of(&mut self, fault: Fault) -> Crash {
        self.counts.add(fault.name(), 1);
        fault.crash(self.dice.next())
    }

    /// One of the crashes that the seed has.
    fn any_crash(&mut self) -> Crash {
        let crashes = Fault::ALL.iter().copied().filter(|fault| fault.is_crash());
        let chosen: Vec<Fault> = crashes.filter(|fault| self.swarm.rate(*fault) > 0).collect();
        if chosen.is_empty() {
            return Crash::Process;
        }
        let fault = *self.dice.pick(&chosen);
        self.crash_of(fault)
    }

    fn crash(&mut self, crash: Crash) {
        for client in &mut self.clients {
            client.hang_up();
        }
        self.host.crash(crash);
        // Whoever starts a machine again sees that its disk is full.
        self.host.disk.make_space();
    }

    /// A machine that died within a call, or a node that stopped by itself, is started again.
    fn bury(&mut self) -> Result<(), Stop> {
        let reason = self.host.node.as_ref().and_then(|node| node.craton.stop_reason());
        if self.host.disk.is_dead() {
            let crash = self.any_crash();
            self.crash(crash);
        } else if let Some(reason) = reason {
            self.trace.note(format_args!("the node stopped: {reason}"));
            // Its files are as it left them.
            self.crash(Crash::Process);
        } else {
            return Ok(());
        }
        self.start()?;
        self.check()
    }

    /// Starts the node, again and again while the disk makes it fail.
    fn start(&mut self) -> Result<(), Stop> {
        for _ in 0..OPENINGS_MAX {
            let in_opening = self.swarm.rate(Fault::CrashInOpening);
            let dies = self.host.lives() > 0 && in_opening > 0 && self.dice.strikes(in_opening);
            if dies {
                let calls = self.dice.below(CRASH_OPENING_CALLS_MAX);
                self.host.disk.die_in(calls);
            }
            let struck_before = self.host.disk.counts();
            let opened = self.host.open();
            if self.host.disk.is_dead() {
                self.counts.add(Fault::CrashInOpening.name(), 1);
                let crash = self.any_crash();
                self.crash(crash);
                continue;
            }
            let Err(error) = opened else { return Ok(()) };
            self.trace.note(format_args!("does not open: {}", chain(&error)));
            self.crash(Crash::Process);
            let struck = self.host.disk.counts();
            let has_struck = |fault: Fault| struck.get(fault.name()) > struck_before.get(fault.name());
            if has_struck(Fault::IoError) || has_struck(Fault::NoSpace) {
                continue;
            }
            return Err(self.refused(&error));
        }
        Err(violation(
            LIVENESS,
            format!("the node did not open {OPENINGS_MAX} times"),
        ))
    }

    fn refused(&self, error: &EngineError) -> Stop {
        if self.swarm.damages() {
            Stop::RefusedDamage
        } else {
            violation(
                LIVENESS,
                format!("a node that nothing has damaged does not open: {}", chain(error)),
            )
        }
    }

    /// Has every checker look at every tenant.
    fn check(&mut self) -> Result<(), Stop> {
        // Looking is not what goes wrong.
        let was_armed = self.host.disk.set_armed(false);
        let checked = self.check_tenants();
        self.host.disk.set_armed(was_armed);
        checked
    }

    fn check_tenants(&mut self) -> Result<(), Stop> {
        for number in 0..self.swarm.tenants {
            let Some(tenant) = self.tenant(number) else {
                return Err(violation("acknowledged-never-lost", format!("tenant {number} is gone")));
            };
            let history = self.history.borrow();
            let view = View {
                tenant: &tenant,
                number: usize::try_from(number).expect("few tenants"),
                history: &history,
                accounts: self.swarm.accounts,
            };
            for checker in &mut self.checkers {
                let name = checker.name();
                match checker.check(&view) {
                    Ok(facts) => self.facts.add(name, facts),
                    Err(Objection::Unreadable(_)) if self.swarm.damages() => return Err(Stop::RefusedDamage),
                    // It says so to whoever asks, and is started again.
                    Err(Objection::Unreadable(_)) if self.has_stopped() => return Ok(()),
                    Err(Objection::Broken(what) | Objection::Unreadable(what)) => return Err(violation(name, what)),
                }
            }
        }
        Ok(())
    }

    fn has_stopped(&self) -> bool {
        let node = self.host.node.as_ref();
        node.is_none_or(|node| node.craton.stop_reason().is_some()) || self.host.disk.is_dead()
    }

    fn tenant(&self, number: u64) -> Option<Tenant> {
        self.host.node.as_ref()?.craton.tenant(&tenant_name(number))
    }

    /// Nothing goes wrong any more: everybody gets an answer, the node closes and opens again, and its views are what a
    /// replay makes of its logs.
    fn heal(&mut self) -> Result<(), Stop> {
        self.trace.note("heals");
        self.host.disk.live_on();
        self.host.disk.make_space();
        self.bury()?;
        let steps_max = HEALING_STEPS_MAX * (1 + self.clients.len() as u64);
        let mut steps = 0;
        while self.clients.iter().any(Client::is_busy) {
            self.step(false)?;
            steps += 1;
            if steps > steps_max {
                return Err(violation(
                    LIVENESS,
                    format!("not everybody has an answer after {steps} steps"),
                ));
            }
        }
        self.facts.add(LIVENESS, 1);
        self.check_tenants()?;
        self.host
            .close()
            .map_err(|error| violation(LIVENESS, format!("the last flush fails: {}", chain(&error))))?;
        self.start()?;
        self.check_tenants()?;
        self.check_histories()?;
        self.check_replay()
    }

    fn check_histories(&mut self) -> Result<(), Stop> {
        for number in 0..self.swarm.tenants {
            let Some(tenant) = self.tenant(number) else { continue };
            let history = self.history.borrow();
            let view = View {
                tenant: &tenant,
                number: usize::try_from(number).expect("few tenants"),
                history: &history,
                accounts: self.swarm.accounts,
            };
            match check_registers(&view) {
                Ok(facts) => self.facts.add(LINEARIZABLE, facts),
                Err(Objection::Unreadable(_)) if self.swarm.damages() => return Err(Stop::RefusedDamage),
                Err(Objection::Broken(what) | Objection::Unreadable(what)) => {
                    return Err(violation(LINEARIZABLE, what));
                }
            }
        }
        Ok(())
    }

    fn check_replay(&mut self) -> Result<(), Stop> {
        let streams = self.swarm.streams;
        let disk = self.host.disk.fork();
        let compared = (|| {
            let tenants: Vec<Tenant> = (0..self.swarm.tenants)
                .filter_map(|number| self.tenant(number))
                .collect();
            let shown = tenants
                .iter()
                .map(|tenant| show(tenant, streams))
                .collect::<Result<Vec<_>, _>>()?;
            let reopen = |disk: &MemoryDisk| {
                let node = self.host.open_copy(Arc::new(disk.clone()), None)?;
                Ok((0..self.swarm.tenants)
                    .filter_map(|number| node.craton.tenant(&tenant_name(number)))
                    .collect())
            };
            compare_with_replay(&disk, &shown, reopen, streams)
        })();
        match compared {
            Ok(facts) => {
                self.facts.add(REPLAY, facts);
                Ok(())
            }
            Err(Objection::Unreadable(_)) if self.swarm.damages() => Err(Stop::RefusedDamage),
            Err(Objection::Broken(what) | Objection::Unreadable(what)) => Err(violation(REPLAY, what)),
        }
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
