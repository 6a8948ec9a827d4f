//! Orders entries and makes them durable: the trait that the engine proposes through, and its implementations: a node
//! alone, and several nodes on openraft. The only crate that names openraft.
//!
//! # Invariants
//! - An entry is handed out as committed only after a quorum has it on disk, past `fdatasync`; a quorum of one
//!   node is that node.
//! - Every node hands out the same entries in the same order, each once, with consecutive indexes.
//! - After a failed write nothing is handed out any more: the log is poisoned, and the node stops.
//! - What an append accepted becomes durable, unless the node stops first: a full disk delays it and loses nothing.
//!
//! # Deliberately absent
//! What entries mean (`craton-kernel`), and where they lie on disk (`craton-log`).

mod pipeline;
mod replicated;
mod single_node;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use craton_log::{LogHead, WalEntry, WalError};
use craton_types::{FormatUnknown, LogIndex, NodeId, Term};
use futures::future::BoxFuture;

pub use replicated::{
    AppliedLog, ClusterStatus, Fetch, Installing, Lane, ListedMember, Machine, MachineError, MarksError, MemberList,
    MemberRole, Peer, Replicated, ReplicatedOptions, Standing, Transport, TransportError, blocking,
    interrupted_install, seed_elections,
};
pub use single_node::SingleNode;
pub use watch::Watch;

/// The private parsers, one function each: takes bytes, asserts what must hold of anything that is understood, and says
/// whether it was.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::replicated::fuzzing::*;
}

/// An entry that a quorum holds durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Its index, one more than the entry's before it.
    pub index: LogIndex,
    /// The term of the leader that proposed it.
    pub term: Term,
    /// What was proposed; empty for an entry of consensus itself, which is applied to nothing.
    pub payload: Bytes,
}

impl From<WalEntry> for CommittedEntry {
    fn from(entry: WalEntry) -> Self {
        Self {
            index: entry.index,
            term: entry.term,
            payload: replicated::proposal(entry.payload).unwrap_or_default(),
        }
    }
}

/// Why nothing more can be ordered or handed out.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// The write-ahead log failed. Whoever waits for it gets the same error.
    #[error("the write-ahead log failed")]
    Wal(#[source] Arc<WalError>),
    /// The system gave no thread.
    #[error("a thread of the write-ahead log could not be started")]
    Thread(#[source] std::io::Error),
    /// The consensus was closed.
    #[error("the consensus is closed")]
    Closed,
    /// This node does not order entries; nothing was taken.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, if this node knows.
        leader: Option<NodeId>,
    },
    /// Another member could not be asked.
    #[error(transparent)]
    Peer(#[from] TransportError),
    /// The log was written by a later build.
    #[error(transparent)]
    Format(#[from] FormatUnknown),
    /// What a member knows beside its log cannot be read or written.
    #[error(transparent)]
    Marks(#[from] MarksError),
}

impl ConsensusError {
    /// Whether the disk is full: nothing was written and nothing is damaged.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Wal(error) if matches!(**error, WalError::NoSpace { .. }))
    }
}

impl From<WalError> for ConsensusError {
    fn from(error: WalError) -> Self {
        Self::Wal(Arc::new(error))
    }
}

/// Why an entry that was taken is not handed out to whoever proposed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// Another node orders entries; this one will never be committed.
    NotLeader {
        /// Who does, if this node knows.
        leader: Option<NodeId>,
    },
    /// Nobody knows: it may have been committed, or be committed later.
    Unknown,
}

/// Told that an entry is lost, once; dropped when it is not.
pub type Lost = Box<dyn FnOnce(LostReason) + Send>;

/// Whether a node orders entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It does.
    Leader,
    /// Another one does.
    Follower {
        /// Who, if this node knows.
        leader: Option<NodeId>,
    },
}

/// What became of [`Consensus::commit_alone`].
#[derive(Debug)]
pub enum Alone {
    /// The entry is durable, and nobody else is given it.
    Committed(CommittedEntry),
    /// Something is on its way; this is the payload.
    Busy(Vec<u8>),
}

/// What a node without threads asks of its consensus: a simulation, which must be the same at every run. None of the
/// calls waits for anything but the disk.
#[cfg(feature = "simulation")]
pub trait Stepped: Consensus {
    /// Writes and syncs an entry that was appended; whether anything was done.
    fn write(&self) -> bool;

    /// Reserves the space of the log's next segment; whether anything was done.
    fn reserve(&self) -> bool;

    /// As [`Consensus::next_committed`]; `None` when there is none yet.
    ///
    /// # Errors
    /// As [`Consensus::next_committed`].
    fn try_next_committed(&self) -> Result<Option<CommittedEntry>, ConsensusError>;
}

/// Total order and durability. Calls block; the engine gives each side a thread of its own.
///
/// Appending is a pipeline of two: while one entry is being synced, the next one is encrypted and waits behind it.
/// A third append waits. So whoever appends gathers commands meanwhile, and entries grow with the load.
pub trait Consensus: Send + Sync {
    /// Takes part in ordering entries from now on. To be called once, when everything that [`Consensus::next_recovered`]
    /// gave is applied to `machine`.
    fn start(&self, machine: Arc<dyn Machine>);

    /// Whether this node orders entries.
    fn role(&self) -> Role;

    /// Whether [`Consensus::propose`] would not wait for entries that are under way.
    fn is_ready(&self) -> bool;

    /// Waits until [`Consensus::is_ready`]. Whoever gathers commands for an entry does it until then.
    fn wait_until_ready(&self);

    /// Gives `payload` its place in the order. That it is durable is known when [`Consensus::next_committed`] hands it
    /// out; `lost` is told when this node will not, as far as it knows. Waits while too much is on its way. Entries of
    /// one thread keep their order.
    ///
    /// # Errors
    /// When the entry cannot be taken; nothing of it is written. With [`ConsensusError::is_out_of_space`] and
    /// [`ConsensusError::NotLeader`] the call may be repeated. After any other error the node must stop.
    fn propose(&self, payload: Vec<u8>, lost: Lost) -> Result<(), ConsensusError>;

    /// Orders `payload` and makes it durable on the calling thread, and hands it out to the caller alone. Only when
    /// nothing else is on its way and `applied` is the last entry of the log; otherwise gives the payload back, for
    /// [`Consensus::propose`]. A lone writer saves two wake-ups with it.
    ///
    /// # Errors
    /// As for [`Consensus::propose`]. With [`ConsensusError::is_out_of_space`] nothing was written.
    fn commit_alone(&self, payload: Vec<u8>, applied: LogIndex) -> Result<Alone, ConsensusError>;

    /// The entry that must be applied here before a read that begins now sees everything that was acknowledged
    /// anywhere before.
    ///
    /// # Errors
    /// [`ConsensusError::NotLeader`] and [`ConsensusError::Peer`] while no leader can be asked.
    fn read_index(&self) -> BoxFuture<'static, Result<LogIndex, ConsensusError>>;

    /// Whether the disk is full: the log's next segment cannot be reserved. One segment of grace is left from then on;
    /// whoever appends should refuse new work and finish what was begun. It ends by itself when there is space again.
    fn is_out_of_space(&self) -> bool;

    /// The next of the entries that were committed before this node was opened and may not be applied here
    /// yet; `None` once there are no more, and the node has caught up with what it had acknowledged.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn next_recovered(&self) -> Result<Option<CommittedEntry>, ConsensusError>;

    /// The last entry that was committed before this node was opened, forgotten or not; zero for none.
    fn last_recovered(&self) -> LogIndex;

    /// The next newly committed entry. Waits for one. Called only once [`Consensus::next_recovered`] gave
    /// `None`.
    ///
    /// # Errors
    /// [`ConsensusError::Closed`] after [`Consensus::close`], when every entry was handed out;
    /// [`ConsensusError::Wal`] when the log failed, after what was durable before was handed out.
    fn next_committed(&self) -> Result<CommittedEntry, ConsensusError>;

    /// Makes the next entry begin a new file, so that [`Consensus::purge`] can remove every entry before it.
    fn begin_segment(&self);

    /// How many files hold the entries that were not forgotten.
    fn segment_count(&self) -> usize;

    /// Allows the entries up to and including `through` to be forgotten: everything they caused is on disk, in logs that
    /// reach as far as `heads` says, which is asked when there is something to forget. A full disk may delay it.
    ///
    /// # Errors
    /// When the log's files cannot be removed.
    fn purge(&self, through: LogIndex, heads: &dyn Fn() -> Vec<LogHead>) -> Result<(), ConsensusError>;

    /// Reads what is on disk and no longer written to, and returns how many bytes were checked.
    ///
    /// # Errors
    /// When something is damaged. It matters at the next start, unless it is purged before.
    fn scrub(&self) -> Result<u64, ConsensusError>;

    /// Takes no more entries. Those appended before are made durable and handed out, except that nothing waits for
    /// space on a full disk any longer. Every waiting append is woken.
    fn close(&self);
}
