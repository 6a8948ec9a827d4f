//! Receipts whose checkpoint witnesses have cosigned.

use craton_proof::{CosignerKey, Receipt, ReceiptError, WitnessError, WitnessPolicy};

use crate::support::{Log, cosigned, cosigner};

fn policy(witnesses: &[u8], quorum: usize) -> WitnessPolicy {
    let keys: Vec<CosignerKey> = witnesses
        .iter()
        .map(|number| cosigner(*number).cosigner_key().clone())
        .collect();
    WitnessPolicy::new(keys, quorum).expect("can be reached")
}

#[test]
fn a_verified_receipt_names_its_witnesses() {
    let log = Log::new();
    let receipt = cosigned(&log.receipt(8, &[2]), &[cosigner(1), cosigner(2), cosigner(3)]);
    let verified = Receipt::verify_witnessed(receipt.as_bytes(), log.signer.verifier(), &policy(&[3, 1], 2));
    let verified = verified.expect("genuine");
    let times = verified.cosignatures.iter().map(|by| by.time_seconds);
    assert_eq!(times.collect::<Vec<_>>(), [1_795_256_133, 1_795_256_131]);
    let text = verified.to_string();
    assert!(
        text.contains("witness         witness.example/w3 at 2026-11-21T10:15:33"),
        "{text}"
    );
    assert!(
        !text.contains("w2"),
        "a witness that the verifier does not know vouches for nothing"
    );

    let unwitnessed = Receipt::verify(receipt.as_bytes(), log.signer.verifier()).expect("genuine");
    assert_eq!(unwitnessed.cosignatures, vec![]);
}

#[test]
fn a_receipt_without_the_quorum_is_refused() {
    let log = Log::new();
    let receipt = cosigned(&log.receipt(8, &[2]), &[cosigner(1)]);
    let verify = |policy| Receipt::verify_witnessed(receipt.as_bytes(), log.signer.verifier(), &policy);
    assert!(verify(policy(&[1, 2], 1)).is_ok());
    let error = verify(policy(&[1, 2], 2)).expect_err("one of two");
    assert!(
        matches!(
            error,
            ReceiptError::Witness(WitnessError::Quorum {
                quorum: 2,
                found: 1,
                ..
            })
        ),
        "{error}"
    );
    assert!(error.to_string().contains("missing: witness.example/w2+"), "{error}");
}

/// A cosignature of another checkpoint of the same log does not pass.
#[test]
fn a_cosignature_of_another_checkpoint_is_refused() {
    let log = Log::new();
    let other = cosigned(&log.receipt_under(8, &[2], 12), &[cosigner(1)]);
    let line = other
        .lines()
        .find(|line| line.contains("witness.example"))
        .expect("a cosignature");
    let receipt = log.receipt(8, &[2]) + line + "\n";
    let error = Receipt::verify_witnessed(receipt.as_bytes(), log.signer.verifier(), &policy(&[1], 1))
        .expect_err("of another checkpoint");
    assert!(
        error
            .to_string()
            .starts_with("cosignatures: the signature by witness.example/w1"),
        "{error}"
    );
}
