//! What a record says: its summary and its changes, the plaintext of its chunks.
//!
//! Chunk 0 of a data record is a [`RecordSummary`], every further chunk one [`Change`]; a record of events has no
//! summary. Both are CBOR
//! with a leading version byte. The summary repeats the names of the tables and columns, so that a single
//! disclosed change can be read without the rest of the log.

use minicbor::{Decode, Encode};

use crate::{
    DataClass, DataKeyNumber, FormatVersion, KeyEpoch, NodeId, Placement, Region, Retention, Row, SubjectKeyId,
    TableId, TableSchema, TenantId, Timestamp,
};

/// The version byte that precedes the CBOR of every summary and change.
pub const CHANGE_VERSION: u8 = 1;

/// The names that the changes of a record refer to.
#[derive(Clone, Debug, PartialEq, Eq, Default, Encode, Decode)]
pub struct RecordSummary {
    /// The tables whose rows the record changes, ascending by id.
    #[n(0)]
    pub tables: Vec<TableSummary>,
    /// The name of the stream the record belongs to, when it has one.
    #[n(1)]
    pub stream: Option<String>,
    /// The stream's data class, when this is its first record and it was said.
    #[n(2)]
    pub data_class: Option<DataClass>,
}

/// The names of one table at the time of the record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TableSummary {
    /// The table's number.
    #[n(0)]
    pub id: TableId,
    /// The table's name.
    #[n(1)]
    pub name: String,
    /// The names of its columns, in row order.
    #[n(2)]
    pub columns: Vec<String>,
    /// Positions of the primary key's columns.
    #[n(3)]
    pub primary_key: Vec<u16>,
}

impl From<&TableSchema> for TableSummary {
    fn from(schema: &TableSchema) -> Self {
        Self {
            id: schema.id,
            name: schema.name.clone(),
            columns: schema.columns.iter().map(|column| column.name.clone()).collect(),
            primary_key: schema.primary_key.clone(),
        }
    }
}

/// One change. A transaction's changes are the chunks of one record, in order.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Change {
    /// A row was inserted (`before` is absent), updated or deleted (`after` is absent).
    #[n(0)]
    Row(#[n(0)] RowChange),
    /// A table was created.
    #[n(1)]
    CreateTable(#[n(0)] TableSchema),
    /// A table was dropped. Its history stays readable in the past.
    #[n(2)]
    DropTable {
        /// The table's number.
        #[n(0)]
        table: TableId,
        /// Its name.
        #[n(1)]
        name: String,
    },
    /// An application's event was appended to the record's stream.
    #[n(3)]
    Event(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A database was created (system tenant only).
    #[n(4)]
    CreateDatabase(#[n(0)] DatabaseDefinition),
    /// A database user was created or changed (system tenant only).
    #[n(5)]
    PutUser(#[n(0)] UserDefinition),
    /// A database user was removed (system tenant only).
    #[n(6)]
    DropUser {
        /// The user's name.
        #[n(0)]
        name: String,
    },
    /// A key epoch began. It stands in a record of kind [`crate::RecordKind::Policy`], in plain text: the record is
    /// the first of the epoch that it announces, and holds nothing secret.
    #[n(7)]
    KeysRotated(#[n(0)] KeysRotated),
    /// The key of a data subject was destroyed: every cell sealed under it is erased.
    #[n(8)]
    SubjectErased {
        /// The subject.
        #[n(0)]
        subject: String,
        /// The key.
        #[n(1)]
        key: SubjectKeyId,
        /// Why, if it was said.
        #[n(2)]
        reason: Option<String>,
    },
    /// An erasure was asked for and refused.
    #[n(9)]
    ErasureRefused {
        /// The subject.
        #[n(0)]
        subject: String,
        /// The reason of the newest legal hold, when holds forbade it.
        #[n(1)]
        held: Option<String>,
        /// Until when the subject's data must be kept, when that forbade it.
        #[n(2)]
        retained_until: Option<Timestamp>,
        /// Why it was asked for, if it was said.
        #[n(3)]
        reason: Option<String>,
    },
    /// A legal hold on a data subject began.
    #[n(10)]
    SubjectHeld {
        /// The subject.
        #[n(0)]
        subject: String,
        /// Why.
        #[n(1)]
        reason: String,
    },
    /// A legal hold on a data subject ended.
    #[n(11)]
    SubjectReleased {
        /// The subject.
        #[n(0)]
        subject: String,
        /// Why.
        #[n(1)]
        reason: String,
    },
    /// How long the data of a table, or of every table that does not say, must be kept.
    #[n(12)]
    RetentionSet {
        /// The table's number; `None` for the tenant's default.
        #[n(0)]
        table: Option<TableId>,
        /// Its name.
        #[n(1)]
        name: Option<String>,
        /// How long; `None` for no rule.
        #[n(2)]
        retention: Option<Retention>,
    },
    /// The node mended something by itself. It stands in a record of kind [`crate::RecordKind::Recovery`], in plain text:
    /// it names files and positions, and nothing of what they hold.
    #[n(13)]
    Recovered(#[n(0)] Recovered),
    /// The cluster writes a newer version of its formats from here on (system tenant only).
    #[n(14)]
    FormatRaised {
        /// The version.
        #[n(0)]
        to: FormatVersion,
    },
    /// Where data of which class may be kept was set.
    #[n(15)]
    PlacementSet(#[n(0)] Placement),
    /// A table, a stream or placement rules were refused: data of the class would have been kept where it may not.
    #[n(16)]
    PlacementRefused {
        /// The class.
        #[n(0)]
        class: DataClass,
        /// Where it would have been kept.
        #[n(1)]
        region: Option<Region>,
        /// The table or stream; empty when rules were refused because of a stream.
        #[n(2)]
        name: String,
    },
}

/// What was found damaged or unfinished, and what was done about it. Nothing that was acknowledged was lost by it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Recovered {
    /// How often the node had been opened when it was found.
    #[n(0)]
    pub generation: u64,
    /// What kind of file it was in.
    #[n(1)]
    pub area: RecoveryArea,
    /// The file's name within its area's directory.
    #[n(2)]
    pub file: String,
    /// The first byte concerned.
    #[n(3)]
    pub start: u64,
    /// One past the last byte concerned; equal to `start` when it is the file as a whole.
    #[n(4)]
    pub end: u64,
    /// What was wrong.
    #[n(5)]
    pub reason: String,
    /// What was done.
    #[n(6)]
    pub action: RecoveryAction,
    /// Which member of its cluster the node is; none for a node alone.
    #[n(7)]
    pub node: Option<NodeId>,
}

/// A kind of file in [`Recovered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RecoveryArea {
    /// The node's write-ahead log.
    #[n(0)]
    WriteAheadLog,
    /// The write-ahead log's superblock.
    #[n(1)]
    Superblock,
    /// The tenant's log.
    #[n(2)]
    Log,
    /// The indexes and hash files beside the tenant's log.
    #[n(3)]
    LogIndex,
    /// The tenant's view.
    #[n(4)]
    View,
    /// What says how long the tenants' logs must be.
    #[n(5)]
    LogHeads,
    /// The node's keyring.
    #[n(6)]
    Keyring,
    /// The keys of the tenant's data subjects.
    #[n(7)]
    SubjectKeys,
}

impl RecoveryArea {
    /// The name that SQL shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WriteAheadLog => "write_ahead_log",
            Self::Superblock => "superblock",
            Self::Log => "log",
            Self::LogIndex => "log_index",
            Self::View => "view",
            Self::LogHeads => "log_heads",
            Self::Keyring => "keyring",
            Self::SubjectKeys => "subject_keys",
        }
    }
}

/// What was done in [`Recovered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RecoveryAction {
    /// The bytes of an interrupted write were copied to a file of their own and cut off.
    #[n(0)]
    SetAside,
    /// It was derived from the log again.
    #[n(1)]
    Rebuilt,
    /// It was written again from whole copies.
    #[n(2)]
    Rewritten,
}

impl RecoveryAction {
    /// The name that SQL shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SetAside => "set_aside",
            Self::Rebuilt => "rebuilt",
            Self::Rewritten => "rewritten",
        }
    }
}

/// A key epoch: which stored data key its key is derived from, and with which salt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeysRotated {
    /// The epoch that begins with this record.
    #[n(0)]
    pub epoch: KeyEpoch,
    /// The stored data key.
    #[n(1)]
    pub data_key: DataKeyNumber,
    /// Random, drawn for this epoch alone. Two copies of one log that go on separately draw different salts, so they
    /// never encrypt two plaintexts under one key and position.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    /// Why the epoch began.
    #[n(3)]
    pub reason: RotationReason,
}

/// Why a key epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RotationReason {
    /// The node was opened: it cannot know whether another copy of this log was written to since.
    #[n(0)]
    Opened,
    /// A new data key was asked for.
    #[n(1)]
    DataKey,
    /// The tenant's key-encryption key was replaced.
    #[n(2)]
    KeyEncryptionKey,
    /// The master key was replaced.
    #[n(3)]
    MasterKey,
}

/// A row before and after a change; both are full rows, so any state can be rebuilt, compared or explained.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct RowChange {
    /// The row's table.
    #[n(0)]
    pub table: TableId,
    /// The row before; `None` for an insert.
    #[n(1)]
    pub before: Option<Row>,
    /// The row after; `None` for a delete.
    #[n(2)]
    pub after: Option<Row>,
}

/// A database. Its keys are in the node's keyring, where they can be destroyed; the log, which forgets nothing, never
/// holds them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DatabaseDefinition {
    /// The database's name.
    #[n(0)]
    pub name: String,
    /// Its tenant.
    #[n(1)]
    pub tenant: TenantId,
}

/// A database user. The password itself is never known here, only its SCRAM verifier (RFC 5802).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UserDefinition {
    /// The user's name.
    #[n(0)]
    pub name: String,
    /// The actor id that this user's changes carry.
    #[n(1)]
    pub actor: crate::ActorId,
    /// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, as PostgreSQL stores it.
    #[n(2)]
    pub scram_verifier: String,
    /// The databases the user may connect to; empty means all.
    #[n(3)]
    pub databases: Vec<String>,
    /// Whether the user may only read.
    #[n(4)]
    pub read_only: bool,
    /// Whether the user may erase and hold data subjects and say how long data is kept.
    #[n(5)]
    #[cbor(default)]
    pub compliance: bool,
}

/// Why bytes are no summary or change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeDecodeError {
    /// The version byte is missing or unknown.
    #[error("change version {found:?} is unknown, expected {CHANGE_VERSION}")]
    Version {
        /// The byte found, if any.
        found: Option<u8>,
    },
    /// The CBOR after the version byte does not decode.
    #[error("change does not decode")]
    Cbor(#[from] minicbor::decode::Error),
    /// Bytes follow the CBOR.
    #[error("{bytes} bytes follow the change")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

macro_rules! versioned_codec {
    ($name:ident) => {
        impl $name {
            /// The version byte and the canonical CBOR.
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                let mut bytes = vec![CHANGE_VERSION];
                minicbor::encode(self, &mut bytes).expect("writing to memory does not fail");
                bytes
            }

            /// Parses what [`Self::to_bytes`] wrote.
            ///
            /// # Errors
            /// When the version is unknown, the CBOR does not decode, or bytes follow it.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChangeDecodeError> {
                let Some((&CHANGE_VERSION, cbor)) = bytes.split_first() else {
                    return Err(ChangeDecodeError::Version {
                        found: bytes.first().copied(),
                    });
                };
                let mut decoder = minicbor::Decoder::new(cbor);
                let value = decoder.decode()?;
                let trailing = cbor.len() - decoder.position();
                if trailing > 0 {
                    return Err(ChangeDecodeError::Trailing { bytes: trailing });
                }
                Ok(value)
            }
        }
    };
}

versioned_codec!(RecordSummary);
versioned_codec!(Change);

impl Change {
    /// What `Change::Event(event).to_bytes()` gives, without copying the event first.
    #[must_use]
    pub fn event_bytes(event: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(event.len() + EVENT_OVERHEAD_BYTES_MAX);
        bytes.push(CHANGE_VERSION);
        let mut encoder = minicbor::Encoder::new(&mut bytes);
        let written = (|| encoder.array(2)?.u8(3)?.array(1)?.bytes(event)?.ok())();
        written.expect("writing to memory does not fail");
        bytes
    }
}

/// The version byte, three bytes of CBOR structure and the longest length of a byte string.
const EVENT_OVERHEAD_BYTES_MAX: usize = 1 + 3 + 9;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Value;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e300..1e300).prop_map(Value::Float),
            (any::<i64>(), 0u32..20)
                .prop_map(|(number, scale)| Value::Numeric(rust_decimal::Decimal::new(number, scale))),
            ".{0,12}".prop_map(Value::Text),
            proptest::collection::vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
            any::<i32>().prop_map(Value::Date),
            any::<i64>().prop_map(Value::Time),
            any::<i64>().prop_map(Value::Timestamp),
            any::<i64>().prop_map(Value::TimestampTz),
            any::<[u8; 16]>().prop_map(Value::Uuid),
            ".{0,12}".prop_map(Value::Json),
            (
                any::<u64>(),
                any::<u64>(),
                any::<u16>(),
                proptest::collection::vec(any::<u8>(), 0..12)
            )
                .prop_map(|(key, offset, column, sealed)| {
                    Value::Sealed(Box::new(crate::SealedCell {
                        key: SubjectKeyId::new(key),
                        epoch: KeyEpoch::ZERO,
                        offset: crate::Offset::new(offset),
                        chunk: 1,
                        column,
                        sealed,
                    }))
                }),
        ]
    }

    fn row() -> impl Strategy<Value = Option<Row>> {
        proptest::option::of(proptest::collection::vec(value(), 0..5))
    }

    proptest! {
        #[test]
        fn changes_survive_a_round_trip(table in any::<u32>(), before in row(), after in row()) {
            let change = Change::Row(RowChange { table: TableId::new(table), before, after });
            prop_assert_eq!(Change::from_bytes(&change.to_bytes()).ok(), Some(change));
        }

        #[test]
        fn events_are_encoded_like_any_change(event in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(Change::event_bytes(&event), Change::Event(event).to_bytes());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Change::from_bytes(&bytes);
            let _ = RecordSummary::from_bytes(&bytes);
        }
    }

    #[test]
    fn unknown_versions_and_trailing_bytes_are_refused() {
        let mut bytes = RecordSummary::default().to_bytes();
        bytes.push(0);
        assert!(matches!(
            RecordSummary::from_bytes(&bytes),
            Err(ChangeDecodeError::Trailing { bytes: 1 })
        ));
        bytes[0] = 9;
        assert!(matches!(
            RecordSummary::from_bytes(&bytes),
            Err(ChangeDecodeError::Version { found: Some(9) })
        ));
    }
}
