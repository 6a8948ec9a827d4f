//! The tenant log's promises: an unbroken chain of exactly the records that were appended, after anything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_crypto::{chunk_hash, record_hash};
use craton_proof::{
    HashReader, LogVerifyOptions, SegmentSource, inclusion_proof, merkle_tree_hash, verify_inclusion, verify_log,
};
use craton_types::{
    ActorId, BODY_BYTES_MAX, CorrelationId, HEADER_BYTES, Hash, IdempotencyId, KeyEpoch, Offset, RECORD_CRC_BYTES,
    Record, RecordHeader, RecordKind, SEGMENT_FOOTER_BYTES, SEGMENT_HEADER_BYTES, StreamId, StreamSequence, TenantId,
    Timestamp,
};

use super::*;
use crate::disk::{Crash, Disk as _, Fault, FaultKind, MemoryDisk, RealDisk};

const DIR: &str = "/tenants/a";
const TENANT: TenantId = TenantId::new([5; 16]);
/// Room for eight of the records below.
const SEGMENT_BYTES: u64 = 2048;

fn open(disk: &MemoryDisk) -> Result<TenantLog, TenantLogError> {
    open_with(disk, SEGMENT_BYTES)
}

fn open_with(disk: &MemoryDisk, segment_bytes: u64) -> Result<TenantLog, TenantLogError> {
    let options = TenantLogOptions { segment_bytes };
    TenantLog::open(Arc::new(disk.clone()), Path::new(DIR), TENANT, options)
}

fn record_with(offset: u64, previous_hash: Hash, chunks: Vec<Vec<u8>>) -> Record {
    let leaves: Vec<Hash> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
    Record {
        header: RecordHeader {
            kind: RecordKind::Data,
            tenant: TENANT,
            stream: StreamId::new(0),
            offset: Offset::new(offset),
            stream_sequence: StreamSequence::new(offset),
            timestamp: Timestamp::new(1_000 + offset),
            actor: ActorId::new([1; 16]),
            correlation_id: CorrelationId::new([2; 16]),
            idempotency_id: IdempotencyId::NIL,
            key_epoch: KeyEpoch::ZERO,
            chunk_count: u32::try_from(chunks.len()).expect("few"),
            payload_length: u32::try_from(Record::body_length(&chunks)).expect("short"),
            payload_hash: merkle_tree_hash(&leaves),
            previous_hash,
        },
        chunks,
    }
}

/// The records of a log, always the same ones.
fn records(count: u64) -> Vec<Record> {
    let mut previous_hash = Hash::default();
    let mut records = Vec::new();
    for offset in 0..count {
        let length = usize::try_from(offset % 4 * 17).expect("short");
        let chunks = vec![offset.to_be_bytes().to_vec(), vec![7; length]];
        let record = record_with(offset, previous_hash, chunks);
        previous_hash = record_hash(&record.header.encode());
        records.push(record);
    }
    records
}

fn append_all(log: &mut TenantLog, records: &[Record]) -> Result<(), TenantLogError> {
    records.iter().try_for_each(|record| log.append(record).map(|_| ()))
}

fn all(log: &TenantLog) -> Result<Vec<Record>, TenantLogError> {
    log.reader().read_range(Offset::ZERO, usize::MAX, u64::MAX)
}

fn files(disk: &MemoryDisk, suffix: &str) -> Vec<PathBuf> {
    let paths = disk.paths().into_iter();
    paths.filter(|path| path.to_string_lossy().ends_with(suffix)).collect()
}

/// Checks every complete subtree against the records.
fn check_hashes(log: &TenantLog, records: &[Record]) -> Result<(), TenantLogError> {
    let leaves: Vec<Hash> = records
        .iter()
        .map(|record| record_hash(&record.header.encode()))
        .collect();
    let reader = log.reader();
    for level in 0..u8::try_from(records.len().ilog2() + 1).expect("small") {
        let length = 1 << level;
        for (index, subtree) in leaves.chunks_exact(length).enumerate() {
            assert_eq!(
                reader.hash(level, index as u64)?,
                merkle_tree_hash(subtree),
                "level {level} index {index}"
            );
        }
    }
    Ok(())
}

#[test]
fn readers_see_what_was_published() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    let reader = log.reader();
    let records = records(30);
    assert_eq!((log.next_offset(), log.last_hash()), (Offset::ZERO, Hash::default()));
    append_all(&mut log, &records[..20]).expect("appended");
    assert_eq!(log.next_offset(), Offset::new(20));
    assert_eq!(log.last_hash(), records[20].header.previous_hash);
    assert_eq!(reader.published(), Offset::ZERO);
    assert_eq!(reader.read(Offset::ZERO).expect("readable"), None, "not published");
    assert!(matches!(
        reader.hash(0, 0),
        Err(TenantLogError::BeyondEnd { size: 0, .. })
    ));

    log.publish().expect("published");
    append_all(&mut log, &records[20..]).expect("appended");
    assert_eq!(reader.published(), Offset::new(20));
    for offset in 0..30 {
        let read = reader.read(Offset::new(offset)).expect("readable");
        let expected = records
            .get(usize::try_from(offset).expect("small"))
            .filter(|_| offset < 20);
        assert_eq!(read.as_ref(), expected, "record {offset}");
    }
    log.publish().expect("published");
    assert_eq!(all(&log).expect("readable"), records);
    assert!(files(&disk, ".segment").len() > 3, "the story needs several segments");
}

#[test]
fn ranges_end_at_their_limits() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    let records = records(30);
    append_all(&mut log, &records).expect("appended");
    log.publish().expect("published");
    let reader = log.reader();
    let stored: Vec<u64> = records
        .iter()
        .map(|record| stored_bytes(record.header.payload_length))
        .collect();
    let first_three: u64 = stored[4..7].iter().sum();
    for (records_max, bytes_max, count) in [
        (0, u64::MAX, 0),
        (1, u64::MAX, 1),
        (26, u64::MAX, 26),
        (1_000, u64::MAX, 26),
        (10, 0, 1),
        (10, first_three - 1, 2),
        (10, first_three, 3),
    ] {
        let read = reader
            .read_range(Offset::new(4), records_max, bytes_max)
            .expect("readable");
        assert_eq!(read, records[4..4 + count], "{records_max} records, {bytes_max} bytes");
    }
    assert_eq!(reader.read_range(Offset::new(30), 10, u64::MAX).expect("readable"), []);
    assert_eq!(
        reader
            .read_range(Offset::new(u64::MAX), 10, u64::MAX)
            .expect("readable"),
        []
    );
}

#[test]
fn appending_again_compares() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    let records = records(40);
    append_all(&mut log, &records[..35]).expect("appended");
    append_all(&mut log, &records[..35]).expect("the buffered and the written are there already");
    log.sync().expect("synced");
    let before: Vec<_> = files(&disk, ".segment")
        .iter()
        .map(|path| disk.contents(path))
        .collect();
    append_all(&mut log, &records[..35]).expect("there already");
    append_all(&mut log, &records[3..5]).expect("there already");
    log.publish().expect("published");
    let after: Vec<_> = files(&disk, ".segment")
        .iter()
        .map(|path| disk.contents(path))
        .collect();
    assert_eq!(before, after, "appending again changes nothing");
    append_all(&mut log, &records[35..]).expect("appended");
    assert_eq!(
        log.append(&records[39]).expect("there already"),
        record_hash(&records[39].header.encode())
    );

    for offset in [0, 17, 39] {
        let mut other_header = records[offset].clone();
        other_header.header.actor = ActorId::new([9; 16]);
        let mut other_body = records[offset].clone();
        other_body.chunks[0][0] ^= 1;
        for other in [other_header, other_body] {
            assert!(
                matches!(log.append(&other), Err(TenantLogError::Diverged { offset: found }) if found == other.header.offset)
            );
        }
    }
    log.publish().expect("a refused record changes nothing");
    assert_eq!(all(&log).expect("readable"), records);
}

#[test]
fn records_that_do_not_fit_are_refused() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    let records = records(4);
    append_all(&mut log, &records[..2]).expect("appended");
    assert!(matches!(
        log.append(&records[3]),
        Err(TenantLogError::Gap { offset, next }) if (offset, next) == (Offset::new(3), Offset::new(2))
    ));
    let next = &records[2];
    type Change = fn(&mut Record);
    let cases: [(&str, Change); 4] = [
        ("tenant", |record| record.header.tenant = TenantId::new([6; 16])),
        ("chunk_count", |record| record.header.chunk_count += 1),
        ("payload_length", |record| record.header.payload_length -= 1),
        ("payload_length", |record| {
            let length = BODY_BYTES_MAX as usize - 4 + 1;
            record.chunks = vec![vec![0; length]];
            record.header.chunk_count = 1;
            record.header.payload_length = BODY_BYTES_MAX + 1;
        }),
    ];
    for (expected, change) in cases {
        let mut record = next.clone();
        change(&mut record);
        let refused = log.append(&record);
        assert!(
            matches!(refused, Err(TenantLogError::Invalid { field, .. }) if field == expected),
            "{expected}: {refused:?}"
        );
    }
    let unchained = record_with(2, Hash::new([3; 32]), next.chunks.clone());
    assert!(
        matches!(log.append(&unchained), Err(TenantLogError::WrongLink { expected, .. }) if expected == log.last_hash())
    );
    log.append(next).expect("a refused record changes nothing");
}

#[test]
fn long_records_have_a_segment_alone_and_memory_is_bounded() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    let long = record_with(0, Hash::default(), vec![vec![3; 2 * BUFFER_BYTES_MAX]]);
    let next = record_with(1, log.append(&long).expect("appended"), vec![vec![4; 10]]);
    assert!(log.buffer.len() > BUFFER_BYTES_MAX);
    log.append(&next).expect("appended");
    assert!(log.buffer.len() < 1_000, "the long record was written");
    assert_eq!(log.reader().published(), Offset::ZERO, "but not published");
    assert_eq!(files(&disk, ".segment").len(), 2);
    log.sync().expect("synced");
    drop(log);
    disk.crash(Crash::DropUnsynced);
    let log = open(&disk).expect("opened");
    assert_eq!(all(&log).expect("readable"), [long, next]);
}

#[test]
fn a_segment_is_filled_to_its_last_byte() {
    let records = records(2);
    let stored: u64 = records
        .iter()
        .map(|record| stored_bytes(record.header.payload_length))
        .sum();
    for (segment_bytes, segments) in [(RECORDS_START + stored, 1), (RECORDS_START + stored - 1, 2)] {
        let disk = MemoryDisk::new();
        let mut log = open_with(&disk, segment_bytes).expect("created");
        append_all(&mut log, &records).expect("appended");
        assert_eq!(files(&disk, ".segment").len(), segments);
    }
}

#[test]
fn the_offline_verifier_reads_what_the_log_writes() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    append_all(&mut log, &records(40)).expect("appended");
    log.sync().expect("synced");
    let paths = files(&disk, ".segment");
    let sources = paths.iter().map(|path| SegmentSource {
        name: path.file_name().expect("a name").to_string_lossy().into_owned(),
        reader: std::io::Cursor::new(disk.contents(path).expect("the segment")),
    });
    let summary = verify_log(sources, &LogVerifyOptions::default()).expect("verified");
    assert_eq!(summary.records, 40);
    assert_eq!(summary.segments, paths.len() as u64);
    assert_eq!(summary.tenant, TENANT);
}

#[test]
fn the_log_goes_on_after_reopening() {
    let disk = MemoryDisk::new();
    let records = records(60);
    for end in [0, 1, 5, 6, 30, 31, 60] {
        let mut log = open(&disk).expect("opened");
        assert_eq!(log.recovery(), &TenantLogRecovery::default());
        let next = usize::try_from(log.next_offset().get()).expect("small");
        assert_eq!(all(&log).expect("readable"), records[..next]);
        append_all(&mut log, &records[next..end]).expect("appended");
        assert_eq!(log.sync().expect("synced"), Offset::new(end as u64));
        disk.crash(Crash::DropUnsynced);
    }
    let log = open(&disk).expect("opened");
    assert_eq!(all(&log).expect("readable"), records);
    assert_eq!(log.tree().size(), 60);
    check_hashes(&log, &records).expect("all hashes");
}

#[test]
fn hashes_prove_every_record() {
    let disk = MemoryDisk::new();
    let mut log = open_with(&disk, 40_000).expect("created");
    let records = records(1_000);
    append_all(&mut log, &records[..700]).expect("appended");
    log.publish().expect("published");
    check_hashes(&log, &records[..700]).expect("all hashes");
    for (level, index) in [
        (0, 700),
        (9, 1),
        (10, 0),
        (63, 0),
        (64, 0),
        (255, 0),
        (0, u64::MAX),
        (8, u64::MAX >> 8),
    ] {
        let beyond = log.reader().hash(level, index);
        assert!(
            matches!(beyond, Err(TenantLogError::BeyondEnd { size: 700, .. })),
            "{level} {index}: {beyond:?}"
        );
    }
    log.sync().expect("synced");
    drop(log);
    let mut log = open_with(&disk, 40_000).expect("opened");
    append_all(&mut log, &records[700..]).expect("appended");
    log.publish().expect("published");
    check_hashes(&log, &records).expect("all hashes");
    let root = log.tree().root();
    for index in [0, 1, 255, 256, 511, 700, 999] {
        let proof = inclusion_proof(&log.reader(), index, 1_000).expect("a proof");
        let leaf = record_hash(&records[usize::try_from(index).expect("small")].header.encode());
        verify_inclusion(leaf, index, 1_000, &proof, &root).expect("included");
    }
}

/// Three tile levels: more than 65,536 records.
#[test]
fn hashes_of_a_long_log_are_found_and_mended() {
    const COUNT: u64 = 70_000;
    const SEGMENT_BYTES: u64 = 400_000;
    let disk = MemoryDisk::new();
    let mut log = open_with(&disk, SEGMENT_BYTES).expect("created");
    let mut leaves = Vec::new();
    let mut previous_hash = Hash::default();
    for offset in 0..COUNT {
        previous_hash = log
            .append(&record_with(offset, previous_hash, vec![]))
            .expect("appended");
        leaves.push(previous_hash);
    }
    log.sync().expect("synced");
    let root = log.tree().root();
    drop(log);
    assert_eq!(files(&disk, ".hashes").len(), 3);
    let samples = [(0, 69_999), (3, 11), (8, 3), (8, 256), (12, 4), (15, 1), (16, 0)];
    let check = |log: &TenantLog| {
        assert_eq!(log.tree().root(), root);
        for (level, index) in samples {
            let start = usize::try_from(index << level).expect("small");
            let expected = merkle_tree_hash(&leaves[start..start + (1 << level)]);
            assert_eq!(
                log.reader().hash(level, index).expect("a hash"),
                expected,
                "level {level} index {index}"
            );
        }
    };
    let log = open_with(&disk, SEGMENT_BYTES).expect("opened");
    assert!(!log.recovery().derived_again);
    check(&log);
    drop(log);
    // Damage in full tiles of both lower levels is mended when it is met.
    let whole: Vec<_> = files(&disk, ".hashes").iter().map(|path| disk.contents(path)).collect();
    disk.tamper(&files(&disk, ".hashes")[0], |bytes| bytes[11 * 8 * 32] ^= 1);
    disk.tamper(&files(&disk, ".hashes")[1], |bytes| bytes[3 * 32] ^= 1);
    let log = open_with(&disk, SEGMENT_BYTES).expect("opened");
    assert!(!log.recovery().derived_again, "full tiles are not read when opening");
    check(&log);
    let mended: Vec<_> = files(&disk, ".hashes").iter().map(|path| disk.contents(path)).collect();
    assert!(whole == mended, "the files are as before");
}

#[test]
fn derived_files_are_derived_again() {
    type Damage = fn(&MemoryDisk);
    let cases: [(&str, Damage); 7] = [
        ("the hashes are missing", |disk| {
            disk.remove(&files(disk, ".hashes")[0]).expect("removed")
        }),
        ("upper hashes are missing", |disk| {
            disk.remove(&files(disk, ".hashes")[1]).expect("removed")
        }),
        ("the hashes are cut", |disk| {
            disk.tamper(&files(disk, ".hashes")[0], |bytes| bytes.truncate(100));
        }),
        ("the newest hashes before the last segment are damaged", |disk| {
            let last = files(disk, ".segment").pop().expect("segments");
            let first: usize = last
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .parse()
                .expect("a number");
            disk.tamper(&files(disk, ".hashes")[0], |bytes| bytes[first * 32 - 1] ^= 1);
        }),
        ("an index is missing", |disk| {
            disk.remove(&files(disk, ".index")[1]).expect("removed")
        }),
        ("the last index is cut", |disk| {
            disk.tamper(files(disk, ".index").last().expect("indexes"), |bytes| {
                bytes.truncate(30)
            });
        }),
        ("an index is another's", |disk| {
            let other = disk.contents(&files(disk, ".index")[0]).expect("the index");
            disk.tamper(&files(disk, ".index")[1], |bytes| *bytes = other);
        }),
    ];
    let records = records(300);
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    append_all(&mut log, &records).expect("appended");
    log.sync().expect("synced");
    drop(log);
    for (case, damage) in cases {
        let disk = disk.fork();
        damage(&disk);
        let log = open(&disk).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(log.recovery().derived_again, "{case}");
        assert_eq!(all(&log).expect("readable"), records, "{case}");
        check_hashes(&log, &records).expect("all hashes");
        drop(log);
        let log = open(&disk).expect("opened");
        assert!(!log.recovery().derived_again, "{case}: once is enough");
    }
}

#[test]
fn an_index_that_points_elsewhere_costs_time_only() {
    let disk = MemoryDisk::new();
    let records = records(300);
    let mut log = open_with(&disk, 60_000).expect("created");
    append_all(&mut log, &records).expect("appended");
    log.publish().expect("published");
    assert_eq!(files(&disk, ".segment").len(), 2);
    let index = files(&disk, ".index")[0].clone();
    disk.tamper(&index, |bytes| {
        let length = bytes.len();
        bytes[length - 20..].fill(0xff);
    });
    assert_eq!(all(&log).expect("readable"), records);
    disk.remove(&index).expect("removed");
    for offset in [0, 63, 64, 150, 299] {
        let read = log.reader().read(Offset::new(offset)).expect("readable");
        assert_eq!(read.as_ref(), records.get(usize::try_from(offset).expect("small")));
    }
}

/// What a byte's damage must lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// An error that names this record, or for a segment's frame the record after it.
    Corrupt(u64),
    /// This record and those after it are set aside: they were not synced.
    Torn(u64),
    Unharmed,
}

#[test]
fn every_flipped_byte_is_named_and_never_served() {
    let disk = MemoryDisk::new();
    let records = records(22);
    let mut log = open(&disk).expect("created");
    append_all(&mut log, &records[..19]).expect("appended");
    log.sync().expect("synced");
    append_all(&mut log, &records[19..]).expect("appended");
    log.publish().expect("published, not synced");
    drop(log);
    let segments = files(&disk, ".segment");
    assert_eq!(
        segments.len(),
        3,
        "the story needs two closed segments and three records after the mark"
    );
    for path in disk.paths() {
        let bytes = disk.contents(&path).expect("the file");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut expected = vec![Expected::Unharmed; bytes.len()];
        if let Some(number) = segments.iter().position(|segment| *segment == path) {
            let first: u64 = name.trim_end_matches(".segment").parse().expect("a number");
            expected[..SEGMENT_HEADER_BYTES].fill(Expected::Corrupt(first));
            let mut at = SEGMENT_HEADER_BYTES;
            let mut offset = first;
            let footer_start = bytes.len() - if number < 2 { SEGMENT_FOOTER_BYTES } else { 0 };
            while at < footer_start {
                let record = &records[usize::try_from(offset).expect("small")];
                let end = at + HEADER_BYTES + RECORD_CRC_BYTES + record.header.payload_length as usize;
                let outcome = if offset < 19 {
                    Expected::Corrupt(offset)
                } else {
                    Expected::Torn(offset)
                };
                expected[at..end].fill(outcome);
                (at, offset) = (end, offset + 1);
            }
            expected[footer_start..].fill(Expected::Corrupt(offset));
        }
        for (at, expected) in expected.into_iter().enumerate() {
            let flipped = disk.fork();
            flipped.tamper(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            let place = format!("{name} byte {at}");
            let opened = open(&flipped).and_then(|log| {
                let read = all(&log)?;
                assert!(records.starts_with(&read), "{place}: served what was never appended");
                check_hashes(&log, &read)?;
                Ok((log, read.len() as u64))
            });
            let found = match opened {
                Err(TenantLogError::Corrupt { offset, .. }) => Expected::Corrupt(offset.get()),
                Err(error) => panic!("{place}: {error}"),
                Ok((log, count)) => match &log.recovery().torn {
                    None => {
                        assert_eq!(count, 22, "{place}: lost records without a word");
                        Expected::Unharmed
                    }
                    Some(torn) => {
                        assert_eq!(torn.offset.get(), count, "{place}");
                        let kept = flipped
                            .contents(&Path::new(DIR).join(&torn.file_name))
                            .expect("the bytes are kept");
                        assert_eq!(kept.len() as u64, torn.bytes, "{place}");
                        Expected::Torn(count)
                    }
                },
            };
            // A damaged mark claims less, so damage would be taken for a torn write; there is none here.
            assert_eq!(found, expected, "{place}");
        }
    }
}

/// Whoever rewrites a record can make its checksum right, but not its hash.
#[test]
fn a_rewritten_record_is_not_served() {
    let disk = MemoryDisk::new();
    let mut log = open_with(&disk, 200_000).expect("created");
    let records = records(1_000);
    append_all(&mut log, &records).expect("appended");
    log.sync().expect("synced");
    drop(log);
    let segments = files(&disk, ".segment");
    assert_eq!(segments.len(), 2);
    // In a full tile, in the last tile before the last segment, in the last segment.
    let last_first: u64 = segments[1]
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .parse()
        .expect("a number");
    for offset in [100, last_first - 1, 998, 999] {
        let disk = disk.fork();
        let at = usize::try_from(offset).expect("small");
        let original = &records[at];
        let mut other = original.clone();
        other.header.actor = ActorId::new([9; 16]);
        let mut before = Vec::new();
        let mut after = Vec::new();
        encode_record(&original.header.encode(), original, &mut before);
        encode_record(&other.header.encode(), &other, &mut after);
        let path = &segments[usize::from(offset >= last_first)];
        disk.tamper(path, |bytes| {
            let position = bytes.windows(before.len()).position(|window| window == before);
            let position = position.expect("the record is there");
            bytes[position..position + after.len()].copy_from_slice(&after);
        });
        match open_with(&disk, 200_000) {
            // Nothing but a later checkpoint tells the very last record from what it was.
            Ok(log) if offset == 999 => assert_eq!(all(&log).expect("readable").len(), 1_000),
            Ok(log) => {
                let read = log.reader().read(Offset::new(offset));
                assert!(
                    matches!(read, Err(TenantLogError::Corrupt { offset: found, field: "record_hash" }) if found.get() == offset),
                    "record {offset}: {read:?}"
                );
                let others = log.reader().read_range(Offset::ZERO, at, u64::MAX);
                assert_eq!(others.expect("the others are readable"), records[..at]);
            }
            // The last segment is read through when the log is opened, and the next record names the original.
            Err(TenantLogError::Corrupt { offset: found, field }) if offset == 998 => {
                assert_eq!((found.get(), field), (999, "previous_hash"));
            }
            Err(error) => panic!("record {offset}: {error}"),
        }
    }
}

#[test]
fn damage_to_files_as_a_whole_is_corruption() {
    type Tamper = fn(&MemoryDisk, &[PathBuf]);
    let cases: [(&str, Tamper, u64, &str); 8] = [
        (
            "a segment follows another",
            |disk, files| {
                disk.tamper(&files[1], |bytes| {
                    let covered = SEGMENT_HEADER_BYTES - 4;
                    bytes[covered - 1] ^= 1;
                    let header = with_crc(&bytes[..covered]);
                    bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&header);
                });
            },
            8,
            "previous_hash",
        ),
        (
            "the first segment is missing",
            |disk, files| disk.remove(&files[0]).expect("removed"),
            0,
            "missing",
        ),
        (
            "a segment is missing",
            |disk, files| disk.remove(&files[1]).expect("removed"),
            8,
            "missing",
        ),
        (
            "the last segment is missing",
            |disk, files| disk.remove(files.last().expect("segments")).expect("removed"),
            32,
            "missing",
        ),
        (
            "all segments are missing",
            |disk, files| files.iter().for_each(|path| disk.remove(path).expect("removed")),
            0,
            "missing",
        ),
        (
            "two segments are swapped",
            |disk, files| {
                let contents = disk.contents(&files[0]).expect("the segment");
                disk.tamper(&files[1], |bytes| *bytes = contents);
            },
            8,
            "first_offset",
        ),
        (
            "a closed segment is cut within a record",
            |disk, files| disk.tamper(&files[1], |bytes| bytes.truncate(SEGMENT_HEADER_BYTES + 400)),
            9,
            "body_end",
        ),
        (
            "synced records are cut off",
            |disk, files| {
                disk.tamper(files.last().expect("segments"), |bytes| {
                    bytes.truncate(SEGMENT_HEADER_BYTES)
                })
            },
            32,
            "missing",
        ),
    ];
    for (case, tamper, expected_offset, expected_field) in cases {
        let disk = MemoryDisk::new();
        let mut log = open(&disk).expect("created");
        append_all(&mut log, &records(33)).expect("appended");
        log.sync().expect("synced");
        drop(log);
        tamper(&disk, &files(&disk, ".segment"));
        match open(&disk) {
            Err(TenantLogError::Corrupt { offset, field }) => {
                assert_eq!((offset.get(), field), (expected_offset, expected_field), "{case}");
            }
            Err(error) => panic!("{case}: {error}"),
            Ok(_) => panic!("{case}: opened"),
        }
    }
}

#[test]
fn what_was_set_aside_survives_a_power_cut() {
    let disk = MemoryDisk::new();
    let records = records(5);
    let mut log = open(&disk).expect("created");
    append_all(&mut log, &records[..3]).expect("appended");
    log.sync().expect("synced");
    append_all(&mut log, &records[3..]).expect("appended");
    log.publish().expect("published, not synced");
    drop(log);
    let segment = &files(&disk, ".segment")[0];
    let bytes = disk.contents(segment).expect("the segment");
    let torn_bytes: u64 = records[3..]
        .iter()
        .map(|record| stored_bytes(record.header.payload_length))
        .sum();
    let torn_start = bytes.len() - usize::try_from(torn_bytes).expect("small");
    for round in 0..2 {
        disk.tamper(segment, |bytes| bytes[torn_start] ^= 1);
        let mut log = open(&disk).expect("opened");
        let torn = log.recovery().torn.clone().expect("a torn tail");
        assert_eq!((torn.offset.get(), torn.field, torn.bytes), (3, "magic", torn_bytes));
        disk.crash(Crash::DropUnsynced);
        let kept = disk
            .contents(&Path::new(DIR).join(&torn.file_name))
            .expect("the bytes are kept");
        assert_eq!(kept[1..], bytes[torn_start + 1..], "round {round}");
        assert_eq!(files(&disk, ".torn").len(), round + 1, "each time in a file of its own");
        log = open(&disk).expect("opened");
        assert_eq!(log.recovery().torn, None);
        append_all(&mut log, &records[3..]).expect("appended again, as the write-ahead log would");
        log.publish().expect("published");
        assert_eq!(all(&log).expect("readable"), records);
    }
}

#[test]
fn another_tenants_log_is_refused() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    append_all(&mut log, &records(3)).expect("appended");
    log.sync().expect("synced");
    let other = TenantLog::open(
        Arc::new(disk.clone()),
        Path::new(DIR),
        TenantId::new([6; 16]),
        TenantLogOptions::default(),
    );
    assert!(matches!(other, Err(TenantLogError::Corrupt { field: "tenant", .. })));
}

#[test]
fn a_whole_footer_without_a_next_segment_is_written_again() {
    let disk = MemoryDisk::new();
    let records = records(20);
    let mut log = open(&disk).expect("created");
    let mut closing = None;
    for record in &records {
        let before = disk.fork();
        log.append(record).expect("appended");
        if files(&disk, ".segment").len() == 2 {
            closing = Some(before);
            break;
        }
    }
    drop(log);
    // The next segment never got its name.
    let disk = disk.fork();
    disk.remove(&files(&disk, ".segment")[1]).expect("removed");
    disk.tamper(&Path::new(DIR).join("synced"), |bytes| bytes.fill(0));
    let mut log = open(&disk).expect("opened");
    assert_eq!(log.recovery().torn, None);
    let next = usize::try_from(log.next_offset().get()).expect("small");
    assert!(next > 3 && closing.is_some());
    append_all(&mut log, &records[next..]).expect("appended");
    log.publish().expect("published");
    assert_eq!(all(&log).expect("readable"), records);
}

#[test]
fn a_failed_sync_poisons_the_log_and_opening_writes_the_records_again() {
    let disk = MemoryDisk::new();
    let records = records(4);
    let mut log = open(&disk).expect("created");
    append_all(&mut log, &records).expect("appended");
    log.publish().expect("published");
    disk.set_fault(Some(Fault {
        call: 0,
        kind: FaultKind::Io,
        sticky: false,
    }));
    assert!(matches!(log.sync(), Err(TenantLogError::Io { operation: "sync", .. })));
    assert!(log.reader().is_poisoned());
    assert!(matches!(log.append(&records[0]), Err(TenantLogError::Poisoned)));
    assert!(matches!(log.publish(), Err(TenantLogError::Poisoned)));
    assert!(matches!(log.sync(), Err(TenantLogError::Poisoned)));
    assert_eq!(all(&log).expect("what is published stays readable"), records);
    drop(log);

    // The process is started again: the page cache shows records that the disk never got.
    let mut log = open(&disk).expect("opened");
    assert_eq!(log.sync().expect("synced"), Offset::new(4));
    drop(log);
    disk.crash(Crash::DropUnsynced);
    assert_eq!(all(&open(&disk).expect("opened")).expect("readable"), records);
}

#[test]
fn a_full_disk_delays_and_loses_nothing() {
    let records = records(60);
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    let mut refused = 0;
    for (number, record) in (0u64..).zip(&records) {
        // Different calls of closing a segment meet the full disk, but for the syncs.
        let call = [0, 2, 4, 5, 6, 7][usize::try_from(number % 6).expect("small")];
        disk.set_fault(Some(Fault {
            call,
            kind: FaultKind::NoSpace,
            sticky: false,
        }));
        if let Err(error) = log.append(record).and_then(|_| log.publish()) {
            disk.set_fault(None);
            assert!(matches!(error, TenantLogError::NoSpace { .. }), "call {call}: {error}");
            if log.reader().is_poisoned() {
                log = open(&disk).expect("opened");
            } else {
                refused += 1;
            }
            let next = usize::try_from(log.next_offset().get()).expect("small");
            append_all(
                &mut log,
                &records[next.min(usize::try_from(number).expect("small"))..=usize::try_from(number).expect("small")],
            )
            .expect("there is space again");
            log.publish().expect("there is space again");
        }
    }
    assert!(refused > 10, "{refused} refusals");
    disk.set_fault(None);
    assert_eq!(all(&log).expect("readable"), records);
    check_hashes(&log, &records).expect("all hashes");
    assert_eq!(log.sync().expect("synced"), Offset::new(60));
    assert_eq!(all(&open(&disk).expect("opened")).expect("readable"), records);
}

#[test]
fn syncing_may_run_beside_appending() {
    let disk = MemoryDisk::new();
    let records = records(40);
    let mut log = open(&disk).expect("created");
    append_all(&mut log, &records[..4]).expect("appended");
    let early = log.begin_sync().expect("written");
    append_all(&mut log, &records[4..30]).expect("appended through several segments");
    let late = log.begin_sync().expect("written");
    append_all(&mut log, &records[30..]).expect("appended");
    assert_eq!(
        std::thread::spawn(|| late.run())
            .join()
            .expect("no panic")
            .expect("synced"),
        Offset::new(30)
    );
    assert_eq!(early.run().expect("synced"), Offset::new(4));
    log.publish().expect("published");
    drop(log);
    disk.crash(Crash::DropUnsynced);
    let log = open(&disk).expect("opened");
    assert!(log.next_offset() >= Offset::new(30));
    let next = usize::try_from(log.next_offset().get()).expect("small");
    assert_eq!(all(&log).expect("readable"), records[..next]);
}

/// Opens, replays from the write-ahead log what the log lacks and some of what it has, and goes on to `until`
/// with syncs between. Returns how many records are known to be durable.
fn run(disk: &MemoryDisk, records: &[Record], until: usize, durable: &mut u64) -> Result<(), TenantLogError> {
    let mut log = open(disk)?;
    let start = usize::try_from(log.next_offset().get())
        .expect("small")
        .min(until)
        .saturating_sub(3);
    for (number, record) in (start..).zip(&records[start..until]) {
        log.append(record)?;
        if number % 2 == 0 {
            log.publish()?;
        }
        if number % 3 == 0 {
            *durable = log.sync()?.get();
        }
    }
    *durable = log.sync()?.get();
    Ok(())
}

fn check_nothing_lost(disk: &MemoryDisk, records: &[Record], durable: u64, case: &str) {
    let log = open(disk).unwrap_or_else(|error| panic!("{case}: {error}"));
    let read = all(&log).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert!(
        read.len() as u64 >= durable,
        "{case}: {} of {durable} durable records",
        read.len()
    );
    assert!(records.starts_with(&read), "{case}");
    if !read.is_empty() {
        check_hashes(&log, &read).unwrap_or_else(|error| panic!("{case}: {error}"));
    }
}

fn calls_of_a_run(records: &[Record]) -> u64 {
    let disk = MemoryDisk::new();
    let mut durable = 0;
    run(&disk, records, 9, &mut durable).expect("a run without faults");
    run(&disk, records, 20, &mut durable).expect("a run without faults");
    disk.calls()
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_synced() {
    let records = records(24);
    for call in 0..calls_of_a_run(&records) {
        let disk = MemoryDisk::new();
        disk.set_fault(Some(Fault {
            call,
            kind: FaultKind::Io,
            sticky: true,
        }));
        let mut durable = 0;
        let _ = run(&disk, &records, 9, &mut durable).and_then(|()| run(&disk, &records, 20, &mut durable));
        for crash in [
            Crash::DropUnsynced,
            Crash::Torn { seed: call },
            Crash::Torn { seed: !call },
        ] {
            let cut = disk.fork();
            cut.crash(crash);
            let case = format!("power cut at call {call}, {crash:?}");
            check_nothing_lost(&cut, &records, durable, &case);
            let mut later = durable;
            run(&cut, &records, 24, &mut later).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(later, 24, "{case}");
            cut.crash(Crash::DropUnsynced);
            check_nothing_lost(&cut, &records, 24, &case);
        }
    }
}

#[test]
fn any_call_may_fail_once() {
    let records = records(20);
    for kind in [FaultKind::Io, FaultKind::NoSpace, FaultKind::ShortWrite] {
        for call in 0..calls_of_a_run(&records) {
            let disk = MemoryDisk::new();
            disk.set_fault(Some(Fault {
                call,
                kind,
                sticky: false,
            }));
            let case = format!("{kind:?} at call {call}");
            let mut durable = 0;
            let failed = run(&disk, &records, 9, &mut durable).and_then(|()| run(&disk, &records, 20, &mut durable));
            match (kind, failed) {
                (FaultKind::ShortWrite, Err(error)) => panic!("{case}: a short write is no failure: {error}"),
                (_, Ok(()) | Err(TenantLogError::Io { .. } | TenantLogError::NoSpace { .. })) => {}
                (_, Err(error)) => panic!("{case}: {error}"),
            }
            let cut = disk.fork();
            cut.crash(Crash::Torn { seed: call });
            check_nothing_lost(&cut, &records, durable, &case);
            disk.set_fault(None);
            check_nothing_lost(&disk, &records, durable, &case);
            run(&disk, &records, 20, &mut durable).unwrap_or_else(|error| panic!("{case}: {error}"));
            check_nothing_lost(&disk, &records, 20, &case);
        }
    }
}

#[test]
fn the_real_disk_keeps_a_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("tenants/a");
    let options = TenantLogOptions {
        segment_bytes: SEGMENT_BYTES,
    };
    let records = records(40);
    let mut log = TenantLog::open(Arc::new(RealDisk), &path, TENANT, options).expect("created");
    append_all(&mut log, &records[..25]).expect("appended");
    log.sync().expect("synced");
    drop(log);
    let mut log = TenantLog::open(Arc::new(RealDisk), &path, TENANT, options).expect("opened");
    append_all(&mut log, &records[20..]).expect("appended");
    log.publish().expect("published");
    assert_eq!(all(&log).expect("readable"), records);
    check_hashes(&log, &records).expect("all hashes");
}
