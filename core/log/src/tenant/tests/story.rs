//! Appending, reading, comparing and reopening.

use super::*;

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
        log.append(&linked(&records[39])).expect("there already"),
        record_hash(&records[39].header.encode())
    );

    for offset in [0, 17, 39] {
        let mut other_header = records[offset].clone();
        other_header.header.actor = ActorId::new([9; 16]);
        let mut other_body = records[offset].clone();
        other_body.chunks[0][0] ^= 1;
        for other in [other_header, other_body] {
            assert!(
                matches!(log.append(&linked(&other)), Err(TenantLogError::Diverged { offset: found }) if found == other.header.offset)
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
        log.append(&linked(&records[3])),
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
        let refused = log.append(&linked(&record));
        assert!(
            matches!(refused, Err(TenantLogError::Invalid { field, .. }) if field == expected),
            "{expected}: {refused:?}"
        );
    }
    let unchained = record_with(2, Hash::new([3; 32]), next.chunks.clone());
    assert!(
        matches!(log.append(&linked(&unchained)), Err(TenantLogError::WrongLink { expected, .. }) if expected == log.last_hash())
    );
    log.append(&linked(next)).expect("a refused record changes nothing");
}

#[test]
fn long_records_have_a_segment_alone_and_memory_is_bounded() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    let long = record_with(0, Hash::default(), vec![vec![3; 2 * BUFFER_BYTES_MAX]]);
    let next = record_with(1, log.append(&linked(&long)).expect("appended"), vec![vec![4; 10]]);
    assert!(log.buffer.len() > BUFFER_BYTES_MAX);
    log.append(&linked(&next)).expect("appended");
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
