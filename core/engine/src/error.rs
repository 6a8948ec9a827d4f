//! What can go wrong in a node.

use std::path::PathBuf;

use craton_kernel::Refusal;
use craton_types::Region;

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A file outside the logs and views could not be used.
    #[error("{path}: input or output failed", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process holds the data directory.
    #[error("{directory} is in use by another process", directory = directory.display())]
    DirectoryInUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The log origin cannot name a key.
    #[error("{origin:?} cannot be a log origin: it is empty or holds a space, a control character or a plus sign")]
    Origin {
        /// The origin.
        origin: String,
    },
    /// The node is in another region than the one that a database's placement rules were set for.
    #[error(
        "database {database:?} has placement rules for nodes in {}, and this node is in {}",
        expected.as_ref().map_or("no region", Region::as_str),
        actual.as_ref().map_or("none", Region::as_str)
    )]
    Region {
        /// The database.
        database: String,
        /// The region that the rules were set for.
        expected: Option<Region>,
        /// Where the node is.
        actual: Option<Region>,
    },
    /// The master key beside the data directory cannot be used.
    #[error("the master key cannot be used")]
    MasterKey(#[from] craton_crypto::MasterKeyError),
    /// The name is none that a database can have.
    #[error(transparent)]
    DatabaseName(#[from] craton_types::DatabaseNameError),
    /// A group's delay is out of bounds.
    #[error("a delay of {delay_max:?} is not within 1 ms and 1 s")]
    SyncPolicy {
        /// The delay.
        delay_max: std::time::Duration,
    },
    /// The name belongs to the engine itself.
    #[error("database name {name:?} is reserved")]
    DatabaseReserved {
        /// The name.
        name: String,
    },
    /// A key could not be had or stored.
    #[error(transparent)]
    Keyring(Box<crate::KeyringError>),
    /// The write-ahead log failed.
    #[error(transparent)]
    Consensus(#[from] craton_consensus::ConsensusError),
    /// The write-ahead log ends before what a tenant's files hold: an older copy of its directory was put back.
    #[error(
        "the write-ahead log ends at entry {last}, but the tenants hold entry {applied}: an older copy was put back"
    )]
    WriteAheadLogRolledBack {
        /// Its last entry.
        last: craton_types::LogIndex,
        /// The newest entry that a tenant's files hold.
        applied: craton_types::LogIndex,
    },
    /// A tenant's log is not the one that it was when the write-ahead log last forgot something.
    #[error(transparent)]
    LogRolledBack(Box<LogRolledBack>),
    /// A tenant that had records is not known any more.
    #[error("tenant {tenant} had {end} records and is not known any more")]
    TenantMissing {
        /// The tenant.
        tenant: craton_types::TenantId,
        /// How many records it had.
        end: craton_types::Offset,
    },
    /// A tenant's log failed.
    #[error("the log of database {database:?} failed")]
    TenantLog {
        /// The database.
        database: String,
        /// Why.
        #[source]
        source: craton_log::TenantLogError,
    },
    /// A record is damaged here. It is being fetched from another member of the cluster. Try again.
    #[error(
        "record {position} of database {database:?} is damaged ({field}) and is fetched from another member, try again"
    )]
    RecordDamaged {
        /// The database.
        database: String,
        /// Its position in the database's log.
        position: craton_types::Offset,
        /// The first field that is wrong.
        field: &'static str,
    },
    /// A tenant's view failed.
    #[error("the view of database {database:?} failed")]
    Projection {
        /// The database.
        database: String,
        /// Why.
        #[source]
        source: craton_projection::ProjectionError,
    },
    /// A tenant's state tree failed.
    #[error("the state tree of database {database:?} failed")]
    State {
        /// The database.
        database: String,
        /// Why.
        #[source]
        source: craton_state::StateError,
    },
    /// A checkpoint in the log says another state than the log's records give: a fault of this program, or the log's
    /// keys were used to write something else.
    #[error(
        "a checkpoint of database {database:?} commits to {expected} as the state of {size} records, they give {found}"
    )]
    StateDiffers {
        /// The database.
        database: String,
        /// How many records the state comes from.
        size: u64,
        /// What the log says.
        expected: craton_types::Hash,
        /// What its records give.
        found: craton_types::Hash,
    },
    /// The state tree is being rebuilt. Try again.
    #[error("the state tree of database {database:?} has reached {size} of {end} records, try again")]
    StateBehind {
        /// The database.
        database: String,
        /// How far it is.
        size: u64,
        /// How far it must be.
        end: u64,
    },
    /// A tenant's view could not be read while a command was applied.
    #[error(transparent)]
    Apply(#[from] craton_kernel::ApplyError),
    /// A record of a tenant's log could not be replayed while its view was rebuilt.
    #[error("the log of database {database:?} could not be replayed")]
    Replay {
        /// The database.
        database: String,
        /// Why.
        #[source]
        source: craton_kernel::ReplayError,
    },
    /// Both copies of a database's subject keys are gone or do not open, while its log holds cells sealed under them.
    #[error("the keys of the data subjects of database {database:?} in {directory} are lost", directory = directory.display())]
    SubjectKeysLost {
        /// The database.
        database: String,
        /// Where they were.
        directory: PathBuf,
    },
    /// Both copies of a data subject's key are damaged. What is sealed under it is neither shown nor taken for erased.
    #[error("key {key} of a data subject of database {database:?} is damaged in both copies")]
    SubjectKeyDamaged {
        /// The database.
        database: String,
        /// The key's number.
        key: u64,
    },
    /// A sealed cell does not open under its subject's key.
    #[error("a sealed cell of record {offset} of database {database:?} does not open")]
    Cell {
        /// The database.
        database: String,
        /// The record that wrote the cell.
        offset: u64,
        /// Why.
        #[source]
        source: craton_crypto::CellError,
    },
    /// A committed entry cannot be read.
    #[error(transparent)]
    Entry(#[from] crate::entry::EntryDecodeError),
    /// A record does not open under its tenant's key.
    #[error("record {offset} of database {database:?} does not open")]
    Record {
        /// The database.
        database: String,
        /// The record's offset.
        offset: u64,
        /// Why.
        #[source]
        source: craton_kernel::UnsealError,
    },
    /// A record is of a stream that the view does not know.
    #[error("record {offset} of database {database:?} is of stream {stream}, which the view does not know")]
    StreamMissing {
        /// The database.
        database: String,
        /// The record's offset.
        offset: u64,
        /// The stream's number.
        stream: u64,
    },
    /// Too many commands wait already. Try again.
    #[error("too many commands are waiting, try again")]
    Overloaded,
    /// As much of the database is waiting or under way as it may have while others need room, too. Try again.
    #[error(
        "{commands} commands of this database are waiting and {bytes} bytes under way, which is its share, try again"
    )]
    OverShare {
        /// Commands that wait for an entry.
        commands: usize,
        /// Bytes of commands that are not answered yet.
        bytes: usize,
    },
    /// The disk is full. Nothing was written; reads go on.
    #[error("the disk is full")]
    DiskFull,
    /// The directory belongs to a member of a cluster, and was opened as a node alone.
    #[error("{directory} belongs to a member of a cluster and is opened as one only", directory = directory.display())]
    ClusterMember {
        /// The directory.
        directory: PathBuf,
    },
    /// The build of this node, or of another member, does not know a version of the formats.
    #[error(transparent)]
    Format(craton_types::FormatUnknown),
    /// Data classes need a newer version of the formats than the cluster writes.
    #[error("data classes need format version {needed}, and the cluster writes version {active} until it is finalised")]
    FormatNotActive {
        /// The first version that has them.
        needed: craton_types::FormatVersion,
        /// The version that is written.
        active: craton_types::FormatVersion,
    },
    /// Both copies of what says which version of the formats a directory uses are damaged.
    #[error("both copies of the format version of {directory} are damaged", directory = directory.display())]
    FormatDamaged {
        /// The directory.
        directory: PathBuf,
    },
    /// This node has not applied yet what was acknowledged elsewhere. Try again.
    #[error("this node has applied entry {applied}, the statement must see entry {wanted}, try again")]
    Behind {
        /// The last entry that it has applied.
        applied: craton_types::LogIndex,
        /// The one that is wanted.
        wanted: craton_types::LogIndex,
    },
    /// This node does not order commands, and nobody was found who does. Nothing was written. Try again.
    #[error("no leader was found that takes the command, try again")]
    NotLeader,
    /// The node lost its leadership, or the way to the leader, while the command was under way: it may have been
    /// applied, or be applied later. A retry with the same idempotency id applies it once.
    #[error("it is not known whether the command was applied: the leader changed or was not reached")]
    OutcomeUnknown,
    /// The node stopped after a failure that it may not survive.
    #[error("the node has stopped: {reason}")]
    Stopped {
        /// The first failure.
        reason: String,
    },
    /// No database of this name exists.
    #[error("database {name:?} does not exist")]
    DatabaseMissing {
        /// The name.
        name: String,
    },
    /// The user may not use the database.
    #[error("user {user:?} may not connect to database {database:?}")]
    DatabaseDenied {
        /// The user.
        user: String,
        /// The database.
        database: String,
    },
    /// The kernel refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A record cannot be proved.
    #[error("no receipt for record {offset}: {reason}")]
    Receipt {
        /// The record's offset.
        offset: u64,
        /// Why.
        reason: String,
    },
    /// Two sizes of a log have no consistency proof.
    #[error("no proof that the log of database {database:?} of {old_size} records grew to {size}: {reason}")]
    Consistency {
        /// The database.
        database: String,
        /// The smaller size.
        old_size: u64,
        /// The greater size.
        size: u64,
        /// Why.
        reason: String,
    },
    /// No record is at this offset.
    #[error("record {offset} does not exist in a log of {end}")]
    RecordMissing {
        /// The offset asked for.
        offset: u64,
        /// Records in the log.
        end: u64,
    },
}

/// A tenant's log was emptied, put back from an older copy, or replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log of database {database:?} (tenant {tenant}) must have at least {expected_end} records{}; it has {found_end}, \
     and {found_hash} in that place or at its end: it was emptied, put back from an older copy, or replaced",
    expected_hash.map_or(String::new(), |hash| format!(", the last of them {hash}"))
)]
pub struct LogRolledBack {
    /// The database.
    pub database: String,
    /// Its tenant.
    pub tenant: craton_types::TenantId,
    /// How many records it had.
    pub expected_end: craton_types::Offset,
    /// The hash of the last of them, where it is known.
    pub expected_hash: Option<craton_types::Hash>,
    /// How many it has.
    pub found_end: craton_types::Offset,
    /// The hash of the record in that place, or of its last one; zeros when it has none.
    pub found_hash: craton_types::Hash,
}

impl From<LogRolledBack> for EngineError {
    fn from(error: LogRolledBack) -> Self {
        Self::LogRolledBack(Box::new(error))
    }
}

impl EngineError {
    /// Whether this says that the disk is full, and nothing worse.
    pub(crate) fn is_out_of_space(&self) -> bool {
        match self {
            Self::DiskFull
            | Self::TenantLog {
                source: craton_log::TenantLogError::NoSpace { .. },
                ..
            } => true,
            Self::Io { source, .. } => crate::disk_space::is_full(source),
            Self::Keyring(error) => error.is_out_of_space(),
            Self::Projection {
                source: craton_projection::ProjectionError::Io(source),
                ..
            } => crate::disk_space::is_full(source),
            Self::Consensus(source) => source.is_out_of_space(),
            _ => false,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Overloaded
                | Self::OverShare { .. }
                | Self::DiskFull
                | Self::NotLeader
                | Self::Behind { .. }
                | Self::StateBehind { .. }
                | Self::RecordDamaged { .. }
        )
    }
}
