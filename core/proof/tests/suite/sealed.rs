//! Receipts of rows of data subjects: what is disclosed opens, what is erased stays shut, and both verify.

use craton_crypto::{CellPlace, SecretBytes, SubjectKey};
use craton_proof::{Receipt, ReceiptError, ReceiptParts, VerifiedReceipt, inclusion_proof};
use craton_types::{Change, KeyEpoch, Offset, Row, RowChange, SubjectKeyId, TableId, Value};

use crate::support::{Log, TENANT, change_key, person};

/// The record that updates a person, and where the person's name is.
const OFFSET: u64 = 5;
const NAME: u16 = 1;

fn subject_key(id: u64) -> SubjectKey {
    SubjectKey::new(SecretBytes::new([0x5b; 32]), SubjectKeyId::new(id), TENANT)
}

/// A row whose name was sealed by the record at `offset`.
fn sealed_person(key: &SubjectKey, offset: u64, name: &str) -> Row {
    let mut row = person(5, name);
    let place = CellPlace {
        epoch: KeyEpoch::ZERO,
        salt: [0; 32],
        offset: Offset::new(offset),
        chunk: 1,
        column: NAME,
    };
    row[1] = Value::Sealed(Box::new(key.seal(place, &row[1])));
    row
}

/// A log whose record 5 changes a name that was sealed under key 0 to one sealed under key 1.
fn log() -> Log {
    let mut log = Log::new();
    let change = Change::Row(RowChange {
        table: TableId::FIRST_USER,
        before: Some(sealed_person(&subject_key(0), 1, "Ada")),
        after: Some(sealed_person(&subject_key(1), OFFSET, "Ada L.")),
    });
    log.records[5].chunks[1] = change_key(OFFSET, 1).seal(&change.to_bytes());
    log.relink(OFFSET);
    log
}

/// A receipt that discloses the cells of the keys that are left.
fn receipt(log: &Log, keys_left: &[u64]) -> String {
    let parts = ReceiptParts {
        record: &log.records[5],
        changes: &[1],
        change_key: &|chunk| change_key(OFFSET, chunk),
        cell_key: &|cell| {
            let id = cell.key.get();
            keys_left
                .contains(&id)
                .then(|| subject_key(id).cell_key(CellPlace::of(cell, [0; 32])))
        },
        path: inclusion_proof(&log.hashes()[..], OFFSET, 19).expect("covered"),
        checkpoint: log.checkpoint(19),
    };
    Receipt::build(parts).expect("a data record").to_string()
}

fn verify(log: &Log, text: &str) -> Result<VerifiedReceipt, ReceiptError> {
    Receipt::verify(text.as_bytes(), log.signer.verifier())
}

#[test]
fn disclosed_cells_open_and_erased_ones_show_as_erased() {
    let log = log();
    for (keys_left, expected) in [
        (&[0, 1][..], "'Ada' -> 'Ada L.'"),
        (&[1], "(erased or withheld) -> 'Ada L.'"),
        (&[], "(erased or withheld)"),
    ] {
        let verified = verify(&log, &receipt(&log, keys_left)).expect("it verifies");
        let text = verified.to_string();
        let name = text.lines().find(|line| line.trim_start().starts_with("name "));
        assert!(
            name.is_some_and(|line| line.ends_with(expected)),
            "{keys_left:?}: {text}"
        );
        assert!(text.contains("id = 5"), "{text}");
    }
}

#[test]
fn a_receipt_from_before_the_erasure_still_shows_what_it_showed() {
    let log = log();
    let before = receipt(&log, &[0, 1]);
    let after = receipt(&log, &[]);
    assert_ne!(before, after);
    let shown = |text: &str| verify(&log, text).expect("it verifies").changes;
    assert_ne!(shown(&before), shown(&after));
    assert_eq!(
        verify(&log, &before).expect("it verifies").record_hash,
        verify(&log, &after).expect("it verifies").record_hash
    );
}

/// A cell is committed to its key: no other key opens it to another value.
#[test]
fn every_bit_of_a_cell_key_counts() {
    let log = log();
    let genuine = receipt(&log, &[1]);
    let key = {
        let Value::Sealed(cell) = &sealed_person(&subject_key(1), OFFSET, "Ada L.")[1] else {
            panic!("it is sealed")
        };
        *subject_key(1).cell_key(CellPlace::of(cell, [0; 32])).as_bytes()
    };
    let proof = craton_proof::TlogProof::parse(genuine.as_bytes()).expect("a proof");
    let extra = proof.extra.clone().expect("a disclosure");
    let at = extra
        .windows(key.len())
        .position(|window| window == key)
        .expect("the key is disclosed");
    for index in at..at + key.len() {
        let mut changed = proof.clone();
        changed.extra.as_mut().expect("a disclosure")[index] ^= 1;
        let error = verify(&log, &changed.to_string()).expect_err("another key");
        assert!(
            matches!(
                error,
                ReceiptError::Cell {
                    chunk: 1,
                    row: 1,
                    column: NAME,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_key_for_a_cell_that_is_not_sealed_is_refused() {
    let log = log();
    let proof = craton_proof::TlogProof::parse(receipt(&log, &[1]).as_bytes()).expect("a proof");
    let mut extra = proof.extra.clone().expect("a disclosure");
    // `[row 1, column 1, 32 bytes]` becomes `[row 1, column 2, 32 bytes]`, which is a date.
    let cell = [0x83, 0x01, 0x01, 0x58, 0x20];
    let at = extra
        .windows(5)
        .position(|window| window == cell)
        .expect("the cell is listed");
    extra[at + 2] = 2;
    let changed = craton_proof::TlogProof {
        extra: Some(extra),
        ..proof
    };
    let error = verify(&log, &changed.to_string()).expect_err("no sealed cell");
    assert!(error.to_string().contains("it is not sealed"), "{error}");
}
