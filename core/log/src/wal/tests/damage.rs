//! Bytes and files that are not what was written.

use super::*;

/// A log of several segments and a list of what each byte's damage must lead to.
fn several_segments() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    for batch in [1..2, 2..5, 5..6, 6..8, 8..9, 9..10, 10..11] {
        wal.append(&entries(batch)).expect("appended");
    }
    disk
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Corrupt,
    /// The last batch is set aside.
    Torn,
    /// Something is set aside, and nothing is missing.
    TornWithoutLoss,
    /// The bytes do not count.
    Unharmed,
}

fn check_every_flip(disk: &MemoryDisk, expected_at: impl Fn(usize, usize) -> Expected) {
    let complete = all(&open(&disk.fork()).expect("opened").0).expect("readable");
    let files = segment_files(disk);
    for (number, path) in files.iter().enumerate() {
        let bytes = disk.contents(path).expect("the segment");
        for at in 0..bytes.len() {
            let mask = 1u8 << (at % 8);
            let flipped = disk.fork();
            flipped.tamper(path, |bytes| bytes[at] ^= mask);
            let place = format!("segment {number} byte {at}");
            let found = match open(&flipped) {
                Err(WalError::Corrupt { position, .. }) => {
                    assert!(position <= at as u64, "{place}: reported at {position}");
                    Expected::Corrupt
                }
                Err(error) => panic!("{place}: {error}"),
                Ok((wal, recovery)) => {
                    let entries = all(&wal).expect("readable");
                    assert!(
                        complete.starts_with(&entries),
                        "{place}: served what was never appended"
                    );
                    if let Some(torn) = recovery.torn {
                        let kept = flipped.contents(&Path::new(DIR).join(torn.file_name()));
                        let range =
                            usize::try_from(torn.start).expect("small")..usize::try_from(torn.end).expect("small");
                        let mut damaged = bytes.clone();
                        damaged[at] ^= mask;
                        assert!(range.contains(&at), "{place}: {torn:?}");
                        assert_eq!(kept.as_deref(), Some(&damaged[range]), "{place}");
                    }
                    match (recovery.torn, entries == complete) {
                        (None, true) => Expected::Unharmed,
                        (Some(_), true) => Expected::TornWithoutLoss,
                        (Some(_), false) => Expected::Torn,
                        (None, false) => panic!("{place}: lost entries without a word"),
                    }
                }
            };
            assert_eq!(found, expected_at(number, at), "{place}");
        }
    }
}

#[test]
fn every_flipped_byte_is_corruption_or_a_torn_tail_by_the_rules() {
    let disk = several_segments();
    let files = segment_files(&disk);
    assert_eq!(files.len(), 2, "the story needs two segments");
    let ends: Vec<Vec<usize>> = files
        .iter()
        .map(|path| {
            let headers = records(&disk.contents(path).expect("the segment"));
            headers
                .iter()
                .map(|header| usize::try_from(header.end()).expect("small"))
                .collect()
        })
        .collect();
    let [.., last_start, last_end] = ends[1][..] else {
        panic!("the newest segment has two records")
    };
    let first_end = *ends[0].last().expect("records");
    check_every_flip(&disk, |number, at| match (number, at) {
        (0, at) if at < first_end => Expected::Corrupt,
        (0, _) => Expected::Unharmed,
        (_, at) if at < last_start => Expected::Corrupt,
        (_, at) if at < last_end => Expected::Torn,
        _ => Expected::TornWithoutLoss,
    });

    // So does the copy that opening the log makes.
    let reopened = several_segments();
    open(&reopened).expect("opened");
    let files = segment_files(&reopened);
    assert_eq!(files.len(), 3);
    let copied = records(&reopened.contents(&files[2]).expect("the segment"));
    let copied_end = usize::try_from(copied.last().expect("the copied batch").end()).expect("small");
    check_every_flip(&reopened, |number, at| match (number, at) {
        (0, at) if at < first_end => Expected::Corrupt,
        (1, at) if at < last_start => Expected::Corrupt,
        (2, at) if at < copied_end => Expected::Corrupt,
        (2, _) => Expected::TornWithoutLoss,
        _ => Expected::Unharmed,
    });

    // Once the superblock says so, the last batch is known to be synced too.
    let marked = several_segments();
    let (mut wal, _) = open(&marked).expect("opened");
    wal.append(&entries(11..12)).expect("appended");
    wal.mark_synced().expect("marked");
    let files = segment_files(&marked);
    let headers = records(&marked.contents(files.last().expect("segments")).expect("the segment"));
    let marked_end = usize::try_from(headers.last().expect("records").end()).expect("small");
    let newest = files.len() - 1;
    let counted: Vec<u64> = (1..files.len())
        .map(|number| {
            let bytes = marked.contents(&files[number]).expect("the segment");
            let header = bytes.first_chunk().and_then(format::SegmentHeader::decode);
            header.expect("a whole header").0.previous_end
        })
        .collect();
    check_every_flip(&marked, |number, at| match (number, at) {
        (number, at) if number == newest && at < marked_end => Expected::Corrupt,
        (number, _) if number == newest => Expected::TornWithoutLoss,
        (number, at) if (at as u64) < counted[number] => Expected::Corrupt,
        _ => Expected::Unharmed,
    });
}

#[test]
fn every_flipped_byte_of_a_closed_segment_is_found_while_the_log_runs() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    for index in 1..30 {
        wal.append(&entries(index..index + 1)).expect("appended");
    }
    let files = segment_files(&disk);
    let [closed @ .., newest] = files.as_slice() else {
        panic!("no segments")
    };
    let lengths = closed.iter().map(|path| {
        let headers = records(&disk.contents(path).expect("the segment"));
        headers.last().expect("records").end()
    });
    let bytes: u64 = lengths.clone().map(|end| end - SEGMENT_HEADER_BYTES as u64).sum();
    assert_eq!(wal.scrub().run().expect("whole"), bytes);
    for (path, end) in closed.iter().zip(lengths) {
        for at in SEGMENT_HEADER_BYTES as u64..end {
            disk.flip(path, at, 0x08);
            let found = wal.scrub().run();
            assert!(
                matches!(found, Err(WalError::Corrupt { position, .. }) if position <= at),
                "{at}"
            );
            disk.flip(path, at, 0x08);
        }
    }
    disk.flip(newest, SEGMENT_HEADER_BYTES as u64 + 70, 0x08);
    assert!(wal.scrub().run().is_ok(), "the newest is being written");
}

#[test]
fn a_torn_tail_is_reported_by_later_openings_until_it_is_purged() {
    let disk = several_segments();
    let newest = segment_files(&disk).pop().expect("segments");
    let last = records(&disk.contents(&newest).expect("the segment"));
    let last = last.last().expect("records");
    let at = usize::try_from(last.position).expect("small");
    disk.tamper(&newest, |bytes| bytes[at + RECORD_HEADER_BYTES + 4] ^= 1);
    let (wal, recovery) = open(&disk).expect("opened");
    let torn = recovery.torn.expect("a torn tail");
    assert_eq!(
        torn,
        TornTail {
            generation: 2,
            segment: 2,
            start: last.position,
            end: last.end(),
            reason: Damage::PayloadChecksum,
            was_synced: false,
        }
    );
    assert_eq!(all(&wal).expect("readable"), entries(1..10));
    drop(wal);
    let (mut wal, recovery) = open(&disk).expect("opened");
    assert_eq!((recovery.torn, recovery.earlier), (None, vec![torn]));
    wal.append(&entries(10..14)).expect("appended");
    wal.begin_segment();
    wal.append(&entries(14..15)).expect("appended");
    wal.purge(LogIndex::new(100), Vec::new()).expect("purged");
    drop(wal);
    let (_, recovery) = open(&disk).expect("opened");
    assert_eq!(recovery.earlier, vec![]);
    disk.crash(Crash::DropUnsynced);
    assert!(
        disk.contents(&Path::new(DIR).join(torn.file_name()))
            .is_some_and(|bytes| bytes.len() as u64 == torn.end - torn.start),
        "the evidence stays"
    );
}

#[test]
fn damage_to_files_as_a_whole_is_corruption() {
    type Tamper = fn(&MemoryDisk, &[PathBuf]);
    let cases: [(&str, Tamper, Damage); 9] = [
        (
            "a segment is missing",
            |disk, files| disk.remove(&files[1]).expect("removed"),
            Damage::Missing,
        ),
        (
            "the oldest segment is missing",
            |disk, files| disk.remove(&files[0]).expect("removed"),
            Damage::Missing,
        ),
        (
            "the newest segment is missing",
            |disk, files| disk.remove(files.last().expect("segments")).expect("removed"),
            Damage::Missing,
        ),
        (
            "two segments are swapped",
            |disk, files| {
                let first = disk.contents(&files[0]).expect("the segment");
                let second = disk.contents(&files[1]).expect("the segment");
                disk.tamper(&files[0], |bytes| *bytes = second);
                disk.tamper(&files[1], |bytes| *bytes = first);
            },
            Damage::SegmentHeader,
        ),
        (
            "the newest segment is cut",
            |disk, files| disk.tamper(files.last().expect("segments"), |bytes| bytes.truncate(bytes.len() - 1)),
            Damage::Truncated,
        ),
        (
            "the newest segment is cut within its header",
            |disk, files| disk.tamper(files.last().expect("segments"), |bytes| bytes.truncate(100)),
            Damage::Truncated,
        ),
        (
            "an older segment is zeroed behind its header",
            |disk, files| disk.tamper(&files[0], |bytes| bytes[SEGMENT_HEADER_BYTES..].fill(0)),
            Damage::Magic,
        ),
        (
            "a record is zeroed and a later one is whole",
            |disk, files| {
                let newest = files.last().expect("segments");
                let headers = records(&disk.contents(newest).expect("the segment"));
                let first = &headers[0];
                let start = usize::try_from(first.position).expect("small");
                let end = usize::try_from(first.end()).expect("small");
                disk.tamper(newest, |bytes| bytes[start..end].fill(0));
            },
            Damage::Magic,
        ),
        (
            "a record is replaced by one with right checksums",
            |disk, files| {
                disk.tamper(&files[0], |bytes| {
                    let mut header = records(bytes)[0];
                    let start = usize::try_from(header.position).expect("small");
                    let payload = start + RECORD_HEADER_BYTES..usize::try_from(header.end()).expect("small");
                    bytes[payload.start] ^= 1;
                    header.payload_checksum = crc32c::crc32c(&bytes[payload]);
                    bytes[start..start + RECORD_HEADER_BYTES].copy_from_slice(&header.encode());
                });
            },
            Damage::Authentication,
        ),
    ];
    use crate::disk::Disk as _;
    for (case, tamper, expected) in cases {
        let disk = MemoryDisk::new();
        let (mut wal, _) = open(&disk).expect("created");
        for index in 1..40 {
            wal.append(&entries(index..index + 1)).expect("appended");
        }
        drop(wal);
        tamper(&disk, &segment_files(&disk));
        match open(&disk) {
            Err(WalError::Corrupt { reason, .. }) => assert_eq!(reason, expected, "{case}"),
            Err(error) => panic!("{case}: {error}"),
            Ok(_) => panic!("{case}: opened"),
        }
        assert!(
            !disk
                .paths()
                .iter()
                .any(|path| path.extension().is_some_and(|extension| extension == "torn")),
            "{case}: nothing is set aside"
        );
    }
}

#[test]
fn another_key_opens_nothing() {
    let disk = several_segments();
    let other = WalOptions::new(NodeId::new(1), SecretBytes::new([8; 32]));
    let opened = Wal::open(Arc::new(disk.clone()), Path::new(DIR), other, random());
    assert!(matches!(opened, Err(WalError::WrongKey { segment: 2 })));
    let payload = b"entry 1";
    for path in disk.paths() {
        let bytes = disk.contents(&path).expect("the segment");
        assert!(!bytes.windows(payload.len()).any(|window| window == payload));
    }
}
