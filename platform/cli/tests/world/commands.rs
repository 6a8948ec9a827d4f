//! The commands, as a person types them.

use std::fs;

use serde_json::Value as Json;

use crate::person::{Person, text};
use crate::support::{World, read_json, wait_for};

#[test]
fn from_login_to_a_verified_receipt() {
    let world = World::start();

    // Before there is a login, and with keys that are none.
    world.craton(&["orgs", "list"]).failed(2, &["run craton login"]);
    world
        .craton_with(
            &["login", "--server", world.base_url(), "--api-key-stdin"],
            &[],
            "password",
        )
        .failed(2, &["API keys begin with crt_live_"]);
    world
        .craton_with(
            &["orgs", "list", "--server", world.base_url()],
            &[("CRATON_API_KEY", "crt_live_unknown")],
            "",
        )
        .failed(1, &["code invalid_api_key", "status 401", "request "]);

    let person = Person::sign_up(&world, "Lakeside Hospital");
    let login = read_json(&world.folder.path().join("config/login.json")).expect("a login");
    assert_eq!(login["api_key"], person.api_key.as_str());
    world
        .craton(&["orgs", "list", "--server", "http://localhost:1"])
        .failed(2, &["the stored API key is for"]);

    let organisations = world.craton(&["orgs", "list"]).succeeded().output;
    assert!(
        organisations.contains("Lakeside Hospital") && organisations.contains(&person.org),
        "{organisations}"
    );

    // A cluster, ready when the command returns.
    let created = world.craton_json(&["clusters", "create", "clinic", "--wait"]);
    let cluster = text(&created["cluster"]["id"]);
    let password = text(&created["credentials"]["password"]);
    assert_eq!(created["cluster"]["state"], "ready");
    assert_eq!(created["operation"]["state"], "succeeded");
    world.craton(&["clusters", "wait", "clinic"]).succeeded();
    let list = world.craton(&["clusters", "list"]).succeeded().output;
    assert!(
        list.contains("clinic") && list.contains("ready") && list.contains(&cluster),
        "{list}"
    );
    assert_eq!(world.craton_json(&["clusters", "show", &cluster])["name"], "clinic");
    // A new cluster has nothing to go back to.
    world
        .craton(&["clusters", "finalize", "clinic"])
        .failed(1, &["code unchanged", "status 409"]);
    let shown = world.craton(&["clusters", "show", "clinic"]).succeeded().output;
    assert!(shown.contains("format version  2\n"), "{shown}");
    world
        .craton(&["clusters", "create", "clinic"])
        .failed(1, &["code name_taken", "status 409"]);
    world
        .craton(&["clusters", "create", "Patient Records"])
        .failed(1, &["code validation_failed", "status 422"]);
    world
        .craton(&["clusters", "show", "clinics"])
        .failed(2, &["no cluster named \"clinics\""]);

    // Everything that a client needs.
    let connection = world.craton_json(&["clusters", "connection", "clinic", "--ca-file", "ca.pem"]);
    let ca_pem = fs::read_to_string(world.folder.path().join("ca.pem")).expect("a certificate");
    assert!(ca_pem.starts_with("-----BEGIN CERTIFICATE-----"), "{ca_pem}");
    let log_key = text(&connection["log_keys"][0]["verifier_key"]);

    sql(&world, &password, &connection, &log_key);
    passwords(&world, &password);
    strangers(&world, &cluster);

    // Gone for good.
    world
        .craton(&["clusters", "delete", "clinic"])
        .failed(2, &["give --yes"]);
    world
        .craton(&["clusters", "delete", "clinic", "--yes", "--wait"])
        .succeeded();
    assert_eq!(world.craton_json(&["clusters", "list"]), Json::Array(vec![]));
    world.expect_quiet_logs();
}

/// Statements, their errors, and the proof of a row.
fn sql(world: &World, password: &str, connection: &Json, log_key: &str) {
    let variables = [("PGPASSWORD", password)];
    let sql = |arguments: &[&str], input: &str| {
        world.craton_with(
            &[&["sql", "--cluster", "clinic"], arguments].concat(),
            &variables,
            input,
        )
    };
    sql(
        &[
            "-c",
            "CREATE TABLE patients (id bigint PRIMARY KEY, name text NOT NULL, note text)",
        ],
        "",
    )
    .succeeded();
    let output = sql(
        &[],
        "INSERT INTO patients VALUES (1, 'Ada', NULL), (2, '病院', 'x');\nSELECT * FROM patients ORDER BY id;",
    )
    .succeeded()
    .output;
    assert_eq!(
        output,
        "OK, 2 rows\n id | name | note\n----+------+------\n  1 | Ada  | NULL\n  2 | 病院 | x\n(2 rows)\n"
    );
    sql(&["-c", "SELECT * FROM nothing"], "").failed(1, &["ERROR", "nothing", "SQLSTATE 42P01"]);
    sql(&["-c", "SELEC 1"], "").failed(1, &["ERROR", "SQLSTATE 42601"]);
    sql(&["-c", "INSERT INTO patients VALUES (1, 'Eve', NULL)"], "").failed(1, &["SQLSTATE 23505"]);

    // Without the control plane, from what the connection document says.
    let port = connection["port"].to_string();
    let host = text(&connection["host"]);
    let address = text(&connection["host_address"]);
    let direct = [
        "sql",
        "--host",
        &host,
        "--address",
        &address,
        "--port",
        &port,
        "--ca-file",
        "ca.pem",
    ];
    let count = |arguments: &[&str]| {
        world.craton_with(
            &[arguments, &["-c", "SELECT count(*) FROM patients"]].concat(),
            &variables,
            "",
        )
    };
    assert!(count(&direct).succeeded().output.contains(" 2\n"));
    // The name that is checked is the one that was asked for, whatever the address.
    let other_name = direct.map(|argument| if argument == host { "localhost" } else { argument });
    count(&other_name).failed(2, &["no connection", "localhost"]);

    // A receipt, checked with the keys that the control plane gave: the log's, and its own as the witness. The cluster
    // is young, so the platform may just be getting to know its logs.
    let witness_key = text(&connection["witness_keys"][0]);
    let witness_name = witness_key.split('+').next().expect("a name").to_owned();
    let receipt = wait_for("receipt with the platform's cosignature", || {
        let receipt = sql(&["-c", "SELECT craton_receipt('patients', 2)"], "").succeeded();
        Some(receipt.output).filter(|receipt| receipt.contains(&witness_name))
    });
    fs::write(world.folder.path().join("receipt.txt"), receipt).expect("written");
    let verified = world
        .craton(&[
            "verify",
            "receipt",
            "receipt.txt",
            "--key",
            log_key,
            "--witness",
            &witness_key,
            "--quorum",
            "1",
        ])
        .succeeded()
        .output;
    assert!(verified.contains("病院"), "{verified}");
}

/// Wrong and rotated passwords.
fn passwords(world: &World, password: &str) {
    let select = |password: &str| {
        let arguments = ["sql", "--cluster", "clinic", "-c", "SELECT 1"];
        world.craton_with(&arguments, &[("PGPASSWORD", password)], "")
    };
    select("wrong").failed(1, &["FATAL", "SQLSTATE 28P01"]);
    let rotated = world.craton_json(&["clusters", "rotate-password", "clinic"]);
    select(&text(&rotated["password"])).succeeded();
    select(password).failed(1, &["SQLSTATE 28P01"]);
    world
        .craton(&["clusters", "rotate-password", "clinic", "nobody"])
        .failed(1, &["code not_found"]);
}

/// Another organisation sees nothing of this one.
fn strangers(world: &World, cluster: &str) {
    let stranger = Person::sign_up_only(world, "Hillside Hospital");
    let with_key = |arguments: &[&str]| {
        let variables = [("CRATON_API_KEY", stranger.api_key.as_str())];
        world.craton_with(&[arguments, &["--server", world.base_url()]].concat(), &variables, "")
    };
    assert_eq!(with_key(&["clusters", "list", "--json"]).succeeded().output, "[]\n");
    with_key(&["clusters", "show", cluster]).failed(1, &["code not_found", "status 404"]);
    with_key(&["clusters", "delete", cluster, "--yes"]).failed(1, &["code not_found"]);
    with_key(&["clusters", "connection", cluster]).failed(1, &["code not_found"]);
}
