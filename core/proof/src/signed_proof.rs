//! What all receipts have in common: a proof whose checkpoint is signed.

use craton_types::Hash;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::{Cosignature, WitnessPolicy};
use crate::note::Note;
use crate::receipt::ReceiptError;
use crate::tlog_proof::TlogProof;
use crate::verifier_key::VerifierKey;

/// What was vouched for, and by whom.
pub(crate) struct Signed<'a> {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) key: &'a VerifierKey,
    pub(crate) cosignatures: Vec<Cosignature>,
}

/// A proof that is not verified yet, under a checkpoint that is.
pub(crate) struct SignedProof<'a> {
    /// What the proof discloses; empty when it discloses nothing.
    pub(crate) extra: Vec<u8>,
    pub(crate) index: u64,
    pub(crate) path: Vec<Hash>,
    pub(crate) signed: Signed<'a>,
}

impl<'a> SignedProof<'a> {
    /// Parses a text and verifies the signatures at its end. Nothing else of it is looked at before.
    pub(crate) fn open(text: &[u8], key: &'a VerifierKey, witnesses: &WitnessPolicy) -> Result<Self, ReceiptError> {
        let proof = TlogProof::parse(text)?;
        let note = Note::parse(proof.checkpoint.as_bytes()).map_err(CheckpointError::from)?;
        let checkpoint = Checkpoint::open_note(&note, key)?;
        let cosignatures = witnesses.verify(&note)?;
        Ok(Self {
            extra: proof.extra.unwrap_or_default(),
            index: proof.index,
            path: proof.path,
            signed: Signed {
                checkpoint,
                key,
                cosignatures,
            },
        })
    }
}
