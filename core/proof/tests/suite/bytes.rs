//! Any change of any byte of any kind of receipt is refused: every byte, to each of its 255 other values.
//!
//! What a verifier must overlook by the format's specification is nothing here: it knows the keys of all who signed.

use craton_proof::{CosignerKey, VerifierKey, WitnessPolicy, verify_claim};

use crate::clinic::Clinic;
use crate::support::{Log, cosigned, cosigner};

/// A genuine receipt and what it verifies against.
struct Document {
    text: String,
    key: VerifierKey,
    witnesses: WitnessPolicy,
}

impl Document {
    fn of_clinic(text: impl FnOnce(&Clinic) -> String) -> Self {
        let clinic = Clinic::new();
        Self {
            text: text(&clinic),
            key: clinic.signer.verifier().clone(),
            witnesses: WitnessPolicy::default(),
        }
    }

    fn verifies(&self, text: &[u8]) -> bool {
        verify_claim(text, &self.key, &self.witnesses).is_ok()
    }

    /// Every byte at `first` and each `step` bytes from there on, to every other value.
    fn refuses_every_change(&self, first: usize, step: usize) {
        let genuine = self.text.as_bytes();
        assert!(self.verifies(genuine));
        let mut changed = genuine.to_vec();
        for index in (first..genuine.len()).step_by(step) {
            for difference in 1..=u8::MAX {
                changed[index] = genuine[index] ^ difference;
                assert!(!self.verifies(&changed), "byte {index} xor {difference:#04x} passes");
            }
            changed[index] = genuine[index];
        }
        for (length, end) in [
            (genuine.len() - 1, &b""[..]),
            (genuine.len(), b"\n"),
            (genuine.len(), b" "),
        ] {
            let other = [&genuine[..length], end].concat();
            assert!(!self.verifies(&other), "{length} bytes and {end:?} pass");
        }
    }
}

fn row() -> Document {
    let log = Log::new();
    Document {
        text: log.receipt(8, &[2]),
        key: log.signer.verifier().clone(),
        witnesses: WitnessPolicy::default(),
    }
}

fn row_cosigned() -> Document {
    let witnesses: Vec<CosignerKey> = [1, 2].map(|number| cosigner(number).cosigner_key().clone()).into();
    let row = row();
    Document {
        text: cosigned(&row.text, &[cosigner(1), cosigner(2)]),
        witnesses: WitnessPolicy::new(witnesses, 2).expect("can be reached"),
        ..row
    }
}

#[test]
fn of_a_row() {
    row().refuses_every_change(0, 1);
}

/// In two parts, which run at the same time.
#[test]
fn of_a_row_with_cosignatures_at_even_positions() {
    row_cosigned().refuses_every_change(0, 2);
}

#[test]
fn of_a_row_with_cosignatures_at_odd_positions() {
    row_cosigned().refuses_every_change(1, 2);
}

#[test]
fn of_a_row_with_values_that_are_sealed_and_erased() {
    Document::of_clinic(Clinic::renamed).refuses_every_change(0, 1);
}

#[test]
fn of_a_state_with_the_row_at_even_positions() {
    Document::of_clinic(|clinic| clinic.state(3)).refuses_every_change(0, 2);
}

#[test]
fn of_a_state_with_the_row_at_odd_positions() {
    Document::of_clinic(|clinic| clinic.state(3)).refuses_every_change(1, 2);
}

#[test]
fn of_a_state_without_the_row_at_even_positions() {
    Document::of_clinic(|clinic| clinic.state(5)).refuses_every_change(0, 2);
}

#[test]
fn of_a_state_without_the_row_at_odd_positions() {
    Document::of_clinic(|clinic| clinic.state(5)).refuses_every_change(1, 2);
}
