//! The independent verifier of the documentation agrees with this crate.
//!
//! Skipped, with a message, on machines without Python or its `cryptography` package.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use craton_proof::Receipt;

use crate::support::Log;

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn is_available() -> bool {
    let probe = Command::new("python3").args(["-c", "import cryptography"]).output();
    let available = probe.is_ok_and(|output| output.status.success());
    if !available {
        eprintln!("skipped: python3 with the cryptography package is not installed");
    }
    available
}

fn run(folder: &Path, receipt: &[u8], key: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/verify_receipt.py");
    let file: PathBuf = folder.join("receipt.txt");
    std::fs::write(&file, receipt).expect("a file");
    Command::new("python3")
        .arg(script)
        .arg(file)
        .arg(key)
        .output()
        .expect("it was available")
}

#[test]
fn it_reads_what_is_written() {
    if !is_available() {
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
        let output = run(folder.path(), receipt.as_bytes(), &key);
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

#[test]
fn it_refuses_what_is_refused_here() {
    if !is_available() {
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
        let output = run(folder.path(), &flipped, &key.to_string());
        assert_eq!(output.status.code(), Some(1), "byte {index}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("does not verify"), "byte {index}: {error}");
    }
    let other = crate::support::signer(0x52, key.name().as_str()).verifier().to_string();
    assert_eq!(run(folder.path(), &receipt, &other).status.code(), Some(1));
}
