//! Logs changed by someone who knows the format: CRCs, and then hashes, are recomputed.

use craton_proof::{Finding, LogFault, LogPart, LogVerifyError, LogVerifyOptions};
use craton_types::{HEADER_BYTES, HEADER_FIELDS, Record, RecordHeader, Timestamp};

use crate::support::{CHECKPOINTS, Log, Place, RECORDS, Segment, places, signer, verify};

fn fault(segments: &[Segment], options: &LogVerifyOptions) -> LogFault {
    match verify(segments, options).expect_err("forged") {
        LogVerifyError::Fault(fault) => *fault,
        other => panic!("{other}"),
    }
}

/// One byte of a header changed and its CRC recomputed: the next record's link names the field.
#[test]
fn a_recomputed_crc_does_not_hide_a_changed_header() {
    let log = Log::new();
    let intact = log.segments();
    let places = places(&log, &intact);
    // In the middle of a segment, before a segment's end, a checkpoint.
    for (number, offset) in [(0, 3), (0, 8), (1, 14)] {
        let first = Place::RecordHeader { offset, index: 0 };
        let start = places[number]
            .iter()
            .position(|place| *place == first)
            .expect("a record");
        for field in HEADER_FIELDS {
            for index in [field.start, field.end - 1] {
                let mut segments = intact.clone();
                let bytes = &mut segments[number].bytes;
                bytes[start + index] ^= 0x02;
                let crc = crc32c::crc32c(&bytes[start..start + HEADER_BYTES]).to_be_bytes();
                bytes[start + HEADER_BYTES..start + HEADER_BYTES + 4].copy_from_slice(&crc);
                let fault = fault(&segments, &log.options());
                let context = format!("byte {index} of record {offset}, {}: {fault}", field.name);
                assert_eq!((fault.offset.get(), fault.part), (offset, LogPart::Record), "{context}");
                assert_eq!(fault.field, field.name, "{context}");
                assert_eq!(fault.file, intact[number].name, "{context}");
            }
        }
    }
}

/// The payload hash is recomputed with the CRC, the links are not.
#[test]
fn a_recomputed_payload_hash_breaks_the_chain() {
    let intact = Log::new();
    let mut log = intact.clone();
    let previous = log.records[5].header.previous_hash;
    log.records[4].chunks[1][40] ^= 1;
    log.relink(4);
    // Everything after record 4 is as it was.
    log.records[5..].clone_from_slice(&intact.records[5..]);
    assert_eq!(log.records[5].header.previous_hash, previous);
    let fault = fault(&log.segments(), &log.options());
    assert_eq!((fault.offset.get(), fault.field), (5, "previous_hash"));
}

/// Everything after the change is recomputed, but nobody else can sign: the first checkpoint that covers the
/// change does not match, and says which records are in question.
#[test]
fn a_recomputed_chain_is_caught_by_the_next_checkpoint() {
    for offset in 0..19 {
        let mut log = Log::new();
        let Record { header, chunks } = &mut log.records[usize::try_from(offset).expect("small")];
        if CHECKPOINTS.iter().any(|(at, _)| *at == offset) {
            header.actor = craton_types::ActorId::NIL;
        } else {
            chunks[1][40] ^= 1;
        }
        log.relink(offset);
        let caught_at = CHECKPOINTS.iter().find(|(_, size)| *size > offset).expect("covered").0;
        let fault = fault(&log.segments(), &log.options());
        assert_eq!(
            (fault.offset.get(), fault.field),
            (caught_at, "checkpoint root"),
            "{offset}: {fault}"
        );
        let Finding::NotTheSignedRecords { from, end, .. } = fault.finding else {
            panic!("{fault}");
        };
        assert!(from.get() <= offset && offset < end.get(), "{offset}");
    }
}

/// A change after the last checkpoint is not caught by the log alone, but by a checkpoint kept elsewhere.
#[test]
fn a_recomputed_tail_is_caught_by_a_checkpoint_from_elsewhere() {
    let original = Log::new();
    let mut log = original.clone();
    log.records[20].chunks[1][40] ^= 1;
    log.relink(20);
    let summary = verify(&log.segments(), &log.options()).expect("linked");
    assert_eq!(
        summary.signed_records(),
        19,
        "the change is among the records counted as unsigned"
    );
    let options = LogVerifyOptions {
        checkpoint: Some(original.checkpoint(RECORDS)),
        ..log.options()
    };
    assert_eq!(fault(&log.segments(), &options).field, "given checkpoint root");
}

/// Whoever recomputes everything and signs with a key of their own is caught by the key.
#[test]
fn a_log_signed_by_another_key_is_refused() {
    let forged = Log::with_signer(signer(0x66, Log::new().signer.verifier().name().as_str()));
    let fault = fault(&forged.segments(), &Log::new().options());
    assert_eq!((fault.offset.get(), fault.field), (7, "checkpoint signature"));
}

/// A checkpoint record whose note was changed and whose hashes were recomputed.
#[test]
fn changed_checkpoints_are_named() {
    type Edit = fn(&str) -> String;
    let cases: [(&str, Edit); 6] = [
        ("checkpoint signature", |note| note.replace("\n7\n", "\n6\n")),
        ("checkpoint note", |note| note.replace("\n\n", "\n")),
        ("checkpoint note", |_| String::new()),
        ("checkpoint note", |_| "x".repeat(1024 * 1024 + 1)),
        ("checkpoint origin", |note| note.replacen("cluster", "clust er", 1)),
        ("checkpoint root", |note| note.replacen("=\n", "\n", 1)),
    ];
    for (field, edit) in cases {
        let mut log = Log::new();
        let note = edit(&log.notes[0]);
        log.records[7].chunks[0] = note.into_bytes();
        log.relink(7);
        // What is malformed is named as such only where no signature condemns it first.
        let options = if field == "checkpoint signature" {
            log.options()
        } else {
            LogVerifyOptions::default()
        };
        let fault = fault(&log.segments(), &options);
        assert_eq!((fault.offset.get(), fault.field), (7, field), "{fault}");
    }
}

#[test]
fn checkpoints_that_cover_what_they_may_not_are_named() {
    for (at, size) in [(7, 8), (14, 6), (14, 15)] {
        let mut log = Log::new();
        let note = log.checkpoint(size);
        log.records[at].chunks[0] = note.into_bytes();
        log.relink(at as u64);
        let fault = fault(&log.segments(), &log.options());
        assert_eq!(
            (fault.offset.get(), fault.field),
            (at as u64, "checkpoint size"),
            "{size}"
        );
    }
}

#[test]
fn a_checkpoint_of_three_chunks_is_named() {
    let mut log = Log::new();
    let note = log.notes[0].clone().into_bytes();
    let (left, right) = note.split_at(20);
    let state = log.records[7].chunks[1].clone();
    log.records[7].chunks = vec![left.to_vec(), right.to_vec(), state];
    log.relink(7);
    let fault = fault(&log.segments(), &log.options());
    assert_eq!((fault.offset.get(), fault.field), (7, "chunk_count"));
}

/// Consistently linked records that no engine writes.
#[test]
fn impossible_records_are_named() {
    type Edit = fn(&mut RecordHeader);
    let cases: [(&str, Edit); 4] = [
        ("timestamp", |header| header.timestamp = Timestamp::ZERO),
        ("stream_sequence", |header| {
            header.stream_sequence = header.stream_sequence.next()
        }),
        ("offset", |header| header.offset = header.offset.next()),
        ("tenant", |header| header.tenant = craton_types::TenantId::NIL),
    ];
    for (field, edit) in cases {
        let mut log = Log::new();
        edit(&mut log.records[5].header);
        log.relink(5);
        let fault = fault(&log.segments(), &log.options());
        assert_eq!((fault.offset.get(), fault.field), (5, field), "{fault}");
    }
}

/// A record taken out, or put in twice, with everything else left as it is.
#[test]
fn removed_and_repeated_records_are_named() {
    for (edit, offset) in [
        ((|log: &mut Log| drop(log.records.remove(4))) as fn(&mut Log), 4),
        (|log| log.records.insert(5, log.records[4].clone()), 5),
        (|log| log.records.swap(4, 5), 4),
    ] {
        let mut log = Log::new();
        edit(&mut log);
        let fault = fault(&log.segments_starting_at(&[0]), &log.options());
        assert_eq!((fault.offset.get(), fault.field), (offset, "offset"), "{fault}");
    }
}
