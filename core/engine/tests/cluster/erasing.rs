//! An erasure reaches every member, also one that was down and one that had set damaged files aside.

use std::collections::BTreeSet;
use std::path::Path;

use crate::common::{Folder, create, rows, session, tag};
use crate::world::{World, poll};
use crate::{Value, damage_write_ahead_log};

const PATIENTS: &str =
    "CREATE TABLE patients (id bigint PRIMARY KEY, name text) WITH (subject = 'id', erasable = 'name')";
const KEY_FILES: [&str; 2] = ["subjects.a.keys", "subjects.b.keys"];

/// The files of the write-ahead log that can hold entries.
fn log_files(folder: &Folder) -> BTreeSet<String> {
    let names = std::fs::read_dir(folder.data().join("wal")).expect("the log");
    let names = names.map(|file| file.expect("an entry").file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.ends_with(".wal") || name.ends_with(".aside"))
        .collect()
}

/// Whether a copy of the keys holds the first subject's no more, and the second one's still.
fn is_erased(copy: &Path) -> bool {
    let bytes = std::fs::read(copy).expect("a copy");
    let (Some(erased), Some(kept)) = (bytes.get(128..224), bytes.get(224..320)) else {
        return false;
    };
    erased[4] == 2 && erased[16..].iter().all(|byte| *byte == 0) && kept[4] == 1
}

/// Whether nothing of the first subject's key is left in a member's files, as far as they were there before.
fn has_no_traces(folder: &Folder, before: &BTreeSet<String>) -> bool {
    let tenants = folder.tenants().into_iter();
    let mut clinics = tenants.filter(|tenant| tenant.join(KEY_FILES[0]).exists());
    // The files are made when the keys are flushed.
    let Some(clinic) = clinics.next() else {
        return false;
    };
    KEY_FILES.iter().all(|name| is_erased(&clinic.join(name)))
        && !clinic.join("subjects.condemned").exists()
        && log_files(folder).is_disjoint(before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_erasure_reaches_members_that_were_down_and_what_others_set_aside() {
    let mut world = World::new(&[1, 2, 3]).await;
    world.voters(&[1, 2, 3]).await;
    let leader = world.leader().await;
    create(&world.nodes[&leader], "clinic").await;
    let mut client = session(&world.nodes[&leader], "clinic");
    tag(&mut client, PATIENTS).await;
    for sql in [
        "INSERT INTO patients VALUES (42, 'Ada'), (43, 'Bob')",
        "UPDATE patients SET name = 'Ada King' WHERE id = 42",
    ] {
        tag(&mut client, sql).await;
    }
    drop(client);
    world.compare_logs().await;
    let followers: Vec<u64> = world.nodes.keys().copied().filter(|id| *id != leader).collect();
    let [damaged, down] = followers[..] else {
        panic!("two follow")
    };
    world.close(damaged).await;
    damage_write_ahead_log(&world.folders[&damaged]);
    world.open(damaged, &[1, 2, 3]).await;
    let has_aside = |folder: &Folder| log_files(folder).iter().any(|name| name.ends_with(".aside"));
    assert!(has_aside(&world.folders[&damaged]), "something was set aside");
    poll("it has back what it lost", || {
        let members = world.members.read();
        (!members[&damaged].status().is_incomplete).then_some(())
    })
    .await;
    world.close(down).await;
    let before: Vec<_> = [1, 2, 3].map(|id| (id, log_files(&world.folders[&id]))).into();

    let mut client = session(&world.nodes[&damaged], "clinic");
    tag(&mut client, "ERASE SUBJECT '42'").await;
    let no_traces = |world: &World, id: u64| {
        let (_, before) = before.iter().find(|(member, _)| *member == id).expect("one of three");
        has_no_traces(&world.folders[&id], before)
    };
    for id in [leader, damaged] {
        poll("the traces are gone", || no_traces(&world, id).then_some(())).await;
    }
    assert!(!no_traces(&world, down), "it still has what the erasure must take");
    world.open(down, &[1, 2, 3]).await;
    poll("the traces are gone where it was down", || {
        no_traces(&world, down).then_some(())
    })
    .await;
    for node in world.nodes.values() {
        let mut client = session(node, "clinic");
        let names = rows(&mut client, "SELECT name FROM patients ORDER BY id").await;
        assert_eq!(names, [[Value::Null], [Value::Text("Bob".to_owned())]]);
    }
    world.compare_logs().await;
}
