//! The tree as its users see it.

use std::fmt;
use std::sync::Arc;

use craton_crypto::{SecretBytes, StateBlindingKey, StateKey, sha256};
use craton_log::DiskFile;
use craton_proof::{StateCommitment, StateLeafValue, StateTreeProof, state_leaf_hash};
use craton_types::{Hash, Offset, PrimaryKey, TableId};

use crate::StateError;
use crate::node::{Child, Leaf, NODE_LEVELS, PathEnd, Position, child_index};
use crate::store::{ReadView, Store, StoredVersion};
use crate::update::{LeafChange, update};

/// The keys of a tenant's state tree.
#[derive(Clone, Debug)]
pub struct StateKeys {
    /// Places rows.
    pub state: StateKey,
    /// Hides leaves.
    pub blinding: StateBlindingKey,
    /// Encrypts the file.
    pub store: SecretBytes,
}

/// How much memory a tree may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// How many bytes of decrypted pages the store keeps.
    pub cache_bytes: usize,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * 1024 * 1024,
        }
    }
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowState {
    /// The row's table.
    pub table: TableId,
    /// The row's key.
    pub key: PrimaryKey,
    /// Where its newest change is; `None` when that deleted it.
    pub position: Option<Position>,
}

/// A version of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateVersion {
    /// How many records of the log it comes from.
    pub size: u64,
    /// The hash of the last of them; zero when there is none.
    pub last_hash: Hash,
    /// The root.
    pub root: Hash,
}

impl From<&StoredVersion> for StateVersion {
    fn from(stored: &StoredVersion) -> Self {
        Self {
            size: stored.size,
            last_hash: stored.last_hash,
            root: stored.root.hash(),
        }
    }
}

/// The state tree of a tenant. One thread at a time advances it; any number read.
pub struct StateTree {
    store: Store,
    keys: StateKeys,
}

impl fmt::Debug for StateTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateTree").finish_non_exhaustive()
    }
}

impl StateTree {
    /// Opens the tree in a file; an empty one is made ready. Nobody else may write to it meanwhile.
    ///
    /// # Errors
    /// When the file belongs to another key, is damaged, or cannot be read. After an error for which
    /// [`StateError::is_rebuildable`] holds, delete the file, open it again and replay the log.
    pub fn open(file: Arc<dyn DiskFile>, keys: StateKeys, options: StateOptions) -> Result<Self, StateError> {
        Ok(Self {
            store: Store::open(file, &keys.store, options.cache_bytes)?,
            keys,
        })
    }

    /// The newest version; the empty one of size 0 before the first.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn newest(&self) -> Result<StateVersion, StateError> {
        let newest = self.store.read()?.version(u64::MAX)?;
        Ok(newest.as_ref().map_or(EMPTY_VERSION, StateVersion::from))
    }

    /// What a checkpoint record says about a version.
    #[must_use]
    pub fn commitment(&self, version: &StateVersion) -> StateCommitment {
        StateCommitment {
            size: version.size,
            root: version.root,
            key: self.keys.state.commitment(),
        }
    }

    /// Makes the version of the first `size` records, the last of which has `last_hash`, and returns when it is on disk.
    /// `rows` are all changes since the newest version, in log order. `checkpoints` are the checkpoint records since
    /// then, as the size of their state and their offset.
    ///
    /// # Errors
    /// When the size is not above the newest version's, or the file cannot be read or written. Nothing was written then.
    pub fn advance(
        &self,
        size: u64,
        last_hash: Hash,
        rows: &[RowState],
        checkpoints: &[(u64, Offset)],
    ) -> Result<StateVersion, StateError> {
        let changes = self.leaf_changes(rows);
        let stored = self.store.write(size, last_hash, checkpoints, |nodes, root| {
            update(nodes, root, 0, &changes)
        })?;
        Ok(StateVersion::from(&stored))
    }

    /// Ascending by leaf key, with the last change of each row.
    fn leaf_changes(&self, rows: &[RowState]) -> Vec<LeafChange> {
        let mut order: Vec<(Hash, usize)> = rows
            .iter()
            .enumerate()
            .map(|(index, row)| (self.row_key(row.table, &row.key), index))
            .collect();
        order.sort_unstable();
        let mut changes: Vec<LeafChange> = Vec::with_capacity(order.len());
        for (place, (key, index)) in order.iter().enumerate() {
            if order.get(place + 1).is_some_and(|(next, _)| next == key) {
                continue;
            }
            let new = rows[*index]
                .position
                .map(|position| (position, state_leaf_hash(key, &self.value_hash(key, position))));
            changes.push(LeafChange { key: *key, new });
        }
        changes
    }

    fn row_key(&self, table: TableId, key: &PrimaryKey) -> Hash {
        self.keys.state.row_key(table, key.as_bytes())
    }

    fn value(&self, key: &Hash, position: Position) -> StateLeafValue {
        let Position { offset, chunk_index } = position;
        StateLeafValue {
            offset,
            chunk_index,
            blind: self.keys.blinding.blind(key, offset, chunk_index).into(),
        }
    }

    fn value_hash(&self, key: &Hash, position: Position) -> Hash {
        sha256(&[&self.value(key, position).to_bytes()])
    }

    /// Where the newest change of a row is, in the newest version of at most `size_max` records; `None` when there is no
    /// such row.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn position(&self, size_max: u64, table: TableId, key: &PrimaryKey) -> Result<Option<Position>, StateError> {
        let view = self.store.read()?;
        let Some(version) = view.version(size_max)? else {
            return Ok(None);
        };
        let key = self.row_key(table, key);
        let end = walk(&view, version.root, &key, &mut Vec::new())?;
        Ok(end.filter(|leaf| leaf.key == key).map(|leaf| leaf.position))
    }

    /// The proof of what the newest version of at most `size_max` records says about a row: the value of its leaf, or
    /// that there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn prove(
        &self,
        size_max: u64,
        table: TableId,
        key: &PrimaryKey,
    ) -> Result<(Option<StateLeafValue>, StateTreeProof), StateError> {
        let view = self.store.read()?;
        let root = view.version(size_max)?.map_or(Child::Empty, |version| version.root);
        let key = self.row_key(table, key);
        let mut siblings = Vec::new();
        let end = walk(&view, root, &key, &mut siblings)?;
        siblings.reverse();
        Ok(match end {
            Some(leaf) if leaf.key == key => {
                let value = self.value(&key, leaf.position);
                (Some(value), StateTreeProof { other: None, siblings })
            }
            Some(leaf) => {
                let other = Some(leaf.as_other(self.value_hash(&leaf.key, leaf.position)));
                (None, StateTreeProof { other, siblings })
            }
            None => (None, StateTreeProof { other: None, siblings }),
        })
    }

    /// The newest checkpoint record that commits to a state of at most `size_max` records: the size of that state, and
    /// the record's offset. Checkpoints since the newest version are not known here.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn checkpoint(&self, size_max: u64) -> Result<Option<(u64, Offset)>, StateError> {
        self.store.read()?.checkpoint(size_max)
    }

    /// The key that places rows, for disclosure in a state proof.
    #[must_use]
    pub const fn state_key(&self) -> &StateKey {
        &self.keys.state
    }
}

const EMPTY_VERSION: StateVersion = StateVersion {
    size: 0,
    last_hash: Hash::ZERO,
    root: craton_proof::EMPTY_SUBTREE,
};

/// Follows a key from the root, noting the siblings from the root downwards: the leaf where its path ends, if any.
fn walk(view: &ReadView, root: Child, key: &Hash, siblings: &mut Vec<Hash>) -> Result<Option<Leaf>, StateError> {
    let mut child = root;
    for depth in 0..=256 / NODE_LEVELS {
        let number = match child {
            Child::Empty => return Ok(None),
            Child::Leaf(leaf) => return Ok(Some(leaf)),
            Child::Node { number, .. } => number,
        };
        if depth == 256 / NODE_LEVELS {
            break;
        }
        match view.node(number)?.follow(child_index(key, depth), siblings) {
            PathEnd::Empty => return Ok(None),
            PathEnd::Leaf(leaf) => return Ok(Some(leaf)),
            PathEnd::Below(below) => child = below,
        }
    }
    Err(StateError::damaged("a path is longer than a key"))
}
