//! `craton verify receipt`.

use std::path::Path;

use craton_proof::{PROOF_BYTES_MAX, VerifierKey, WitnessPolicy, verify_claim};
use craton_verifier::json;
use serde_json::json;

use super::Outcome;

pub(super) fn verify(path: &Path, key: &VerifierKey, witnesses: &WitnessPolicy) -> anyhow::Result<Outcome> {
    let text = super::read_bounded(path, PROOF_BYTES_MAX)?;
    Ok(match verify_claim(&text, key, witnesses) {
        Ok(claim) => Outcome {
            verified: true,
            text: format!("The receipt verifies.\n\n{claim}"),
            json: json::claim(&claim),
        },
        Err(error) => Outcome {
            verified: false,
            text: format!("The receipt does NOT verify.\n\n  {error}\n"),
            json: json!({ "verified": false, "error": error.to_string() }),
        },
    })
}
