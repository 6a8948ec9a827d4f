//! Signed notes and what is written as one, keys in text, and what witnesses are told and answer.

use craton_proof::{
    AddCheckpoint, Checkpoint, CosignerKey, KeyName, Note, NoteSignature, VerifierKey, WitnessAnswer, Witnessed,
};
use craton_types::Hash;

use super::Parser;
use crate::world::{cosigner, world};

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "note",
        parse: note,
        seeds: || {
            let signed = world().signer.sign("two\n\nparagraphs\n").expect("a text");
            let mut notes: Vec<_> = world().notes.iter().map(|note| note.clone().into_bytes()).collect();
            notes.extend([signed.to_string().into_bytes(), cosigned().to_string().into_bytes()]);
            notes
        },
    },
    Parser {
        name: "signature lines",
        parse: signature_lines,
        seeds: || vec![cosignature().to_string().into_bytes()],
    },
    Parser {
        name: "log's key",
        parse: verifier_key,
        seeds: || vec![world().signer.verifier().to_string().into_bytes()],
    },
    Parser {
        name: "witness's key",
        parse: cosigner_key,
        seeds: || vec![cosigner().cosigner_key().to_string().into_bytes()],
    },
    Parser {
        name: "add-checkpoint request",
        parse: add_checkpoint,
        seeds: || {
            let requests = [(0, None), (12, Some(world().consistency()))];
            let request = |(old_size, proof): (u64, Option<Vec<Hash>>)| {
                AddCheckpoint::new(old_size, proof.unwrap_or_default(), last_note()).expect("a checkpoint")
            };
            requests.map(|of| request(of).to_string().into_bytes()).into()
        },
    },
    Parser {
        name: "witness's answer",
        parse: witness_answer,
        seeds: || vec![cosignature().to_string().into_bytes(), b"12\n".to_vec()],
    },
    Parser {
        name: "name of a key",
        parse: |bytes| std::str::from_utf8(bytes).is_ok_and(|text| KeyName::parse(text).is_ok()),
        seeds: || vec![b"example.com/log".to_vec()],
    },
];

fn last_note() -> Note {
    let text = world().notes.last().expect("there are checkpoints");
    Note::parse(text.as_bytes()).expect("a note")
}

fn cosignature() -> NoteSignature {
    cosigner().cosign(&last_note(), 1_795_256_131).expect("a checkpoint")
}

fn cosigned() -> Note {
    let mut note = last_note();
    note.add(cosignature()).expect("room");
    note
}

/// A note has one form; what a known key vouches for was signed by it.
fn note(bytes: &[u8]) -> bool {
    let Ok(note) = Note::parse(bytes) else {
        return false;
    };
    assert_eq!(note.to_string().as_bytes(), bytes, "a note has one form");
    if let Ok(checkpoint) = Checkpoint::open_note(&note, world().signer.verifier()) {
        let text = checkpoint.to_text();
        assert!(
            world().notes.iter().any(|note| note.starts_with(&text)),
            "a checkpoint that was not signed"
        );
    }
    if let Ok(checkpoint) = Checkpoint::parse_unverified_note(&note) {
        assert_eq!(
            checkpoint.to_text(),
            note.unverified_text(),
            "a checkpoint has one form"
        );
    }
    if let Ok(Some(by)) = cosigner().cosigner_key().cosignature(&note) {
        assert_eq!(
            note.unverified_text(),
            last_note().unverified_text(),
            "a checkpoint that was not cosigned"
        );
        assert_eq!(by.time_seconds, 1_795_256_131);
    }
    true
}

fn signature_lines(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let parsed = NoteSignature::parse_lines(text);
    if let Ok(signatures) = &parsed {
        let lines: String = signatures.iter().map(ToString::to_string).collect();
        assert_eq!(lines, text, "signature lines have one form");
    }
    parsed.is_ok()
}

fn verifier_key(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let parsed = text.parse::<VerifierKey>();
    if let Ok(key) = &parsed {
        assert_eq!(key.to_string(), text, "a key has one form");
        assert!(text.parse::<CosignerKey>().is_err(), "a log's key is no witness's");
    }
    parsed.is_ok()
}

fn cosigner_key(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let parsed = text.parse::<CosignerKey>();
    if let Ok(key) = &parsed {
        assert_eq!(key.to_string(), text, "a key has one form");
        assert!(text.parse::<VerifierKey>().is_err(), "a witness's key is no log's");
    }
    parsed.is_ok()
}

/// A witness that has seen the log cosigns nothing but the log.
fn add_checkpoint(bytes: &[u8]) -> bool {
    let Ok(request) = AddCheckpoint::parse(bytes) else {
        return false;
    };
    assert_eq!(request.to_string().as_bytes(), bytes, "a request has one form");
    let seen = Witnessed {
        size: 12,
        root: world().root_of(12),
    };
    for latest in [None, Some(&seen)] {
        if let Ok(witnessed) = request.judge(world().signer.verifier(), latest) {
            assert_eq!(
                witnessed.root,
                world().root_of(witnessed.size),
                "another history is cosigned"
            );
            assert_eq!(
                (request.size(), request.old_size),
                (witnessed.size, latest.map_or(0, |seen| seen.size))
            );
        }
    }
    true
}

fn witness_answer(bytes: &[u8]) -> bool {
    let mut understood = false;
    for status in [200, 403, 404, 409, 422, 500] {
        let answer = WitnessAnswer::parse(status, bytes, &last_note(), cosigner().cosigner_key());
        if let Ok(WitnessAnswer::Cosigned { cosignature: by, .. }) = &answer {
            assert_eq!(by.time_seconds, 1_795_256_131, "a cosignature that was not made");
        }
        understood |= answer.is_ok();
    }
    understood
}
