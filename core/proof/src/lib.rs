//! Proofs: Merkle trees, signed checkpoints, receipts, and the offline verification of both receipts and logs.
//!
//! # Invariants
//! - Pure: the only IO is reading from a [`std::io::Read`] that the caller opened. No network, no clock, no
//!   randomness.
//! - Depends on nothing but hashing, signatures and encodings, so that an auditor can read all of it.
//! - Standard formats where they exist: RFC 6962 trees, C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-tiles
//!   and tlog-proof.
//! - Every failure names the part that is wrong, with what was expected and what was found.
//! - Memory is bounded by one record, whatever the size of a log.
//!
//! # Deliberately absent
//! Writing logs (`craton-log`), deciding when a checkpoint is made (`craton-kernel`), opening files (the caller).

mod calendar;
mod checkpoint;
mod claim;
mod cosignature;
mod disclosure;
mod inclusion;
mod log_verify;
mod note;
mod receipt;
mod receipt_text;
mod repair;
mod signed_proof;
mod state;
mod tiles;
mod tiles_verify;
mod tlog_proof;
mod tlog_witness;
pub mod tree;
mod value_text;
mod verifier_key;

pub use calendar::timestamp_text;
pub use craton_types::Hash;

pub use checkpoint::{COSIGNABLE_CHECKPOINTS_MAX, Checkpoint, CheckpointError};
pub use claim::{VerifiedClaim, verify_claim};
pub use cosignature::{
    COSIGNATURE_BYTES, CosignError, Cosignature, CosignatureTimeError, Cosigner, WITNESSES_MAX, WitnessError,
    WitnessPolicy, WitnessPolicyError,
};
pub use disclosure::DisclosureError;
pub use inclusion::NotIncluded;
pub use log_verify::{
    Cosigned, Finding, LogAssembly, LogFault, LogPart, LogSummary, LogVerifyError, LogVerifyOptions, SegmentDigest,
    SegmentSource, digest_segment, verify_log,
};
pub use note::{NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX, Note, NoteError, NoteSignature, SignerKey};
pub use receipt::{Receipt, ReceiptBuildError, ReceiptError, ReceiptParts, VerifiedChange, VerifiedReceipt};
pub use receipt_text::{ReceiptLine, ReceiptSection};
pub use state::{
    EMPTY_SUBTREE, OtherLeaf, STATE_COMMITMENT_BYTES, STATE_TABLE_NAMES, STATE_TREE_LEVELS, StateCommitment,
    StateCommitmentError, StateLeafValue, StateReceipt, StateReceiptError, StateReceiptParts, StateTreeProof,
    StateTreeProofError, StatedChange, VerifiedStateReceipt, state_key_bit, state_leaf_hash, state_node_hash,
};
pub use tiles::{
    ENTRY_BUNDLE_BYTES_MAX, ENTRY_BYTES_MAX, TILE_HEIGHT, TILE_LEVEL_MAX, TILE_WIDTH, TileContent, TileDecodeError,
    TileHashReader, TilePath, TilePathError, TileReadError, decode_entry_bundle, decode_tile, encode_entry_bundle,
};
pub use tiles_verify::{BundleDigest, ComputedTile, TileFault, TilesAssembly, digest_bundle};
pub use tlog_proof::{PATH_HASHES_MAX, PROOF_BYTES_MAX, TlogProof, TlogProofError};
pub use tlog_witness::{
    ADD_CHECKPOINT_BYTES_MAX, ADD_CHECKPOINT_HASHES_MAX, AddCheckpoint, AddCheckpointError, TLOG_SIZE_CONTENT_TYPE,
    WitnessAnswer, WitnessAnswerError, WitnessRefusal, Witnessed,
};
pub use tree::{
    Frontier, FrontierDecodeError, HashReader, ProofError, ProofVerifyError, consistency_proof, inclusion_proof,
    merkle_tree_hash, verify_consistency, verify_inclusion,
};
pub use value_text::{printable, value_text};
pub use verifier_key::{
    COSIGNATURE_TYPE, CosignerKey, ED25519_TYPE, KeyName, KeyNameError, NoteKey, NoteKeyId, VerifierKey,
    VerifierKeyError,
};

/// The private parsers, one function each: takes bytes, asserts what must hold of anything that is understood, and says
/// whether it was.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::disclosure::disclosure;
    pub use crate::state::state_disclosure;
}
