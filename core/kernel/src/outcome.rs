//! What became of a command. Nodes tell each other; the numbers of variants and fields are part of their protocol.

use std::collections::BTreeSet;

use craton_types::{DataClass, DataKeyNumber, FormatVersion, Hash, Offset, Region, StreamSequence, TableId, Timestamp};
use minicbor::{Decode, Encode};

/// The outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// A record was appended.
    #[n(0)]
    Committed(#[n(0)] Committed),
    /// The idempotency id is known: the record of the first attempt stands, nothing was written.
    #[n(1)]
    Duplicate {
        /// Where the first attempt's record is.
        #[n(0)]
        offset: Offset,
    },
    /// Nothing was written.
    #[n(2)]
    Refused(#[n(0)] Refusal),
    /// The command was refused, and a record says so.
    #[n(3)]
    RefusedOnRecord {
        /// Where that record is.
        #[n(0)]
        record: Committed,
        /// Why the command was refused.
        #[n(1)]
        refusal: Refusal,
    },
}

/// Where a command's record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Committed {
    /// Its offset in the tenant's log.
    #[n(0)]
    pub offset: Offset,
    /// Its record hash.
    #[n(1)]
    pub record_hash: Hash,
    /// Its timestamp.
    #[n(2)]
    pub timestamp: Timestamp,
    /// Its position in its stream.
    #[n(3)]
    pub stream_sequence: StreamSequence,
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum Refusal {
    /// An insert found a row with its key.
    #[error("a row with this key exists in table {table}")]
    #[n(0)]
    RowExists {
        /// The table.
        #[n(0)]
        table: TableId,
        /// The encoded primary key.
        #[cbor(n(1), with = "minicbor::bytes")]
        key: Vec<u8>,
    },
    /// A row is no longer the version that the writer saw.
    #[error("a row of table {table} was changed by another transaction")]
    #[n(1)]
    RowChanged {
        /// The table.
        #[n(0)]
        table: TableId,
        /// The encoded primary key.
        #[cbor(n(1), with = "minicbor::bytes")]
        key: Vec<u8>,
    },
    /// Something that the transaction read was changed since.
    #[error("what the transaction read in table {table} was changed by another transaction")]
    #[n(2)]
    ReadChanged {
        /// The table.
        #[n(0)]
        table: TableId,
    },
    /// A table of this name exists.
    #[error("table {name:?} exists")]
    #[n(3)]
    TableExists {
        /// Its name.
        #[n(0)]
        name: String,
    },
    /// The catalogue is no longer the one that the writer saw.
    #[error("the catalogue was changed by another transaction")]
    #[n(4)]
    CatalogueChanged,
    /// The stream does not hold what the writer expected.
    #[error("stream {stream:?} holds {actual} records, expected {expected}")]
    #[n(5)]
    StreamMoved {
        /// The stream's name.
        #[n(0)]
        stream: String,
        /// What the writer expected.
        #[n(1)]
        expected: u64,
        /// What it holds.
        #[n(2)]
        actual: u64,
    },
    /// A stream's name is empty or too long.
    #[error("a stream name takes 1 to {bytes_max} bytes, this one {bytes}")]
    #[n(6)]
    StreamName {
        /// How long it is.
        #[n(0)]
        bytes: usize,
        /// What is allowed.
        #[n(1)]
        bytes_max: usize,
    },
    /// A checkpoint covers no more than the one before, or records that do not exist.
    #[error("a checkpoint over {size} records does not follow one over {last_size} in a log of {records}")]
    #[n(7)]
    CheckpointOutOfOrder {
        /// What it covers.
        #[n(0)]
        size: u64,
        /// What the last one covers.
        #[n(1)]
        last_size: u64,
        /// Records in the log.
        #[n(2)]
        records: u64,
    },
    /// A checkpoint commits to an older state than the one before, or to a state past what it covers.
    #[error(
        "a checkpoint over {size} records cannot commit to the state of {state_size}, the last one's being {last_size}"
    )]
    #[n(8)]
    StateOutOfOrder {
        /// How many records the state comes from.
        #[n(0)]
        state_size: u64,
        /// How many the last checkpoint's state comes from.
        #[n(1)]
        last_size: u64,
        /// What the checkpoint covers.
        #[n(2)]
        size: u64,
    },
    /// A note that should be a checkpoint is none.
    #[error("the note is no checkpoint")]
    #[n(9)]
    NotACheckpoint,
    /// Cosignatures are over a checkpoint that the log does not hold, or no longer among the recent ones.
    #[error("the cosigned checkpoint over {size} records is none of the log's recent ones")]
    #[n(10)]
    CheckpointUnknown {
        /// What it covers.
        #[n(0)]
        size: u64,
    },
    /// Cosignatures are over an older checkpoint than the last cosigned one.
    #[error("a cosigned checkpoint over {size} records does not follow one over {last_size}")]
    #[n(11)]
    CosignatureOutOfOrder {
        /// What it covers.
        #[n(0)]
        size: u64,
        /// What the last cosigned checkpoint covers.
        #[n(1)]
        last_size: u64,
    },
    /// A database of this name exists.
    #[error("database {name:?} exists")]
    #[n(12)]
    DatabaseExists {
        /// Its name.
        #[n(0)]
        name: String,
    },
    /// No user of this name exists.
    #[error("user {name:?} does not exist")]
    #[n(13)]
    UserMissing {
        /// The name.
        #[n(0)]
        name: String,
    },
    /// The record's body would be longer than a record may be.
    #[error("the transaction takes {bytes} bytes, more than {bytes_max}")]
    #[n(14)]
    RecordTooLarge {
        /// What it takes.
        #[n(0)]
        bytes: u64,
        /// What is allowed.
        #[n(1)]
        bytes_max: u64,
    },
    /// The record would have more chunks than a record may have.
    #[error("the transaction has {changes} changes, more than {changes_max}")]
    #[n(15)]
    TooManyChanges {
        /// What it has.
        #[n(0)]
        changes: u64,
        /// What is allowed.
        #[n(1)]
        changes_max: u64,
    },
    /// The data key's number is not higher than the current one's: another rotation came first.
    #[error("data key {number} does not follow data key {current}")]
    #[n(16)]
    DataKeyOutOfOrder {
        /// The number proposed.
        #[n(0)]
        number: DataKeyNumber,
        /// The current one.
        #[n(1)]
        current: DataKeyNumber,
    },
    /// A data subject was erased after the writer had read.
    #[error("a data subject was erased while the transaction ran")]
    #[n(17)]
    SubjectErased,
    /// The data subject has a key no more, or not yet, and the command brings none.
    #[error("data subject {subject:?} has no key")]
    #[n(18)]
    SubjectKeyMissing {
        /// The subject.
        #[n(0)]
        subject: String,
    },
    /// A row to write holds a sealed value, which only the kernel makes.
    #[error("a row of table {table} holds a sealed value")]
    #[n(19)]
    SealedValue {
        /// The table.
        #[n(0)]
        table: TableId,
    },
    /// Nothing of the data subject is stored that could be erased.
    #[error("nothing of data subject {subject:?} can be erased")]
    #[n(20)]
    SubjectUnknown {
        /// The subject.
        #[n(0)]
        subject: String,
    },
    /// A legal hold is on the data subject.
    #[error("data subject {subject:?} is under {holds} legal hold(s): {reason}")]
    #[n(21)]
    SubjectHeld {
        /// The subject.
        #[n(0)]
        subject: String,
        /// The reason of the newest hold.
        #[n(1)]
        reason: String,
        /// How many holds there are.
        #[n(2)]
        holds: u32,
    },
    /// The data subject's data must be kept.
    #[error("the data of data subject {subject:?} must be kept for a time that has not passed")]
    #[n(22)]
    SubjectRetained {
        /// The subject.
        #[n(0)]
        subject: String,
        /// Until when.
        #[n(1)]
        until: Timestamp,
    },
    /// No legal hold is on the data subject.
    #[error("data subject {subject:?} is under no legal hold")]
    #[n(23)]
    SubjectNotHeld {
        /// The subject.
        #[n(0)]
        subject: String,
    },
    /// The name of a data subject is empty or too long.
    #[error("the name of a data subject takes 1 to {bytes_max} bytes, this one {bytes}")]
    #[n(24)]
    SubjectName {
        /// How long it is.
        #[n(0)]
        bytes: usize,
        /// What is allowed.
        #[n(1)]
        bytes_max: usize,
    },
    /// A reason is too long.
    #[error("a reason takes at most {bytes_max} bytes, this one {bytes}")]
    #[n(25)]
    Reason {
        /// How long it is.
        #[n(0)]
        bytes: usize,
        /// What is allowed.
        #[n(1)]
        bytes_max: usize,
    },
    /// The table holds no data of data subjects, so nothing in it is ever erased.
    #[error("table {table} has no erasable columns")]
    #[n(26)]
    NotErasable {
        /// The table.
        #[n(0)]
        table: TableId,
    },
    /// The operation belongs to the system tenant, or to any other but the system tenant.
    #[error("the operation does not belong to this tenant")]
    #[n(27)]
    WrongTenant,
    /// The cluster writes this version of its formats, or a newer one.
    #[error("the cluster writes format version {current} and cannot go to {to}")]
    #[n(28)]
    FormatNotRaised {
        /// The version asked for.
        #[n(0)]
        to: FormatVersion,
        /// The version that is written.
        #[n(1)]
        current: FormatVersion,
    },
    /// Data of a class would be kept where the tenant's rules do not allow it.
    #[error(
        "data of class {class} may not be kept in {}, only in {}",
        region.as_ref().map_or("a node without a region", Region::as_str),
        allowed.iter().map(Region::as_str).collect::<Vec<_>>().join(", ")
    )]
    #[n(29)]
    Placement {
        /// The class.
        #[n(0)]
        class: DataClass,
        /// Where the tenant's nodes are.
        #[n(1)]
        region: Option<Region>,
        /// Where it may be kept.
        #[n(2)]
        allowed: BTreeSet<Region>,
    },
    /// An append names another class than its stream's.
    #[error("the data class of stream {stream:?} is {}", class.as_ref().map_or("not set", DataClass::as_str))]
    #[n(30)]
    StreamClass {
        /// The stream's name.
        #[n(0)]
        stream: String,
        /// Its class.
        #[n(1)]
        class: Option<DataClass>,
    },
}
