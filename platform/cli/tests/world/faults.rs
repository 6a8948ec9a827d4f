//! `kill -9` of the control plane and of an agent: the database serves on, and everything is as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use crate::person::{Person, text};
use crate::support::{World, is_alive, kill, read_json, wait_for, wait_for_each};
use crate::writer::{Writer, block_on, connect};

/// How often each of the two is killed.
const ROUNDS: usize = 2;

#[test]
fn the_cluster_serves_while_platform_and_agent_are_killed() {
    let world = World::start();
    let person = Person::sign_up(&world, "Lakeside Hospital");
    let created = world.craton_json(&["clusters", "create", "clinic", "--wait"]);
    let password = text(&created["credentials"]["password"]);
    let connection = world.craton_json(&["clusters", "connection", "clinic", "--ca-file", "ca.pem"]);
    let ca_pem = fs::read_to_string(world.folder.path().join("ca.pem")).expect("a certificate");
    let (agent, directory) = placement(&world, &text(&created["cluster"]["id"]));
    let server = server_process(&directory);
    block_on(async {
        let client = connect(&connection, &ca_pem, &password).await;
        let create = "CREATE TABLE written (id bigint PRIMARY KEY)";
        client.batch_execute(create).await.expect("a table");
    });

    // One connection, from before the first kill until after the last.
    let writer = Writer::start(&connection, &ca_pem, &password);
    writer.expect_progress();
    for _ in 0..ROUNDS {
        let everything = person.everything();
        kill_and_await(&world, |ready| ready["platform"].clone());
        writer.expect_progress();
        wait_for("the control plane to answer", || {
            (world.craton(&["orgs", "list"]).status == 0).then_some(())
        });
        // What was said before is said again; the node's own state as soon as its agent has reported.
        assert_eq!(person.everything()["audit_events"], everything["audit_events"]);
        let pause = Duration::from_millis(500);
        wait_for_each(pause, "the control plane to show what it did before", || {
            (person.everything() == everything).then_some(())
        });

        kill_and_await(&world, |ready| ready["agents"][agent].clone());
        writer.expect_progress();
        assert_eq!(server_process(&directory), server, "the server was never restarted");
    }

    let acknowledged = writer.finish();
    let (count, first, last) = block_on(async {
        let client = connect(&connection, &ca_pem, &password).await;
        let query = "SELECT count(*), min(id), max(id) FROM written";
        let row = client.query_one(query, &[]).await.expect("a row");
        (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2))
    });
    assert_eq!((count, first, last), (acknowledged, 1, acknowledged));

    // The agent works as before: a password that is rotated now reaches the server, which is still the first one.
    let password = text(&world.craton_json(&["clusters", "rotate-password", "clinic"])["password"]);
    wait_for("the new password to be accepted", || {
        let select = ["sql", "--cluster", "clinic", "-c", "SELECT 1"];
        let finished = world.craton_with(&select, &[("PGPASSWORD", &password)], "");
        (finished.status == 0).then_some(())
    });
    assert_eq!(server_process(&directory), server);
    world.expect_quiet_logs();
}

#[test]
fn a_process_that_cannot_start_is_named_with_its_last_words() {
    let folder = tempfile::Builder::new().prefix("ct-").tempdir().expect("a folder");
    let node = folder.path().join("w/node-1");
    fs::create_dir_all(&node).expect("a folder");
    fs::write(node.join("identity.json"), "{").expect("a damaged file");
    let output = std::process::Command::new(crate::support::craton())
        .args(["dev", "--port"])
        .arg(crate::support::free_port().to_string())
        .arg("--data-dir")
        .arg(folder.path().join("w"))
        .output()
        .expect("craton dev runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("node-1 ended at its start"), "{errors}");
    assert!(errors.contains("identity.json"), "{errors}");
}

/// Kills a process without a chance to clean up and waits until `craton dev` has replaced it.
fn kill_and_await(world: &World, child: impl Fn(&Json) -> Json) {
    let process = || {
        let id = child(&world.ready_now())["process_id"].as_u64().expect("a number");
        u32::try_from(id).expect("a process number")
    };
    let before = process();
    kill("KILL", before);
    wait_for("the process to be replaced", || {
        let now = process();
        (now != before && is_alive(now)).then_some(())
    });
}

/// The agent that a cluster is on, as its place in the ready file, and the cluster's directory there.
fn placement(world: &World, cluster: &str) -> (usize, PathBuf) {
    (0..3)
        .map(|index| {
            let directory = format!("node-{}/instances/{cluster}.1", index + 1);
            (index, world.data_dir().join(directory))
        })
        .find(|(_, directory)| directory.exists())
        .expect("an agent has it")
}

/// The process that serves a cluster.
fn server_process(directory: &Path) -> u64 {
    let record = read_json(&directory.join("process.json")).expect("a record");
    record["pid"].as_u64().expect("a number")
}
