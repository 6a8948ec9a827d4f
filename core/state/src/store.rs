//! The tree's tables.
//!
//! | table | key | value |
//! |---|---|---|
//! | `nodes` | number, ascending in the order of writing | the node |
//! | `versions` | size | hash of the last record (32), the root as a lone child |
//! | `checkpoints` | size of a state commitment | offset of the first checkpoint record with it |

use std::sync::Arc;

use craton_log::DiskFile;
use craton_projection::{EncryptedBackend, ProjectionError};
use craton_types::{Hash, Offset};
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};

use crate::StateError;
use crate::node::{Child, Node};
use crate::update::Nodes;

const NODES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("nodes");
const VERSIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("versions");
const CHECKPOINTS: TableDefinition<'_, u64, u64> = TableDefinition::new("checkpoints");

/// A version as it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredVersion {
    pub(crate) size: u64,
    pub(crate) last_hash: Hash,
    pub(crate) root: Child,
}

pub(crate) struct Store(Database);

impl Store {
    /// Opens the store, making an empty one ready.
    pub(crate) fn open(
        file: Arc<dyn DiskFile>,
        key: &craton_crypto::SecretBytes,
        cache_bytes: usize,
    ) -> Result<Self, StateError> {
        let backend = EncryptedBackend::open(file, key).map_err(StateError::Store)?;
        let database = redb::Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
            .map_err(StateError::store)?;
        let store = Self(database);
        if store.has_tables()? {
            return Ok(store);
        }
        let transaction = store.begin_write()?;
        transaction.open_table(NODES).map_err(StateError::store)?;
        transaction.open_table(VERSIONS).map_err(StateError::store)?;
        transaction.open_table(CHECKPOINTS).map_err(StateError::store)?;
        transaction.commit().map_err(StateError::store)?;
        Ok(store)
    }

    fn has_tables(&self) -> Result<bool, StateError> {
        let transaction = self.0.begin_read().map_err(StateError::store)?;
        match transaction.open_table(CHECKPOINTS) {
            Ok(_) => Ok(true),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(StateError::store(error)),
        }
    }

    fn begin_write(&self) -> Result<WriteTransaction, StateError> {
        let mut transaction = self.0.begin_write().map_err(StateError::store)?;
        // Two-phase commits and a saved allocator state: after a crash nothing needs to be walked or guessed.
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    pub(crate) fn read(&self) -> Result<ReadView, StateError> {
        let transaction = self.0.begin_read().map_err(StateError::store)?;
        ReadView::of(&transaction)
    }

    /// Writes the next version: `change` makes the new root of the old one.
    pub(crate) fn write(
        &self,
        size: u64,
        last_hash: Hash,
        checkpoints: &[(u64, Offset)],
        change: impl FnOnce(&mut WrittenNodes<'_>, Child) -> Result<Child, StateError>,
    ) -> Result<StoredVersion, StateError> {
        let transaction = self.begin_write()?;
        let root = {
            let mut versions = transaction.open_table(VERSIONS).map_err(StateError::store)?;
            let newest = newest_version(&versions, u64::MAX)?;
            if let Some(newest) = newest.filter(|newest| newest.size >= size) {
                return Err(StateError::OutOfOrder {
                    size,
                    newest: newest.size,
                });
            }
            let table = transaction.open_table(NODES).map_err(StateError::store)?;
            let next = match table.last().map_err(StateError::store)? {
                Some((number, _)) => number.value() + 1,
                None => 0,
            };
            let mut nodes = WrittenNodes { table, next };
            let root = change(&mut nodes, newest.map_or(Child::Empty, |newest| newest.root))?;
            let value = [&last_hash.as_bytes()[..], &root.to_bytes()].concat();
            versions.insert(size, value.as_slice()).map_err(StateError::store)?;
            let mut table = transaction.open_table(CHECKPOINTS).map_err(StateError::store)?;
            for (state_size, offset) in checkpoints {
                if table.get(state_size).map_err(StateError::store)?.is_none() {
                    table.insert(state_size, offset.get()).map_err(StateError::store)?;
                }
            }
            root
        };
        transaction.commit().map_err(StateError::store)?;
        Ok(StoredVersion { size, last_hash, root })
    }
}

/// The tree as one transaction sees it.
pub(crate) struct ReadView {
    nodes: ReadOnlyTable<u64, &'static [u8]>,
    versions: ReadOnlyTable<u64, &'static [u8]>,
    checkpoints: ReadOnlyTable<u64, u64>,
}

impl ReadView {
    fn of(transaction: &ReadTransaction) -> Result<Self, StateError> {
        Ok(Self {
            nodes: transaction.open_table(NODES).map_err(StateError::store)?,
            versions: transaction.open_table(VERSIONS).map_err(StateError::store)?,
            checkpoints: transaction.open_table(CHECKPOINTS).map_err(StateError::store)?,
        })
    }

    pub(crate) fn node(&self, number: u64) -> Result<Node, StateError> {
        decode_node(self.nodes.get(number), number)
    }

    /// The newest version of at most this size.
    pub(crate) fn version(&self, size_max: u64) -> Result<Option<StoredVersion>, StateError> {
        newest_version(&self.versions, size_max)
    }

    /// The newest checkpoint with a state of at most this size: that size and the checkpoint record.
    pub(crate) fn checkpoint(&self, size_max: u64) -> Result<Option<(u64, Offset)>, StateError> {
        let entry = self
            .checkpoints
            .range(..=size_max)
            .map_err(StateError::store)?
            .next_back();
        let entry = entry.transpose().map_err(StateError::store)?;
        Ok(entry.map(|(size, offset)| (size.value(), Offset::new(offset.value()))))
    }
}

/// The nodes of a version that is being written.
pub(crate) struct WrittenNodes<'a> {
    table: Table<'a, u64, &'static [u8]>,
    next: u64,
}

impl Nodes for WrittenNodes<'_> {
    fn read(&self, number: u64) -> Result<Node, StateError> {
        decode_node(self.table.get(number), number)
    }

    fn write(&mut self, node: &Node) -> Result<u64, StateError> {
        let number = self.next;
        self.next += 1;
        self.table
            .insert(number, node.to_bytes().as_slice())
            .map_err(StateError::store)?;
        Ok(number)
    }
}

type Entry<'a> = Result<Option<redb::AccessGuard<'a, &'static [u8]>>, redb::StorageError>;

fn decode_node(entry: Entry<'_>, number: u64) -> Result<Node, StateError> {
    entry
        .map_err(StateError::store)?
        .and_then(|bytes| Node::from_bytes(bytes.value()))
        .ok_or_else(|| StateError::damaged(format!("node {number} is missing or malformed")))
}

fn newest_version(
    versions: &impl ReadableTable<u64, &'static [u8]>,
    size_max: u64,
) -> Result<Option<StoredVersion>, StateError> {
    let entry = versions.range(..=size_max).map_err(StateError::store)?.next_back();
    let Some((size, value)) = entry.transpose().map_err(StateError::store)? else {
        return Ok(None);
    };
    let size = size.value();
    let parse = || {
        let (last_hash, root) = value.value().split_first_chunk::<32>()?;
        Some(StoredVersion {
            size,
            last_hash: Hash::new(*last_hash),
            root: Child::from_bytes(root)?,
        })
    };
    match parse() {
        Some(version) => Ok(Some(version)),
        None => Err(StateError::damaged(format!("version {size} is malformed"))),
    }
}

impl From<ProjectionError> for StateError {
    fn from(error: ProjectionError) -> Self {
        Self::Store(error)
    }
}
