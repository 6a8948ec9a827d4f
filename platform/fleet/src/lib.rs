//! The fleet: clusters and the operations on them, the nodes that run them, and the links to the nodes' agents.
//!
//! ```text
//! http ──▶ workflow ──▶ aggregate (decide) ──▶ events ──▶ view
//!                                                          │
//! link ◀── desired state ◀── reconciler ◀──────────────────┤
//!   └──── observed state ───────▲  (schedule, health, desired, probe)
//! ```
//!
//! # Invariants
//! - State comes from events and from what agents observe, and from nothing else. A restart of the platform loses
//!   nothing and touches no running database.
//! - The reconciler is level-triggered and idempotent: it takes no input, and a pass may be repeated or cut off
//!   anywhere.
//! - A cluster is `ready` only after a probe through its public endpoint: TLS, login, a write, a read.
//! - Every transitional state belongs to an operation, and every operation has a deadline and an exit.
//! - The node in an agent's client certificate is the only node that its messages can speak for.
//! - `health` is the one authority on who is alive; it is in memory and starts anew with the platform.
//! - No password and no private key is in an event. Authorities' keys are on disk, sealed under the master key.
//!
//! # Deliberately absent
//! Who may do what (`craton-platform-kernel`'s roles), how people sign in (`craton-platform-identity`), and how a node
//! starts a process (`craton-agent`).

mod aggregate;
mod authority;
mod connection;
mod desired;
mod executor;
mod fleet;
mod format;
mod health;
mod http;
mod link;
mod membership;
mod name;
mod probe;
mod reconciler;
mod schedule;
mod time;
mod view;
mod witness;
mod workflow;

pub use authority::{AuthorityError, VaultError};
pub use fleet::{Fleet, FleetConfig, FleetError};
pub use http::{routes, witness_routes};
pub use link::listener::AgentListener;
pub use view::projection;
