//! What a state receipt discloses, in the `extra` line of the proof.
//!
//! The byte 2, then CBOR (RFC 8949, deterministic): `[checkpoint, state key, table, key, leaf key, tree
//! proof, row]`.

use craton_types::{HEADER_BYTES, Hash, Row};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

use super::tree::{StateLeafValue, StateTreeProof};
use crate::disclosure::{Disclosure, DisclosureError, decode_disclosure, encode_disclosure};

/// The version byte, which tells a state receipt from one of a record.
pub(crate) const STATE_DISCLOSURE_VERSION: u8 = 2;

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(super) struct StateDisclosure {
    /// The checkpoint record whose inclusion the proof's index and path show.
    #[n(0)]
    pub(super) checkpoint: DisclosedCommitment,
    /// Places rows in the tree.
    #[n(1)]
    pub(super) state_key: ByteArray<32>,
    /// The table's name, as a row.
    #[n(2)]
    pub(super) table: DisclosedRow,
    /// The row's primary key.
    #[n(3)]
    pub(super) key: Row,
    /// The row's leaf key, which follows from what is above. Where there is no row, the same path proves the same of other
    /// absent keys; so a key that was changed would go unnoticed.
    #[n(4)]
    pub(super) leaf_key: Hash,
    /// What the tree has at the row's leaf key.
    #[n(5)]
    pub(super) proof: StateTreeProof,
    /// The row's newest change; `None` when there is no such row.
    #[n(6)]
    pub(super) row: Option<DisclosedChange>,
}

/// A checkpoint record and its state commitment.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct DisclosedCommitment {
    #[n(0)]
    pub(super) header: ByteArray<HEADER_BYTES>,
    #[n(1)]
    pub(super) commitment: ByteVec,
    /// The commitment's path in the record.
    #[n(2)]
    pub(super) path: Vec<Hash>,
}

/// A row that exists: the tree's proof and the change that it names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct DisclosedRow {
    #[n(0)]
    pub(super) proof: StateTreeProof,
    #[n(1)]
    pub(super) change: DisclosedChange,
}

/// The change that a leaf names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct DisclosedChange {
    /// What the leaf holds.
    #[n(0)]
    pub(super) value: StateLeafValue,
    /// The record's path in the log's tree.
    #[n(1)]
    pub(super) path: Vec<Hash>,
    /// The record, with its summary and the change.
    #[n(2)]
    pub(super) record: Disclosure,
}

impl StateDisclosure {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        encode_disclosure(STATE_DISCLOSURE_VERSION, self)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, DisclosureError> {
        let disclosure: Self = decode_disclosure(STATE_DISCLOSURE_VERSION, bytes)?;
        disclosure.table.change.record.check_order()?;
        if let Some(change) = &disclosure.row {
            change.record.check_order()?;
        }
        Ok(disclosure)
    }
}

/// The `extra` line of a state receipt, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn state_disclosure(bytes: &[u8]) -> bool {
    let decoded = StateDisclosure::from_bytes(bytes);
    if let Ok(disclosure) = &decoded {
        assert_eq!(disclosure.to_bytes(), bytes, "a disclosure has one form");
    }
    decoded.is_ok()
}
