//! A disk that fails, fills up or loses power.

use super::*;
use crate::disk::Disk as _;

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
    assert!(matches!(
        wal.purge(LogIndex::new(1), Vec::new()),
        Err(WalError::Poisoned)
    ));
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
            let _ = wal.purge(LogIndex::new(next.saturating_sub(8)), Vec::new());
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
fn a_superblock_that_was_not_synced_does_no_harm() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    wal.append(&entries(1..4)).expect("appended");
    let written = disk.fork();
    wal.mark_synced().expect("marked");
    drop(wal);
    // The process died between the writes and the syncs of the superblock.
    let marked = Path::new(DIR).join("superblock");
    let bytes = disk.contents(&marked).expect("the superblock");
    let file = written.open(&marked).expect("opened");
    file.write_all_at(&bytes, 0).expect("written");
    written.crash(Crash::Process);
    let (wal, _) = open(&written).expect("opened");
    assert_eq!(all(&wal).expect("readable"), entries(1..4));
    drop(wal);
    written.crash(Crash::DropUnsynced);
    let (wal, _) = open(&written).expect("opened after the power cut");
    assert_eq!(all(&wal).expect("readable"), entries(1..4));
}
