//! A tenant's state: everything that decides outcomes, except the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use craton_proof::Frontier;
use craton_types::{
    DataClass, DataKeyNumber, DatabaseDefinition, FormatVersion, Hash, KeyEpoch, Offset, Placement, Retention,
    StreamId, StreamSequence, TableId, TableSchema, TenantId, Timestamp, UserDefinition, decode_whole,
};
use minicbor::{Decode, Encode};

use crate::checkpoint::{Cosigned, RecentCheckpoints, StateCheckpoint};

/// The tables of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// By name.
    pub tables: BTreeMap<String, Arc<TableSchema>>,
    /// The number that the next table gets.
    pub next_table: TableId,
    /// The position of the last schema change, as an exclusive end: a reader at or past it sees this catalogue.
    pub changed_end: Offset,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            tables: BTreeMap::new(),
            next_table: TableId::FIRST_USER,
            changed_end: Offset::ZERO,
        }
    }
}

impl Catalogue {
    /// A table by number.
    #[must_use]
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<TableSchema>> {
        self.tables.values().find(|schema| schema.id == id)
    }

    /// The catalogue with another retention rule for a table; `None` when no such table has erasable columns.
    pub(crate) fn with_retention(&self, table: TableId, retention: Option<Retention>) -> Option<(Self, TableSchema)> {
        let mut schema = TableSchema::clone(self.table_by_id(table)?);
        schema.subjects.as_mut()?.retention = retention;
        let mut catalogue = self.clone();
        catalogue.tables.insert(schema.name.clone(), Arc::new(schema.clone()));
        Some((catalogue, schema))
    }
}

/// A tenant's state.
#[derive(Clone, Debug)]
pub struct TenantState {
    /// Whose state.
    pub tenant: TenantId,
    /// Whether this is the tenant that holds databases and users.
    pub is_system: bool,
    /// The offset of the next record.
    pub end: Offset,
    /// The record hash of the last record; zero before the first.
    pub last_hash: Hash,
    /// The last record's timestamp.
    pub last_timestamp: Timestamp,
    /// The Merkle tree over all record hashes, as its compact frontier.
    pub frontier: Frontier,
    /// How many records the last checkpoint covers.
    pub checkpoint_size: u64,
    /// Where the last checkpoint is.
    pub checkpoint_offset: Option<Offset>,
    /// The last checkpoint record, and the state that it commits to.
    pub state_checkpoint: Option<StateCheckpoint>,
    /// The newest checkpoint record that a later checkpoint covers: its state can be proved.
    pub covered_state_checkpoint: Option<StateCheckpoint>,
    /// The checkpoints that witnesses may still cosign.
    pub recent_checkpoints: RecentCheckpoints,
    /// The last checkpoint that witnesses have cosigned.
    pub cosigned: Option<Cosigned>,
    /// The epoch whose key new records use.
    pub key_epoch: KeyEpoch,
    /// The stored data key that the epoch's key is derived from.
    pub data_key: DataKeyNumber,
    /// The salt that it is derived with.
    pub key_salt: [u8; 32],
    /// The next record's sequence in stream 0.
    pub root_stream_next: StreamSequence,
    /// The number of the next named stream.
    pub next_stream: StreamId,
    /// How many idempotency ids were ever remembered.
    pub idempotency_count: u64,
    /// For each table, the exclusive end after the last record that changed a row of it.
    pub table_ends: BTreeMap<TableId, Offset>,
    /// The tables; shared with readers.
    pub catalogue: Arc<Catalogue>,
    /// Databases by name (system tenant only).
    pub databases: BTreeMap<String, DatabaseDefinition>,
    /// Users by name (system tenant only); shared with readers.
    pub users: Arc<BTreeMap<String, UserDefinition>>,
    /// The number of the next data subject's key.
    pub next_subject_key: u64,
    /// How many data subjects were erased.
    pub erasures: u64,
    /// How long the data of subjects must be kept where a table does not say.
    pub default_retention: Option<Retention>,
    /// The version of its formats that the log has raised the cluster to (system tenant only). One that was formed with a
    /// newer version was never raised to it.
    pub format: FormatVersion,
    /// Where data of which class may be kept; shared with readers.
    pub placement: Arc<Placement>,
    /// The data classes of the named streams.
    pub stream_classes: BTreeSet<DataClass>,
}

/// Why bytes are no state.
#[derive(Debug, thiserror::Error)]
pub enum StateDecodeError {
    /// The CBOR does not decode.
    #[error("the saved state does not decode")]
    Cbor(#[from] minicbor::decode::Error),
    /// The saved frontier is none.
    #[error("the saved Merkle frontier does not decode")]
    Frontier,
    /// The version is another.
    #[error("the saved state has version {found}, expected {STATE_VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
}

const STATE_VERSION: u8 = 1;

/// The saved form of a state.
#[derive(Encode, Decode)]
struct SavedState {
    #[n(0)]
    version: u8,
    #[n(1)]
    tenant: TenantId,
    #[n(2)]
    is_system: bool,
    #[n(3)]
    end: Offset,
    #[n(4)]
    last_hash: Hash,
    #[n(5)]
    last_timestamp: Timestamp,
    #[cbor(n(6), with = "minicbor::bytes")]
    frontier: Vec<u8>,
    #[n(7)]
    checkpoint_size: u64,
    #[n(8)]
    key_epoch: KeyEpoch,
    #[n(9)]
    root_stream_next: StreamSequence,
    #[n(10)]
    next_stream: StreamId,
    #[n(11)]
    idempotency_count: u64,
    #[n(12)]
    tables: Vec<TableSchema>,
    #[n(13)]
    next_table: TableId,
    #[n(14)]
    catalogue_changed_end: Offset,
    #[n(15)]
    databases: Vec<DatabaseDefinition>,
    #[n(16)]
    users: Vec<UserDefinition>,
    #[n(17)]
    table_ends: BTreeMap<TableId, Offset>,
    #[n(18)]
    checkpoint_offset: Option<Offset>,
    #[n(26)]
    recent_checkpoints: RecentCheckpoints,
    #[n(27)]
    cosigned: Option<Cosigned>,
    #[n(19)]
    data_key: DataKeyNumber,
    #[cbor(n(20), with = "minicbor::bytes")]
    key_salt: [u8; 32],
    #[n(28)]
    state_checkpoint: Option<StateCheckpoint>,
    #[n(29)]
    covered_state_checkpoint: Option<StateCheckpoint>,
    #[n(22)]
    next_subject_key: u64,
    #[n(23)]
    erasures: u64,
    #[n(24)]
    default_retention: Option<Retention>,
    #[n(30)]
    format: Option<FormatVersion>,
    #[n(31)]
    #[cbor(default)]
    placement: Placement,
    #[n(32)]
    #[cbor(default)]
    stream_classes: BTreeSet<DataClass>,
}

impl TenantState {
    /// The state of a tenant whose log is empty.
    #[must_use]
    pub fn new(tenant: TenantId, is_system: bool) -> Self {
        Self {
            tenant,
            is_system,
            end: Offset::ZERO,
            last_hash: Hash::ZERO,
            last_timestamp: Timestamp::ZERO,
            frontier: Frontier::new(),
            checkpoint_size: 0,
            checkpoint_offset: None,
            state_checkpoint: None,
            covered_state_checkpoint: None,
            recent_checkpoints: RecentCheckpoints::default(),
            cosigned: None,
            key_epoch: KeyEpoch::ZERO,
            data_key: DataKeyNumber::ZERO,
            key_salt: [0; 32],
            root_stream_next: StreamSequence::ZERO,
            next_stream: StreamId::new(1),
            idempotency_count: 0,
            table_ends: BTreeMap::new(),
            catalogue: Arc::default(),
            databases: BTreeMap::new(),
            users: Arc::default(),
            next_subject_key: 0,
            erasures: 0,
            default_retention: None,
            format: FormatVersion::FIRST,
            placement: Arc::default(),
            stream_classes: BTreeSet::new(),
        }
    }

    /// The saved form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let saved = SavedState {
            version: STATE_VERSION,
            tenant: self.tenant,
            is_system: self.is_system,
            end: self.end,
            last_hash: self.last_hash,
            last_timestamp: self.last_timestamp,
            frontier: self.frontier.to_bytes(),
            checkpoint_size: self.checkpoint_size,
            checkpoint_offset: self.checkpoint_offset,
            state_checkpoint: self.state_checkpoint,
            covered_state_checkpoint: self.covered_state_checkpoint,
            recent_checkpoints: self.recent_checkpoints.clone(),
            cosigned: self.cosigned,
            key_epoch: self.key_epoch,
            data_key: self.data_key,
            key_salt: self.key_salt,
            root_stream_next: self.root_stream_next,
            next_stream: self.next_stream,
            idempotency_count: self.idempotency_count,
            tables: self
                .catalogue
                .tables
                .values()
                .map(|schema| TableSchema::clone(schema))
                .collect(),
            next_table: self.catalogue.next_table,
            catalogue_changed_end: self.catalogue.changed_end,
            databases: self.databases.values().cloned().collect(),
            users: self.users.values().cloned().collect(),
            table_ends: self.table_ends.clone(),
            next_subject_key: self.next_subject_key,
            erasures: self.erasures,
            default_retention: self.default_retention,
            format: (self.format > FormatVersion::FIRST).then_some(self.format),
            placement: Placement::clone(&self.placement),
            stream_classes: self.stream_classes.clone(),
        };
        minicbor::to_vec(&saved).expect("writing to memory does not fail")
    }

    /// Reads back what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are of another version or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateDecodeError> {
        let saved: SavedState = decode_whole(bytes)?;
        if saved.version != STATE_VERSION {
            return Err(StateDecodeError::Version { found: saved.version });
        }
        let tables = saved
            .tables
            .into_iter()
            .map(|schema| (schema.name.clone(), Arc::new(schema)))
            .collect();
        Ok(Self {
            tenant: saved.tenant,
            is_system: saved.is_system,
            end: saved.end,
            last_hash: saved.last_hash,
            last_timestamp: saved.last_timestamp,
            frontier: Frontier::from_bytes(&saved.frontier).map_err(|_| StateDecodeError::Frontier)?,
            checkpoint_size: saved.checkpoint_size,
            checkpoint_offset: saved.checkpoint_offset,
            state_checkpoint: saved.state_checkpoint,
            covered_state_checkpoint: saved.covered_state_checkpoint,
            recent_checkpoints: saved.recent_checkpoints,
            cosigned: saved.cosigned,
            key_epoch: saved.key_epoch,
            data_key: saved.data_key,
            key_salt: saved.key_salt,
            root_stream_next: saved.root_stream_next,
            next_stream: saved.next_stream,
            idempotency_count: saved.idempotency_count,
            table_ends: saved.table_ends,
            catalogue: Arc::new(Catalogue {
                tables,
                next_table: saved.next_table,
                changed_end: saved.catalogue_changed_end,
            }),
            databases: saved
                .databases
                .into_iter()
                .map(|database| (database.name.clone(), database))
                .collect(),
            users: Arc::new(saved.users.into_iter().map(|user| (user.name.clone(), user)).collect()),
            next_subject_key: saved.next_subject_key,
            erasures: saved.erasures,
            default_retention: saved.default_retention,
            format: saved.format.unwrap_or(FormatVersion::FIRST),
            placement: Arc::new(saved.placement),
            stream_classes: saved.stream_classes,
        })
    }
}
