//! Space that is reserved before the log needs it.

use parking_lot::Mutex;

use super::*;
use crate::disk::Disk as _;
use crate::wal::space::SPARE_NAME;

fn full() -> Option<Fault> {
    Some(Fault {
        call: 0,
        kind: FaultKind::NoSpace,
        sticky: true,
    })
}

fn spare(disk: &MemoryDisk) -> Option<Vec<u8>> {
    disk.contents(&Path::new(DIR).join(SPARE_NAME))
}

#[test]
fn the_next_segment_comes_from_what_was_reserved() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    let space = wal.space();
    assert!(!space.is_reserved());
    space.reserve().expect("reserved");
    space.reserve().expect("once is enough");
    assert!(space.is_reserved());
    let length = spare(&disk).map(|bytes| bytes.len() as u64);
    assert_eq!(length, Some(SEGMENT_BYTES));
    let mut next = 1;
    while space.is_reserved() {
        wal.append(&entries(next..next + 1)).expect("appended");
        next += 1;
    }
    assert_eq!(spare(&disk), None, "it is a segment now");
    assert_eq!(segment_files(&disk).len(), 2);

    disk.set_fault(full());
    assert!(matches!(space.reserve(), Err(WalError::NoSpace { .. })));
    assert!(!space.is_reserved());
    disk.set_fault(None);
    space.reserve().expect("there is space again");
    wal.append(&entries(next..next + 1)).expect("the log was never harmed");
    drop(wal);
    disk.crash(Crash::DropUnsynced);
    assert_eq!(
        all(&open(&disk).expect("opened").0).expect("readable"),
        entries(1..next + 1)
    );
}

#[test]
fn what_was_reserved_is_used_by_the_next_opening_without_what_a_crash_left_in_it() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    wal.space().reserve().expect("reserved");
    wal.append(&entries(1..3)).expect("appended");
    drop(wal);
    disk.tamper(&Path::new(DIR).join(SPARE_NAME), |bytes| bytes.fill(0xaa));
    let (mut wal, recovery) = open(&disk).expect("opened");
    assert_eq!((recovery.torn, spare(&disk)), (None, None));
    wal.append(&entries(3..4)).expect("appended");
    drop(wal);
    let (wal, recovery) = open(&disk).expect("opened");
    assert_eq!(recovery.torn, None, "nothing but zeros was behind the records");
    assert_eq!(all(&wal).expect("readable"), entries(1..4));

    // One of another size is of no use.
    let other = disk.create(&Path::new(DIR).join(SPARE_NAME)).expect("created");
    other.allocate(SEGMENT_BYTES - 1).expect("allocated");
    drop(wal);
    let (wal, _) = open(&disk).expect("opened");
    assert!(!wal.space().is_reserved());
    assert_eq!(spare(&disk), None);
}

/// Blocks that are only allocated would make every sync of a batch a change of the file system's metadata.
#[test]
fn reserved_space_is_written_and_synced_not_only_allocated() {
    let disk = MemoryDisk::new();
    let (wal, _) = open(&disk).expect("created");
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    disk.set_hook(Some(Arc::new(move |call| {
        if call.path.ends_with(SPARE_NAME) {
            seen.lock().push(call.kind);
        }
    })));
    wal.space().reserve().expect("reserved");
    let expected = [CallKind::Create, CallKind::Allocate, CallKind::Write, CallKind::Sync];
    assert_eq!(*calls.lock(), expected);
}

#[test]
fn a_disk_that_fails_while_space_is_reserved_poisons_the_log() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    disk.set_fault(Some(Fault {
        call: 1,
        kind: FaultKind::Io,
        sticky: false,
    }));
    assert!(matches!(wal.space().reserve(), Err(WalError::Io { .. })));
    assert!(matches!(wal.append(&entries(1..2)), Err(WalError::Poisoned)));
}
