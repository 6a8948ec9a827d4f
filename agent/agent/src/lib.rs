//! A node's agent: it enrols the node, keeps the link to the control plane, and makes the node run what the control
//! plane last asked for.
//!
//! ```text
//!             link ── desired state ──▶ DesiredStore (disk)
//!              ▲                             │ signal
//!   observed state, certificate requests     ▼
//!              └──────────────────────── Executor ── plan(desired, local) ──▶ Driver (processes), admin API
//! ```
//!
//! # Invariants
//! - The data plane does not depend on the agent: servers run in sessions of their own and go on when the agent ends,
//!   however it ends. A starting agent adopts what runs and never restarts it for that reason.
//! - At most one server runs on an instance's directory: the process holds a lock from before its first instruction
//!   until its end.
//! - A desired state is on disk before it is acknowledged, and is replaced only by a newer one
//!   ([`craton_agent_protocol::DesiredState::check_successor`]).
//! - [`plan::plan`] is pure; the executor is level-triggered: it looks, plans, acts and looks again, on a signal and on
//!   a timer, and every action may be repeated.
//! - Data is removed only on the word `deleted`, never because an instance is not listed.
//! - Private keys are made here, stored with mode 0600, and never sent.
//!
//! # Deliberately absent
//! Decisions that need more than one node (`craton-platform-fleet`), and the database itself (`craton-server`).

mod admin;
mod agent;
mod backoff;
mod certificate;
mod config;
mod desired_store;
mod driver;
mod enrol;
mod executor;
mod file;
mod identity;
mod instance;
mod link;
pub mod plan;
mod time;
mod tls;
mod versions;

pub use agent::{AgentError, run, stop_instances};
pub use config::{AgentConfig, PlatformUrl, PlatformUrlError, PortRange, PortRangeError};
pub use driver::process::{LaunchError, launch};
