//! What is noted of the tenants' logs before entries are forgotten.

use craton_types::{Hash, Offset, TenantId};

use super::*;

fn head(number: u64) -> LogHead {
    let mut tenant = [0; 16];
    tenant[8..].copy_from_slice(&number.to_be_bytes());
    LogHead {
        tenant: TenantId::new(tenant),
        index: LogIndex::new(number),
        end: Offset::new(number * 7),
        last_hash: Hash::new([number.to_be_bytes()[7]; 32]),
    }
}

fn heads(count: u64) -> Vec<LogHead> {
    (0..count).map(head).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A log that has forgotten something.
fn purged(count: u64) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk).expect("created");
    for index in 1..30 {
        wal.append(&entries(index..index + 1)).expect("appended");
    }
    wal.purge(LogIndex::new(20), heads(count)).expect("purged");
    drop(wal);
    disk.crash(Crash::DropUnsynced);
    disk
}

#[test]
fn heads_are_there_after_reopening_and_any_damaged_byte_of_a_copy_is_mended() {
    let disk = purged(3);
    let (_, recovery) = open(&disk.fork()).expect("opened");
    assert_eq!(recovery.heads, heads(3));
    assert_eq!(recovery.heads_rewritten, Vec::<&str>::new());
    for name in ["heads.a", "heads.b"] {
        for at in 0..(48 + 3 * 64 + 32) {
            let damaged = disk.fork();
            damaged.flip(&path(name), at, 0x10);
            let (_, recovery) = open(&damaged).expect("opened");
            assert_eq!(
                (recovery.heads, recovery.heads_rewritten),
                (heads(3), vec![name]),
                "{at}"
            );
            let (_, recovery) = open(&damaged).expect("opened");
            assert_eq!(recovery.heads_rewritten, Vec::<&str>::new(), "{name} was mended");
        }
    }
}

#[test]
fn heads_that_are_lost_or_of_an_earlier_time_do_not_open_the_log() {
    let disk = purged(3);
    let earlier = disk.fork();
    let (mut wal, _) = open(&disk).expect("opened");
    wal.purge(LogIndex::new(29), heads(4)).expect("purged");
    drop(wal);
    for name in ["heads.a", "heads.b"] {
        disk.transplant(&earlier, &path(name), &path(name));
    }
    assert!(matches!(
        open(&disk),
        Err(WalError::Heads {
            reason: HeadsDamage::Stale { through, purged_through },
            ..
        }) if through < purged_through
    ));
    for name in ["heads.a", "heads.b"] {
        disk.unlink(&path(name));
    }
    let reason = match open(&disk).map(drop) {
        Err(WalError::Heads { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(matches!(reason, HeadsDamage::NoWholeCopy { .. }), "{reason:?}");
}

/// Space is reserved for many tenants. When there are more and the disk is full, nothing is forgotten and nothing is lost.
#[test]
fn a_full_disk_delays_forgetting_when_there_are_more_tenants_than_space() {
    let disk = purged(3);
    let (mut wal, _) = open(&disk).expect("opened");
    let before = segment_files(&disk);
    disk.set_capacity_bytes(Some(disk.used_bytes()));
    let purged = wal.purge(LogIndex::new(29), heads(5_000));
    assert!(matches!(purged, Err(WalError::NoSpace { .. })), "{purged:?}");
    assert_eq!(segment_files(&disk), before);
    let copy = disk.fork();
    copy.set_capacity_bytes(None);
    let (_, recovery) = open(&copy).expect("opened");
    assert_eq!(recovery.heads, heads(3));
    wal.purge(LogIndex::new(29), heads(1_000))
        .expect("for so many there is space");
    disk.set_capacity_bytes(None);
    wal.append(&entries(30..31)).expect("appended");
    wal.begin_segment();
    wal.append(&entries(31..32)).expect("appended");
    wal.purge(LogIndex::new(30), heads(5_000)).expect("purged");
    drop(wal);
    disk.crash(Crash::DropUnsynced);
    let (_, recovery) = open(&disk).expect("opened");
    assert_eq!(recovery.heads, heads(5_000));
}
