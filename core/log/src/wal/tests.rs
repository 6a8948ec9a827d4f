//! The write-ahead log's promises: what was acknowledged is there after anything, and nothing else is served.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use craton_crypto::SecretBytes;
use craton_types::{LogIndex, Term};

use super::format::{RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES};
use super::*;
use crate::disk::{Crash, Fault, FaultKind, MemoryDisk, RealDisk};

const DIR: &str = "/wal";
const SEGMENT_BYTES: u64 = 1024;

/// Different bytes for each call in this process, so that no two segments share a salt.
fn random() -> RandomFill {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Box::new(|bytes| {
        for chunk in bytes.chunks_mut(32) {
            let number = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            let digest = craton_crypto::sha256(&[&number]);
            chunk.copy_from_slice(&digest.as_bytes()[..chunk.len()]);
        }
    })
}

fn options() -> WalOptions {
    WalOptions {
        segment_bytes: SEGMENT_BYTES,
        wrapping_key: SecretBytes::new([7; 32]),
    }
}

fn open(disk: &MemoryDisk) -> Result<(Wal, WalRecovery), WalError> {
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options(), random())
}

fn entry(index: u64) -> WalEntry {
    let length = usize::try_from(index % 5 * 20).expect("short");
    WalEntry {
        index: LogIndex::new(index),
        term: Term::new(1 + index / 4),
        payload: format!("entry {index} {}", "x".repeat(length)).into_bytes(),
    }
}

fn entries(range: std::ops::Range<u64>) -> Vec<WalEntry> {
    range.map(entry).collect()
}

fn all(wal: &Wal) -> Result<Vec<WalEntry>, WalError> {
    wal.entries_from(wal.first_index().unwrap_or(LogIndex::new(1)))?
        .collect()
}

fn segment_files(disk: &MemoryDisk) -> Vec<PathBuf> {
    let wal = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wal");
    disk.paths().into_iter().filter(wal).collect()
}

/// The headers of the records in a segment file, from its start.
fn records(bytes: &[u8]) -> Vec<RecordHeader> {
    let mut headers = Vec::new();
    let mut position = SEGMENT_HEADER_BYTES;
    while let Some(Ok(header)) = bytes[position..].first_chunk().map(RecordHeader::decode) {
        headers.push(header);
        position = usize::try_from(header.end()).expect("small");
    }
    headers
}

#[test]
fn entries_are_there_after_reopening() {
    let disk = MemoryDisk::new();
    let (mut wal, recovery) = open(&disk).expect("created");
    assert_eq!(recovery.generation, 1);
    assert_eq!(
        (wal.first_index(), wal.last_index(), wal.last_term()),
        (None, None, None)
    );
    assert_eq!(all(&wal).expect("readable"), []);
    wal.append(&entries(1..2)).expect("appended");
    wal.append(&entries(2..5)).expect("appended");
    wal.append(&[]).expect("nothing to append");
    assert_eq!(all(&wal).expect("readable"), entries(1..5));
    drop(wal);

    disk.crash(Crash::DropUnsynced);
    let (wal, recovery) = open(&disk).expect("opened");
    assert_eq!(
        recovery,
        WalRecovery {
            generation: 2,
            first_index: Some(LogIndex::new(1)),
            last_index: Some(LogIndex::new(4)),
            torn: None,
            earlier: Vec::new(),
        }
    );
    assert_eq!(wal.last_term(), Some(entry(4).term));
    for from in 1..7 {
        let read: Result<Vec<_>, _> = wal.entries_from(LogIndex::new(from)).expect("not purged").collect();
        assert_eq!(read.expect("readable"), entries(from..5.max(from)), "from {from}");
    }
}

#[test]
fn a_log_may_begin_at_any_index_and_goes_on_from_there() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    wal.append(&entries(100..102)).expect("appended");
    for (index, term) in [(101, 26), (103, 26), (102, 25), (0, 26)] {
        let wrong = WalEntry {
            index: LogIndex::new(index),
            term: Term::new(term),
            payload: Vec::new(),
        };
        assert!(
            matches!(wal.append(&[wrong]), Err(WalError::OutOfOrder { last_index, .. }) if last_index == LogIndex::new(101)),
            "{index} of {term}"
        );
    }
    assert!(
        matches!(wal.append(&[entry(102), entry(104)]), Err(WalError::OutOfOrder { .. })),
        "a gap within a batch"
    );
    wal.append(&entries(102..103)).expect("a refused batch changes nothing");
    assert_eq!(all(&wal).expect("readable"), entries(100..103));
}

#[test]
fn batches_that_do_not_fit_get_their_own_segment() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    let long = WalEntry {
        payload: vec![9; 3_000],
        ..entry(3)
    };
    let mut expected = entries(1..3);
    expected.push(long.clone());
    expected.extend(entries(4..30));
    for entry in &expected {
        wal.append(std::slice::from_ref(entry)).expect("appended");
    }
    assert!(segment_files(&disk).len() > 3, "{:?}", segment_files(&disk));
    assert_eq!(all(&wal).expect("readable"), expected);
    let (wal, _) = open(&disk).expect("opened");
    assert_eq!(all(&wal).expect("readable"), expected);

    let too_long = WalEntry {
        payload: vec![0; usize::try_from(BATCH_BYTES_MAX).expect("64 bits")],
        ..entry(30)
    };
    let (mut wal, _) = open(&disk).expect("opened");
    assert!(matches!(
        wal.append(&[too_long]),
        Err(WalError::BatchTooLong { bytes, bytes_max: BATCH_BYTES_MAX }) if bytes == BATCH_BYTES_MAX + 12
    ));
    wal.append(&entries(30..31)).expect("a refused batch changes nothing");
}

/// A record and a mark that fill the segment to the last byte fit; one byte more does not.
#[test]
fn a_segment_is_filled_to_its_last_byte() {
    let room = usize::try_from(SEGMENT_BYTES).expect("small") - SEGMENT_HEADER_BYTES;
    let mark = usize::try_from(MARK_BYTES).expect("small");
    let payload = room - mark - (RECORD_HEADER_BYTES + 12 + 16);
    for (length, newest) in [(payload, 1), (payload + 1, 2), (payload + 2, 2)] {
        let disk = MemoryDisk::new();
        let (mut wal, _) = open(&disk).expect("created");
        let first = WalEntry {
            payload: vec![1; length],
            ..entry(1)
        };
        wal.append(&[first]).expect("appended");
        let files = segment_files(&disk);
        let expected = Path::new(DIR).join(format!("{newest:020}.wal"));
        assert_eq!(files, [expected], "an empty segment is replaced, not kept");
        let capacity = disk.contents(&files[0]).expect("the segment").len();
        assert_eq!(capacity, room.max(length + room - payload) + SEGMENT_HEADER_BYTES);
        wal.mark_synced().expect("there is room for a mark");
        wal.append(&entries(2..3)).expect("appended");
        assert_eq!(segment_files(&disk).len(), 2);
    }
}

#[test]
fn purging_removes_whole_segments_and_never_the_newest() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    for index in 1..40 {
        wal.append(&entries(index..index + 1)).expect("appended");
    }
    let before = segment_files(&disk).len();
    wal.purge(LogIndex::new(0)).expect("nothing to purge");
    assert_eq!(segment_files(&disk).len(), before);

    wal.purge(LogIndex::new(20)).expect("purged");
    let first = wal.first_index().expect("entries are left");
    assert!(
        first > LogIndex::new(1) && first <= LogIndex::new(21),
        "first is {first}"
    );
    assert_eq!(all(&wal).expect("readable"), entries(first.get()..40));
    assert!(matches!(
        wal.entries_from(LogIndex::new(1)),
        Err(WalError::Purged { first: found, .. }) if found == first
    ));
    let (mut wal, recovery) = open(&disk).expect("opened");
    assert_eq!(recovery.first_index, Some(first));
    assert_eq!(all(&wal).expect("readable"), entries(first.get()..40));

    wal.purge(LogIndex::new(1000)).expect("purged");
    assert_eq!(segment_files(&disk).len(), 1);
    assert_eq!(
        wal.last_index(),
        Some(LogIndex::new(39)),
        "the log remembers where it was"
    );
    drop(wal);
    let (mut wal, _) = open(&disk).expect("opened");
    wal.purge(LogIndex::new(1000)).expect("purged");
    // The batch that was copied when opening is in the newest segment.
    wal.append(&entries(40..41))
        .expect("the next index is known even without entries");
}

#[test]
fn an_entry_is_found_without_reading_the_log_through() {
    let disk = MemoryDisk::new();
    let options = WalOptions {
        segment_bytes: 1024 * 1024,
        ..options()
    };
    let open = || Wal::open(Arc::new(disk.clone()), Path::new(DIR), options.clone(), random());
    let long = |index| WalEntry {
        payload: vec![3; 10_000],
        ..entry(index)
    };
    let (mut wal, _) = open().expect("created");
    for index in 1..60 {
        wal.append(&[long(index)]).expect("appended");
    }
    drop(wal);
    let (mut wal, _) = open().expect("opened");
    for index in 60..150 {
        wal.append(&[long(index)]).expect("appended");
    }
    for from in 1..150 {
        disk.set_fault(None);
        let first = wal.entries_from(LogIndex::new(from)).expect("not purged").next();
        assert_eq!(first.expect("an entry").expect("readable"), long(from));
        // A header and a payload for each record in 64 KiB.
        assert!(disk.calls() <= 16, "{} calls to find entry {from}", disk.calls());
    }
    let read: Vec<_> = wal.entries_from(LogIndex::new(30)).expect("not purged").collect();
    assert_eq!(read.len(), 120);
}

#[test]
fn a_batch_is_one_write_and_one_sync() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    disk.set_fault(None);
    wal.append(&entries(1..4)).expect("appended");
    assert_eq!(disk.calls(), 2);
}

#[test]
fn positions_are_never_written_twice_under_one_key() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    wal.append(&entries(1..2)).expect("appended");
    // A refused batch has spent its position.
    disk.set_fault(Some(Fault {
        call: 0,
        kind: FaultKind::NoSpace,
        sticky: false,
    }));
    assert!(matches!(wal.append(&entries(2..3)), Err(WalError::NoSpace { .. })));
    disk.set_fault(None);
    let spent = disk.contents(&segment_files(&disk)[0]).expect("the segment");
    wal.append(&entries(2..4)).expect("there is space again");
    assert_eq!(disk.contents(&segment_files(&disk)[0]), Some(spent));
    assert_eq!(all(&wal).expect("readable"), entries(1..4));
    // So has everything before an opening, whether anything was written there or not.
    for _ in 0..3 {
        let files = segment_files(&disk);
        let contents: Vec<_> = files.iter().map(|path| disk.contents(path)).collect();
        let (mut wal, recovery) = open(&disk).expect("opened");
        assert_eq!(recovery.torn, None, "what a refused batch left does not count");
        let next = wal.last_index().expect("entries").get() + 1;
        wal.append(&entries(next..next + 1)).expect("appended");
        for (path, before) in files.iter().zip(contents) {
            let now = disk.contents(path);
            assert!(now == before || now.is_none(), "{} was written again", path.display());
        }
    }
    let (wal, _) = open(&disk).expect("opened");
    assert_eq!(all(&wal).expect("readable"), entries(1..7));
}

#[test]
fn a_full_disk_refuses_the_batch_and_nothing_else() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    let mut next = 1;
    let mut refused = 0;
    while next < 60 {
        // Every third batch meets a full disk, at the write or while a segment is made.
        let fault = Fault {
            call: next % 4,
            kind: FaultKind::NoSpace,
            sticky: true,
        };
        disk.set_fault(Some(fault).filter(|_| next % 3 == 0));
        match wal.append(&entries(next..next + 1)) {
            Ok(()) => next += 1,
            Err(WalError::NoSpace { .. }) => {
                refused += 1;
                disk.set_fault(None);
                wal.append(&entries(next..next + 1)).expect("there is space again");
                next += 1;
            }
            Err(_) => {
                disk.set_fault(None);
                wal = open(&disk).expect("opened").0;
                next = wal.last_index().map_or(1, |last| last.get() + 1);
            }
        }
    }
    assert!(refused > 3, "{refused} refusals");
    assert_eq!(all(&wal).expect("readable"), entries(1..60));
    assert!(!disk.paths().iter().any(|path| path.to_string_lossy().ends_with(".tmp")));
}

#[test]
fn a_failed_sync_poisons_the_log_and_opening_copies_the_suspect_batch() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    wal.append(&entries(1..2)).expect("appended");
    disk.set_fault(Some(Fault {
        call: 1,
        kind: FaultKind::Io,
        sticky: false,
    }));
    assert!(matches!(
        wal.append(&entries(2..3)),
        Err(WalError::Io { operation: "sync", .. })
    ));
    assert!(matches!(wal.append(&entries(2..3)), Err(WalError::Poisoned)));
    assert!(matches!(wal.mark_synced(), Err(WalError::Poisoned)));
    assert!(matches!(wal.purge(LogIndex::new(1)), Err(WalError::Poisoned)));
    drop(wal);

    // The process is started again: the page cache shows the batch that the disk never got.
    let (wal, recovery) = open(&disk).expect("opened");
    assert_eq!(recovery.last_index, Some(LogIndex::new(2)));
    drop(wal);
    disk.crash(Crash::DropUnsynced);
    let (wal, _) = open(&disk).expect("opened");
    assert_eq!(
        all(&wal).expect("readable"),
        entries(1..3),
        "what was shown once is durable"
    );
}

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

    // A mark shows that the last batch was synced too.
    let marked = several_segments();
    let (mut wal, _) = open(&marked).expect("opened");
    wal.append(&entries(11..12)).expect("appended");
    wal.mark_synced().expect("marked");
    wal.mark_synced().expect("one mark is enough");
    let files = segment_files(&marked);
    let headers = records(&marked.contents(files.last().expect("segments")).expect("the segment"));
    assert_eq!(headers.last().map(|header| header.kind), Some(RecordKind::Mark));
    let mark_start = usize::try_from(headers.last().expect("a mark").position).expect("small");
    let newest = files.len() - 1;
    let counted: Vec<u64> = (1..files.len())
        .map(|number| {
            let bytes = marked.contents(&files[number]).expect("the segment");
            let header = bytes.first_chunk().and_then(format::SegmentHeader::decode);
            header.expect("a whole header").0.previous_end
        })
        .collect();
    check_every_flip(&marked, |number, at| match (number, at) {
        (number, at) if number == newest && at < mark_start => Expected::Corrupt,
        (number, _) if number == newest => Expected::TornWithoutLoss,
        (number, at) if (at as u64) < counted[number] => Expected::Corrupt,
        _ => Expected::Unharmed,
    });
}

#[test]
fn a_torn_tail_is_reported_by_later_openings_until_it_is_purged() {
    let disk = several_segments();
    let newest = segment_files(&disk).pop().expect("segments");
    let last = records(&disk.contents(&newest).expect("the segment"));
    let last = last.last().expect("records");
    let at = usize::try_from(last.position).expect("small");
    disk.tamper(&newest, |bytes| bytes[at + 60] ^= 1);
    let (wal, recovery) = open(&disk).expect("opened");
    let torn = recovery.torn.expect("a torn tail");
    assert_eq!(
        torn,
        TornTail {
            generation: 3,
            segment: 2,
            start: last.position,
            end: last.end(),
            reason: Damage::PayloadChecksum,
        }
    );
    assert_eq!(all(&wal).expect("readable"), entries(1..10));
    drop(wal);
    let (mut wal, recovery) = open(&disk).expect("opened");
    assert_eq!((recovery.torn, recovery.earlier), (None, vec![torn]));
    wal.append(&entries(10..14)).expect("appended");
    wal.purge(LogIndex::new(100)).expect("purged");
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
    let cases: [(&str, Tamper, Damage); 7] = [
        (
            "a segment is missing",
            |disk, files| disk.remove(&files[1]).expect("removed"),
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
    let other = WalOptions::new(SecretBytes::new([8; 32]));
    let opened = Wal::open(Arc::new(disk.clone()), Path::new(DIR), other, random());
    assert!(matches!(opened, Err(WalError::WrongKey { segment: 2 })));
    let payload = b"entry 1";
    for path in disk.paths() {
        let bytes = disk.contents(&path).expect("the segment");
        assert!(!bytes.windows(payload.len()).any(|window| window == payload));
    }
}

/// What a run of appends was told.
struct Told {
    /// Entries up to here were acknowledged.
    acknowledged: u64,
    /// Entries up to here were tried.
    tried: u64,
}

/// Opens, appends batches of one to three entries with purges and marks between, and stops at the first error
/// that is not a refusal.
fn run(disk: &MemoryDisk, until: u64, told: &mut Told) {
    let Ok((mut wal, _)) = open(disk) else { return };
    let start = wal.last_index().map_or(1, |last| last.get() + 1);
    let mut next = start;
    while next < until {
        let end = (next + 1 + next % 3).min(until);
        told.tried = told.tried.max(end - 1);
        match wal.append(&entries(next..end)) {
            Ok(()) => {
                told.acknowledged = end - 1;
                next = end;
            }
            Err(WalError::NoSpace { .. }) => {}
            Err(_) => {
                assert!(matches!(wal.append(&entries(next..end)), Err(WalError::Poisoned)));
                return;
            }
        }
        if next.is_multiple_of(4) {
            let _ = wal.mark_synced();
        }
        if next.is_multiple_of(7) {
            let _ = wal.purge(LogIndex::new(next.saturating_sub(8)));
        }
    }
}

fn check_nothing_lost(disk: &MemoryDisk, told: &Told, case: &str) {
    let (wal, _) = open(disk).unwrap_or_else(|error| panic!("{case}: {error}"));
    let read = all(&wal).unwrap_or_else(|error| panic!("{case}: {error}"));
    let last = wal.last_index().map_or(0, LogIndex::get);
    assert!(
        last >= told.acknowledged,
        "{case}: {last} of {} acknowledged",
        told.acknowledged
    );
    assert!(
        last <= told.tried.max(told.acknowledged),
        "{case}: more than was ever appended"
    );
    let first = wal.first_index().map_or(last + 1, LogIndex::get);
    assert_eq!(read, entries(first..last + 1), "{case}");
    assert!(
        first <= told.acknowledged.saturating_sub(8).max(1),
        "{case}: purged too much"
    );
}

fn calls_of_a_run() -> u64 {
    let disk = MemoryDisk::new();
    let mut told = Told {
        acknowledged: 0,
        tried: 0,
    };
    run(&disk, 12, &mut told);
    run(&disk, 24, &mut told);
    assert_eq!(told.acknowledged, 23);
    disk.calls()
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_acknowledged() {
    for call in 0..calls_of_a_run() {
        let disk = MemoryDisk::new();
        disk.set_fault(Some(Fault {
            call,
            kind: FaultKind::Io,
            sticky: true,
        }));
        let mut told = Told {
            acknowledged: 0,
            tried: 0,
        };
        run(&disk, 12, &mut told);
        run(&disk, 24, &mut told);
        let crashes = [
            Crash::DropUnsynced,
            Crash::Torn { seed: call },
            Crash::Torn { seed: !call },
        ];
        for crash in crashes {
            let cut = disk.fork();
            cut.crash(crash);
            let case = format!("power cut at call {call}, {crash:?}");
            check_nothing_lost(&cut, &told, &case);
            // And the log goes on from there, through another power cut.
            let mut later = Told { ..told };
            run(&cut, 30, &mut later);
            assert_eq!(later.acknowledged, 29, "{case}");
            cut.crash(Crash::DropUnsynced);
            check_nothing_lost(&cut, &later, &case);
        }
    }
}

#[test]
fn any_call_may_fail_once() {
    for kind in [FaultKind::Io, FaultKind::NoSpace, FaultKind::ShortWrite] {
        for call in 0..calls_of_a_run() {
            let disk = MemoryDisk::new();
            disk.set_fault(Some(Fault {
                call,
                kind,
                sticky: false,
            }));
            let mut told = Told {
                acknowledged: 0,
                tried: 0,
            };
            run(&disk, 12, &mut told);
            if kind == FaultKind::ShortWrite {
                assert!(told.acknowledged == 11, "a short write is no failure");
            }
            let case = format!("{kind:?} at call {call}");
            let cut = disk.fork();
            cut.crash(Crash::Torn { seed: call });
            check_nothing_lost(&cut, &told, &case);
            disk.set_fault(None);
            check_nothing_lost(&disk, &told, &case);
            run(&disk, 24, &mut told);
            assert_eq!(told.acknowledged, 23, "{case}");
            check_nothing_lost(&disk, &told, &case);
        }
    }
}

#[test]
fn the_real_disk_keeps_a_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("node/wal");
    let open = || {
        Wal::open(
            Arc::new(RealDisk),
            &path,
            WalOptions::new(SecretBytes::new([7; 32])),
            random(),
        )
    };
    let (mut wal, _) = open().expect("created");
    wal.append(&entries(1..4)).expect("appended");
    wal.append(&entries(4..6)).expect("appended");
    drop(wal);
    let (mut wal, _) = open().expect("opened");
    assert_eq!(all(&wal).expect("readable"), entries(1..6));
    wal.append(&entries(6..7)).expect("appended");
    // The batch 4..6 was copied to the second segment when opening; the first holds 1..4.
    wal.purge(LogIndex::new(3)).expect("purged");
    assert_eq!(all(&wal).expect("readable"), entries(4..7));
}
