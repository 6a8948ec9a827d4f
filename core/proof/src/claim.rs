//! A receipt of either kind, for those who are handed one and are to say what it proves.

use std::fmt;

use crate::checkpoint::Checkpoint;
use crate::cosignature::WitnessPolicy;
use crate::disclosure::Disclosure;
use crate::receipt::{ReceiptError, VerifiedReceipt, verify_record};
use crate::receipt_text::ReceiptSection;
use crate::signed_proof::SignedProof;
use crate::state::{STATE_DISCLOSURE_VERSION, StateReceipt, StateReceiptError, VerifiedStateReceipt};
use crate::verifier_key::VerifierKey;

/// What a receipt proves. `Display` renders it for people.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for a receipt, and it is taken apart at once"
)]
pub enum VerifiedClaim {
    /// A record of the log made changes.
    Changes(VerifiedReceipt),
    /// A row was the latest, or absent, at a position.
    State(VerifiedStateReceipt),
}

/// Verifies the text of a receipt of either kind, which its disclosure's version byte tells, against the key of the log
/// that it is said to be from and the witnesses of that log.
///
/// # Errors
/// Names the first part that is wrong.
pub fn verify_claim(
    text: &[u8],
    key: &VerifierKey,
    witnesses: &WitnessPolicy,
) -> Result<VerifiedClaim, StateReceiptError> {
    let proof = SignedProof::open(text, key, witnesses)?;
    if proof.extra.first() == Some(&STATE_DISCLOSURE_VERSION) {
        return StateReceipt::verify_proof(proof).map(VerifiedClaim::State);
    }
    let disclosure = Disclosure::from_bytes(&proof.extra).map_err(ReceiptError::from)?;
    let receipt = verify_record(&disclosure, proof.index, &proof.path, &proof.signed)?;
    Ok(VerifiedClaim::Changes(receipt))
}

impl VerifiedClaim {
    /// The checkpoint that it rests on.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        match self {
            Self::Changes(receipt) => &receipt.checkpoint,
            Self::State(receipt) => &receipt.checkpoint,
        }
    }

    /// What it says, for people.
    #[must_use]
    pub fn sections(&self) -> Vec<ReceiptSection> {
        match self {
            Self::Changes(receipt) => receipt.sections(),
            Self::State(receipt) => receipt.sections(),
        }
    }
}

impl fmt::Display for VerifiedClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changes(receipt) => receipt.fmt(f),
            Self::State(receipt) => receipt.fmt(f),
        }
    }
}
