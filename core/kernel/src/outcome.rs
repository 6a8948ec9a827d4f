//! What became of a command.

use craton_types::{DataKeyNumber, Hash, Offset, StreamSequence, TableId, Timestamp};

/// The outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A record was appended.
    Committed(Committed),
    /// The idempotency id is known: the record of the first attempt stands, nothing was written.
    Duplicate {
        /// Where the first attempt's record is.
        offset: Offset,
    },
    /// Nothing was written.
    Refused(Refusal),
    /// The command was refused, and a record says so.
    RefusedOnRecord {
        /// Where that record is.
        record: Committed,
        /// Why the command was refused.
        refusal: Refusal,
    },
}

/// Where a command's record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its offset in the tenant's log.
    pub offset: Offset,
    /// Its record hash.
    pub record_hash: Hash,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its position in its stream.
    pub stream_sequence: StreamSequence,
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An insert found a row with its key.
    #[error("a row with this key exists in table {table}")]
    RowExists {
        /// The table.
        table: TableId,
        /// The encoded primary key.
        key: Vec<u8>,
    },
    /// A row is no longer the version that the writer saw.
    #[error("a row of table {table} was changed by another transaction")]
    RowChanged {
        /// The table.
        table: TableId,
        /// The encoded primary key.
        key: Vec<u8>,
    },
    /// Something that the transaction read was changed since.
    #[error("what the transaction read in table {table} was changed by another transaction")]
    ReadChanged {
        /// The table.
        table: TableId,
    },
    /// A table of this name exists.
    #[error("table {name:?} exists")]
    TableExists {
        /// Its name.
        name: String,
    },
    /// The catalogue is no longer the one that the writer saw.
    #[error("the catalogue was changed by another transaction")]
    CatalogueChanged,
    /// The stream does not hold what the writer expected.
    #[error("stream {stream:?} holds {actual} records, expected {expected}")]
    StreamMoved {
        /// The stream's name.
        stream: String,
        /// What the writer expected.
        expected: u64,
        /// What it holds.
        actual: u64,
    },
    /// A stream's name is empty or too long.
    #[error("a stream name takes 1 to {bytes_max} bytes, this one {bytes}")]
    StreamName {
        /// How long it is.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// A checkpoint covers no more than the one before, or records that do not exist.
    #[error("a checkpoint over {size} records does not follow one over {last_size} in a log of {records}")]
    CheckpointOutOfOrder {
        /// What it covers.
        size: u64,
        /// What the last one covers.
        last_size: u64,
        /// Records in the log.
        records: u64,
    },
    /// A checkpoint commits to an older state than the one before, or to a state past what it covers.
    #[error(
        "a checkpoint over {size} records cannot commit to the state of {state_size}, the last one's being {last_size}"
    )]
    StateOutOfOrder {
        /// How many records the state comes from.
        state_size: u64,
        /// How many the last checkpoint's state comes from.
        last_size: u64,
        /// What the checkpoint covers.
        size: u64,
    },
    /// A note that should be a checkpoint is none.
    #[error("the note is no checkpoint")]
    NotACheckpoint,
    /// Cosignatures are over a checkpoint that the log does not hold, or no longer among the recent ones.
    #[error("the cosigned checkpoint over {size} records is none of the log's recent ones")]
    CheckpointUnknown {
        /// What it covers.
        size: u64,
    },
    /// Cosignatures are over an older checkpoint than the last cosigned one.
    #[error("a cosigned checkpoint over {size} records does not follow one over {last_size}")]
    CosignatureOutOfOrder {
        /// What it covers.
        size: u64,
        /// What the last cosigned checkpoint covers.
        last_size: u64,
    },
    /// A database of this name exists.
    #[error("database {name:?} exists")]
    DatabaseExists {
        /// Its name.
        name: String,
    },
    /// No user of this name exists.
    #[error("user {name:?} does not exist")]
    UserMissing {
        /// The name.
        name: String,
    },
    /// The record's body would be longer than a record may be.
    #[error("the transaction takes {bytes} bytes, more than {bytes_max}")]
    RecordTooLarge {
        /// What it takes.
        bytes: u64,
        /// What is allowed.
        bytes_max: u64,
    },
    /// The record would have more chunks than a record may have.
    #[error("the transaction has {changes} changes, more than {changes_max}")]
    TooManyChanges {
        /// What it has.
        changes: u64,
        /// What is allowed.
        changes_max: u64,
    },
    /// The data key's number is not higher than the current one's: another rotation came first.
    #[error("data key {number} does not follow data key {current}")]
    DataKeyOutOfOrder {
        /// The number proposed.
        number: DataKeyNumber,
        /// The current one.
        current: DataKeyNumber,
    },
    /// A data subject was erased after the writer had read.
    #[error("a data subject was erased while the transaction ran")]
    SubjectErased,
    /// The data subject has a key no more, or not yet, and the command brings none.
    #[error("data subject {subject:?} has no key")]
    SubjectKeyMissing {
        /// The subject.
        subject: String,
    },
    /// A row to write holds a sealed value, which only the kernel makes.
    #[error("a row of table {table} holds a sealed value")]
    SealedValue {
        /// The table.
        table: TableId,
    },
    /// Nothing of the data subject is stored that could be erased.
    #[error("nothing of data subject {subject:?} can be erased")]
    SubjectUnknown {
        /// The subject.
        subject: String,
    },
    /// A legal hold is on the data subject.
    #[error("data subject {subject:?} is under {holds} legal hold(s): {reason}")]
    SubjectHeld {
        /// The subject.
        subject: String,
        /// The reason of the newest hold.
        reason: String,
        /// How many holds there are.
        holds: u32,
    },
    /// The data subject's data must be kept.
    #[error("the data of data subject {subject:?} must be kept for a time that has not passed")]
    SubjectRetained {
        /// The subject.
        subject: String,
        /// Until when.
        until: Timestamp,
    },
    /// No legal hold is on the data subject.
    #[error("data subject {subject:?} is under no legal hold")]
    SubjectNotHeld {
        /// The subject.
        subject: String,
    },
    /// The name of a data subject is empty or too long.
    #[error("the name of a data subject takes 1 to {bytes_max} bytes, this one {bytes}")]
    SubjectName {
        /// How long it is.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// A reason is too long.
    #[error("a reason takes at most {bytes_max} bytes, this one {bytes}")]
    Reason {
        /// How long it is.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// The table holds no data of data subjects, so nothing in it is ever erased.
    #[error("table {table} has no erasable columns")]
    NotErasable {
        /// The table.
        table: TableId,
    },
    /// The operation belongs to the system tenant, or to any other but the system tenant.
    #[error("the operation does not belong to this tenant")]
    WrongTenant,
}
