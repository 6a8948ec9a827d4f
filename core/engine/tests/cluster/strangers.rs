//! Directories that must not take part: older copies, those of other clusters, and second ones under one number.

use craton_consensus::Standing;

use crate::common::{Folder, create, rows, session, tag};
use crate::world::{World, poll};
use crate::{TABLE, Value};

/// A cluster with a table, and one of its followers.
async fn world_with_table() -> (World, u64) {
    let world = World::new(&[1, 2, 3]).await;
    world.voters(&[1, 2, 3]).await;
    let leader = world.leader().await;
    create(&world.nodes[&leader], "main").await;
    let mut session = session(&world.nodes[&leader], "main");
    tag(&mut session, TABLE).await;
    tag(&mut session, "INSERT INTO people VALUES (1, 'before')").await;
    drop(session);
    world.compare_logs().await;
    let follower = *world.nodes.keys().find(|id| **id != leader).expect("two follow");
    (world, follower)
}

/// Opens a member whose directory was replaced, expects that it may not take part and why, and that the others go on.
async fn expect_refused(world: &mut World, id: u64, folder: Folder, why: &str) {
    world.folders.insert(id, folder);
    world.open(id, &[1, 2, 3]).await;
    let reason = poll("it may not take part", || {
        match world.members.read()[&id].status().standing {
            Standing::Refused(reason) => Some(reason),
            Standing::Good | Standing::Unknown => None,
        }
    })
    .await;
    assert!(reason.contains(why), "{reason}");
    world.folders.remove(&id);
    let refused = world.nodes.remove(&id).expect("it is open");
    world.members.write().remove(&id);
    let leader = world.leader().await;
    let mut session = session(&world.nodes[&leader], "main");
    tag(&mut session, "INSERT INTO people VALUES (9, 'without it')").await;
    let count = rows(&mut session, "SELECT count(*) FROM people WHERE id = 9").await;
    assert_eq!(count, [[Value::Int(1)]]);
    assert!(
        refused.applied() < world.nodes[&leader].applied(),
        "it takes no entries"
    );
    tokio::task::spawn_blocking(move || refused.close().expect("closed"))
        .await
        .expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_directory_that_was_put_back_from_an_older_copy_may_not_take_part() {
    let (mut world, id) = world_with_table().await;
    world.close(id).await;
    let older = world.folders[&id].copy();
    world.open(id, &[1, 2, 3]).await;
    poll("it takes part again", || {
        (world.members.read()[&id].status().standing == Standing::Good).then_some(())
    })
    .await;
    world.close(id).await;
    expect_refused(&mut world, id, older, "an older copy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_directory_of_another_cluster_may_not_take_part() {
    let (mut world, id) = world_with_table().await;
    let (mut other, _) = world_with_table().await;
    world.close(id).await;
    other.close(id).await;
    let strange = other.folders.remove(&id).expect("a folder");
    expect_refused(&mut world, id, strange, "another cluster").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_directory_under_a_number_that_was_used_may_not_take_part() {
    let (mut world, _) = world_with_table().await;
    // Not the first one, which would form a cluster of its own.
    world.close(3).await;
    expect_refused(&mut world, 3, Folder::new(), "a second one").await;
}
