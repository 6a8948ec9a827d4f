//! `craton verify receipt`.

use std::path::Path;

use craton_proof::{PROOF_BYTES_MAX, TlogProof, VerifiedClaim, VerifierKey, WitnessPolicy, verify_claim};
use craton_verifier::json;
use serde_json::json;

use super::pins::Pins;
use super::{Outcome, Verdict};

/// Verifies a receipt. An older checkpoint than the ones that are known is no contradiction: the receipt says what was so
/// then. Another root of as many records is one.
pub(super) fn verify(
    path: &Path,
    key: &VerifierKey,
    witnesses: &WitnessPolicy,
    pins: Option<&Pins>,
) -> anyhow::Result<Outcome> {
    let text = super::read_bounded(path, PROOF_BYTES_MAX)?;
    let claim = match verify_claim(&text, key, witnesses) {
        Ok(claim) => claim,
        Err(error) => return Ok(refusal(Verdict::Refused, &error.to_string())),
    };
    if let Some(pins) = pins {
        if let Some(outcome) = contradiction(&claim, pins) {
            return Ok(outcome);
        }
        if let Ok(proof) = TlogProof::parse(&text) {
            super::remembered(pins.add(claim.checkpoint(), &proof.checkpoint));
        }
    }
    Ok(Outcome {
        verdict: Verdict::Verified,
        text: format!("The receipt verifies.\n\n{claim}"),
        json: json::claim(&claim),
    })
}

fn refusal(verdict: Verdict, error: &str) -> Outcome {
    Outcome {
        verdict,
        text: format!("The receipt does NOT verify.\n\n  {error}\n"),
        json: json!({ "verified": false, "error": error }),
    }
}

fn contradiction(claim: &VerifiedClaim, pins: &Pins) -> Option<Outcome> {
    let found = claim.checkpoint();
    let pin = pins.contradiction(found)?;
    let error = format!(
        "checkpoint: the pinned one of {} records has root {}, this one has root {}: the log shows two histories",
        pin.size, pin.root, found.root
    );
    let mut outcome = refusal(Verdict::Contradicts, &error);
    outcome.json["known_checkpoint"] = json::checkpoint(pin);
    outcome.json["found_checkpoint"] = json::checkpoint(found);
    Some(outcome)
}
