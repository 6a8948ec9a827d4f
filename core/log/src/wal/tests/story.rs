//! Appending, reading, reopening and purging.

use super::*;

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
            set_aside: Vec::new(),
            earlier: Vec::new(),
            superblock: Vec::new(),
            purged_through: LogIndex::ZERO,
            heads: Vec::new(),
            heads_rewritten: Vec::new(),
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

/// A record that fills the segment to the last byte fits; one byte more does not.
#[test]
fn a_segment_is_filled_to_its_last_byte() {
    let room = usize::try_from(SEGMENT_BYTES).expect("small") - SEGMENT_HEADER_BYTES;
    let payload = room - (RECORD_HEADER_BYTES + 12 + 16);
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
    wal.purge(LogIndex::new(0), Vec::new()).expect("nothing to purge");
    assert_eq!(segment_files(&disk).len(), before);

    wal.purge(LogIndex::new(20), Vec::new()).expect("purged");
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

    wal.purge(LogIndex::new(1000), Vec::new()).expect("purged");
    assert_eq!(segment_files(&disk).len(), 1);
    assert_eq!(
        wal.last_index(),
        Some(LogIndex::new(39)),
        "the log remembers where it was"
    );
    drop(wal);
    let (mut wal, _) = open(&disk).expect("opened");
    wal.purge(LogIndex::new(1000), Vec::new()).expect("purged");
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
fn the_real_disk_keeps_a_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("node/wal");
    let open = || {
        Wal::open(
            Arc::new(RealDisk),
            &path,
            WalOptions::new(NodeId::new(1), SecretBytes::new([7; 32])),
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
    wal.purge(LogIndex::new(3), Vec::new()).expect("purged");
    assert_eq!(all(&wal).expect("readable"), entries(4..7));
}

/// What is forgotten cannot be read from the blocks of removed files either. Whoever reads the log through meanwhile
/// goes on.
#[test]
fn a_segment_loses_its_key_durably_before_it_is_removed() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    for index in 1..40 {
        wal.append(&entries(index..index + 1)).expect("appended");
    }
    let removed = Arc::new(AtomicU64::new(0));
    let (counter, of) = (Arc::clone(&removed), disk.clone());
    disk.set_hook(Some(Arc::new(move |call| {
        if call.kind == CallKind::Remove {
            let cut = of.fork();
            cut.crash(Crash::DropUnsynced);
            let bytes = cut.contents(&call.path).expect("it is still there");
            let key = &bytes[SEGMENT_ASSOCIATED_BYTES..SEGMENT_HEADER_BYTES];
            assert!(key.iter().all(|&byte| byte == 0), "{}", call.path.display());
            counter.fetch_add(1, Ordering::Relaxed);
        }
    })));
    let scrub = wal.scrub();
    let before = segment_files(&disk).len();
    wal.purge(LogIndex::new(39), Vec::new()).expect("purged");
    assert_eq!(removed.load(Ordering::Relaxed), before as u64 - 1);
    scrub.run().expect("what was opened before is read to its end");
    // A crash between the two leaves a segment without a key, which the next opening removes.
    let newest = segment_files(&disk).pop().expect("segments");
    let copy = disk.fork();
    let forgotten = Path::new(DIR).join(format!("{:020}.wal", 1));
    copy.transplant(&disk, &newest, &forgotten);
    copy.tamper(&forgotten, |bytes| {
        bytes[SEGMENT_ASSOCIATED_BYTES..SEGMENT_HEADER_BYTES].fill(0)
    });
    open(&copy).expect("opened");
    assert!(!segment_files(&copy).contains(&forgotten));
}

/// A node that fails at every start leaves neither a segment for each, nor loses what it had to report.
#[test]
fn openings_without_an_entry_leave_no_segments_behind() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    wal.append(&entries(1..3)).expect("appended");
    drop(wal);
    let newest = segment_files(&disk).pop().expect("segments");
    disk.tamper(&newest, |bytes| *bytes.last_mut().expect("reserved space") = 7);
    let (_, recovery) = open(&disk).expect("opened");
    let torn = recovery.torn.expect("a torn tail");
    for term in 5..25 {
        disk.crash(Crash::DropUnsynced);
        let (mut wal, recovery) = open(&disk).expect("opened");
        assert_eq!(recovery.earlier, [torn]);
        let voted_for = NodeId::new(1);
        let vote = Vote {
            term: Term::new(term),
            voted_for,
            committed: false,
        };
        assert_eq!(wal.vote().term.get(), if term == 5 { 0 } else { term - 1 });
        wal.record_vote(vote).expect("recorded");
        assert!(segment_files(&disk).len() <= 3, "{:?}", segment_files(&disk));
        assert_eq!(wal.segment_count(), segment_files(&disk).len());
        assert_eq!(all(&wal).expect("readable"), entries(1..3));
    }
}
