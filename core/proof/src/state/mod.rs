//! State proofs: that a row was the latest at a position of the log, or that there was no such row.

mod commitment;
mod disclosure;
mod receipt;
mod text;
mod tree;

pub(crate) use disclosure::STATE_DISCLOSURE_VERSION;
#[cfg(feature = "fuzzing")]
pub use disclosure::state_disclosure;

pub use commitment::{STATE_COMMITMENT_BYTES, StateCommitment, StateCommitmentError};
pub use receipt::{StateReceipt, StateReceiptError, StateReceiptParts, StatedChange, VerifiedStateReceipt};
pub use tree::{
    EMPTY_SUBTREE, OtherLeaf, STATE_TABLE_NAMES, STATE_TREE_LEVELS, StateLeafValue, StateTreeProof,
    StateTreeProofError, state_key_bit, state_leaf_hash, state_node_hash,
};
