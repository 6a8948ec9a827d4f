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

/// Remembers nothing: each test has a log of its own, or says where.
fn craton(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_craton"))
        .args(arguments)
        .env_remove("HOME")
        .env_remove("XDG_STATE_HOME")
        .output()
        .expect("the command runs")
}

/// Runs `craton verify` with the golden key and returns its exit status and output.
fn verify(arguments: &[&str]) -> (i32, String) {
    let key = golden("key.txt");
    let says_where = arguments
        .iter()
        .any(|argument| matches!(*argument, "--pins" | "--no-pin"));
    let more: &[&str] = if says_where { &[] } else { &["--no-pin"] };
    let output = craton(&[&["verify"], arguments, &["--key", key.to_str().expect("text")], more].concat());
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
    let output = craton(&[&["verify", "receipt", &document, "--key", &key, "--no-pin"], more].concat());
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
    let output = craton(&["verify", "log", &log, "--no-pin"]);
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
        (
            vec!["verify", "tree", &log, "--key", &key],
            "say receipt, log, export or cluster",
        ),
        (
            vec!["verify", &receipt, "--key", &key, "--allow-torn-tail"],
            "is for logs",
        ),
        (
            vec!["verify", &receipt, "--key", &key, "--threads", "2"],
            "are for logs",
        ),
        (
            vec!["verify", &log, "--key", &key, "--entries"],
            "are for live clusters",
        ),
        (
            vec!["verify", "cluster", "http://localhost", "--key", &key],
            "https://<host>",
        ),
        (
            vec!["verify", "https://app:secret@localhost/logs/main", "--key", &key],
            "no name or password",
        ),
        (vec!["verify", "export", empty], "give --key"),
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

/// A folder for what is remembered, and `craton verify` with it.
struct Memory(tempfile::TempDir);

impl Memory {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn verify(&self, arguments: &[&str]) -> (i32, String) {
        let pins = self.0.path().to_str().expect("text");
        verify(&[arguments, &["--pins", pins]].concat())
    }

    /// The names of the remembered checkpoints of the golden log.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder()).into_iter().flatten();
        entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect()
    }

    fn folder(&self) -> PathBuf {
        let key = fs::read_to_string(golden("key.txt")).expect("the key");
        let (name, _) = key.rsplit_once('+').expect("a key");
        self.0.path().join(name.replace('/', "%2F"))
    }

    /// As if another checkpoint, which the log signed too, had been seen.
    fn remember(&self, size: u64, root: [u8; 32]) {
        let key = craton_crypto::SigningKey::from_seed(&craton_crypto::SecretBytes::new([0x51; 32]));
        let name = fs::read_to_string(golden("key.txt")).expect("the key");
        let name = craton_proof::KeyName::parse(name.split('+').next().expect("a name")).expect("a name");
        let checkpoint = craton_proof::Checkpoint {
            origin: name.clone(),
            size,
            root: craton_proof::Hash::new(root),
        };
        fs::create_dir_all(self.folder()).expect("a folder");
        let note = checkpoint.sign(&craton_proof::SignerKey::new(name, key));
        fs::write(self.folder().join(format!("{size}.checkpoint")), note).expect("a file");
    }
}

#[test]
fn what_was_seen_is_remembered_and_honest_logs_and_receipts_go_on_verifying() {
    let memory = Memory::new();
    let (receipt, log) = (path("receipt.txt"), path("log"));
    assert_eq!(memory.verify(&[&receipt]).0, 0);
    assert_eq!(memory.names(), ["19.checkpoint"]);
    assert_eq!(memory.verify(&["log", &log]).0, 0);
    assert_eq!(memory.verify(&[&receipt]).0, 0);
    assert_eq!(memory.names(), ["19.checkpoint"]);
    // A receipt of an older checkpoint says what was so then.
    let newer = Memory::new();
    newer.remember(4_000, [7; 32]);
    assert_eq!(newer.verify(&[&receipt]).0, 0);
    assert_eq!(newer.names(), ["4000.checkpoint"]);
    // Without a place to remember, it is said.
    let output = craton(&["verify", &receipt, "--key", &path("key.txt")]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("was not remembered"));
    let output = craton(&["verify", &receipt, "--key", &path("key.txt"), "--no-pin"]);
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn what_contradicts_a_remembered_checkpoint_has_status_3() {
    let memory = Memory::new();
    memory.remember(19, [7; 32]);
    let root = "07".repeat(32);
    for arguments in [vec!["receipt", &path("receipt.txt")], vec!["log", &path("log")]] {
        let (status, text) = memory.verify(&arguments);
        assert_eq!(status, 3, "{text}");
        assert!(text.contains("does NOT verify") && text.contains(&root), "{text}");
        let (status, text) = verify(&[&arguments[..], &["--no-pin"]].concat());
        assert_eq!(status, 0, "{text}");
    }
    let rolled_back = Memory::new();
    rolled_back.remember(23, [7; 32]);
    let (status, text) = rolled_back.verify(&["log", &path("log"), "--json"]);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &json["verified"]), (3, &false.into()));
    let error = json["error"].as_str().expect("text");
    assert!(
        error.contains("ends after 22 records") && error.contains("23 records with root"),
        "{error}"
    );
}

#[test]
fn of_a_log_without_cosignatures_none_is_found() {
    let witness = path("witness.txt");
    let (status, text) = verify(&["log", &path("log"), "--witness", &witness, "--no-pin"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("no checkpoint in the log is cosigned by 1"), "{text}");
    let (status, text) = verify(&["log", &path("log"), "--witness", &witness, "--quorum", "0", "--no-pin"]);
    assert_eq!(status, 0, "{text}");
}
