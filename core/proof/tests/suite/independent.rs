//! The independent verifiers in `examples/verify` agree with this crate.
//!
//! One is skipped, with a message, on machines that do not have what it needs.

use std::path::Path;
use std::process::{Command, Output};

use craton_proof::Receipt;

use crate::support::{Log, cosigned, cosigner, signer};

struct Verifier {
    program: &'static str,
    /// Succeeds where the program has all it needs.
    probe: [&'static str; 2],
    script: &'static str,
}

const NODE: Verifier = Verifier {
    program: "node",
    probe: ["--eval", "require('node:crypto')"],
    script: "verify.mjs",
};

const PYTHON: Verifier = Verifier {
    program: "python3",
    probe: ["-c", "import cryptography"],
    script: "verify.py",
};

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

    fn run(&self, folder: &Path, receipt: &[u8], keys: &[&str]) -> Output {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/verify");
        let file = folder.join("receipt.txt");
        std::fs::write(&file, receipt).expect("a file");
        Command::new(self.program)
            .arg(scripts.join(self.script))
            .arg(file)
            .args(keys)
            .output()
            .expect("it was available")
    }

    fn reads_what_is_written(&self) {
        if !self.is_available() {
            return;
        }
        let log = Log::new();
        let key = log.signer.verifier().to_string();
        let folder = tempfile::tempdir().expect("a folder");
        for (offset, size, part) in [
            (8, 19, "\"Ada\""),
            (5, 6, "\"Ada L.\""),
            (0, 1, "\"Ada\""),
            (6, 22, "\"kind\": 3"),
        ] {
            let receipt = log.receipt_under(offset, &[1], size);
            let output = self.run(folder.path(), receipt.as_bytes(), &[&key]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let hash = &log.hashes()[usize::try_from(offset).expect("small")];
            for part in [
                part,
                &format!("\"position\": {offset}"),
                &hash.to_string(),
                &format!("\"checkpoint_size\": {size}"),
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }

    fn refuses_what_is_refused_here(&self) {
        if !self.is_available() {
            return;
        }
        let log = Log::new();
        let key = log.signer.verifier();
        let folder = tempfile::tempdir().expect("a folder");
        let receipt = log.receipt_under(5, &[1], 6).into_bytes();
        for index in (3..receipt.len()).step_by(131) {
            let mut flipped = receipt.clone();
            flipped[index] ^= 1;
            assert!(Receipt::verify(&flipped, key).is_err(), "byte {index}");
            let output = self.run(folder.path(), &flipped, &[&key.to_string()]);
            assert_eq!(output.status.code(), Some(1), "byte {index}");
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(error.contains("does not verify"), "byte {index}: {error}");
        }
        let other = signer(0x52, key.name().as_str()).verifier().to_string();
        assert_eq!(self.run(folder.path(), &receipt, &[&other]).status.code(), Some(1));
    }
}

#[test]
fn node_reads_what_is_written() {
    NODE.reads_what_is_written();
}

#[test]
fn node_refuses_what_is_refused_here() {
    NODE.refuses_what_is_refused_here();
}

#[test]
fn node_asks_for_witnesses() {
    if !NODE.is_available() {
        return;
    }
    let log = Log::new();
    let key = log.signer.verifier().to_string();
    let witness = cosigner(1).cosigner_key().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let plain = log.receipt(8, &[2]);
    let status = |receipt: &str| {
        NODE.run(folder.path(), receipt.as_bytes(), &[&key, &witness])
            .status
            .code()
    };
    assert_eq!(status(&cosigned(&plain, &[cosigner(2), cosigner(1)])), Some(0));
    assert_eq!(status(&plain), Some(1));
    assert_eq!(status(&cosigned(&plain, &[cosigner(2)])), Some(1));
}

#[test]
fn python_reads_what_is_written() {
    PYTHON.reads_what_is_written();
}

#[test]
fn python_refuses_what_is_refused_here() {
    PYTHON.refuses_what_is_refused_here();
}
