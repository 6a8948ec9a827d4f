//! Real agents as processes: with a real platform and real database servers, and against the rules of the link.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

#[path = "../../../../platform/fleet/tests/world/mod.rs"]
mod world;

mod client;
mod fleet;
mod group;
mod link;
mod load;
mod node;
mod replacement;
mod rolling;
