//! Fault campaigns: the engine's logs and the server under every harm that the simulated disk, the kernel and a real
//! file system can do, with the same checks after each.
//!
//! # What every campaign checks
//! - What was acknowledged is there, equal, once, in order.
//! - What was refused is not there; what was under way is there as a whole or not at all.
//! - Damage is a typed error or is mended; it is never served and never passes for the end of the log.
//!
//! Each campaign has planted defects, see [`Defect`]: with one of them it must report violations, or it checks nothing.
//!
//! # Deliberately absent
//! The disk itself (`craton_log::testing`), and whether a history is linearizable (`craton_history`).

pub mod bad_disk;
mod campaign;
pub mod cluster;
pub mod crash_points;
pub mod files;
pub mod flips;
mod history;
pub mod io_errors;
mod node;
pub mod server;
mod workload;
mod writer;

pub use campaign::{Campaign, Progress, Summary, Violation};
pub use node::Defect;
