//! The sparse Merkle tree over the rows of a tenant: its hashes and the verification of its proofs.
//!
//! The tree is a Jellyfish Merkle tree (Gao, Hu, Wu: Jellyfish Merkle Tree, 2021) with the hashes of the `jmt` crate over
//! SHA-256: a binary tree of 256 levels over 32-byte leaf keys, most significant bit first, in which a subtree
//! - without leaves hashes to [`EMPTY_SUBTREE`],
//! - with one leaf hashes to that leaf, `SHA-256("JMT::LeafNode" ‖ leaf key ‖ SHA-256(value))`,
//! - with more leaves hashes to `SHA-256("JMT::IntrnalNode" ‖ left ‖ right)`.
//!
//! So the root is a function of the leaves alone, not of the order in which they came, and a proof has about as many
//! hashes as the binary logarithm of their number.

use craton_crypto::sha256;
use craton_types::{Hash, Offset, TableId};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

/// The table that the tree keeps the names of tables in, each as a row whose newest change created the table.
pub const STATE_TABLE_NAMES: TableId = TableId::new(0);
/// The hash of a subtree without leaves.
pub const EMPTY_SUBTREE: Hash = Hash::new(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__");
/// The levels of the tree: the most siblings that a proof has.
pub const STATE_TREE_LEVELS: usize = 256;

const LEAF_DOMAIN: &[u8] = b"JMT::LeafNode";
const NODE_DOMAIN: &[u8] = b"JMT::IntrnalNode";

/// The hash of a leaf.
#[must_use]
pub fn state_leaf_hash(key: &Hash, value_hash: &Hash) -> Hash {
    sha256(&[LEAF_DOMAIN, key.as_bytes(), value_hash.as_bytes()])
}

/// The hash of a subtree with more than one leaf.
#[must_use]
pub fn state_node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[NODE_DOMAIN, left.as_bytes(), right.as_bytes()])
}

/// The bit of a leaf key that decides at a level, counted from the root; `true` goes right.
///
/// # Panics
/// When the level is not below [`STATE_TREE_LEVELS`].
#[must_use]
pub fn state_key_bit(key: &Hash, level: usize) -> bool {
    key.as_bytes()[level / 8] & (0x80 >> (level % 8)) != 0
}

/// What a leaf holds: where the newest change of its row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StateLeafValue {
    /// The record.
    #[n(0)]
    pub offset: Offset,
    /// The chunk of the record.
    #[n(1)]
    pub chunk_index: u32,
    /// Keeps the leaf's hash from being guessed by those who see only it.
    #[n(2)]
    pub blind: ByteArray<32>,
}

impl StateLeafValue {
    /// `offset (8) ‖ chunk index (4) ‖ blind (32)`.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 44] {
        let mut bytes = [0; 44];
        bytes[..8].copy_from_slice(&self.offset.get().to_be_bytes());
        bytes[8..12].copy_from_slice(&self.chunk_index.to_be_bytes());
        bytes[12..].copy_from_slice(&*self.blind);
        bytes
    }
}

/// A proof of what the tree holds at a leaf key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StateTreeProof {
    /// Where the key's path ends in the leaf of another key, that leaf: proves that the key has none.
    #[n(0)]
    pub other: Option<OtherLeaf>,
    /// The siblings of the path, from the leaf upwards.
    #[n(1)]
    pub siblings: Vec<Hash>,
}

/// The leaf that is where another key's leaf would be.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OtherLeaf {
    /// Its key.
    #[n(0)]
    pub key: Hash,
    /// The hash of its value.
    #[n(1)]
    pub value_hash: Hash,
}

/// Why a proof does not show what it claims to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateTreeProofError {
    /// There are more siblings than the tree has levels.
    #[error("the path has {found} siblings, at most {STATE_TREE_LEVELS} are possible")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A proof of presence brings another leaf.
    #[error("the path ends in the leaf of another key")]
    OtherLeaf,
    /// A proof of absence brings the leaf of the key itself.
    #[error("the path ends in the leaf of the key that is said to be absent")]
    SameLeaf,
    /// The other leaf is not where the absent key's would be.
    #[error("the other leaf shares {shared} bits with the absent key, {levels} are needed")]
    OtherPath {
        /// The bits that both keys begin with.
        shared: usize,
        /// How long the path is.
        levels: usize,
    },
    /// The path leads elsewhere.
    #[error("the path leads to root {found}, expected {expected}")]
    Root {
        /// The root that was signed.
        expected: Hash,
        /// Where the path leads.
        found: Hash,
    },
}

impl StateTreeProof {
    /// Verifies that the tree with this root has `value` at `key`.
    ///
    /// # Errors
    /// When it does not follow from the proof.
    pub fn verify_present(&self, root: &Hash, key: &Hash, value: &[u8]) -> Result<(), StateTreeProofError> {
        if self.other.is_some() {
            return Err(StateTreeProofError::OtherLeaf);
        }
        self.verify_path(root, key, state_leaf_hash(key, &sha256(&[value])))
    }

    /// Verifies that the tree with this root has nothing at `key`.
    ///
    /// # Errors
    /// When it does not follow from the proof.
    pub fn verify_absent(&self, root: &Hash, key: &Hash) -> Result<(), StateTreeProofError> {
        let Some(other) = &self.other else {
            return self.verify_path(root, key, EMPTY_SUBTREE);
        };
        let shared = shared_bits(&other.key, key);
        if shared == STATE_TREE_LEVELS {
            return Err(StateTreeProofError::SameLeaf);
        }
        let levels = self.siblings.len();
        if shared < levels {
            return Err(StateTreeProofError::OtherPath { shared, levels });
        }
        self.verify_path(root, key, state_leaf_hash(&other.key, &other.value_hash))
    }

    fn verify_path(&self, root: &Hash, key: &Hash, end: Hash) -> Result<(), StateTreeProofError> {
        let found = self.siblings.len();
        if found > STATE_TREE_LEVELS {
            return Err(StateTreeProofError::Length { found });
        }
        let mut hash = end;
        for (sibling, level) in self.siblings.iter().zip((0..found).rev()) {
            hash = if state_key_bit(key, level) {
                state_node_hash(sibling, &hash)
            } else {
                state_node_hash(&hash, sibling)
            };
        }
        if hash == *root {
            Ok(())
        } else {
            Err(StateTreeProofError::Root {
                expected: *root,
                found: hash,
            })
        }
    }
}

/// How many bits two keys begin with in common.
fn shared_bits(a: &Hash, b: &Hash) -> usize {
    (0..STATE_TREE_LEVELS)
        .find(|&level| state_key_bit(a, level) != state_key_bit(b, level))
        .unwrap_or(STATE_TREE_LEVELS)
}
