//! A world that ends, in order or not, and comes back on the same directory.

use std::fs;

use serde_json::Value as Json;

use crate::person::{Person, text};
use crate::support::{World, is_alive, kill, read_json, wait_for};

#[test]
fn everything_comes_back_on_the_same_directory() {
    let mut world = World::start();
    let person = Person::sign_up(&world, "Lakeside Hospital");
    let created = world.craton_json(&["clusters", "create", "clinic", "--wait"]);
    let cluster = text(&created["cluster"]["id"]);
    let password = text(&created["credentials"]["password"]);
    let sql = |world: &World, statement: &str| {
        let arguments = ["sql", "--cluster", "clinic", "-c", statement];
        world
            .craton_with(&arguments, &[("PGPASSWORD", &password)], "")
            .succeeded()
            .output
    };
    sql(
        &world,
        "CREATE TABLE patients (id bigint PRIMARY KEY); INSERT INTO patients VALUES (1), (2)",
    );
    let everything = person.everything();
    let connection = world.craton_json(&["clusters", "connection", "clinic"]);
    let ready = world.ready.clone();

    // In order: nothing runs any more, databases included.
    let processes = processes(&world, &cluster);
    assert!(processes.iter().all(|process| is_alive(*process)), "{processes:?}");
    assert!(world.stop(), "craton dev ends in order");
    let left: Vec<_> = processes.iter().filter(|process| is_alive(**process)).collect();
    assert!(left.is_empty(), "{left:?} still run");

    // The views are derived: without them, the events alone bring back the same.
    let views = world.data_dir().join("platform/views");
    assert!(fs::read_dir(&views).expect("views").count() > 0);
    fs::remove_dir_all(&views).expect("removed");
    world.start_again();
    for part in ["base_url", "ports", "data_dir"] {
        assert_eq!(world.ready[part], ready[part]);
    }
    world.craton(&["clusters", "wait", "clinic"]).succeeded();
    wait_for("everything to be as before", || {
        (person.everything() == everything).then_some(())
    });
    assert_eq!(world.craton_json(&["clusters", "connection", "clinic"]), connection);
    wait_for("the database to serve", || {
        let arguments = ["sql", "--cluster", "clinic", "-c", "SELECT 1"];
        (world.craton_with(&arguments, &[("PGPASSWORD", &password)], "").status == 0).then_some(())
    });
    assert!(sql(&world, "SELECT count(*) FROM patients").contains(" 2\n"));

    // Not in order: its children end with craton dev, the database does not, and the next agent adopts it.
    let before = self::processes(&world, &cluster);
    world.kill_dev();
    let (server, children) = before.split_last().expect("processes");
    wait_for("the children to end", || {
        children.iter().all(|process| !is_alive(*process)).then_some(())
    });
    assert!(is_alive(*server), "the database serves on");
    world.start_again();
    assert_eq!(
        self::processes(&world, &cluster).last(),
        Some(server),
        "the database was adopted"
    );
    assert!(sql(&world, "SELECT count(*) FROM patients").contains(" 2\n"));
    assert!(world.stop(), "craton dev ends in order");
    assert!(!is_alive(*server), "an adopted database ends with the world, too");
}

#[test]
fn an_interrupt_during_the_start_leaves_nothing_behind() {
    let mut world = World::start();
    assert!(world.stop());
    world.start_in_background();
    let platform = wait_for("the platform to start", || {
        let log = fs::read_to_string(world.folder.path().join("dev.log")).ok()?;
        let line = log.lines().find(|line| line.contains("platform runs as process"))?;
        line.rsplit(' ').next()?.parse().ok()
    });
    kill("INT", world.dev_process());
    assert!(world.stop_was_clean(), "an interrupt is no failure");
    assert!(!is_alive(platform));
}

/// Every process of the world; the cluster's server is the last.
fn processes(world: &World, cluster: &str) -> Vec<u32> {
    let number = |json: &Json| u32::try_from(json.as_u64().expect("a number")).expect("a process number");
    let ready = world.ready_now();
    let agents = ready["agents"].as_array().expect("agents");
    let mut processes = vec![number(&ready["platform"]["process_id"])];
    processes.extend(agents.iter().map(|agent| number(&agent["process_id"])));
    let server = (1..=3).find_map(|node| {
        let record = world
            .data_dir()
            .join(format!("node-{node}/instances/{cluster}.1/process.json"));
        Some(number(&read_json(&record)?["pid"]))
    });
    processes.push(server.expect("a server"));
    processes
}
