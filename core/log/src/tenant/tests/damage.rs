//! Bytes and files that are not what was written.

use super::*;

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
        encode_record(&linked(original), &mut before);
        encode_record(&linked(&other), &mut after);
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
        log.append(&linked(record)).expect("appended");
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
