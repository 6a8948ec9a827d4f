//! The vocabulary of the engine: identifiers, the record header, values, schemas and row changes.
//!
//! # Invariants
//! - Pure data: no IO, no clock, no randomness, no cryptography.
//! - Every on-disk type states its encoding here, and an encoding only ever changes together with a
//!   version byte.
//! - Encodings are canonical: equal values have equal bytes, so replicas and verifiers agree on hashes.
//!
//! # Deliberately absent
//! Hash functions (`craton-crypto`), proofs (`craton-proof`), SQL (`craton-query`).

mod cbor;
mod change;
mod format;
mod hash;
mod id;
mod key;
mod placement;
pub mod planted;
mod range;
mod record;
mod schema;
mod segment;
mod stream;
mod subject;
mod value;
mod write;

pub use cbor::decode_whole;
pub use change::{
    CHANGE_VERSION, Change, ChangeDecodeError, DatabaseDefinition, KeysRotated, RecordSummary, Recovered,
    RecoveryAction, RecoveryArea, RotationReason, RowChange, TableSummary, UserDefinition,
};
pub use format::{Form, Format, FormatUnknown, FormatUser, FormatVersion};
pub use hash::Hash;
pub use id::{
    ActorId, CorrelationId, DataKeyNumber, DatabaseName, DatabaseNameError, IdempotencyId, KeyEpoch, LogIndex, NodeId,
    Offset, StreamId, StreamSequence, TableId, TenantId, Term, Timestamp,
};
pub use key::{KeyEncodeError, PrimaryKey};
pub use placement::{
    DataClass, PLACEMENT_NAME_BYTES_MAX, PLACEMENT_REGIONS_MAX, PLACEMENT_RULES_MAX, Placement, PlacementError,
    PlacementRules, Region,
};
pub use range::{Direction, KeyRange, prefix_end};
pub use record::{
    BODY_BYTES_MAX, CHUNKS_MAX, HEADER_BYTES, HEADER_FIELDS, HEADER_MAGIC, HEADER_VERSION, HeaderDecodeError,
    HeaderField, Record, RecordHeader, RecordKind,
};
pub use schema::{Column, ColumnType, TableSchema};
pub use segment::{
    FOOTER_MAGIC, RECORD_CRC_BYTES, SEGMENT_FOOTER_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SegmentFooter,
    SegmentHeader, segment_file_name,
};
pub use stream::StreamHead;
pub use subject::{
    REASON_BYTES_MAX, Retention, SUBJECT_BYTES_MAX, SealedCell, SubjectColumns, SubjectKeyId, end_of_day, subject_name,
};
pub use value::{Row, Value};
pub use write::{Expected, RowWrite, VersionedRow};
