//! What a database says about itself is checked without it.

use craton_proof::{Receipt, VerifiedClaim, VerifierKey, WitnessPolicy, verify_claim};
use craton_types::{Change, Value};

use crate::support::World;

#[test]
fn a_receipt_fetched_by_sql_is_verified_offline() {
    let mut world = World::start();
    world.psql(
        "CREATE TABLE patient (id int PRIMARY KEY, name text);
         INSERT INTO patient VALUES (1, 'Ada'), (2, 'Grace');
         UPDATE patient SET name = 'Grace H.' WHERE id = 2",
    );
    let receipt = world.psql("SELECT craton_receipt('patient', 2)") + "\n";
    let log_key = world.database_status("main")["log_key"]
        .as_str()
        .expect("a key")
        .to_owned();
    assert_eq!(world.psql("SELECT craton_log_key()"), log_key);
    assert!(world.terminate().success());

    let key: VerifierKey = log_key.parse().expect("a verifier key");
    let verified = Receipt::verify(receipt.as_bytes(), &key).expect("a valid receipt");
    let [change] = &verified.changes[..] else {
        panic!("one change is disclosed: {verified:?}");
    };
    let Change::Row(row) = &change.change else {
        panic!("a row: {change:?}");
    };
    let name = Value::Text("Grace H.".into());
    assert_eq!(row.after.as_deref().map(|row| &row[1]), Some(&name));

    // Any other byte is noticed.
    let mut forged = receipt.into_bytes();
    for position in [20, forged.len() / 2, forged.len() - 10] {
        let original = forged[position];
        forged[position] = if original == b'A' { b'B' } else { b'A' };
        assert!(Receipt::verify(&forged, &key).is_err(), "byte {position}");
        forged[position] = original;
    }
    let summary = world.verify_log(&log_key);
    assert!(summary.records >= 2 && summary.unsigned_records() <= 1, "{summary:?}");
}

#[test]
fn state_receipts_fetched_by_sql_say_latest_and_absent_offline() {
    let mut world = World::start();
    world.psql(
        "CREATE TABLE visit (ward text, bed int, patient text, PRIMARY KEY (ward, bed));
         INSERT INTO visit VALUES ('north', 1, 'Ada'), ('north', 2, 'Grace');
         UPDATE visit SET patient = 'Alan' WHERE ward = 'north' AND bed = 1;
         DELETE FROM visit WHERE bed = 2",
    );
    let present = world.psql("SELECT craton_state_receipt('visit', 'north', 1)") + "\n";
    let deleted = world.psql("SELECT craton_state_receipt('visit', 'north', 2)") + "\n";
    let never = world.psql("SELECT craton_state_receipt('visit', 'south', 1)") + "\n";
    let key: VerifierKey = world.psql("SELECT craton_log_key()").parse().expect("a verifier key");
    assert!(world.terminate().success());

    let verify = |text: &str| verify_claim(text.as_bytes(), &key, &WitnessPolicy::default());
    for (text, row) in [(&present, Some(["north", "Alan"])), (&deleted, None), (&never, None)] {
        let Ok(VerifiedClaim::State(state)) = verify(text) else {
            panic!("a state receipt that verifies: {text}");
        };
        assert_eq!(state.table.name, "visit");
        let claim = if row.is_some() {
            "latest as of record "
        } else {
            "absent as of record "
        };
        assert!(state.claim().starts_with(claim), "{state}");
        let changes = state.row.iter().flat_map(|record| &record.changes);
        let rows: Vec<_> = changes
            .map(|change| match &change.change {
                Change::Row(row) => row.after.clone().expect("a row that is there"),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected =
            row.map(|[ward, patient]| vec![Value::Text(ward.into()), Value::Int(1), Value::Text(patient.into())]);
        assert_eq!(rows, Vec::from_iter(expected));
        // One character of each line.
        for (position, _) in text.char_indices().filter(|(_, character)| *character == '\n').skip(1) {
            let mut forged = text.clone().into_bytes();
            let at = position - 2;
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8_lossy(&forged);
            assert!(forged == *text || verify(&forged).is_err(), "byte {at} of {text}");
        }
    }
}
