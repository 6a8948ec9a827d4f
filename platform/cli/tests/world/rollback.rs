//! A cluster whose data was put back to an earlier copy: the platform, as its witness, refuses it and says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;

use crate::person::{Person, text};
use crate::support::{World, kill, read_json, wait_for};

#[test]
fn a_cluster_that_was_turned_back_is_refused_and_its_people_are_told() {
    let world = World::start();
    let person = Person::sign_up(&world, "Lakeside Hospital");
    let created = world.craton_json(&["clusters", "create", "clinic", "--wait"]);
    let cluster = text(&created["cluster"]["id"]);
    let password = text(&created["credentials"]["password"]);
    let sql = |statement: &str| {
        let arguments = ["sql", "--cluster", "clinic", "-c", statement];
        world.craton_with(&arguments, &[("PGPASSWORD", &password)], "")
    };
    let witnessed = || {
        let answer = person.get(&format!("/api/v1/orgs/{}/clusters/{cluster}/witnesses", person.org));
        answer["logs"][0].clone()
    };
    let witnessed_size = || witnessed()["size"].as_u64().unwrap_or(0);
    sql("CREATE TABLE patients (id bigint PRIMARY KEY)").succeeded();
    let before = wait_for("the log to be witnessed", || {
        Some(witnessed_size()).filter(|size| *size > 0)
    });

    let place = Place::of(&world, &cluster);
    let data = place.directory.join("data");
    place.while_the_server_is_down(|| copy(&data, &place.directory.join("earlier")));
    for id in 0..10 {
        wait_for("the server to write again", || {
            (sql(&format!("INSERT INTO patients VALUES ({id})")).status == 0).then_some(())
        });
    }
    wait_for("more to be witnessed", || {
        (witnessed_size() >= before + 10).then_some(())
    });
    assert_eq!(witnessed()["is_refused"], false);

    place.while_the_server_is_down(|| {
        fs::rename(&data, place.directory.join("honest")).expect("moved");
        fs::rename(place.directory.join("earlier"), &data).expect("moved");
    });
    wait_for("the server on the earlier copy", || {
        let count = sql("SELECT count(*) FROM patients");
        (count.status == 0 && count.output.contains(" 0\n")).then_some(())
    });
    sql("INSERT INTO patients VALUES (100)").succeeded();
    let log = wait_for("the refusal", || {
        Some(witnessed()).filter(|log| log["is_refused"] == true)
    });
    assert_eq!(log["refused"]["reason"], "turned_back", "{log}");
    assert!(log["refused"]["size"].as_u64() < log["size"].as_u64(), "{log}");
    let shown = world.craton_json(&["clusters", "show", "clinic"]);
    assert_eq!(shown["state"], "degraded", "{shown}");
    assert!(text(&shown["last_error"]).contains("another history"), "{shown}");
    let events = person.get(&format!("/api/v1/orgs/{}/audit-events", person.org));
    let told: Vec<&Json> = events["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|event| event["type"] == "cluster.history_refused")
        .collect();
    assert_eq!(told.len(), 1, "{events}");
}

/// Where a cluster runs.
struct Place {
    agent: u32,
    directory: PathBuf,
}

impl Place {
    fn of(world: &World, cluster: &str) -> Self {
        let ready = world.ready_now();
        let on = |index: usize| {
            world
                .data_dir()
                .join(format!("node-{}/instances/{cluster}.1", index + 1))
        };
        let index = (0..3).find(|index| on(*index).exists()).expect("an agent has it");
        let agent = ready["agents"][index]["process_id"].as_u64().expect("a number");
        Self {
            agent: u32::try_from(agent).expect("a process number"),
            directory: on(index),
        }
    }

    /// Kills the server and does something to its files, while its agent is stopped and cannot start it again.
    fn while_the_server_is_down(&self, change: impl FnOnce()) {
        kill("STOP", self.agent);
        let record = read_json(&self.directory.join("process.json")).expect("a record");
        let server = u32::try_from(record["pid"].as_u64().expect("a number")).expect("a process number");
        kill("KILL", server);
        wait_for("the server's end", || is_over(server).then_some(()));
        change();
        kill("CONT", self.agent);
    }
}

/// Whether a process runs no more. Its parent may not have noticed yet.
fn is_over(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status
        .rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp").success());
}
