//! `craton verify receipt`.

use std::fmt::Display;
use std::path::Path;

use craton_proof::{PROOF_BYTES_MAX, Receipt, StateReceipt, VerifierKey, WitnessPolicy};
use craton_verifier::json;
use serde_json::json;

use super::Outcome;

pub(super) fn verify(path: &Path, key: &VerifierKey, witnesses: &WitnessPolicy) -> anyhow::Result<Outcome> {
    let text = super::read_bounded(path, PROOF_BYTES_MAX)?;
    Ok(if StateReceipt::is_one(&text) {
        outcome(StateReceipt::verify(&text, key, witnesses), json::state_receipt)
    } else {
        outcome(Receipt::verify_witnessed(&text, key, witnesses), json::receipt)
    })
}

fn outcome<T: Display, E: Display>(result: Result<T, E>, to_json: fn(&T) -> serde_json::Value) -> Outcome {
    match result {
        Ok(verified) => Outcome {
            verified: true,
            text: format!("The receipt verifies.\n\n{verified}"),
            json: to_json(&verified),
        },
        Err(error) => Outcome {
            verified: false,
            text: format!("The receipt does NOT verify.\n\n  {error}\n"),
            json: json!({ "verified": false, "error": error.to_string() }),
        },
    }
}
