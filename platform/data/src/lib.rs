//! The platform's stores on the embedded Craton engine: our own product as our own ledger.
//!
//! # Invariants
//! - One append is one record of the database `platform`, so its position and hash are the change's receipt.
//! - Sessions and uses of credentials are rows of another database: they come and go, and the ledger of what
//!   happened stays free of them.
//! - Every store passes the contract tests of `craton-platform-kernel`.
//!
//! # Deliberately absent
//! Several instances of the platform on one store: an engine's directory belongs to one process.

mod chunks;
mod credential_use;
mod error;
mod event_store;
mod session_store;
mod stores;
mod table;
mod witness_store;

pub use error::OpenError;
pub use event_store::EngineEventStore;
pub use stores::{LEDGER_DATABASE, STATE_DATABASE, Stores};
