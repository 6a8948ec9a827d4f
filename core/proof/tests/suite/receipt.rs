//! Receipts: what they prove, and that nothing else passes for it.

use craton_proof::{Receipt, ReceiptBuildError, ReceiptError, ReceiptParts, TlogProof};
use craton_types::Change;

use crate::support::{Log, dek, signer};

#[test]
fn a_receipt_proves_a_change() {
    let log = Log::new();
    let key = log.signer.verifier();
    let verified = Receipt::verify(log.receipt(8, &[2]).as_bytes(), key).expect("genuine");
    assert_eq!(verified.header, log.records[8].header);
    assert_eq!(verified.record_hash, log.hashes()[8]);
    assert_eq!(verified.checkpoint.size, 19);
    assert_eq!(&verified.key, key);
    let [change] = &verified.changes[..] else {
        panic!("one change was disclosed");
    };
    assert_eq!(change.chunk_index, 2);
    let Change::Row(row) = &change.change else {
        panic!("a row change");
    };
    assert_eq!(verified.table(row).map(|table| table.name.as_str()), Some("people"));
    assert_eq!(row.before, None);
    let text = verified.to_string();
    for part in [
        "position        8",
        "time            2026-11-21T10:15:30.004000000Z",
        "actor           acacacac-acac-acac-acac-acacacacacac",
        "table           people",
        "primary key     id = 108",
        "row             inserted",
        "name          'Grace'",
        "joined        '2024-10-04'",
        "of 19 records",
        "cluster.example/7e7e7e7e-7e7e-7e7e-7e7e-7e7e7e7e7e7e",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        !text.contains("Ada"),
        "the other change of the record is not disclosed: {text}"
    );
}

#[test]
fn updates_deletes_and_events_are_shown() {
    let log = Log::new();
    let text = |offset| {
        let receipt = log.receipt(offset, &[1]);
        let verified = Receipt::verify(receipt.as_bytes(), log.signer.verifier());
        verified.expect("genuine").to_string()
    };
    assert!(text(5).contains("name          'Ada' -> 'Ada L.'"), "{}", text(5));
    assert!(text(3).contains("row             deleted"), "{}", text(3));
    assert!(text(6).contains("event           event 6"), "{}", text(6));
    assert!(text(6).contains("stream          orders"), "{}", text(6));
}

#[test]
fn every_record_has_receipts_under_every_checkpoint_that_covers_it() {
    let log = Log::new();
    for size in 1..=22_u64 {
        for offset in (0..size).filter(|offset| ![7, 14, 19].contains(offset)) {
            let changes: &[u32] = if offset % 4 == 0 { &[1, 2] } else { &[1] };
            let receipt = log.receipt_under(offset, changes, size);
            let verified = Receipt::verify(receipt.as_bytes(), log.signer.verifier()).expect("genuine");
            assert_eq!(verified.header.offset.get(), offset);
            assert_eq!(verified.changes.len(), changes.len());
        }
    }
}

#[test]
fn a_receipt_may_disclose_no_change() {
    let log = Log::new();
    let verified = Receipt::verify(log.receipt(8, &[]).as_bytes(), log.signer.verifier()).expect("genuine");
    assert_eq!(verified.changes, vec![]);
}

/// Decodes the proof, changes its disclosure and encodes it again.
fn with_extra(receipt: &str, edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut proof = TlogProof::parse(receipt.as_bytes()).expect("a proof");
    let mut extra = proof.extra.take().expect("a disclosure");
    edit(&mut extra);
    proof.extra = Some(extra);
    proof.to_string().into_bytes()
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("contained")
}

fn error(receipt: &[u8], log: &Log) -> ReceiptError {
    Receipt::verify(receipt, log.signer.verifier()).expect_err("not genuine")
}

#[test]
fn changed_header_fields_are_named() {
    let log = Log::new();
    let receipt = log.receipt(5, &[1]);
    let header = log.records[5].header.encode();
    for field in craton_types::HEADER_FIELDS {
        let changed = with_extra(&receipt, |extra| {
            let start = find(extra, &header);
            extra[start + field.start] ^= 1;
        });
        let error = error(&changed, &log).to_string();
        assert!(
            error.starts_with(&format!("field {}", field.name)),
            "{}: {error}",
            field.name
        );
    }
}

#[test]
fn changed_parts_are_named() {
    let log = Log::new();
    let receipt = log.receipt(8, &[2]);
    let record = &log.records[8];
    let position = |needle: &[u8], at: usize| {
        let needle = needle.to_vec();
        move |extra: &mut Vec<u8>| {
            let start = find(extra, &needle);
            extra[start + at] ^= 1;
        }
    };
    let offset = record.header.offset;
    let key = dek().change_key(record.header.tenant, offset, 2);
    let sibling = craton_crypto::chunk_hash(&record.chunks[1]);
    let cases: [(&str, Vec<u8>); 6] = [
        ("chunk 2 commitment", with_extra(&receipt, position(key.as_bytes(), 0))),
        (
            "field payload_hash: chunk 2",
            with_extra(&receipt, position(&record.chunks[2], 0)),
        ),
        (
            "field payload_hash: chunk 2",
            with_extra(&receipt, position(&record.chunks[2], 40)),
        ),
        (
            "field payload_hash: chunk 0",
            with_extra(&receipt, position(sibling.as_bytes(), 0)),
        ),
        (
            "extra line: disclosure version",
            with_extra(&receipt, |extra| extra[0] = 9),
        ),
        ("extra line: ", with_extra(&receipt, |extra| extra.truncate(100))),
    ];
    for (part, changed) in cases {
        let error = error(&changed, &log).to_string();
        assert!(error.starts_with(part), "{part}: {error}");
    }

    let edited = |edit: fn(&mut TlogProof)| {
        let mut proof = TlogProof::parse(receipt.as_bytes()).expect("a proof");
        edit(&mut proof);
        error(proof.to_string().as_bytes(), &log).to_string()
    };
    for (part, error) in [
        ("field offset", edited(|proof| proof.index += 1)),
        ("inclusion path", edited(|proof| proof.path.swap(0, 1))),
        ("inclusion path", edited(|proof| proof.path.truncate(2))),
        ("extra line", edited(|proof| proof.extra = None)),
        (
            "signature",
            edited(|proof| proof.checkpoint = proof.checkpoint.replace("\n19\n", "\n18\n")),
        ),
        ("signature", edited(|proof| proof.checkpoint.clear())),
    ] {
        assert!(error.starts_with(part), "{part}: {error}");
    }
    assert!(error(b"hello", &log).to_string().starts_with("receipt form"));
}

#[test]
fn another_key_or_log_is_refused() {
    let log = Log::new();
    let name = log.signer.verifier().name().to_string();
    let receipt = log.receipt(8, &[1]);
    for other in [signer(0x52, &name), signer(0x51, "other.example/log")] {
        let error = Receipt::verify(receipt.as_bytes(), other.verifier()).expect_err("not this key's");
        assert!(matches!(error, ReceiptError::Checkpoint(_)), "{error}");
    }
}

/// A genuine chunk of one record does not pass for one of another, nor under another index.
#[test]
fn parts_of_other_receipts_do_not_fit() {
    let log = Log::new();
    let parts = |record: usize, key_of: u64, path_of: u64| {
        let parts = ReceiptParts {
            record: &log.records[record],
            changes: &[1],
            change_key: &|chunk| dek().change_key(crate::support::TENANT, craton_types::Offset::new(key_of), chunk),
            cell_key: &|_| None,
            path: craton_proof::inclusion_proof(&log.hashes()[..], path_of, 19).expect("covered"),
            checkpoint: log.checkpoint(19),
        };
        Receipt::build(parts).expect("a data record").to_string()
    };
    assert!(Receipt::verify(parts(5, 5, 5).as_bytes(), log.signer.verifier()).is_ok());
    assert!(matches!(
        error(parts(5, 6, 5).as_bytes(), &log),
        ReceiptError::Chunk { chunk: 0, .. }
    ));
    assert!(matches!(
        error(parts(5, 5, 6).as_bytes(), &log),
        ReceiptError::Inclusion(_)
    ));
}

#[test]
fn only_changes_of_data_records_are_disclosed() {
    let log = Log::new();
    let build = |record: usize, changes: &[u32]| {
        Receipt::build(ReceiptParts {
            record: &log.records[record],
            changes,
            change_key: &|chunk| dek().change_key(crate::support::TENANT, log.records[record].header.offset, chunk),
            cell_key: &|_| None,
            path: vec![],
            checkpoint: String::new(),
        })
        .map(|_| ())
    };
    assert_eq!(build(8, &[1, 2]), Ok(()));
    assert_eq!(build(7, &[]), Err(ReceiptBuildError::Kind { offset: 7 }));
    for (changes, chunk) in [(&[0][..], 0), (&[3], 3), (&[2, 1], 1), (&[1, 1], 1)] {
        assert_eq!(
            build(8, changes),
            Err(ReceiptBuildError::Chunk {
                offset: 8,
                chunk,
                chunk_count: 3
            }),
            "{changes:?}"
        );
    }
}

/// What a malicious log writes for the eyes of the reader stays text.
#[test]
fn an_unsigned_receipt_is_refused_before_anything_is_decoded() {
    let log = Log::new();
    let receipt = log.receipt(8, &[1]);
    let unsigned = receipt.split("\n\u{2014}").next().expect("text").to_owned();
    assert!(matches!(error(unsigned.as_bytes(), &log), ReceiptError::Checkpoint(_)));
}
