//! What is damaged is put back from another copy, byte for byte, and nothing that is not proven is written.

use super::*;

fn open_with_damage(disk: &MemoryDisk) -> Result<TenantLog, TenantLogError> {
    open_allowing(
        disk,
        SyncedDamage {
            keep: true,
            ..SyncedDamage::default()
        },
    )
}

fn open_allowing(disk: &MemoryDisk, on_damage: SyncedDamage) -> Result<TenantLog, TenantLogError> {
    let options = TenantLogOptions {
        segment_bytes: SEGMENT_BYTES,
    };
    TenantLog::open_with_damage(Arc::new(disk.clone()), Path::new(DIR), TENANT, options, on_damage)
}

/// A log of two closed segments and a third one, all of it synced.
fn synced(records: &[Record]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).expect("created");
    append_all(&mut log, records).expect("appended");
    log.sync().expect("synced");
    disk
}

/// Repairs from the true records until nothing is damaged any more, as a member does that asks others.
fn repair_all(log: &TenantLog, records: &[Record]) -> Vec<Repaired> {
    let reader = log.reader();
    let mut repaired = Vec::new();
    loop {
        let step = reader.scrub(Offset::ZERO, u64::MAX).expect("readable");
        if step.damaged.is_empty() {
            break;
        }
        for (offset, _) in step.damaged {
            let record = &records[usize::try_from(offset.get()).expect("small")];
            repaired.extend(reader.repair(&linked(record)).expect("it is the record"));
        }
    }
    repaired.extend(reader.mend_frames().expect("mended"));
    reader.mend_indexes().expect("mended");
    repaired
}

#[test]
fn flipped_bytes_of_segments_are_put_back() {
    let records = records(22);
    let disk = synced(&records);
    let segments = files(&disk, ".segment");
    assert_eq!(segments.len(), 3);
    let last = stored_bytes(records[21].header.payload_length);
    for path in &segments {
        let whole = disk.contents(path).expect("the file");
        for at in (0..whole.len()).step_by(3) {
            let flipped = disk.fork();
            flipped.tamper(path, |bytes| bytes[at] ^= 1 << (at % 8));
            let place = format!("{} byte {at}", path.display());
            let log = match open_with_damage(&flipped) {
                Ok(log) => log,
                // No record follows the last one and names its hash.
                Err(TenantLogError::Corrupt { offset, .. }) => {
                    let is_last = path == &segments[2] && at as u64 >= whole.len() as u64 - last;
                    assert!(is_last && offset.get() == 21, "{place}: record {offset}");
                    continue;
                }
                Err(error) => panic!("{place}: {error}"),
            };
            let [repaired] = &repair_all(&log, &records)[..] else {
                panic!("{place}: one thing is damaged");
            };
            assert!(
                (repaired.start..repaired.end).contains(&(at as u64)),
                "{place}: {repaired:?}"
            );
            assert_eq!(flipped.contents(path).as_ref(), Some(&whole), "{place}");
            let kept = flipped.contents(&Path::new(DIR).join(&repaired.kept_as)).expect("kept");
            let range = usize::try_from(repaired.start).expect("small")..usize::try_from(repaired.end).expect("small");
            let mut stood = whole[range.clone()].to_vec();
            stood[at - range.start] ^= 1 << (at % 8);
            assert_eq!(kept, stood, "{place}");
            drop(log);
            let again = open(&flipped).expect("as good as new");
            assert_eq!(all(&again).expect("readable"), records, "{place}");
        }
    }
}

#[test]
fn a_closed_segment_that_was_cut_short_is_filled_again() {
    let records = records(22);
    let disk = synced(&records);
    let path = &files(&disk, ".segment")[0];
    let whole = disk.contents(path).expect("the file");
    for length in [
        SEGMENT_HEADER_BYTES + 300,
        whole.len() - SEGMENT_FOOTER_BYTES,
        whole.len() - 1,
    ] {
        let disk = disk.fork();
        disk.tamper(path, |bytes| bytes.truncate(length));
        assert!(
            matches!(open(&disk), Err(TenantLogError::Corrupt { .. })),
            "a node alone refuses"
        );
        let log = open_with_damage(&disk).expect("opens");
        repair_all(&log, &records);
        assert_eq!(disk.contents(path).as_ref(), Some(&whole), "{length}");
    }
}

#[test]
fn readers_of_other_records_and_appending_go_on() {
    let records = records(24);
    let disk = synced(&records[..22]);
    let path = &files(&disk, ".segment")[2];
    let first = 16;
    // The header of the second record of the last segment.
    let at = SEGMENT_HEADER_BYTES + usize::try_from(stored_bytes(records[first].header.payload_length)).expect("short");
    disk.tamper(path, |bytes| bytes[at + 20] ^= 1);
    let mut log = open_with_damage(&disk).expect("opens");
    assert_eq!(log.recovery().damaged.len(), 1);
    let reader = log.reader();
    for offset in (0..22).filter(|offset| *offset != 17) {
        let read = reader.read(Offset::new(offset)).expect("whole").expect("there");
        assert_eq!(read, records[usize::try_from(offset).expect("small")]);
    }
    let damaged = reader.read(Offset::new(17));
    assert!(matches!(damaged, Err(TenantLogError::Corrupt { offset, .. }) if offset.get() == 17));
    append_all(&mut log, &records[22..]).expect("appended");
    log.publish().expect("published");
    check_hashes(&log, &records).expect("the hashes are those of the records");
    repair_all(&log, &records);
    assert_eq!(all(&log).expect("readable"), records);
}

#[test]
fn only_the_record_that_was_written_is_taken() {
    let records = records(22);
    let disk = synced(&records);
    let path = &files(&disk, ".segment")[0];
    disk.tamper(path, |bytes| {
        bytes[SEGMENT_HEADER_BYTES + HEADER_BYTES + RECORD_CRC_BYTES + 9] ^= 1
    });
    let log = open_with_damage(&disk).expect("opens");
    let reader = log.reader();
    let before = disk.contents(path);
    let mut other = records[0].clone();
    other.header.actor = ActorId::new([9; 16]);
    assert!(matches!(
        reader.repair(&linked(&other)),
        Err(TenantLogError::NotProven { offset, .. }) if offset == Offset::ZERO
    ));
    let mut other = records[0].clone();
    other.chunks[0][0] ^= 1;
    assert!(matches!(
        reader.repair(&linked(&other)),
        Err(TenantLogError::Invalid {
            field: "payload_hash",
            ..
        })
    ));
    let mut other = records[0].clone();
    other.header.tenant = TenantId::new([6; 16]);
    assert!(matches!(
        reader.repair(&linked(&other)),
        Err(TenantLogError::Invalid { field: "tenant", .. })
    ));
    assert_eq!(disk.contents(path), before, "nothing was written");
    assert!(files(&disk, ".damaged").is_empty());
    assert_eq!(reader.repair(&linked(&records[1])).expect("whole"), None);
    let beyond = record_with(22, records[21].header.previous_hash, vec![vec![1]]);
    assert!(matches!(
        reader.repair(&linked(&beyond)),
        Err(TenantLogError::Gap { .. })
    ));
}

/// The hash file and the record are damaged: the record behind names the hash.
#[test]
fn a_record_whose_hash_is_damaged_as_well_is_proven_by_the_next_one() {
    let disk = MemoryDisk::new();
    let records = records(1_000);
    let mut log = open_with(&disk, 200_000).expect("created");
    append_all(&mut log, &records).expect("appended");
    log.sync().expect("synced");
    drop(log);
    let path = &files(&disk, ".segment")[0];
    let mut stored = Vec::new();
    encode_record(&linked(&records[100]), &mut stored);
    disk.tamper(path, |bytes| {
        let at = bytes.windows(stored.len()).position(|window| window == stored);
        bytes[at.expect("the record") + 50] ^= 1;
    });
    disk.tamper(&Path::new(DIR).join("level-0.hashes"), |bytes| bytes[32 * 100 + 3] ^= 1);
    let log = open_with(&disk, 200_000).expect("opens");
    let reader = log.reader();
    assert!(reader.read(Offset::new(100)).is_err());
    let mut other = records[100].clone();
    other.header.actor = ActorId::new([9; 16]);
    assert!(matches!(
        reader.repair(&linked(&other)),
        Err(TenantLogError::NotProven { .. })
    ));
    assert!(reader.repair(&linked(&records[100])).expect("proven").is_some());
    check_hashes(&log, &records).expect("the hashes are mended with it");
}

/// What is applied again from the write-ahead log repairs what it is compared with.
#[test]
fn a_record_that_is_appended_again_repairs_the_damaged_one() {
    let records = records(22);
    let disk = synced(&records);
    let path = &files(&disk, ".segment")[2];
    let whole = disk.contents(path);
    // The body of record 17, and then the header of record 18.
    for field in [HEADER_BYTES + RECORD_CRC_BYTES + 1, 20] {
        let offset = if field == 20 { 18 } else { 17 };
        let before: u64 = (16..offset)
            .map(|at| stored_bytes(records[at].header.payload_length))
            .sum();
        let at = SEGMENT_HEADER_BYTES + usize::try_from(before).expect("short") + field;
        disk.tamper(path, |bytes| bytes[at] ^= 1);
        let mut log = open_with_damage(&disk).expect("opens");
        append_all(&mut log, &records[15..]).expect("compared and repaired");
        let repaired = log.take_repaired();
        assert_eq!(repaired.len(), 1, "{repaired:?}");
        assert_eq!(repaired[0].offset.get(), offset as u64);
        assert_eq!(disk.contents(path), whole);
    }
}

/// No record follows the last one that could name its hash. It is set aside only where it can come again.
#[test]
fn damaged_records_that_can_be_appended_again_are_set_aside() {
    let records = records(22);
    let whole = synced(&records);
    let path = &files(&whole, ".segment")[2];
    let last = stored_bytes(records[21].header.payload_length);
    type Harm = fn(&mut Vec<u8>, usize);
    let harms: [(&str, Harm); 3] = [
        ("the last header", |bytes, last| {
            let at = bytes.len() - last + 20;
            bytes[at] ^= 1;
        }),
        ("the end is cut off", |bytes, last| bytes.truncate(bytes.len() - last)),
        ("half of the last record is cut off", |bytes, last| {
            bytes.truncate(bytes.len() - last / 2);
        }),
    ];
    for (what, harm) in harms {
        for keep in [false, true] {
            let disk = whole.fork();
            disk.tamper(path, |bytes| harm(bytes, usize::try_from(last).expect("short")));
            let from = |offset| SyncedDamage {
                keep,
                replaceable_from: Offset::new(offset),
            };
            for _ in 0..2 {
                let refused = open_allowing(&disk, from(22)).map(drop);
                assert!(
                    matches!(refused, Err(TenantLogError::Corrupt { offset, .. }) if offset.get() == 21),
                    "{what}: {refused:?}"
                );
            }
            // Once more, as after a crash before they came again.
            for _ in 0..2 {
                let log = open_allowing(&disk, from(16)).expect("opens");
                assert_eq!(log.next_offset().get(), 21, "{what}");
                check_hashes(&log, &records[..21]).expect("those before are whole");
            }
            let mut log = open_allowing(&disk, from(16)).expect("opens");
            append_all(&mut log, &records[15..]).expect("appended again");
            log.sync().expect("synced");
            drop(log);
            assert_eq!(disk.contents(path), whole.contents(path), "{what}");
            check_hashes(&open(&disk).expect("opens"), &records).expect("whole");
        }
    }
}
