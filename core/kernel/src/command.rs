//! Commands: what a client asks of one tenant, as they travel through the consensus log.

use craton_crypto::SecretBytes;
use craton_proof::StateCommitment;
use craton_types::{
    ActorId, CorrelationId, DataClass, DataKeyNumber, DatabaseDefinition, FormatVersion, IdempotencyId, Offset,
    Placement, Recovered, Retention, RotationReason, RowWrite, TableId, TableSchema, TenantId, UserDefinition,
};
use minicbor::{Decode, Encode};

/// A command with everything that its outcome may depend on, but for the time, which the entry carries once
/// for all its commands.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Command {
    /// Whose log it is for.
    #[n(0)]
    pub tenant: TenantId,
    /// Who asks.
    #[n(1)]
    pub actor: ActorId,
    /// The request that this belongs to.
    #[n(2)]
    pub correlation_id: CorrelationId,
    /// The client's deduplication id, or nil.
    #[n(3)]
    pub idempotency_id: IdempotencyId,
    /// What to do.
    #[n(4)]
    pub operation: Operation,
}

/// What a command does. Each that commits becomes exactly one record.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Operation {
    /// A transaction: schema changes first, then row writes, all or nothing.
    #[n(0)]
    Write {
        /// Tables created and dropped, in order.
        #[n(0)]
        schema: Vec<SchemaWrite>,
        /// Row writes; no two for the same row.
        #[n(1)]
        rows: Vec<RowWrite>,
        /// What the transaction read beside the rows that it writes; checked again, so that transactions are
        /// serializable. Empty for a single statement, whose row writes say all.
        #[n(2)]
        reads: Vec<ReadCheck>,
        /// Fresh keys for the data subjects that had none when the writer looked. One that has a key by now keeps it.
        #[n(3)]
        subject_keys: Vec<NewSubjectKey>,
        /// How many erasures the tenant had seen before the writer read anything; refused when there was another
        /// since, so that what was read of an erased subject is not written again. `None` when nothing was read.
        #[n(4)]
        erasures_seen: Option<u64>,
    },
    /// Events for a stream, which is created by its first append.
    #[n(1)]
    Append {
        /// The stream's name.
        #[n(0)]
        stream: String,
        /// What the writer believes the stream to hold.
        #[n(1)]
        expected: ExpectedSequence,
        /// The events' bytes.
        #[n(2)]
        events: Vec<minicbor::bytes::ByteVec>,
        /// What kind of data they are. It is the stream's from its first append on; `None` for what the stream says.
        #[n(3)]
        data_class: Option<DataClass>,
    },
    /// A signed checkpoint over the first `size` records.
    #[n(2)]
    Checkpoint {
        /// How many records the checkpoint covers.
        #[n(0)]
        size: u64,
        /// The C2SP signed note.
        #[n(1)]
        note: String,
        /// What the checkpoint record says about the rows.
        #[n(2)]
        state: StateCommitment,
    },
    /// Creates a database (system tenant only).
    #[n(3)]
    CreateDatabase {
        /// The database.
        #[n(0)]
        database: DatabaseDefinition,
        /// Its first keys, wrapped for the way through the consensus log. The node stores them; no record holds them.
        #[cbor(n(1), with = "minicbor::bytes")]
        keys: Vec<u8>,
    },
    /// Creates or replaces a database user (system tenant only).
    #[n(4)]
    PutUser(#[n(0)] UserDefinition),
    /// Removes a database user (system tenant only).
    #[n(5)]
    DropUser {
        /// The user's name.
        #[n(0)]
        name: String,
    },
    /// Cosignatures over one of the log's recent checkpoints.
    #[n(6)]
    Cosign {
        /// The C2SP signed note: the log's signature and those of witnesses.
        #[n(0)]
        note: String,
        /// A time stamp token over the note's bytes (RFC 3161, the DER of a `TimeStampToken`).
        #[n(1)]
        time_stamp: Option<minicbor::bytes::ByteVec>,
    },
    /// Begins a key epoch.
    #[n(7)]
    RotateKeys {
        /// Random, drawn for this command.
        #[cbor(n(0), with = "minicbor::bytes")]
        salt: [u8; 32],
        /// Why.
        #[n(1)]
        reason: RotationReason,
        /// The data key that the epoch's key is derived from, when it is a new one.
        #[n(2)]
        data_key: Option<NewDataKey>,
    },
    /// Destroys the key of a data subject. A refusal because of a hold or of a retention rule is recorded.
    #[n(8)]
    EraseSubject {
        /// The subject.
        #[n(0)]
        subject: String,
        /// Why.
        #[n(1)]
        reason: Option<String>,
    },
    /// Begins a legal hold: the subject cannot be erased until it is released.
    #[n(9)]
    HoldSubject {
        /// The subject.
        #[n(0)]
        subject: String,
        /// Why.
        #[n(1)]
        reason: String,
    },
    /// Ends one legal hold.
    #[n(10)]
    ReleaseSubject {
        /// The subject.
        #[n(0)]
        subject: String,
        /// Why.
        #[n(1)]
        reason: String,
    },
    /// Sets how long data must be kept. What is written already is kept for the longer of the old and the new time.
    #[n(11)]
    SetRetention {
        /// The table; `None` for the default of the tables that do not say.
        #[n(0)]
        table: Option<TableId>,
        /// How long; `None` for no rule.
        #[n(1)]
        retention: Option<Retention>,
    },
    /// Records what the node mended by itself.
    #[n(12)]
    RecordRecovery(#[n(0)] Recovered),
    /// Lets the cluster write a newer version of its formats (system tenant only). Whoever asks has made sure that every member
    /// knows it.
    #[n(13)]
    RaiseFormat(#[n(0)] FormatVersion),
    /// Sets where data of which class may be kept. Its region is the one that the tenant's nodes are in.
    #[n(14)]
    SetPlacement(#[n(0)] Placement),
}

impl Operation {
    /// Whether it knows of data classes, which only the formats since [`craton_types::Form::Placement`] do.
    #[must_use]
    pub fn places(&self) -> bool {
        match self {
            Self::SetPlacement(_) => true,
            Self::Append { data_class, .. } => data_class.is_some(),
            Self::Write { schema, .. } => schema
                .iter()
                .any(|write| matches!(write, SchemaWrite::Create(table) if table.data_class.is_some())),
            _ => false,
        }
    }

    /// Whether its record's chunks are encrypted under the tenant's current epoch.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        !matches!(
            self,
            Self::Checkpoint { .. } | Self::Cosign { .. } | Self::RotateKeys { .. } | Self::RecordRecovery(_)
        )
    }
}

/// A data key on its way to the nodes' keyrings.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NewDataKey {
    /// Its number, higher than every earlier one's.
    #[n(0)]
    pub number: DataKeyNumber,
    /// The key, wrapped for the way through the consensus log.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
}

/// A fresh key for a data subject. It travels with the command, so that replicas seal to the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NewSubjectKey {
    /// The subject.
    #[n(0)]
    pub subject: String,
    /// 32 random bytes.
    #[cbor(n(1), with = "secret_bytes")]
    pub key: SecretBytes,
}

mod secret_bytes {
    use craton_crypto::SecretBytes;
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    pub(super) fn encode<C, W: Write>(
        key: &SecretBytes,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(key.expose())?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<SecretBytes, DecodeError> {
        let bytes = d.bytes()?;
        bytes
            .try_into()
            .map(SecretBytes::new)
            .map_err(|_| DecodeError::message("a key has 32 bytes"))
    }
}

/// A change of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SchemaWrite {
    /// Creates a table. The id must be the catalogue's next one, which the writer read.
    #[n(0)]
    Create(#[n(0)] TableSchema),
    /// Drops a table.
    #[n(1)]
    Drop {
        /// Its number.
        #[n(0)]
        table: TableId,
        /// Its name.
        #[n(1)]
        name: String,
    },
}

/// What an append expects of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ExpectedSequence {
    /// Anything.
    #[n(0)]
    Any,
    /// Exactly this many records; zero for a stream that does not exist yet.
    #[n(1)]
    Exactly(#[n(0)] u64),
}

/// What a transaction saw and relied on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReadCheck {
    /// A row by key: this version, or none.
    #[n(0)]
    Row {
        /// The row's table.
        #[n(0)]
        table: TableId,
        /// The encoded primary key.
        #[cbor(n(1), with = "minicbor::bytes")]
        key: Vec<u8>,
        /// The version seen; `None` when there was no row.
        #[n(2)]
        version: Option<Offset>,
    },
    /// A range of a table. The whole table must be as it was: coarser than the range, and never wrong.
    #[n(1)]
    Table {
        /// The table.
        #[n(0)]
        table: TableId,
        /// The exclusive end of the snapshot that was read.
        #[n(1)]
        end: Offset,
    },
}
