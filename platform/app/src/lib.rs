//! The control plane as one process: the router, its layers, the console, metrics, and the start and stop of it all.
//!
//! # Invariants
//! - Every route is in `router.rs` or in a list that it merges; the OpenAPI document is generated from the same lines.
//! - Metrics have a listener of their own, so that a public address never shows them.
//! - The process is ready only when every view has caught up with the log, and stops only after what it began is
//!   finished or ten seconds have passed.
//! - Secrets live in files that only their owner reads; no log line holds one.
//!
//! # Deliberately absent
//! Business rules (`craton-platform-identity`, `craton-platform-fleet`).

mod console;
mod health;
mod maintenance;
mod metrics;
mod openapi;
mod platform;
mod receipts;
mod router;
mod secrets;
mod settings;
mod shell;
mod tls;

pub use openapi::openapi_json;
pub use platform::Platform;
pub use settings::{RateLimits, Settings};
pub use shell::system_environment;
