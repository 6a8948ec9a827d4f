//! A running node finds damage to its logs by itself, names it, and serves everything else.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{Folder, create, rows, session};
use craton_engine::{Append, Craton, DamagedRecord, Offset, ScrubOptions};
use craton_log::testing::MemoryDisk;

const RECORDS: u64 = 600;

async fn poll(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}

/// A node that scrubs all the time, and a database with records.
async fn scrubbing(folder: &Folder, disk: &MemoryDisk) -> (Craton, PathBuf) {
    let options = folder.options().disk(Arc::new(disk.clone())).scrub(ScrubOptions {
        bytes_per_second: 64 * 1024 * 1024,
        pause: Duration::from_millis(20),
    });
    let engine = options.open(folder.data()).expect("the node opens");
    let tenant = create(&engine, "main").await;
    let before = disk.paths();
    for number in 0..RECORDS {
        tenant
            .append(Append::new("stream", [format!("event {number}")]))
            .await
            .expect("appended");
    }
    let log = before
        .iter()
        .filter(|path| path.ends_with(format!("log/{:020}.segment", 0)))
        .find(|path| !path.to_string_lossy().contains("00000000-0000-0000-0000-000000000001"))
        .expect("the database's log");
    (engine, log.parent().expect("a folder").to_path_buf())
}

#[tokio::test]
async fn a_flipped_byte_is_named_and_everything_else_is_served() {
    let folder = Folder::new();
    let disk = MemoryDisk::new();
    let (engine, log) = scrubbing(&folder, &disk).await;
    let tenant = engine.tenant("main").expect("the tenant");
    poll("everything was read", || engine.scrub_status().completed.is_some()).await;
    assert_eq!(engine.scrub_status().damaged, []);

    // The body of a record in the middle.
    let segment = log.join(format!("{:020}.segment", 0));
    let bytes = disk.contents(&segment).expect("the segment");
    let position = bytes.len() as u64 / 2;
    disk.flip(&segment, position, 4);
    poll("the damage is named", || !engine.scrub_status().damaged.is_empty()).await;
    let [damaged] = &engine.scrub_status().damaged[..] else {
        panic!("{:?}", engine.scrub_status().damaged);
    };
    let DamagedRecord {
        database,
        position: offset,
        ..
    } = damaged;
    assert_eq!(database, "main");
    assert!(tenant.read_events(*offset, 1).is_err(), "it is never served");
    let next = Offset::new(offset.get() + 1);
    assert_eq!(tenant.read_events(next, 5).expect("the others are").records.len(), 5);
    tenant
        .append(Append::new("stream", ["more"]))
        .await
        .expect("writing goes on");
    assert_eq!(engine.stop_reason(), None);

    disk.flip(&segment, position, 4);
    poll("it is whole again", || engine.scrub_status().damaged.is_empty()).await;
}

#[tokio::test]
async fn a_damaged_hash_file_is_mended_and_the_mending_recorded() {
    let folder = Folder::new();
    let disk = MemoryDisk::new();
    let (engine, log) = scrubbing(&folder, &disk).await;
    let hashes = log.join("level-0.hashes");
    let whole = disk.contents(&hashes).expect("the hashes");
    disk.flip(&hashes, 32 * 40, 1);
    poll("it is mended", || {
        disk.contents(&hashes).is_some_and(|bytes| bytes.starts_with(&whole))
    })
    .await;
    let mut sql = session(&engine, "main");
    for _ in 0..1_000 {
        let found = rows(
            &mut sql,
            "SELECT area, file FROM craton_recoveries WHERE area = 'log_index'",
        )
        .await;
        if !found.is_empty() {
            assert_eq!(engine.scrub_status().damaged, []);
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the mending was not recorded");
}
