//! Orders entries and makes them durable: the trait that the engine proposes through, and its single-node
//! implementation.
//!
//! # Invariants
//! - An entry is handed out as committed only after a quorum has it on disk, past `fdatasync`; a quorum of one
//!   node is that node.
//! - Every node hands out the same entries in the same order, each once, with consecutive indexes.
//! - After a failed write nothing is handed out any more: the log is poisoned, and the node stops.
//!
//! # Deliberately absent
//! What entries mean (`craton-kernel`), and where they lie on disk (`craton-log`).

mod single_node;

use std::sync::Arc;

use craton_types::{LogIndex, Term};

pub use single_node::SingleNode;

/// An entry that a quorum holds durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Its index, one more than the entry's before it.
    pub index: LogIndex,
    /// The term of the leader that proposed it.
    pub term: Term,
    /// What was proposed.
    pub payload: Arc<[u8]>,
}

/// Why nothing more can be ordered or handed out.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// The write-ahead log failed.
    #[error("the write-ahead log failed")]
    Wal(#[from] craton_log::WalError),
    /// The consensus was closed.
    #[error("the consensus is closed")]
    Closed,
}

impl ConsensusError {
    /// Whether the disk is full: nothing was written and nothing is damaged.
    #[must_use]
    pub const fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Wal(craton_log::WalError::NoSpace { .. }))
    }
}

/// Total order and durability. Calls block; the engine gives each side a thread of its own.
pub trait Consensus: Send + Sync {
    /// Orders `payload` and returns its index once a quorum holds it durably. The entry is then handed out by
    /// [`Consensus::next_committed`], on this node as on every other.
    ///
    /// # Errors
    /// When the log cannot take the entry. Whether other nodes hold it is then unknown.
    fn propose(&self, payload: Vec<u8>) -> Result<LogIndex, ConsensusError>;

    /// The next of the entries that were committed before this node was opened and may not be applied here
    /// yet; `None` once there are no more, and the node has caught up with what it had acknowledged.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn next_recovered(&self) -> Result<Option<CommittedEntry>, ConsensusError>;

    /// The next newly committed entry. Waits for one. Called only once [`Consensus::next_recovered`] gave
    /// `None`.
    ///
    /// # Errors
    /// [`ConsensusError::Closed`] after [`Consensus::close`], when every entry was handed out.
    fn next_committed(&self) -> Result<CommittedEntry, ConsensusError>;

    /// Allows the entries up to and including `through` to be forgotten: everything they caused is on disk.
    ///
    /// # Errors
    /// When the log's files cannot be removed.
    fn purge(&self, through: LogIndex) -> Result<(), ConsensusError>;

    /// Wakes every waiting call; nothing is proposed or handed out afterwards.
    fn close(&self);
}
