//! Clusters of real `craton-server` processes under load from a stock driver, while members are killed, cut off, stopped,
//! given other clocks and full disks.
//!
//! Each campaign runs in namespaces of its own, see [`run_isolated`]: a network with a namespace for each member, mounts
//! and processes that vanish with it.
//!
//! # What is checked
//! - After each fault every member serves again, and operations are answered.
//! - The history of the registers is linearizable, key by key (`craton-history`).
//! - Every acknowledged entry is there, none that was refused; counters were counted as often as acknowledged.
//! - The log is the same on every member, byte for byte, and verifies offline; no process panicked.

mod certificates;
mod checks;
mod clock_jumps;
mod full_disks;
mod isolation;
mod leader_kills;
mod load;
mod members;
mod network;
mod outcome;
mod partitions;
mod pauses;
mod rounds;
mod samples;
mod soak;

use std::path::PathBuf;

pub use clock_jumps::clock_jumps;
pub use full_disks::full_disks;
pub use isolation::{is_isolated, run_isolated};
pub use leader_kills::leader_kills;
pub use partitions::partitions;
pub use pauses::pauses;
pub use soak::{SoakOptions, soak};

use crate::node::Defect;

/// What the campaigns with clusters are run with.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many faults, one after another.
    pub rounds: u64,
    /// How many members the cluster has.
    pub members: usize,
    /// How many sessions work at the same time.
    pub sessions: usize,
    /// Decides which faults, and when.
    pub seed: u64,
    /// The server's binary.
    pub server: PathBuf,
    /// Where the members' files are, and stay; a temporary folder by default.
    pub directory: Option<PathBuf>,
    /// A defect to find: [`Defect::EarlyAcknowledgement`] or [`Defect::StaleReads`].
    pub defect: Option<Defect>,
}
