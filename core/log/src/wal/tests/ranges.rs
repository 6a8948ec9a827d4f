//! Reading beside the log, and what it knows to be committed.

use super::*;

fn numbers(entries: &[WalEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.index.get()).collect()
}

fn range(wal: &Wal, wanted: Range<u64>) -> WalRange {
    let wanted = LogIndex::new(wanted.start)..LogIndex::new(wanted.end);
    wal.range(wanted).expect("not purged")
}

#[test]
fn a_range_is_read_in_bites_while_the_log_goes_on() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    for first in (1..40).step_by(3) {
        wal.append(&entries(first..first + 3)).expect("appended");
    }
    for wanted in [1..40, 5..6, 5..5, 7..22, 38..100, 40..50, 60..70] {
        let mut read = range(&wal, wanted.clone());
        let expected = wanted.start.min(40)..wanted.end.min(40);
        assert_eq!(
            read.read(usize::MAX).expect("readable"),
            entries(expected.clone()),
            "{wanted:?}"
        );
        assert_eq!(read.read(usize::MAX).expect("at the end"), []);
        let mut read = range(&wal, wanted.clone());
        for index in expected {
            assert_eq!(numbers(&read.read(0).expect("readable")), [index], "one by one");
        }
        assert_eq!(read.read(0).expect("at the end"), []);
    }
    let payload = |index| entry(index).payload.len();
    let mut read = range(&wal, 2..30);
    let exactly = payload(2) + payload(3) + payload(4);
    assert_eq!(numbers(&read.read(exactly).expect("readable")), [2, 3, 4]);
    assert_eq!(numbers(&read.read(payload(5) + payload(6) - 1).expect("readable")), [5]);
    // Nothing that happens to the log concerns it.
    wal.append(&entries(40..43)).expect("appended");
    wal.truncate_from(LogIndex::new(20)).expect("cut");
    purge_exactly(&mut wal, 19).expect("purged");
    wal.reset((LogIndex::new(90), Term::new(90)), Vec::new())
        .expect("reset");
    drop(wal);
    assert_eq!(read.read(usize::MAX).expect("readable"), entries(6..30));
}

#[test]
fn damage_ends_a_range() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    for first in 1..6 {
        wal.append(&entries(first..first + 1)).expect("appended");
    }
    let path = segment_files(&disk).remove(0);
    let third = records(&disk.contents(&path).expect("the segment"))[2];
    let mut read = range(&wal, 1..6);
    disk.flip(&path, third.end() - 1, 1);
    assert_eq!(read.read(0).expect("readable"), entries(1..2));
    let damage = read.read(usize::MAX);
    let reason = Damage::PayloadChecksum;
    assert!(matches!(damage, Err(WalError::Corrupt { reason: found, .. }) if found == reason));
    assert_eq!(read.read(usize::MAX).expect("it ended"), []);
}

#[test]
fn what_is_committed_is_known_after_reopening_and_never_beyond_the_end() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    assert_eq!(wal.committed(), LogIndex::ZERO);
    wal.note_committed(LogIndex::new(9));
    assert_eq!(wal.committed(), LogIndex::ZERO, "there are no entries");
    wal.append(&entries(1..6)).expect("appended");
    disk.set_fault(None);
    wal.note_committed(LogIndex::new(4));
    wal.note_committed(LogIndex::new(3));
    assert_eq!((wal.committed(), disk.calls()), (LogIndex::new(4), 0));
    let cut = disk.fork();
    cut.crash(Crash::DropUnsynced);
    assert_eq!(
        open(&cut).expect("opened").0.committed(),
        LogIndex::ZERO,
        "it has not reached the disk"
    );

    wal.append(&entries(6..8)).expect("appended");
    let cut = disk.fork();
    cut.crash(Crash::DropUnsynced);
    assert_eq!(
        open(&cut).expect("opened").0.committed(),
        LogIndex::new(4),
        "with the next record"
    );
    wal.note_committed(LogIndex::new(900));
    assert_eq!(wal.committed(), LogIndex::new(7));
    wal.mark_synced().expect("marked");
    drop(wal);
    disk.crash(Crash::DropUnsynced);
    for _ in 0..3 {
        let (wal, _) = open(&disk).expect("opened");
        assert_eq!(wal.committed(), LogIndex::new(7), "with the superblock");
    }
}
