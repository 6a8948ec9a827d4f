//! A machine with a node on it: its disk and clock stay, its node lives, dies and is started again.

use std::sync::Arc;

use craton_engine::{ClusterOptions, Craton, EngineError, Options, Steps};
use craton_log::testing::Crash;
use craton_log::{Disk, TenantLogOptions};

use crate::clock::{SimulatedClock, SimulatedMasterKey, SimulatedRandom};
use crate::disk::SimulatedDisk;
use crate::swarm::Swarm;
use crate::trace::Trace;

/// Where the node's data is on the simulated disk.
const DIRECTORY: &str = "/node/data";

/// See the module.
pub(crate) struct Host {
    seed: u64,
    swarm: Swarm,
    trace: Trace,
    pub(crate) disk: SimulatedDisk,
    pub(crate) clock: SimulatedClock,
    lives: u64,
    pub(crate) node: Option<Node>,
}

/// An open node.
pub(crate) struct Node {
    pub(crate) steps: Steps,
    pub(crate) craton: Craton,
}

impl Host {
    pub(crate) fn new(seed: u64, swarm: &Swarm, trace: &Trace) -> Self {
        let clock = SimulatedClock::new();
        Self {
            seed,
            swarm: swarm.clone(),
            trace: trace.clone(),
            disk: SimulatedDisk::new(seed, swarm, trace, &clock),
            clock,
            lives: 0,
            node: None,
        }
    }

    /// How often the node was opened.
    pub(crate) const fn lives(&self) -> u64 {
        self.lives
    }

    /// Starts the node.
    pub(crate) fn open(&mut self) -> Result<(), EngineError> {
        self.lives += 1;
        self.trace.note(format_args!("opens, life {}", self.lives));
        let waiting = self.disk.clone();
        let disk = Arc::new(self.disk.clone());
        let options = self.options(disk).on_full_disk(move || waiting.wait_for_space());
        let (craton, steps) = options.open_stepped(DIRECTORY)?;
        self.node = Some(Node { steps, craton });
        Ok(())
    }

    /// Starts the node as a member of a cluster. The thread is on the machine's runtime.
    pub(crate) fn open_member(&mut self, cluster: ClusterOptions) -> Result<(), EngineError> {
        self.lives += 1;
        self.trace.note(format_args!("opens, life {}", self.lives));
        let waiting = self.disk.clone();
        let disk = Arc::new(self.disk.clone());
        let options = self.options(disk).on_full_disk(move || waiting.wait_for_space());
        let (craton, steps) = options.cluster(cluster).open_stepped(DIRECTORY)?;
        self.node = Some(Node { steps, craton });
        Ok(())
    }

    /// Opens another node on another disk, with the same keys and at the same time.
    pub(crate) fn open_copy(&self, disk: Arc<dyn Disk>, cluster: Option<ClusterOptions>) -> Result<Node, EngineError> {
        let options = self.options(disk);
        let options = match cluster {
            Some(cluster) => options.cluster(cluster),
            None => options,
        };
        let (craton, steps) = options.open_stepped(DIRECTORY)?;
        Ok(Node { steps, craton })
    }

    /// Stops the node in good order.
    pub(crate) fn close(&mut self) -> Result<(), EngineError> {
        self.trace.note("closes");
        match self.node.take() {
            Some(Node { steps, craton }) => {
                drop(craton);
                steps.close()
            }
            None => Ok(()),
        }
    }

    /// The node and what it did not sync are gone.
    pub(crate) fn crash(&mut self, crash: Crash) {
        self.trace.note(format_args!("crashes: {crash:?}"));
        self.node = None;
        self.disk.crash(crash);
    }

    fn options(&self, disk: Arc<dyn Disk>) -> Options {
        let log_options = TenantLogOptions {
            segment_bytes: self.swarm.log_segment_bytes,
        };
        Craton::options()
            .origin("simulated.craton.localhost")
            .master_key(Arc::new(SimulatedMasterKey::new()))
            .clock(Arc::new(self.clock.clone()))
            .random(Arc::new(SimulatedRandom::new(self.seed, self.lives)))
            .sync_policy(self.swarm.sync_policy)
            .segments(self.swarm.wal_segment_bytes, log_options)
            .disk(disk)
    }
}
