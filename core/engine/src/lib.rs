//! The node: it proposes commands, applies what consensus commits, and serves reads from the views.
//!
//! ```text
//! session, tenant ── propose ──> consensus (write-ahead log) ── commit ──> apply (kernel)
//!                                                                             ├── record ──> tenant log
//!                                                                             ├── rows ──> view
//!                                                                             └── outcome ──> client
//! ```
//!
//! # Invariants
//! - A client is answered only after its command is durable (`fdatasync`) and applied.
//! - One thread applies. What it publishes becomes visible in this order: record, rows, head; so every visible
//!   row has its record.
//! - Logs and views reach the disk in the background, logs first. The write-ahead log forgets an entry only
//!   after both did, for every tenant; so a crash at any point loses nothing acknowledged.
//! - A view is a cache. If it is missing, damaged or not of its log, it is rebuilt from the log.
//! - The first failure that the node may not survive stops it for good; nothing is acknowledged afterwards.
//!
//! # Deliberately absent
//! Network protocols and authentication (`craton-server`): whoever opens a session has proved who they are.

mod applier;
mod background;
mod batch;
mod checkpointer;
mod clock;
mod cluster;
mod craton;
mod damage;
mod disk_space;
mod durable_file;
mod entry;
mod epoch_keys;
mod epoch_starts;
mod erasure;
mod error;
mod flusher;
mod format;
mod health;
mod key_rotation;
mod keyring;
mod log_mark;
mod options;
mod proposer;
mod queue;
mod receipt;
mod recoveries;
mod repair;
mod scrub;
mod session;
mod state;
mod state_receipt;
#[cfg(feature = "simulation")]
mod steps;
mod subject_keys;
mod subscription;
mod sync_policy;
mod tenant;
mod tenant_handle;
mod tenant_writer;
mod tenants;
mod traces;
mod transparency;
mod wait;
mod writeback;

pub use clock::{Clock, Random, SystemClock, SystemRandom};
pub use cluster::{ClusterOptions, Member, TRANSFER_BYTES_PER_SECOND_DEFAULT, fetch_cluster_keys};
pub use craton::{Craton, DatabaseStatus, EngineStatus};
pub use craton_kernel::{ExpectedSequence, Refusal};
pub use craton_query::{PlanKind, ResultColumn, ResultSet, SqlError, SqlState, Statement};
pub use craton_types::{ActorId, CorrelationId, Format, FormatVersion, IdempotencyId, Offset, StreamSequence, Value};
pub use damage::DamagedRecord;
pub use erasure::Erasure;
pub use error::{EngineError, LogRolledBack};
pub use format::FormatStatus;
pub use key_rotation::KeyEpochStatus;
pub use keyring::{ClusterKeys, KeyringError};
pub use options::Options;
pub use proposer::LogUse;
pub use queue::QueueUse;
pub use scrub::{ScrubOptions, ScrubStatus};
pub use session::{Prepared, Response, Session, TransactionStatus};
#[cfg(feature = "simulation")]
pub use steps::Steps;
pub use subscription::Subscription;
pub use sync_policy::{GROUP_DELAY_MAX, SyncPolicy, SyncPolicyError};
pub use tenant_handle::{Append, Appending, Commit, EventPage, EventRecord, Tenant};
pub use transparency::SignedCheckpoint;
pub use wait::Wait;

/// The private parsers, one function each: takes bytes, asserts what must hold of anything that is understood, and says
/// whether it was.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::cluster::fuzzing::*;
    pub use crate::entry::{entry, entry_of};
    pub use crate::keyring::fuzzing::*;
    pub use crate::log_mark::log_mark;
    pub use crate::subject_keys::fuzzing::*;
}
