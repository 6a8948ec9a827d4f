//! State receipts and receipts with sealed values, as one function tells them apart and words them.

use craton_proof::{StateReceiptError, VerifiedClaim, WitnessPolicy, verify_claim};

use crate::clinic::Clinic;

fn verify(clinic: &Clinic, text: &str) -> Result<VerifiedClaim, StateReceiptError> {
    verify_claim(text.as_bytes(), clinic.signer.verifier(), &WitnessPolicy::default())
}

#[test]
fn receipts_of_either_kind_are_told_apart() {
    let clinic = Clinic::new();
    let renamed = verify(&clinic, &clinic.renamed()).expect("genuine");
    assert!(matches!(renamed, VerifiedClaim::Changes(_)));
    assert_eq!(renamed.checkpoint().size, 5);
    let text = renamed.to_string();
    assert!(text.contains("name          (erased or withheld) -> 'Ada'"), "{text}");
    for (id, expected) in [
        (3, "row             latest as of record 3"),
        (9, "row             latest as of record 3"),
        (5, "row             absent as of record 3"),
        (10, "row             absent as of record 3"),
    ] {
        let state = verify(&clinic, &clinic.state(id)).expect("genuine");
        assert!(matches!(state, VerifiedClaim::State(_)));
        let titles: Vec<String> = state.sections().into_iter().map(|section| section.title).collect();
        assert_eq!(titles.first().map(String::as_str), Some("The state"));
        assert_eq!(titles.last().map(String::as_str), Some("Proved by"));
        let text = state.to_string();
        assert!(
            text.contains(expected) && text.contains(&format!("id = {id}")),
            "{text}"
        );
    }
}

/// Both ways of showing that a row is absent are met: an empty place, and another row's leaf.
#[test]
fn absent_rows_end_in_an_empty_place_or_in_another_leaf() {
    let clinic = Clinic::new();
    let lengths: Vec<usize> = (10..30).map(|id| clinic.state(id).len()).collect();
    assert!(lengths.iter().max() > lengths.iter().min());
    for id in 10..30 {
        verify(&clinic, &clinic.state(id)).expect("genuine");
    }
}

#[test]
fn what_is_wrong_with_either_kind_is_named() {
    let clinic = Clinic::new();
    for text in [clinic.renamed(), clinic.state(3), clinic.state(5)] {
        for (from, to, part) in [
            (
                "c2sp.org/tlog-proof@v1",
                "c2sp.org/tlog-proof@v2",
                "receipt form: line 1",
            ),
            ("\n5\n", "\n6\n", "signature: "),
            ("extra A", "extra B", "extra line: disclosure version"),
            ("\nindex ", "\nindex 1", ""),
        ] {
            let error = verify(&clinic, &text.replacen(from, to, 1))
                .expect_err(from)
                .to_string();
            assert!(error.starts_with(part), "{part}: {error}");
        }
    }
}
