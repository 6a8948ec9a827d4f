//! Moves a cluster of real server processes between two builds while clients write, and keeps what earlier format versions
//! wrote: `craton-upgrade`, and its short form as tests.
//!
//! Two builds are two programs: the one of this tree, and either `craton-server-previous`, which is this one without the
//! newest format version, or one that was built from an older revision.
//!
//! # Deliberately absent
//! What a version is and who decides on it: `craton_types::Format` and `craton-engine`. Upgrades through the control plane are
//! tested by the agent.

mod cluster;
pub mod golden;
mod load;
mod node;
mod roll;

pub use roll::{Report, RollOptions, roll};
