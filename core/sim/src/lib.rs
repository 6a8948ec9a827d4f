//! The simulator: the real engine on a simulated disk, under simulated time and crashes, with clients that remember what they
//! were told.
//!
//! A seed decides everything: which faults strike and how often, what clients ask for, which piece of whose work is done
//! next. The same seed makes the same run, in every process; the hash of its trace shows it.
//!
//! # Invariants
//! - Nothing in a run reads a clock, draws randomness or starts a thread but through what the seed decides.
//! - Every checker and every fault counts how often it had something to say, so that coverage can be seen.
//!
//! # Deliberately absent
//! Threads, and the TLS of the real network. Faults of the write-ahead log and the tenants' logs without the engine (`craton-faults`).

mod campaign;
mod checkers;
mod clock;
mod cluster;
mod dice;
mod disk;
mod fault;
mod history;
mod host;
mod network;
mod runner;
mod swarm;
mod trace;
mod workload;
mod world;

pub use campaign::{Summary, campaign};
pub use checkers::names as checker_names;
#[cfg(feature = "planted-bugs")]
pub use craton_types::planted::{Bug, plant};
pub use fault::{Counts, Fault};
pub use runner::{Options, Report, run, smaller};
pub use world::{Ending, Violation};
