//! What a database says about itself is checked without it.

use craton_proof::{Receipt, VerifierKey};
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
