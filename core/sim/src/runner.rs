//! Runs a seed, and makes a failing run smaller.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::cluster::ClusterWorld;
use crate::fault::{Counts, Fault};
use crate::swarm::Swarm;
use crate::trace::Trace;
use crate::world::{Ending, Violation, World};

/// Which run it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How many members the cluster has; a lone node for one or zero.
    pub members: u64,
    /// Faults that are left out of what the seed decides.
    pub without: Vec<Fault>,
    /// How many steps the safety phase has, instead of what the seed decides.
    pub steps: Option<u64>,
    /// Tells every event on standard error.
    pub print: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The promise that was broken, or how it ended.
    pub ended: Result<Ending, Violation>,
    /// The hash of everything that happened.
    pub trace_hash: u64,
    /// How many things happened.
    pub events: u64,
    /// How much time passed, in nanoseconds.
    pub simulated_ns: u64,
    /// The last of them.
    pub recent: Vec<String>,
    /// How often each fault struck.
    pub faults: Counts,
    /// How many facts each checker has compared.
    pub facts: Counts,
    /// How many requests of each kind were done.
    pub requests: Counts,
    /// How often the node was opened.
    pub lives: u64,
}

/// Runs a seed to its end. A panic is a broken promise as well.
#[must_use]
pub fn run(options: &Options) -> Report {
    let swarm = Swarm::of(options.seed, options.members.max(1), &options.without, options.steps);
    let trace = Trace::new(options.print);
    let mut run = match options.members {
        0 | 1 => AnyWorld::Lone(Box::new(World::new(options.seed, swarm, &trace))),
        members => AnyWorld::Cluster(Box::new(ClusterWorld::new(options.seed, swarm, &trace, members))),
    };
    let ended = catch_unwind(AssertUnwindSafe(|| run.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Violation {
            checker: "panic",
            what: text.unwrap_or("without a text").to_owned(),
        })
    });
    let (faults, facts, requests) = run.counts();
    Report {
        ended,
        trace_hash: trace.hash(),
        events: trace.events(),
        simulated_ns: run.elapsed_ns(),
        recent: trace.recent(),
        faults,
        facts,
        requests,
        lives: run.lives(),
    }
}

/// A run of either kind.
enum AnyWorld {
    Lone(Box<World>),
    Cluster(Box<ClusterWorld>),
}

impl AnyWorld {
    fn run(&mut self) -> Result<Ending, Violation> {
        match self {
            Self::Lone(world) => world.run(),
            Self::Cluster(world) => world.run(),
        }
    }

    /// Faults, facts and requests.
    fn counts(&self) -> (Counts, Counts, Counts) {
        match self {
            Self::Lone(world) => (world.counts.clone(), world.facts.clone(), world.done.clone()),
            Self::Cluster(world) => (world.counts.clone(), world.facts.clone(), world.done.clone()),
        }
    }

    fn elapsed_ns(&self) -> u64 {
        match self {
            Self::Lone(world) => world.elapsed_ns(),
            Self::Cluster(world) => world.elapsed_ns(),
        }
    }

    fn lives(&self) -> u64 {
        match self {
            Self::Lone(world) => world.lives(),
            Self::Cluster(world) => world.lives(),
        }
    }
}

/// The smallest run found that `fails` as well, by leaving out faults one after another, and then steps.
#[must_use]
pub fn smaller(options: &Options, fails: impl Fn(&Options) -> bool) -> Options {
    let mut smallest = options.clone();
    let swarm = Swarm::of(options.seed, options.members.max(1), &options.without, options.steps);
    for fault in swarm.rates.keys() {
        let mut candidate = smallest.clone();
        candidate.without.push(*fault);
        if fails(&candidate) {
            smallest = candidate;
        }
    }
    let mut steps = swarm.steps;
    while steps > 1 {
        let mut candidate = smallest.clone();
        candidate.steps = Some(steps / 2);
        if !fails(&candidate) {
            break;
        }
        smallest = candidate;
        steps /= 2;
    }
    smallest
}
