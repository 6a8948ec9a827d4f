//! The formats, byte by byte, as they were first released: a log, a receipt and a key in files.
//!
//! `UPDATE_GOLDEN=1 cargo test -p craton-proof golden` writes the files anew; a change of them is a change of
//! format, which needs a new version byte and a second set of files.

use std::fs;
use std::path::{Path, PathBuf};

use craton_proof::{LogVerifyOptions, Receipt, VerifierKey, WitnessPolicy, verify_claim};

use crate::clinic::Clinic;
use crate::support::{Log, Segment, cosigned, cosigner, verify};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn files(log: &Log) -> Vec<(String, Vec<u8>)> {
    let segments = log
        .segments()
        .into_iter()
        .map(|segment| (format!("log/{}", segment.name), segment.bytes));
    let clinic = Clinic::new();
    let texts = [
        ("clinic/receipt_sealed.txt", clinic.renamed()),
        ("clinic/state_latest.txt", clinic.state(3)),
        ("clinic/state_absent.txt", clinic.state(5)),
        ("clinic/key.txt", format!("{}\n", clinic.signer.verifier())),
        ("receipt.txt", log.receipt(8, &[2])),
        ("receipt_cosigned.txt", cosigned(&log.receipt(8, &[2]), &[cosigner(1)])),
        ("witness.txt", format!("{}\n", cosigner(1).cosigner_key())),
        ("key.txt", format!("{}\n", log.signer.verifier())),
        ("checkpoint.txt", log.checkpoint(22)),
    ];
    let texts = texts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.into_bytes()));
    segments.chain(texts).collect()
}

#[test]
fn golden_files_are_what_is_written() {
    let files = files(&Log::new());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for path in ["log", "clinic"].map(|name| folder().join(name)) {
            fs::create_dir_all(path).expect("a folder");
        }
        for (name, bytes) in &files {
            fs::write(folder().join(name), bytes).expect("a file");
        }
    }
    for (name, bytes) in files {
        assert!(
            fs::read(folder().join(&name)).expect("a golden file") == bytes,
            "{name} differs"
        );
    }
}

#[test]
fn golden_files_verify() {
    let read = |name: &str| fs::read_to_string(folder().join(name)).expect("a golden file");
    let key: VerifierKey = read("key.txt").trim_end().parse().expect("a key");
    let receipt = Receipt::verify(read("receipt.txt").as_bytes(), &key).expect("genuine");
    assert_eq!(receipt.header.offset.get(), 8);
    let clinic: VerifierKey = read("clinic/key.txt").trim_end().parse().expect("a key");
    for name in ["receipt_sealed.txt", "state_latest.txt", "state_absent.txt"] {
        let text = read(&format!("clinic/{name}"));
        let claim = verify_claim(text.as_bytes(), &clinic, &WitnessPolicy::default());
        assert_eq!(claim.expect(name).checkpoint().size, 5);
    }
    let mut segments: Vec<Segment> = fs::read_dir(folder().join("log"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| Segment {
            name: entry.file_name().into_string().expect("a name"),
            bytes: fs::read(entry.path()).expect("a file"),
        })
        .collect();
    segments.sort_by(|a, b| a.name.cmp(&b.name));
    let options = LogVerifyOptions {
        key: Some(key),
        checkpoint: Some(read("checkpoint.txt")),
        ..LogVerifyOptions::default()
    };
    let summary = verify(&segments, &options).expect("intact");
    assert_eq!((summary.records, summary.signed_records()), (22, 22));
}
