//! What is stored is readable on no disk, and what is erased is readable nowhere: markers written through stock psql are
//! looked for in every byte of the server's files, and in every answer of the server.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use craton_proof::{Receipt, VerifierKey};
use serde_json::json;

use crate::support::{PASSWORD, World, outcome, verifier};

/// Texts that nothing writes by chance.
const NAME: &str = "Zephyrine-Quillfeather-7719";
const NOTE: &str = "qx7-ward-note-Umbrellabird";
const COPIED: &str = "Xanthippe-Copied-5521";
const CHANGED: &str = "Wolframite-Changed-3390";

/// The forms in which a marker could lie in a file.
fn forms(marker: &str) -> Vec<Vec<u8>> {
    let bytes = marker.as_bytes();
    let mut forms = vec![
        bytes.to_vec(),
        marker.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        marker.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        bytes
            .iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .collect(),
        bytes
            .iter()
            .flat_map(|byte| format!("{byte:02X}").into_bytes())
            .collect(),
    ];
    // In Base64 the first and last characters depend on the neighbours: the middle of each alignment is looked for.
    for shift in 0..3 {
        let shifted = [&vec![0; shift][..], bytes].concat();
        let encoded = STANDARD_NO_PAD.encode(shifted).into_bytes();
        forms.push(encoded[4..encoded.len() - 4].to_vec());
    }
    forms
}

/// The files below a folder in which a marker is found in some form.
fn find(folder: &Path, markers: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(find(&path, markers));
        } else if path.is_file() {
            // A file may be removed while the server runs; then there is nothing in it.
            let bytes = fs::read(&path).unwrap_or_default();
            for marker in markers {
                if forms(marker)
                    .iter()
                    .any(|form| memchr::memmem::find(&bytes, form).is_some())
                {
                    found.push(format!("{marker} in {}", path.display()));
                }
            }
        }
    }
    found
}

fn assert_on_no_disk(world: &World) {
    let found = find(&world.path(""), &[NAME, NOTE, COPIED, CHANGED]);
    assert!(found.is_empty(), "{found:?}");
}

/// A world with a table of patients, one of them with markers.
fn start() -> World {
    let world = World::start();
    world.psql(&format!(
        "CREATE TABLE patients (id bigint PRIMARY KEY, name text, born date, ward text)
           WITH (subject = 'id', erasable = 'name, born');
         INSERT INTO patients VALUES (42, '{NAME}', '1907-04-12', 'north'), (43, 'Bob', NULL, '{NOTE}');
         BEGIN;
         INSERT INTO patients VALUES (44, '{NAME}', NULL, '{NOTE}');
         COMMIT;
         UPDATE patients SET name = '{CHANGED}' WHERE id = 42;"
    ));
    let mut copy = world.psql_command("app", PASSWORD, "main", "verify-full");
    copy.args(["--command", "\\copy patients FROM STDIN"]);
    copy.stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut copying = copy.spawn().expect("psql is installed");
    let input = copying.stdin.as_mut().expect("a pipe");
    std::io::Write::write_all(input, format!("45\t{COPIED}\t\\N\tsouth\n").as_bytes()).expect("psql reads");
    outcome(copying.wait_with_output().expect("psql ends")).expect("the copy");
    world
}

fn put_officer(world: &World) {
    let body = json!({
        "scram_verifier": verifier(PASSWORD),
        "databases": ["main"],
        "compliance": true,
    });
    let reply = world.admin("PUT", "/v1/users/officer", Some(&body.to_string()));
    assert_eq!(reply.status, 201, "{reply:?}");
}

#[test]
fn a_search_finds_what_is_there_in_any_form() {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, form) in forms(NAME).into_iter().enumerate() {
        let path = folder.path().join(number.to_string());
        fs::write(&path, [&b"before"[..], &form, b"after"].concat()).expect("a file");
        assert_eq!(find(folder.path(), &[NAME]).len(), 1, "form {number}");
        fs::remove_file(&path).expect("a file");
    }
    let encoded = STANDARD_NO_PAD.encode(format!("x{NAME}yz"));
    fs::write(folder.path().join("base64"), encoded).expect("a file");
    assert_eq!(find(folder.path(), &[NAME]).len(), 1);
}

#[test]
fn what_is_written_through_sql_is_on_no_disk_in_the_clear() {
    let mut world = start();
    world.expect_in_log("torn tail");
    assert_on_no_disk(&world);
    world.kill();
    assert_on_no_disk(&world);
    world.spawn();
    assert_on_no_disk(&world);
    assert_eq!(world.psql("SELECT name FROM patients WHERE id = 42"), CHANGED);
    assert_eq!(world.psql("SELECT name FROM patients WHERE id = 45"), COPIED);
    // Sorting, grouping and receipts leave no temporary files either.
    world
        .psql("SELECT ward, count(*) FROM patients GROUP BY ward ORDER BY ward; SELECT craton_receipt('patients', 42)");
    assert_on_no_disk(&world);
    assert!(world.terminate().success());
    assert_on_no_disk(&world);
}

/// Everything that any statement tells.
fn everything(world: &World) -> String {
    let told = world.psql(
        "SELECT * FROM patients; SELECT name FROM patients WHERE id = 42;
         SELECT * FROM patients AS OF POSITION 1; SELECT * FROM patients AS OF POSITION 2;
         SELECT * FROM craton_history('patients'); SELECT count(*) FROM patients WHERE born = '1907-04-12';
         SELECT craton_receipt('patients', 42); SELECT * FROM craton_events",
    );
    let copied =
        world.psql("COPY patients TO STDOUT") + &world.psql("COPY (SELECT * FROM patients) TO STDOUT (FORMAT csv)");
    let receipt = world.psql("SELECT craton_receipt('patients', 42)") + "\n";
    let key: VerifierKey = world.psql("SELECT craton_log_key()").parse().expect("a verifier key");
    let verified = Receipt::verify(receipt.as_bytes(), &key).expect("the receipt verifies");
    format!("{told}\n{copied}\n{verified}")
}

#[test]
fn after_the_erasure_nothing_tells_it_any_more() {
    let mut world = start();
    world.expect_in_log("torn tail");
    world.expect_in_log("the node mended a file");
    put_officer(&world);
    let told = everything(&world);
    assert!(
        told.contains(NAME) && told.contains(CHANGED) && told.contains("1907-04-12"),
        "{told}"
    );
    let receipt = world.psql("SELECT craton_receipt('patients', 42)") + "\n";

    let refused = world
        .psql_as("app", "main", "ERASE SUBJECT '42'")
        .expect_err("no right");
    assert!(refused.contains("42501"), "{refused}");
    world
        .psql_as("officer", "main", "HOLD SUBJECT '42' REASON 'court order 7/2026'")
        .expect("held");
    let refused = world
        .psql_as("officer", "main", "ERASE SUBJECT '42'")
        .expect_err("held");
    assert!(
        refused.contains("55006") && refused.contains("court order 7/2026"),
        "{refused}"
    );
    world
        .psql_as("officer", "main", "RELEASE SUBJECT '42' REASON 'order lifted'")
        .expect("released");
    for subject in ["42", "44"] {
        let erased = world
            .psql_as("officer", "main", &format!("ERASE SUBJECT '{subject}'"))
            .expect("erased");
        assert!(erased.starts_with(&format!("{subject}|")), "{erased}");
    }

    let assert_gone = |world: &World| {
        let told = everything(world);
        for gone in [NAME, CHANGED, "1907-04-12"] {
            assert!(!told.contains(gone), "{gone} in {told}");
        }
        assert!(
            told.contains(COPIED) && told.contains(NOTE),
            "others are as they were: {told}"
        );
        assert_eq!(world.psql("SELECT count(*) FROM patients WHERE name IS NULL"), "2");
        assert_on_no_disk(world);
    };
    assert_gone(&world);
    world.kill();
    world.spawn();
    assert_gone(&world);
    assert!(world.terminate().success());
    for tenant in fs::read_dir(world.data_dir().join("tenants")).expect("the tenants") {
        let _ = fs::remove_file(tenant.expect("an entry").path().join("view.redb"));
    }
    world.spawn();
    assert_gone(&world);

    // The chain is whole, and the receipt of before is as good as it was.
    let log_key = world.psql("SELECT craton_log_key()");
    let key: VerifierKey = log_key.parse().expect("a verifier key");
    let verified = Receipt::verify(receipt.as_bytes(), &key).expect("the old receipt verifies");
    assert!(verified.to_string().contains(CHANGED), "{verified}");
    let events = world.psql(
        "SELECT operation, subject, erased FROM craton_events WHERE kind = 'erasure' OR subject = '42' ORDER BY position",
    );
    for expected in [
        "INSERT|42|t",
        "UPDATE|42|t",
        "HOLD|42|",
        "ERASE REFUSED|42|",
        "RELEASE|42|",
        "ERASE|42|",
    ] {
        assert!(events.lines().any(|line| line == expected), "{expected} in {events}");
    }
    assert!(world.terminate().success());
    assert!(world.verify_log(&log_key).records > 8);
}
