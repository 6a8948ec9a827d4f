//! Three nodes in one process that talk in memory: SQL through each of them, the leader killed, a node that joins late,
//! damage that heals.

#[path = "../common/mod.rs"]
mod common;
mod erasing;
mod healing;
mod strangers;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Folder, create, rows, session, sqlstate, tag};
use craton_engine::{EngineError, Member};
use craton_types::{ActorId, FormatVersion, Value};
use world::{World, list, poll};

pub(crate) const TABLE: &str = "CREATE TABLE people (id bigint PRIMARY KEY, name text NOT NULL)";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_node_takes_statements_and_all_hold_the_same_records() {
    let world = World::new(&[1, 2, 3]).await;
    world.voters(&[1, 2, 3]).await;
    create(&world.nodes[&2], "main").await;
    for (id, node) in &world.nodes {
        poll("the database is known everywhere", || node.tenant("main").map(drop)).await;
        poll("the user is known everywhere", || node.user("main_app").map(drop)).await;
        let mut session = session(node, "main");
        if *id == 1 {
            tag(&mut session, TABLE).await;
        }
        tag(
            &mut session,
            &format!("INSERT INTO people VALUES ({id}, 'through {id}')"),
        )
        .await;
        assert_eq!(
            sqlstate(&mut session, &format!("INSERT INTO people VALUES ({id}, 'again')")).await,
            "23505"
        );
        let count = rows(&mut session, "SELECT count(*) FROM people").await;
        assert_eq!(
            count,
            [[Value::Int(i64::try_from(*id).expect("small"))]],
            "node {id} sees what all wrote"
        );
    }
    world.compare_logs().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_go_on_after_the_leader_closed_and_it_gets_what_it_missed() {
    let mut world = World::new(&[1, 2, 3]).await;
    world.voters(&[1, 2, 3]).await;
    let first = world.leader().await;
    create(&world.nodes[&first], "main").await;
    let mut through_first = session(&world.nodes[&first], "main");
    tag(&mut through_first, TABLE).await;
    tag(&mut through_first, "INSERT INTO people VALUES (1, 'before')").await;
    drop(through_first);
    world.close(first).await;
    let other = *world.nodes.keys().next().expect("two are left");
    poll("the user is known", || world.nodes[&other].user("main_app").map(drop)).await;
    let mut through_other = session(&world.nodes[&other], "main");
    tag(&mut through_other, "INSERT INTO people VALUES (2, 'after')").await;
    drop(through_other);
    world.open(first, &[1, 2, 3]).await;
    let mut again = session(&world.nodes[&first], "main");
    let names = rows(&mut again, "SELECT name FROM people ORDER BY id").await;
    assert_eq!(
        names,
        [[Value::Text("before".to_owned())], [Value::Text("after".to_owned())]]
    );
    world.compare_logs().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_with_a_damaged_write_ahead_log_comes_back() {
    let mut world = World::new(&[1, 2, 3]).await;
    world.voters(&[1, 2, 3]).await;
    let leader = world.leader().await;
    create(&world.nodes[&leader], "main").await;
    let mut through_leader = session(&world.nodes[&leader], "main");
    tag(&mut through_leader, TABLE).await;
    for id in 0..20 {
        tag(
            &mut through_leader,
            &format!("INSERT INTO people VALUES ({id}, 'before')"),
        )
        .await;
    }
    let damaged = *world.nodes.keys().find(|id| **id != leader).expect("two follow");
    world.compare_logs().await;
    // Closing brings everything to the disk, so the tenants' logs hold more than the damaged log then.
    world.close(damaged).await;
    damage_write_ahead_log(&world.folders[&damaged]);
    tag(&mut through_leader, "INSERT INTO people VALUES (20, 'meanwhile')").await;
    world.open(damaged, &[1, 2, 3]).await;
    poll("it has back what it lost", || {
        let members = world.members.read();
        (!members[&damaged].status().is_incomplete).then_some(())
    })
    .await;
    let mut again = session(&world.nodes[&damaged], "main");
    assert_eq!(
        rows(&mut again, "SELECT count(*) FROM people").await,
        [[Value::Int(21)]]
    );
    world.compare_logs().await;
}

/// Flips a bit in the middle of what the longest segment holds.
fn damage_write_ahead_log(folder: &Folder) {
    let files = std::fs::read_dir(folder.data().join("wal")).expect("the log");
    let segments = files
        .map(|file| file.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    let written = segments.map(|path| {
        let bytes = std::fs::read(&path).expect("readable");
        (bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0), path)
    });
    let (end, longest) = written.max().expect("a segment");
    let mut bytes = std::fs::read(&longest).expect("readable");
    bytes[end / 2] ^= 1;
    std::fs::write(&longest, bytes).expect("writable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_alone_grows_into_a_cluster_and_a_late_one_is_given_all_of_it() {
    let folder = Folder::new();
    {
        let alone = folder.open();
        create(&alone, "main").await;
        let mut session = session(&alone, "main");
        tag(&mut session, TABLE).await;
        for id in 0..50 {
            tag(&mut session, &format!("INSERT INTO people VALUES ({id}, 'alone')")).await;
        }
        drop(session);
        tokio::task::spawn_blocking(move || alone.close().expect("closed"))
            .await
            .expect("no panic");
    }
    let mut world = World {
        builds: BTreeMap::new(),
        folders: BTreeMap::from([(1, folder)]),
        nodes: BTreeMap::new(),
        members: Arc::default(),
    };
    for id in [1, 2, 3] {
        world.open(id, &[1, 2, 3]).await;
    }
    world.voters(&[1, 2, 3]).await;
    poll("the late one knows the user", || {
        world.nodes[&3].user("main_app").map(drop)
    })
    .await;
    let mut late = session(&world.nodes[&3], "main");
    assert_eq!(rows(&mut late, "SELECT count(*) FROM people").await, [[Value::Int(50)]]);
    drop(late);
    world.compare_logs().await;
    world.close(2).await;
    let refused = world.folders[&2].options().open(world.folders[&2].data());
    assert!(matches!(refused, Err(EngineError::ClusterMember { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_used_when_every_build_knows_it_and_somebody_says_so() {
    const IDS: [u64; 3] = [1, 2, 3];
    let (old, new) = (FormatVersion::OLDEST, FormatVersion::NEWEST);
    let mut world = World::of_builds(&IDS, IDS.map(|id| (id, old)).into()).await;
    world.voters(&IDS).await;
    create(&world.nodes[&1], "clinic").await;
    for id in [1, 2] {
        world.reopen(id, new, &IDS).await.expect("a newer build opens");
        world.voters(&IDS).await;
    }
    let refused = world.nodes[&1].finalize_format(ActorId::NIL, None).await;
    let refused = refused.expect_err("one build is old");
    assert_eq!(
        refused.to_string(),
        "format version 2 is needed, and the build of member 3 knows versions 1 to 1"
    );
    world
        .reopen(2, old, &IDS)
        .await
        .expect("nothing was raised: the way back is open");
    for id in [2, 3] {
        world.reopen(id, new, &IDS).await.expect("a newer build opens");
        world.voters(&IDS).await;
    }
    assert!(world.nodes.values().all(|node| node.format().active == old));
    world.nodes[&2]
        .finalize_format(ActorId::NIL, None)
        .await
        .expect("every build knows it");
    poll("every node has learnt of it", || {
        world
            .nodes
            .values()
            .all(|node| node.format().active == new)
            .then_some(())
    })
    .await;
    for wanted in [None, Some(old), Some(new)] {
        let again = world.nodes[&3].finalize_format(ActorId::NIL, wanted).await;
        let again = again.expect("it is done");
        assert_eq!((again.active, again.newest), (new, new));
    }
    let refused = world.nodes[&3]
        .finalize_format(ActorId::NIL, Some(FormatVersion::new(3)))
        .await;
    assert_eq!(
        refused.expect_err("no build knows it").to_string(),
        "format version 3 is needed, and the build of this node knows versions 1 to 2"
    );
    // Who joins now is told, and no build before is let in any more.
    world.open(4, &[1, 2, 3, 4]).await;
    for member in world.members.read().values() {
        member.set_members(list(&[1, 2, 3, 4]));
    }
    world.voters(&[1, 2, 3, 4]).await;
    assert_eq!(world.nodes[&4].format().active, new);
    let refused = world
        .reopen(3, old, &[1, 2, 3, 4])
        .await
        .expect_err("the directory is newer");
    assert!(matches!(refused, EngineError::Format(_)), "{refused:?}");
    world.builds.insert(3, new);
    world.open(3, &[1, 2, 3, 4]).await;
    world.voters(&[1, 2, 3, 4]).await;
    tag(
        &mut session(&world.nodes[&3], "clinic"),
        "CREATE TABLE visits (id bigint PRIMARY KEY)",
    )
    .await;
    world.compare_logs().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_gets_an_erasure_with_a_snapshot_does_not_show_what_was_erased() {
    let mut world = World::new(&[1, 2, 3]).await;
    world.voters(&[1, 2, 3]).await;
    let leader = world.leader().await;
    create(&world.nodes[&leader], "main").await;
    let mut client = session(&world.nodes[&leader], "main");
    let table = "CREATE TABLE patients (id bigint PRIMARY KEY, name text) WITH (subject = 'id', erasable = 'name')";
    tag(&mut client, table).await;
    tag(&mut client, "INSERT INTO patients VALUES (1, 'Ada')").await;
    world.compare_logs().await;
    let late = *world.nodes.keys().find(|id| **id != leader).expect("two follow");
    let known = world.members.read()[&late].status().last;
    world.close(late).await;
    rows(&mut client, "ERASE SUBJECT '1' REASON 'asked'").await;
    poll("the others have forgotten what it lacks", || {
        let members = world.members.read();
        let has_forgotten = |member: &Member| member.status().first > known.next();
        members.values().all(has_forgotten).then_some(())
    })
    .await;
    world.open(late, &[1, 2, 3]).await;
    let mut again = session(&world.nodes[&late], "main");
    assert_eq!(rows(&mut again, "SELECT name FROM patients").await, [[Value::Null]]);
}
