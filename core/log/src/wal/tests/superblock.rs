//! The superblock: what it knows, and what it survives.

use super::*;
use crate::wal::superblock::{COPIES, COPY_BYTES, SLOT_BYTES, SUPERBLOCK_NAME};

fn superblock_path() -> PathBuf {
    Path::new(DIR).join(SUPERBLOCK_NAME)
}

fn damage_copy(disk: &MemoryDisk, copy: u8, at: usize) {
    let start = usize::try_from(u64::from(copy) * SLOT_BYTES).expect("small");
    disk.tamper(&superblock_path(), |bytes| bytes[start + at] ^= 0x10);
}

fn log_of(batches: Range<u64>) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    for index in batches {
        wal.append(&entries(index..index + 1)).expect("appended");
    }
    disk
}

fn error_of(disk: &MemoryDisk) -> WalError {
    match open(disk) {
        Err(error) => error,
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn any_damaged_byte_of_a_copy_is_found_and_mended() {
    let disk = log_of(1..4);
    for copy in 0..COPIES {
        for at in 0..COPY_BYTES {
            let damaged = disk.fork();
            damage_copy(&damaged, copy, at);
            let (wal, recovery) = open(&damaged).expect("three copies agree");
            let expected = RepairedCopy {
                copy,
                was_interrupted: false,
            };
            assert_eq!(recovery.superblock, [expected], "copy {copy}, byte {at}");
            assert_eq!(all(&wal).expect("readable"), entries(1..4));
            drop(wal);
            damaged.crash(Crash::DropUnsynced);
            assert_eq!(open(&damaged).expect("opened").1.superblock, [], "it was mended");
        }
    }
}

#[test]
fn two_copies_are_enough_and_one_is_not() {
    let disk = log_of(1..4);
    for good in 0..COPIES {
        for also_good in 0..COPIES {
            let damaged = disk.fork();
            for copy in (0..COPIES).filter(|copy| ![good, also_good].contains(copy)) {
                damage_copy(&damaged, copy, 60);
            }
            if good == also_good {
                let reason = SuperblockDamage::NoQuorum { whole: 1 };
                assert!(matches!(error_of(&damaged), WalError::Superblock { reason: found, .. } if found == reason));
                continue;
            }
            // Even a power cut while they are mended leaves two.
            for call in 0..12 {
                let cut = damaged.fork();
                cut.set_fault(Some(Fault {
                    call,
                    kind: FaultKind::Io,
                    sticky: true,
                }));
                let _ = open(&cut);
                cut.crash(Crash::Torn { seed: call });
                let (wal, _) = open(&cut).expect("two copies agree");
                assert_eq!(all(&wal).expect("readable"), entries(1..4));
            }
        }
    }
}

#[test]
fn a_log_without_its_superblock_or_of_another_node_is_not_opened() {
    let disk = log_of(1..4);
    let other = disk.fork();
    other.tamper(&superblock_path(), Vec::clear);
    assert!(matches!(
        error_of(&other),
        WalError::Superblock {
            reason: SuperblockDamage::NoQuorum { whole: 0 },
            ..
        }
    ));
    use crate::disk::Disk as _;
    disk.remove(&superblock_path()).expect("removed");
    assert!(matches!(
        error_of(&disk),
        WalError::Superblock {
            reason: SuperblockDamage::Missing,
            ..
        }
    ));

    let disk = log_of(1..4);
    let options = WalOptions {
        node: NodeId::new(2),
        ..options()
    };
    let opened = Wal::open(Arc::new(disk), Path::new(DIR), options, random());
    let expected = SuperblockDamage::OtherNode {
        found: NodeId::new(1),
        expected: NodeId::new(2),
    };
    assert!(matches!(opened, Err(WalError::Superblock { reason, .. }) if reason == expected));
}

#[test]
fn older_copies_of_files_are_told_from_the_present_ones() {
    // The newest segment as it was before more was appended, put back after the log was closed.
    let disk = log_of(1..3);
    let (mut wal, _) = open(&disk).expect("opened");
    let newest = segment_files(&disk).pop().expect("segments");
    wal.append(&entries(3..4)).expect("appended");
    let older = disk.contents(&newest).expect("the segment");
    wal.append(&entries(4..5)).expect("appended");
    wal.mark_synced().expect("closed");
    drop(wal);
    let stale = disk.fork();
    stale.tamper(&newest, |bytes| *bytes = older.clone());
    assert!(matches!(
        error_of(&stale),
        WalError::Corrupt {
            reason: Damage::Magic,
            ..
        }
    ));

    // The superblock as it was several segments ago.
    let superblock = disk.contents(&superblock_path()).expect("the superblock");
    let (mut wal, _) = open(&disk).expect("opened");
    for index in 5..30 {
        wal.append(&entries(index..index + 1)).expect("appended");
    }
    drop(wal);
    let stale = disk.fork();
    stale.tamper(&superblock_path(), |bytes| *bytes = superblock.clone());
    assert!(matches!(
        error_of(&stale),
        WalError::Superblock {
            reason: SuperblockDamage::Stale { .. },
            ..
        }
    ));

    // A segment of another log under the same key.
    let foreign = log_of(1..30);
    let path = segment_files(&disk)[0].clone();
    let other = foreign.contents(&segment_files(&foreign)[0]).expect("the segment");
    disk.tamper(&path, |bytes| *bytes = other);
    assert!(matches!(
        error_of(&disk),
        WalError::Corrupt {
            reason: Damage::OtherLog,
            ..
        }
    ));
}

#[test]
fn openings_are_counted_and_a_purged_oldest_segment_is_no_loss() {
    let disk = log_of(1..30);
    for generation in 2..6 {
        let (mut wal, recovery) = open(&disk).expect("opened");
        assert_eq!(recovery.generation, generation);
        wal.purge(LogIndex::new(5 * generation), Vec::new()).expect("purged");
        drop(wal);
        disk.crash(Crash::DropUnsynced);
    }
    let (wal, _) = open(&disk).expect("opened");
    let first = wal.first_index().expect("entries").get();
    assert!(first > 15, "{first}");
    assert_eq!(all(&wal).expect("readable"), entries(first..30));
}
