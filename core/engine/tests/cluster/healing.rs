//! Records that are damaged come back from the other members, byte for byte.

use std::path::{Path, PathBuf};

use craton_engine::{Offset, Tenant};
use craton_types::{HEADER_BYTES, RECORD_CRC_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, Value};

use crate::TABLE;
use crate::common::{Folder, create, rows, session, tag};
use crate::world::{World, logs, poll};

const ROWS: u64 = 60;

/// The first segment of the log of the database, which is not the system's.
fn segment(folder: &Folder) -> PathBuf {
    let tenants = folder.tenants().into_iter();
    let mut databases = tenants.filter(|path| !path.ends_with("00000000-0000-0000-0000-000000000001"));
    let database = databases.next().expect("the database");
    database.join("log").join(format!("{:020}.segment", 0))
}

/// A part of a record.
#[derive(Clone, Copy)]
enum Part {
    Header,
    Body,
}

/// Flips a bit of a record.
fn flip(path: &Path, record: u64, part: Part) {
    let mut bytes = std::fs::read(path).expect("readable");
    let mut at = SEGMENT_HEADER_BYTES;
    for _ in 0..record {
        let header = bytes[at..].first_chunk::<HEADER_BYTES>().expect("a header");
        let header = RecordHeader::decode(header).expect("whole");
        at += HEADER_BYTES + RECORD_CRC_BYTES + header.payload_length as usize;
    }
    at += match part {
        Part::Header => 40,
        Part::Body => HEADER_BYTES + RECORD_CRC_BYTES + 10,
    };
    bytes[at] ^= 4;
    std::fs::write(path, bytes).expect("writable");
}

/// A cluster with a table of rows.
async fn world_with_rows() -> World {
    let world = World::new(&[1, 2, 3]).await;
    world.voters(&[1, 2, 3]).await;
    let leader = world.leader().await;
    create(&world.nodes[&leader], "main").await;
    let mut session = session(&world.nodes[&leader], "main");
    tag(&mut session, TABLE).await;
    for id in 0..ROWS {
        tag(&mut session, &format!("INSERT INTO people VALUES ({id}, 'row {id}')")).await;
    }
    drop(session);
    world.compare_logs().await;
    world
}

/// Which members recorded that they wrote records again.
async fn repaired_by(world: &World, id: u64) -> Vec<i64> {
    let mut session = session(&world.nodes[&id], "main");
    let sql =
        "SELECT DISTINCT member FROM craton_recoveries WHERE area = 'log' AND action = 'rewritten' ORDER BY member";
    let found = rows(&mut session, sql).await;
    let members = found.into_iter().map(|row| match row[..] {
        [Value::Int(member)] => member,
        ref other => panic!("{other:?}"),
    });
    members.collect()
}

fn read(tenant: &Tenant, position: u64) -> Result<usize, craton_engine::EngineError> {
    tenant
        .read_events(Offset::new(position), 1)
        .map(|read| read.records.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn disjoint_damage_on_all_three_members_heals() {
    let mut world = world_with_rows().await;
    for id in [1, 2, 3] {
        world.close(id).await;
    }
    // What each had when all were whole.
    let whole: Vec<_> = [1, 2, 3].map(|id| logs(&world.folders[&id])).into();
    for (id, records) in [(1, [10, 13, 20]), (2, [11, 14, 21]), (3, [12, 15, 22])] {
        let path = segment(&world.folders[&id]);
        // The header last, as the walk to a record goes over headers.
        for (record, part) in records.into_iter().zip([Part::Body, Part::Body, Part::Header]) {
            flip(&path, record, part);
        }
    }
    for id in [1, 2, 3] {
        world.open(id, &[1, 2, 3]).await;
    }
    poll("every member is whole", || {
        let is_whole = |folder: &Folder, whole: &std::collections::BTreeMap<String, Vec<u8>>| {
            let now = logs(folder);
            whole
                .iter()
                .all(|(name, bytes)| now.get(name).is_some_and(|now| now.starts_with(bytes)))
        };
        let folders = world.folders.values().zip(&whole);
        folders
            .into_iter()
            .all(|(folder, whole)| is_whole(folder, whole))
            .then_some(())
    })
    .await;
    for id in [1, 2, 3] {
        let node = &world.nodes[&id];
        poll("nothing is known to be damaged", || {
            node.scrub_status().damaged.is_empty().then_some(())
        })
        .await;
        let tenant = node.tenant("main").expect("the tenant");
        for position in 0..ROWS {
            read(&tenant, position).expect("readable");
        }
    }
    let mut recorded = Vec::new();
    for _ in 0..1_000 {
        recorded = repaired_by(&world, 2).await;
        if recorded.len() == 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(recorded, [1, 2, 3], "every member says what it did");
    world.compare_logs().await;
    let kept = std::fs::read_dir(segment(&world.folders[&1]).parent().expect("a folder")).expect("readable");
    let kept = kept.filter(|file| {
        let name = file.as_ref().expect("an entry").file_name();
        name.to_string_lossy().ends_with(".damaged")
    });
    assert_eq!(kept.count(), 3, "what was damaged is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_of_a_damaged_record_is_told_to_come_back_and_finds_it_whole() {
    let world = world_with_rows().await;
    let id = *world.nodes.keys().next().expect("three run");
    let tenant = world.nodes[&id].tenant("main").expect("the tenant");
    let other = create(&world.nodes[&id], "other").await;
    flip(&segment_of(&world.folders[&id], &tenant), 30, Part::Body);
    // Whoever comes first, the reader or the scrubber: the reader gets the record or is told to come back.
    let mut waited = 0;
    loop {
        match read(&tenant, 30) {
            Ok(_) => break,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        other
            .append(craton_engine::Append::new("stream", ["goes on"]))
            .await
            .expect("others are served");
        waited += 1;
        assert!(waited < 6_000, "waited in vain");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    world.compare_logs().await;
}

fn segment_of(folder: &Folder, tenant: &Tenant) -> PathBuf {
    let id = tenant.log_key();
    let tenants = folder.tenants().into_iter();
    let mut own = tenants.filter(|path| id.contains(&path.file_name().expect("a name").to_string_lossy().into_owned()));
    let path = own.next().expect("the database");
    path.join("log").join(format!("{:020}.segment", 0))
}
