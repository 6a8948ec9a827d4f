//! Intact logs, and logs with whole files wrong.

use craton_proof::{Finding, LogFault, LogPart, LogVerifyError, LogVerifyOptions, SegmentSource, verify_log};
use craton_types::{Hash, Offset};

use crate::support::{Log, RECORDS, Segment, TENANT, signer, verify, verify_quickly};

fn fault(result: Result<craton_proof::LogSummary, LogVerifyError>) -> LogFault {
    match result.expect_err("not to verify") {
        LogVerifyError::Fault(fault) => *fault,
        other => panic!("{other}"),
    }
}

#[test]
fn an_intact_log_verifies() {
    let log = Log::new();
    let summary = verify(&log.segments(), &log.options()).expect("intact");
    assert_eq!(summary.tenant, TENANT);
    assert_eq!(summary.segments, 3);
    assert_eq!(summary.records, RECORDS);
    assert_eq!(summary.root, craton_proof::merkle_tree_hash(&log.hashes()));
    assert_eq!(Some(&summary.last_hash), log.hashes().last());
    assert_eq!(summary.first_time, Some(log.records[0].header.timestamp));
    assert_eq!(summary.last_time, Some(log.records[21].header.timestamp));
    assert_eq!(summary.checkpoints, 3);
    assert_eq!(summary.signed_records(), 19);
    assert_eq!(summary.unsigned_records(), 3);
    assert_eq!(summary.torn_bytes, 0);
    assert!(!summary.untracked_streams);
    let text = summary.to_string();
    for part in [
        "22 in 3 segments",
        "3, all signed by the key",
        "19 records",
        "3 records after the last checkpoint",
        "2026-11-21T10:15:30.000000000Z",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// What is intact is accepted by the quick pass, so the careful one is not needed for it.
#[test]
fn the_quick_pass_accepts_what_is_intact() {
    let log = Log::new();
    for starts in [&[0][..], &[0, 9, 16], &[0, 7, 8, 14, 15, 19, 20]] {
        let segments = log.segments_starting_at(starts);
        let options = LogVerifyOptions {
            checkpoint: Some(log.checkpoint(20)),
            ..log.options()
        };
        let careful = verify(&segments, &options).expect("intact");
        assert_eq!(verify_quickly(&segments, &options), Some(careful));
    }
    // A torn tail as well, where one is allowed.
    let options = LogVerifyOptions {
        allow_torn_tail: true,
        ..log.options()
    };
    for cut in [1, 30, 60] {
        let mut segments = log.segments();
        let bytes = &mut segments.last_mut().expect("a segment").bytes;
        bytes.truncate(bytes.len() - cut);
        let careful = verify(&segments, &options).expect("torn");
        assert!(careful.torn_bytes > 0);
        assert_eq!(verify_quickly(&segments, &options), Some(careful), "{cut} bytes cut");
        assert_eq!(verify_quickly(&segments, &log.options()), None);
    }
}

#[test]
fn without_a_key_nothing_counts_as_signed() {
    let log = Log::new();
    let summary = verify(&log.segments(), &LogVerifyOptions::default()).expect("intact");
    assert_eq!(summary.checkpoints, 3);
    assert_eq!(summary.signed_records(), 0);
    assert_eq!(summary.unsigned_records(), RECORDS);
    assert!(summary.to_string().contains("signatures not checked"));
}

#[test]
fn a_reader_that_gives_a_byte_at_a_time_makes_no_difference() {
    struct Slow<'a>(&'a [u8]);
    impl std::io::Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }
    let log = Log::new();
    let segments = log.segments();
    let sources = segments.iter().map(|segment| SegmentSource {
        name: segment.name.clone(),
        reader: Slow(&segment.bytes),
    });
    let expected = verify(&segments, &log.options()).expect("intact");
    assert_eq!(verify_log(sources, &log.options()).expect("intact"), expected);
}

#[test]
fn a_reader_that_fails_is_reported_with_its_position() {
    struct Failing<'a>(&'a [u8]);
    impl std::io::Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer) {
                Ok(0) => Err(std::io::Error::other("bad sector")),
                other => other,
            }
        }
    }
    let log = Log::new();
    let segments = log.segments();
    let sources = segments.iter().map(|segment| SegmentSource {
        name: segment.name.clone(),
        reader: Failing(&segment.bytes[..1_000]),
    });
    let error = verify_log(sources, &log.options()).expect_err("unreadable");
    assert!(matches!(error, LogVerifyError::Read { position: 1_000, .. }), "{error}");
}

#[test]
fn an_empty_folder_is_no_log() {
    assert!(matches!(
        verify(&[], &LogVerifyOptions::default()),
        Err(LogVerifyError::NoSegments)
    ));
}

#[test]
fn the_wrong_key_is_refused_at_the_first_checkpoint() {
    let log = Log::new();
    let name = log.signer.verifier().name().to_string();
    for other in [signer(0x52, &name), signer(0x51, "another.example/log")] {
        let options = LogVerifyOptions {
            key: Some(other.verifier().clone()),
            ..LogVerifyOptions::default()
        };
        let fault = fault(verify(&log.segments(), &options));
        assert_eq!((fault.offset, fault.field), (Offset::new(7), "checkpoint signature"));
    }
}

#[test]
fn a_key_that_vouches_for_nothing_is_an_error() {
    let mut log = Log::new();
    log.records.truncate(5);
    let segments = log.segments_starting_at(&[0]);
    assert!(verify(&segments, &LogVerifyOptions::default()).is_ok());
    assert!(matches!(
        verify(&segments, &log.options()),
        Err(LogVerifyError::NothingSigned { records: 5 })
    ));
    let vouched = LogVerifyOptions {
        checkpoint: Some(log.checkpoint(4)),
        ..log.options()
    };
    let summary = verify(&segments, &vouched).expect("a checkpoint from elsewhere covers four");
    assert_eq!((summary.signed_records(), summary.unsigned_records()), (4, 1));
}

#[test]
fn checkpoints_of_another_tenant_s_log_are_refused() {
    let log = Log::with_signer(signer(0x51, "cluster.example/00000000-0000-0000-0000-000000000000"));
    let fault = fault(verify(&log.segments(), &log.options()));
    assert_eq!((fault.offset, fault.field), (Offset::new(7), "checkpoint origin"));
}

#[test]
fn swapped_segments_are_named() {
    let log = Log::new();
    let intact = log.segments();
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        let mut contents = intact.clone();
        contents[a].bytes = intact[b].bytes.clone();
        contents[b].bytes = intact[a].bytes.clone();
        let found = fault(verify(&contents, &log.options()));
        let offset = log_start(&intact[a]);
        assert_eq!(
            (found.offset, found.part, found.field),
            (offset, LogPart::SegmentHeader, "first_offset")
        );

        let mut order = intact.clone();
        order.swap(a, b);
        let found = fault(verify(&order, &log.options()));
        assert_eq!((found.offset, found.field), (offset, "first_offset"));
    }
}

fn log_start(segment: &Segment) -> Offset {
    let digits = segment.name.strip_suffix(".segment").expect("a segment");
    Offset::new(digits.parse().expect("a number"))
}

#[test]
fn missing_segments_are_named() {
    let log = Log::new();
    let intact = log.segments();
    for missing in [0, 1] {
        let mut segments = intact.clone();
        segments.remove(missing);
        let found = fault(verify(&segments, &log.options()));
        assert_eq!(
            (found.offset, found.field),
            (log_start(&intact[missing]), "first_offset")
        );
    }
}

#[test]
fn a_segment_of_another_tenant_is_named() {
    let log = Log::new();
    let mut segments = log.segments();
    segments[1].bytes[8..24].fill(0x11);
    let crc = crc32c::crc32c(&segments[1].bytes[..64]).to_be_bytes();
    segments[1].bytes[64..68].copy_from_slice(&crc);
    let found = fault(verify(&segments, &log.options()));
    assert_eq!((found.offset, found.field), (Offset::new(9), "tenant"));
}

#[test]
fn a_closed_segment_without_its_footer_is_named() {
    let log = Log::new();
    let mut segments = log.segments();
    let length = segments[0].bytes.len();
    segments[0].bytes.truncate(length - 80);
    let found = fault(verify(&segments, &log.options()));
    assert_eq!((found.offset, found.part), (Offset::new(9), LogPart::SegmentFooter));
}

#[test]
fn bytes_after_a_footer_are_named() {
    let log = Log::new();
    for extra in [1, 80, 184, 1_000] {
        let mut segments = log.segments();
        segments[1].bytes.extend(vec![0x5a; extra]);
        let found = fault(verify(&segments, &log.options()));
        assert_eq!((found.offset, found.part), (Offset::new(16), LogPart::SegmentFooter));
        assert!(matches!(found.finding, Finding::Malformed { .. }));
    }
}

#[test]
fn a_truncation_is_an_error_or_a_torn_tail() {
    let log = Log::new();
    let intact = log.segments();
    let mut boundaries = vec![68];
    for record in &log.records[16..] {
        let last = boundaries.last().expect("not empty");
        boundaries.push(last + 184 + record.header.payload_length as usize);
    }
    let near_a_boundary = |length: usize| boundaries.iter().any(|boundary| boundary.abs_diff(length) <= 8);
    for length in (0..intact[2].bytes.len()).filter(|length| near_a_boundary(*length) || length % 11 == 0) {
        let mut segments = intact.clone();
        segments[2].bytes.truncate(length);
        let strict = verify(&segments, &LogVerifyOptions::default());
        let lenient_options = LogVerifyOptions {
            allow_torn_tail: true,
            ..LogVerifyOptions::default()
        };
        let lenient = verify(&segments, &lenient_options).expect("a live copy");
        match boundaries.iter().position(|boundary| *boundary == length) {
            Some(records) => {
                assert_eq!(strict.expect("whole records").records, 16 + records as u64);
                assert_eq!(lenient.torn_bytes, 0);
            }
            None => {
                let found = fault(strict);
                assert!(matches!(found.finding, Finding::Truncated { .. }), "{found}");
                let whole = boundaries.iter().filter(|boundary| **boundary < length).count();
                assert_eq!(found.offset.get(), 16 + whole.saturating_sub(1) as u64);
                let start = boundaries
                    .iter()
                    .rev()
                    .find(|boundary| **boundary < length)
                    .unwrap_or(&0);
                assert_eq!(lenient.torn_bytes, (length - start) as u64);
            }
        }
        // Only a checkpoint from elsewhere can tell that whole records were cut off.
        let vouched = LogVerifyOptions {
            checkpoint: Some(log.checkpoint(RECORDS)),
            ..lenient_options
        };
        assert!(
            matches!(
                verify(&segments, &vouched),
                Err(LogVerifyError::ShorterThanCheckpoint { size: RECORDS, .. })
            ),
            "{length}"
        );
    }
}

#[test]
fn truncation_within_a_closed_segment_is_never_a_torn_tail() {
    let log = Log::new();
    let intact = log.segments();
    let options = LogVerifyOptions {
        allow_torn_tail: true,
        ..LogVerifyOptions::default()
    };
    for length in (0..intact[0].bytes.len()).step_by(3) {
        let mut segments = intact.clone();
        segments[0].bytes.truncate(length);
        let found = fault(verify(&segments, &options));
        assert!(matches!(found.finding, Finding::Truncated { .. }), "{found}");
        assert_eq!(found.file, intact[0].name);
    }
}

#[test]
fn a_checkpoint_from_elsewhere_is_compared() {
    let log = Log::new();
    for size in 0..=RECORDS {
        let options = LogVerifyOptions {
            checkpoint: Some(log.checkpoint(size)),
            ..log.options()
        };
        let summary = verify(&log.segments(), &options).expect("the same log");
        assert_eq!(summary.given_checkpoint_size, Some(size));
        assert_eq!(summary.signed_records(), size.max(19));
    }
    let mut other = Log::new();
    other.records[20].header.actor = craton_types::ActorId::NIL;
    other.relink(20);
    let options = LogVerifyOptions {
        checkpoint: Some(other.checkpoint(21)),
        ..log.options()
    };
    let found = fault(verify(&log.segments(), &options));
    assert_eq!((found.offset, found.field), (Offset::new(20), "given checkpoint root"));
    let Finding::NotTheSignedRecords { from, end, .. } = found.finding else {
        panic!("{found}");
    };
    assert_eq!((from.get(), end.get()), (19, 21));

    let forged = LogVerifyOptions {
        checkpoint: Some(log.checkpoint(21).replace("\n21\n", "\n20\n")),
        ..log.options()
    };
    assert!(matches!(
        verify(&log.segments(), &forged),
        Err(LogVerifyError::GivenCheckpoint(_))
    ));
    let empty_with_a_root = craton_proof::Checkpoint {
        origin: log.signer.verifier().name().clone(),
        size: 0,
        root: Hash::ZERO,
    };
    let forged = LogVerifyOptions {
        checkpoint: Some(empty_with_a_root.sign(&log.signer)),
        ..log.options()
    };
    assert!(matches!(
        verify(&log.segments(), &forged),
        Err(LogVerifyError::GivenCheckpoint(_))
    ));
}
