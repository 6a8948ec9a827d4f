//! `craton verify` as a user runs it, on the golden files of `craton-proof`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../core/proof/tests/golden/v1")
        .join(name)
}

fn craton(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_craton"))
        .args(arguments)
        .output()
        .expect("the command runs")
}

/// Runs `craton verify` with the golden key and returns its exit status and output.
fn verify(arguments: &[&str]) -> (i32, String) {
    let key = golden("key.txt");
    let output = craton(&[&["verify"], arguments, &["--key", key.to_str().expect("text")]].concat());
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    (output.status.code().expect("an exit status"), text)
}

fn path(name: &str) -> String {
    golden(name).to_str().expect("text").to_owned()
}

/// A copy of the golden log, in which one byte is flipped.
fn damaged_log(segment: &str, position: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(golden("log")).expect("the golden log") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copy");
    }
    let file = folder.path().join(segment);
    let mut bytes = fs::read(&file).expect("a segment");
    bytes[position] ^= 1;
    fs::write(&file, bytes).expect("a segment");
    folder
}

const FIRST_SEGMENT: &str = "00000000000000000000.segment";

#[test]
fn receipts_verify_in_every_spelling() {
    let receipt = path("receipt.txt");
    let key = fs::read_to_string(golden("key.txt")).expect("the key");
    for arguments in [vec!["receipt", &receipt], vec![&receipt[..]]] {
        let (status, text) = verify(&arguments);
        assert_eq!(status, 0, "{text}");
        assert!(text.starts_with("The receipt verifies."), "{text}");
        assert!(text.contains("primary key     id = 108"), "{text}");
    }
    let output = craton(&["verify", &receipt, "--key", key.trim_end()]);
    assert!(output.status.success(), "the key itself instead of a file");
}

#[test]
fn line_ends_that_a_tool_added_are_ignored() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("receipt.txt");
    let receipt = fs::read_to_string(golden("receipt.txt")).expect("the receipt");
    for text in [
        receipt.clone() + "\n",
        receipt.clone() + "\r\n\n",
        receipt.trim_end().to_owned() + "\n",
    ] {
        fs::write(&file, text).expect("a file");
        assert_eq!(verify(&[file.to_str().expect("text")]).0, 0);
    }
}

#[test]
fn receipts_as_json() {
    let (status, text) = verify(&["receipt", &path("receipt.txt"), "--json"]);
    assert_eq!(status, 0, "{text}");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["verified"], true);
    assert_eq!(json["position"], 8);
    assert_eq!(json["changes"][0]["table"], "people");
    assert_eq!(json["changes"][0]["action"], "inserted");
    assert_eq!(json["changes"][0]["primary_key"]["id"], 108);
    assert_eq!(json["changes"][0]["before"], Value::Null);
    assert_eq!(json["changes"][0]["after"]["joined"], "2024-10-04");
    assert_eq!(json["checkpoint"]["size"], 19);
}

/// Verifies a document of the golden log of patients against that log's key.
fn verify_of_clinic(name: &str, more: &[&str]) -> (i32, String) {
    let (document, key) = (path(&format!("clinic/{name}")), path("clinic/key.txt"));
    let output = craton(&[&["verify", "receipt", &document, "--key", &key], more].concat());
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    (output.status.code().expect("an exit status"), text)
}

#[test]
fn state_receipts_say_what_was_so() {
    for (name, parts) in [
        (
            "state_latest.txt",
            &[
                "row             latest as of record 3",
                "by record       4",
                "name          (erased or withheld) -> 'Ada'",
            ][..],
        ),
        (
            "state_absent.txt",
            &["row             absent as of record 3", "primary key     id = 5"],
        ),
        (
            "receipt_sealed.txt",
            &["row             updated", "name          (erased or withheld) -> 'Ada'"],
        ),
    ] {
        let (status, text) = verify_of_clinic(name, &[]);
        assert_eq!(status, 0, "{text}");
        assert!(text.starts_with("The receipt verifies."), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn state_receipts_as_json() {
    let json = |name: &str| -> Value {
        let (status, text) = verify_of_clinic(name, &["--json"]);
        assert_eq!(status, 0, "{text}");
        serde_json::from_str(&text).expect("JSON")
    };
    let latest = json("state_latest.txt");
    assert_eq!(
        (&latest["verified"], &latest["claim"]),
        (&true.into(), &"latest".into())
    );
    assert_eq!(
        (&latest["as_of_position"], &latest["checkpoint_position"]),
        (&3.into(), &4.into())
    );
    assert_eq!(
        (&latest["table"], &latest["primary_key"]["id"]),
        (&"patients".into(), &3.into())
    );
    let change = &latest["record"]["changes"][0];
    assert_eq!(change["after"]["name"], "Ada");
    assert_eq!(change["before"]["name"]["erased_or_withheld"], true);
    let absent = json("state_absent.txt");
    assert_eq!((&absent["claim"], &absent["record"]), (&"absent".into(), &Value::Null));
    assert_eq!(
        (&absent["primary_key"]["id"], &absent["checkpoint"]["size"]),
        (&5.into(), &5.into())
    );
}

#[test]
fn a_changed_state_receipt_does_not_verify() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state.txt");
    let receipt = fs::read_to_string(golden("clinic/state_latest.txt")).expect("the receipt");
    let key = path("clinic/key.txt");
    for (from, to, part) in [
        ("index 4\n", "index 3\n", "checkpoint record: field offset"),
        ("\n5\n", "\n6\n", "signature: "),
        ("extra Ao", "extra Aw", "extra line: "),
    ] {
        assert!(receipt.contains(from), "{from:?}");
        fs::write(&file, receipt.replacen(from, to, 1)).expect("a file");
        let file = file.to_str().expect("text");
        let output = craton(&["verify", file, "--key", &key, "--json"]);
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((output.status.code(), &json["verified"]), (Some(1), &false.into()));
        let error = json["error"].as_str().expect("text");
        assert!(error.starts_with(part), "{part}: {error}");
    }
}

#[test]
fn witnesses_are_asked_for() {
    let (plain, cosigned) = (path("receipt.txt"), path("receipt_cosigned.txt"));
    let witness = path("witness.txt");
    let (status, text) = verify(&[&cosigned, "--witness", &witness]);
    assert_eq!(status, 0, "{text}");
    assert!(
        text.contains("witness         witness.example/w1 at 2026-11-21T10:15:31"),
        "{text}"
    );
    let (status, text) = verify(&[&cosigned, "--witness", &witness, "--json"]);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (status, &json["cosignatures"][0]["witness"]),
        (0, &"witness.example/w1".into())
    );
    let (status, text) = verify(&[&plain, "--witness", &witness]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("cosignatures: 0 of the known witnesses"), "{text}");
    let (status, text) = verify(&[&plain, "--witness", &witness, "--quorum", "0"]);
    assert_eq!(status, 0, "{text}");
}

#[test]
fn a_changed_receipt_does_not_verify() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("receipt.txt");
    let receipt = fs::read_to_string(golden("receipt.txt")).expect("the receipt");
    fs::write(&file, receipt.replace("index 8\n", "index 9\n")).expect("a file");
    let file = file.to_str().expect("text");
    let (status, text) = verify(&[file]);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("does NOT verify") && text.contains("field offset"),
        "{text}"
    );
    let (status, text) = verify(&[file, "--json"]);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &json["verified"]), (1, &Value::Bool(false)));
}

#[test]
fn logs_verify_in_every_spelling() {
    let log = path("log");
    for arguments in [vec!["log", &log], vec![&log[..]]] {
        let (status, text) = verify(&arguments);
        assert_eq!(status, 0, "{text}");
        assert!(text.starts_with("The log verifies."), "{text}");
        assert!(
            text.contains("22 in 3 segments") && text.contains("19 records"),
            "{text}"
        );
    }
    for threads in ["1", "2", "100"] {
        let (status, text) = verify(&["log", &log, "--threads", threads]);
        assert_eq!(status, 0, "{threads} threads: {text}");
    }
    let output = craton(&["verify", "log", &log]);
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "progress is shown on a terminal only");
    assert!(String::from_utf8_lossy(&output.stdout).contains("signatures not checked"));
}

#[test]
fn logs_as_json() {
    let checkpoint = path("checkpoint.txt");
    let (status, text) = verify(&["log", &path("log"), "--json", "--checkpoint", &checkpoint]);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &json["verified"]), (0, &Value::Bool(true)));
    assert_eq!(json["records"], 22);
    assert_eq!(json["signed_records"], 22);
    assert_eq!(json["first_time"], "2026-11-21T10:15:30.000000000Z");
}

#[test]
fn a_flipped_byte_is_named() {
    // The sixth byte of the first record's actor: 68 bytes of segment header, then 56 of record header.
    let folder = damaged_log(FIRST_SEGMENT, 68 + 56 + 5);
    let log = folder.path().to_str().expect("text");
    let (status, text) = verify(&["log", log]);
    assert_eq!(status, 1, "{text}");
    for part in [
        "does NOT verify",
        "record          0",
        "field           actor",
        "byte            129",
        "changed from 0xac to 0xad",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (status, text) = verify(&["log", log, "--json"]);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status, 1);
    assert_eq!(
        (&json["record"], &json["field"], &json["byte"]),
        (&0.into(), &"actor".into(), &129.into())
    );
}

#[test]
fn a_torn_tail_is_accepted_when_asked() {
    let folder = damaged_log(FIRST_SEGMENT, 68);
    fs::copy(golden("log").join(FIRST_SEGMENT), folder.path().join(FIRST_SEGMENT)).expect("repaired");
    let last = folder.path().join("00000000000000000016.segment");
    let bytes = fs::read(&last).expect("a segment");
    fs::write(&last, &bytes[..bytes.len() - 1]).expect("a segment");
    let log = folder.path().to_str().expect("text");
    let (status, text) = verify(&["log", log]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("record          21"), "{text}");
    let (status, text) = verify(&["log", log, "--allow-torn-tail"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("torn tail"), "{text}");
}

#[test]
fn misuse_and_unreadable_files_have_status_2() {
    let empty = tempfile::tempdir().expect("a folder");
    let empty = empty.path().to_str().expect("text");
    let (receipt, log, key) = (path("receipt.txt"), path("log"), path("key.txt"));
    let witness = path("witness.txt");
    for (arguments, part) in [
        (vec!["verify"], "WHAT"),
        (vec!["verify", &receipt], "give --key"),
        (
            vec!["verify", &receipt, "--key", "nonsense"],
            "neither a key nor a file",
        ),
        (vec!["verify", &receipt, "--key", "a+b+c"], "--key"),
        (vec!["verify", &receipt, "--key", &receipt], "--key"),
        (
            vec!["verify", "absent.txt", "--key", &key],
            "absent.txt cannot be opened",
        ),
        (vec!["verify", "log", "absent", "--key", &key], "absent cannot be read"),
        (vec!["verify", "log", empty, "--key", &key], "holds no *.segment files"),
        (vec!["verify", "tree", &log, "--key", &key], "say receipt or log"),
        (
            vec!["verify", &receipt, "--key", &key, "--allow-torn-tail"],
            "are for logs",
        ),
        (vec!["verify", &log, "--witness", &witness], "for receipts"),
        (vec!["verify", &receipt, "--key", &key, "--witness", &key], "--witness"),
        (
            vec![
                "verify",
                &receipt,
                "--key",
                &key,
                "--witness",
                &witness,
                "--quorum",
                "2",
            ],
            "cannot be reached",
        ),
        (
            vec!["verify", &log, "--checkpoint", "absent", "--key", &key],
            "absent cannot be opened",
        ),
        (vec!["nonsense"], "nonsense"),
    ] {
        let output = craton(&arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
}
