//! Receipts and state receipts: whatever is made of them, nothing else verifies than what was built.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use craton_proof::fuzzing::{disclosure, state_disclosure};
use craton_proof::{
    Receipt, StateReceipt, TlogProof, VerifiedClaim, VerifiedReceipt, VerifiedStateReceipt, WitnessPolicy, verify_claim,
};

use super::Parser;
use crate::world::world;

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "receipt",
        parse: receipt,
        seeds: || world().receipts.iter().map(|text| text.clone().into_bytes()).collect(),
    },
    Parser {
        name: "state receipt",
        parse: state_receipt,
        seeds: || {
            world()
                .state_receipts
                .iter()
                .map(|text| text.clone().into_bytes())
                .collect()
        },
    },
    Parser {
        name: "proof",
        parse: proof,
        seeds: || world().receipts.iter().map(|text| text.clone().into_bytes()).collect(),
    },
    Parser {
        name: "disclosure",
        parse: disclosure,
        seeds: || world().receipts.iter().map(|text| extra(text)).collect(),
    },
    Parser {
        name: "state disclosure",
        parse: state_disclosure,
        seeds: || world().state_receipts.iter().map(|text| extra(text)).collect(),
    },
    Parser {
        name: "receipt with another disclosure",
        parse: |bytes| receipt(with_extra(&world().receipts[0], bytes).as_bytes()),
        seeds: || vec![extra(&world().receipts[0])],
    },
    Parser {
        name: "sealed receipt with another disclosure",
        parse: |bytes| receipt(with_extra(&world().receipts[1], bytes).as_bytes()),
        seeds: || vec![extra(&world().receipts[1])],
    },
    Parser {
        name: "state receipt with another disclosure",
        parse: |bytes| state_receipt(with_extra(&world().state_receipts[0], bytes).as_bytes()),
        seeds: || vec![extra(&world().state_receipts[0])],
    },
];

fn extra(text: &str) -> Vec<u8> {
    TlogProof::parse(text.as_bytes())
        .ok()
        .and_then(|proof| proof.extra)
        .expect("a receipt discloses")
}

fn with_extra(text: &str, extra: &[u8]) -> String {
    let (first, rest) = text.split_once('\n').expect("lines");
    let (_, rest) = rest.split_once('\n').expect("lines");
    format!("{first}\nextra {}\n{rest}", BASE64_STANDARD.encode(extra))
}

fn verify(text: &[u8]) -> Option<VerifiedReceipt> {
    Receipt::verify(text, world().signer.verifier()).ok()
}

fn receipt(bytes: &[u8]) -> bool {
    let Some(verified) = verify(bytes) else {
        return false;
    };
    let built = world().receipts.iter().filter_map(|text| verify(text.as_bytes()));
    assert!(
        built.into_iter().any(|built| built == verified),
        "a receipt of something else verifies"
    );
    let claim = verify_claim(bytes, world().signer.verifier(), &WitnessPolicy::default());
    assert!(claim.is_ok_and(|claim| claim == VerifiedClaim::Changes(verified.clone())));
    let _ = verified.to_string();
    true
}

fn verify_state(text: &[u8]) -> Option<VerifiedStateReceipt> {
    StateReceipt::verify(text, world().signer.verifier(), &WitnessPolicy::default()).ok()
}

fn state_receipt(bytes: &[u8]) -> bool {
    let Some(verified) = verify_state(bytes) else {
        return false;
    };
    let claim = verify_claim(bytes, world().signer.verifier(), &WitnessPolicy::default());
    assert!(claim.is_ok_and(|claim| claim == VerifiedClaim::State(verified.clone())));
    let built = world()
        .state_receipts
        .iter()
        .filter_map(|text| verify_state(text.as_bytes()));
    assert!(
        built.into_iter().any(|built| built == verified),
        "a receipt of something else verifies"
    );
    let _ = verified.claim();
    let _ = verified.key_text();
    true
}

fn proof(bytes: &[u8]) -> bool {
    let parsed = TlogProof::parse(bytes);
    if let Ok(proof) = &parsed {
        assert_eq!(proof.to_string().as_bytes(), bytes, "a proof has one form");
    }
    parsed.is_ok()
}
