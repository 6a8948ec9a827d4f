//! Test support: stores in memory, time under control, and the contract that every store keeps.

mod contract;
mod memory;
mod time;
mod witness;

pub use contract::{credential_use_contract, event_store_contract, session_store_contract, witness_store_contract};
pub use memory::{MemoryCredentialUse, MemoryEventStore, MemorySessionStore, NoViews};
pub use time::{CountingRandom, ManualClock, environment, environment_at};
pub use witness::MemoryWitnessStore;
