//! The independent verifiers in `examples/verify` agree with this crate.
//!
//! One is skipped, with a message, on machines that do not have what it needs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::clinic::Clinic;
use crate::support::{Log, cosigned, cosigner, signer};

struct Verifier {
    program: &'static str,
    /// Succeeds where the program has all it needs.
    probe: [&'static str; 2],
    extension: &'static str,
}

const NODE: Verifier = Verifier {
    program: "node",
    probe: ["--eval", "require('node:crypto')"],
    extension: "mjs",
};

const PYTHON: Verifier = Verifier {
    program: "python3",
    probe: ["-c", "import cryptography"],
    extension: "py",
};

/// Which of the scripts is for what.
const CHANGES: &str = "verify";
const STATE: &str = "verify_state";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/verify")
}

impl Verifier {
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn is_available(&self) -> bool {
        let probe = Command::new(self.program).args(self.probe).output();
        let available = probe.is_ok_and(|output| output.status.success());
        if !available {
            eprintln!("skipped: {} cannot run {}", self.program, self.probe[1]);
        }
        available
    }

    /// The program, which leaves nothing behind.
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn run(&self, script: &str, receipt: &str, keys: &[&str]) -> Output {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("receipt.txt");
        std::fs::write(&file, receipt).expect("a file");
        let script = examples().join(format!("{script}.{}", self.extension));
        let mut command = self.command();
        command.arg(script).arg(file).args(keys);
        command.output().expect("it was available")
    }

    fn reads(&self, script: &str, receipt: &str, key: &str, parts: &[&str]) {
        let output = self.run(script, receipt, &[key]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    fn reads_what_is_written(&self) {
        if !self.is_available() {
            return;
        }
        let log = Log::new();
        let key = log.signer.verifier().to_string();
        for (offset, size, part) in [
            (8, 19, "\"Ada\""),
            (5, 6, "\"Ada L.\""),
            (0, 1, "\"Ada\""),
            (6, 22, "\"kind\": 3"),
        ] {
            let hash = log.hashes()[usize::try_from(offset).expect("small")].to_string();
            let (position, size_line) = (
                format!("\"position\": {offset}"),
                format!("\"checkpoint_size\": {size}"),
            );
            let parts = [part, &position, &hash, &size_line];
            self.reads(CHANGES, &log.receipt_under(offset, &[1], size), &key, &parts);
        }
        let clinic = Clinic::new();
        let key = clinic.signer.verifier().to_string();
        self.reads(
            CHANGES,
            &clinic.renamed(),
            &key,
            &["\"erased_or_withheld\": true", "\"Ada\""],
        );
        self.reads(
            STATE,
            &clinic.state(3),
            &key,
            &["\"latest\"", "\"as_of_position\": 3", "\"Ada\""],
        );
        // Some of these end in an empty place of the tree, and some in another row's leaf.
        for id in [5, 10, 11, 12, 13] {
            let id_line = format!("\"id\": {id}");
            self.reads(
                STATE,
                &clinic.state(id),
                &key,
                &["\"absent\"", "\"record\": null", &id_line],
            );
        }
    }

    fn refuses_what_is_not_genuine(&self) {
        if !self.is_available() {
            return;
        }
        let (log, clinic) = (Log::new(), Clinic::new());
        let (key, clinic_key) = (log.signer.verifier(), clinic.signer.verifier().to_string());
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("receipt.txt");
        for (script, receipt, key) in [
            (CHANGES, log.receipt(8, &[2]), &key.to_string()),
            (CHANGES, clinic.renamed(), &clinic_key),
            (STATE, clinic.state(3), &clinic_key),
            (STATE, clinic.state(5), &clinic_key),
        ] {
            std::fs::write(&file, &receipt).expect("a file");
            let harness = format!("{}/tests/every_byte.{}", env!("CARGO_MANIFEST_DIR"), self.extension);
            let mut command = self.command();
            command.arg(harness).arg(examples()).arg(script).arg(&file).arg(key);
            let output = command.output().expect("it was available");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let receipt = log.receipt(8, &[2]);
        let other = signer(0x52, key.name().as_str()).verifier().to_string();
        for (script, receipt, key) in [
            (CHANGES, &receipt.replace("index 8\n", "index 9\n"), &key.to_string()),
            (CHANGES, &receipt, &other),
            (CHANGES, &clinic.state(3), &clinic_key),
            (STATE, &clinic.renamed(), &clinic_key),
        ] {
            let output = self.run(script, receipt, &[key]);
            assert_eq!(output.status.code(), Some(1));
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(error.contains("does not verify"), "{error}");
        }
    }
}

#[test]
fn node_reads_what_is_written() {
    NODE.reads_what_is_written();
}

#[test]
fn node_refuses_what_is_not_genuine() {
    NODE.refuses_what_is_not_genuine();
}

#[test]
fn node_asks_for_witnesses() {
    if !NODE.is_available() {
        return;
    }
    let log = Log::new();
    let key = log.signer.verifier().to_string();
    let witness = cosigner(1).cosigner_key().to_string();
    let plain = log.receipt(8, &[2]);
    let status = |receipt: &str| NODE.run(CHANGES, receipt, &[&key, &witness]).status.code();
    assert_eq!(status(&cosigned(&plain, &[cosigner(2), cosigner(1)])), Some(0));
    assert_eq!(status(&plain), Some(1));
    assert_eq!(status(&cosigned(&plain, &[cosigner(2)])), Some(1));
}

#[test]
fn python_reads_what_is_written() {
    PYTHON.reads_what_is_written();
}

#[test]
fn python_refuses_what_is_not_genuine() {
    PYTHON.refuses_what_is_not_genuine();
}
