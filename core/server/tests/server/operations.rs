//! The server as a process: starting, health, administration, reload, restart, end.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{PASSWORD, World, outcome, verifier, write_private};

#[test]
fn it_says_how_it_is() {
    let mut world = World::start();
    let health = world.http("/health");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
    let ready = world.http("/ready");
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
    let missing = world.http("/nothing");
    assert_eq!(
        (missing.status, missing.content_type.as_str()),
        (404, "application/problem+json")
    );

    world.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    world
        .psql_as("app", "main", "INSERT INTO t VALUES (1)")
        .expect_err("a duplicate");
    let metrics = world.http("/metrics");
    assert!(
        metrics.content_type.starts_with("text/plain; version=0.0.4"),
        "{metrics:?}"
    );
    assert_eq!(
        world.metric("craton_statements_total{kind=\"write\",outcome=\"ok\"}"),
        1.0
    );
    assert_eq!(
        world.metric("craton_statements_total{kind=\"write\",outcome=\"error\"}"),
        1.0
    );
    assert!(world.metric("craton_commit_seconds_count") >= 1.0);
    assert!(world.metric("craton_log_records{database=\"main\"}") >= 1.0);
    assert!(world.metric("craton_wal_syncs_total") >= 1.0);
    assert!(world.metric("craton_wal_wait_seconds_total") > 0.0);
    assert_eq!(world.metric("craton_sessions_total"), 2.0);
    assert_eq!(world.metric("craton_engine_stopped"), 0.0);
    world.wait_for("end of all sessions", || {
        (world.metric("craton_connections") == 0.0).then_some(())
    });
    assert!(world.terminate().success());
}

#[test]
fn the_administrative_api_may_be_repeated_and_explains_itself() {
    let world = World::start();
    let user = json!({"scram_verifier": verifier(PASSWORD), "databases": ["main"], "read_only": false}).to_string();
    let bad_verifier = json!({"scram_verifier": "md5abc", "databases": []}).to_string();
    let bad_database = json!({"scram_verifier": verifier(PASSWORD), "databases": ["Main"]}).to_string();
    let no_databases = json!({"scram_verifier": verifier(PASSWORD)}).to_string();
    let unknown_field = json!({"scram_verifier": verifier(PASSWORD), "databases": [], "superuser": true}).to_string();
    let too_large = format!("{{\"scram_verifier\": \"{}\"}}", "x".repeat(70_000));
    for (method, path, body, status, code) in [
        ("PUT", "/v1/databases/clinic", None, 201, Value::Null),
        ("PUT", "/v1/databases/clinic", None, 200, Value::Null),
        ("PUT", "/v1/databases/Clinic", None, 422, json!("validation_failed")),
        ("PUT", "/v1/databases/system", None, 422, json!("validation_failed")),
        ("PUT", "/v1/users/ada", Some(&user), 201, Value::Null),
        ("PUT", "/v1/users/ada", Some(&user), 200, Value::Null),
        ("DELETE", "/v1/users/ada", None, 204, Value::Null),
        ("DELETE", "/v1/users/ada", None, 204, Value::Null),
        (
            "PUT",
            "/v1/users/craton_probe",
            Some(&user),
            422,
            json!("validation_failed"),
        ),
        ("PUT", "/v1/users/a%20b", Some(&user), 422, json!("validation_failed")),
        (
            "PUT",
            "/v1/users/ada",
            Some(&bad_verifier),
            422,
            json!("validation_failed"),
        ),
        (
            "PUT",
            "/v1/users/ada",
            Some(&bad_database),
            422,
            json!("validation_failed"),
        ),
        (
            "PUT",
            "/v1/users/ada",
            Some(&no_databases),
            422,
            json!("validation_failed"),
        ),
        (
            "PUT",
            "/v1/users/ada",
            Some(&unknown_field),
            422,
            json!("validation_failed"),
        ),
        (
            "PUT",
            "/v1/users/ada",
            Some(&"{".to_owned()),
            400,
            json!("malformed_json"),
        ),
        ("PUT", "/v1/users/ada", Some(&too_large), 413, json!("body_too_large")),
        ("GET", "/v1/users/ada", None, 405, json!("method_not_allowed")),
        ("GET", "/v1/nothing", None, 404, json!("not_found")),
    ] {
        let reply = world.admin(method, path, body.map(String::as_str));
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        if status >= 400 {
            assert_eq!(reply.content_type, "application/problem+json", "{method} {path}");
            let problem = reply.json();
            assert_eq!(
                (&problem["code"], &problem["status"]),
                (&code, &json!(status)),
                "{method} {path}"
            );
            assert!(
                !reply.text.contains("SCRAM-SHA-256$"),
                "a verifier is not repeated: {reply:?}"
            );
        }
    }
    let status = world.admin("GET", "/v1/status", None).json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["poisoned"], false);
    assert!(status["uptime_seconds"].is_u64());
    let names: Vec<&Value> = status["databases"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|each| &each["name"])
        .collect();
    assert_eq!(names, ["clinic", "main"]);
    assert!(
        world.database_status("main")["log_key"]
            .as_str()
            .expect("a key")
            .starts_with("clu-test.craton.localhost/")
    );
}

#[test]
fn the_administrative_socket_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::start();
    let mode = fs::metadata(&world.endpoints().admin_socket)
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mode = fs::metadata(world.path("master.key"))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_restart_keeps_data_users_and_the_past() {
    let mut world = World::start();
    world.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    let position = world.psql("SELECT craton_position()");
    world.psql("UPDATE t SET v = 'b'");
    let before = world.database_status("main");
    assert!(world.terminate().success());
    let summary = world.verify_log(before["log_key"].as_str().expect("a key"));
    assert!(
        summary.unsigned_records() <= 1,
        "the end made a checkpoint over all before it: {summary:?}"
    );
    assert!(!world.data_dir().join("endpoints.json").exists());
    assert!(!world.data_dir().join("admin.sock").exists());

    world.spawn();
    assert_eq!(world.psql("SELECT v FROM t"), "b");
    assert_eq!(world.psql(&format!("SELECT v FROM t AS OF POSITION {position}")), "a");
    let after = world.database_status("main");
    assert_eq!(after["log_key"], before["log_key"]);
    assert!(after["position"].as_u64() >= before["position"].as_u64());
    world.kill();
    world.spawn();
    assert_eq!(world.psql("SELECT v FROM t"), "b");
    assert_eq!(world.psql(&format!("SELECT v FROM t AS OF POSITION {position}")), "a");
}

#[tokio::test]
async fn at_the_end_sessions_are_told_and_what_runs_finishes() {
    let mut world = World::start();
    let client = world.client().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await
        .expect("filled");
    world.signal(Signal::TERM);
    let error = loop {
        if let Err(error) = client.simple_query("SELECT 1").await {
            break error;
        }
    };
    let told = error.code().is_none_or(|code| code.code() == "57P01");
    assert!(told, "{error}");
    assert!(world.wait().success());
    world.spawn();
    assert_eq!(world.psql("SELECT * FROM t"), "1");
}

#[tokio::test]
async fn a_reload_changes_the_certificate_and_keeps_sessions() {
    let mut world = World::start();
    let client = world.client().await;
    let serial = world.issue_certificate();
    let old = presented_serial(&world).await;
    assert_ne!(old, serial);
    world.signal(Signal::HUP);
    world
        .until("new certificate", async || presented_serial(&world).await == serial)
        .await;
    client.simple_query("SELECT 1").await.expect("the session goes on");
    world
        .client()
        .await
        .simple_query("SELECT 1")
        .await
        .expect("channel binding to the new certificate");

    // A file that is not usable changes nothing.
    world.expect_in_log("the certificate was not read again");
    write_private(&world.path("server.key"), "no key");
    world.signal(Signal::HUP);
    world.wait_for("complaint about the key", || {
        world.log().contains("was not read again").then_some(())
    });
    assert_eq!(presented_serial(&world).await, serial);
}

/// The serial number of the certificate that a new connection is shown.
async fn presented_serial(world: &World) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(world.endpoints().postgres)
        .await
        .expect("a connection");
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.expect("sent");
    assert_eq!(stream.read_u8().await.expect("an answer"), b'S');
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(world.tls_config()));
    let stream = connector
        .connect("localhost".try_into().expect("a name"), stream)
        .await
        .expect("a handshake");
    let certificate = stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec();
    // DER: the serial number is the first INTEGER of eight bytes.
    let start = certificate
        .windows(2)
        .position(|pair| pair == [2, 8])
        .expect("a serial number")
        + 2;
    certificate[start..start + 8].to_vec()
}

#[test]
fn what_is_not_usable_keeps_it_from_starting_and_is_named() {
    let fails = |world: &World, part: &str| {
        let output = world
            .command()
            .stderr(Stdio::piped())
            .output()
            .expect("the server's binary");
        let error = outcome(output).expect_err(part);
        assert!(error.contains(part), "{part}: {error}");
    };
    let mut world = World::prepare(&[]);
    let key = fs::read_to_string(world.path("server.key")).expect("readable");

    fs::write(world.path("server.key"), &key).expect("writable");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(world.path("server.key"), fs::Permissions::from_mode(0o644)).expect("the owner");
    fails(&world, "has mode 0644");
    write_private(&world.path("server.key"), "nothing");
    fails(&world, "private key");
    let other = rcgen::KeyPair::generate().expect("a key");
    write_private(&world.path("server.key"), &other.serialize_pem());
    fails(&world, "do not work together");
    write_private(&world.path("server.key"), &key);
    fs::rename(world.path("server.pem"), world.path("away.pem")).expect("renamed");
    fails(&world, "server.pem");
    fs::rename(world.path("away.pem"), world.path("server.pem")).expect("renamed");

    // A running server's directory is its own.
    world.spawn();
    fails(&world, "in use");
    let mut taken = World::prepare(&["--listen", &world.endpoints().postgres.to_string()]);
    fails(&taken, "cannot listen on");
    taken.expect_in_log("cannot listen");
}

#[test]
fn a_disk_that_fails_stops_the_server_and_loses_nothing_acknowledged() {
    let mut world = World::start();
    world.expect_in_log("the node stops serving");
    world.expect_in_log("the engine has failed");
    world.expect_in_log("the engine has stopped");
    world.expect_in_log("the superblock could not say how far the write-ahead log is synced");
    world.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let mut strace = Command::new("strace")
        .args([
            "--follow-forks",
            "--quiet=all",
            "--output",
            "/dev/null",
            "--trace=fdatasync,fsync",
        ])
        .args(["--inject=fdatasync,fsync:error=EIO", "--attach"])
        .arg(world.endpoints().process_id.to_string())
        .spawn()
        .expect("strace is installed");
    // Until strace has attached, inserts succeed, and what succeeded must be there afterwards.
    let mut acknowledged = 1;
    while world
        .psql_as("app", "main", &format!("INSERT INTO t VALUES ({})", acknowledged + 1))
        .is_ok()
    {
        acknowledged += 1;
        assert!(acknowledged < 1_000, "strace never made a sync fail");
    }
    assert!(!world.wait().success(), "the process must end with an error");
    strace.wait().expect("strace ends with the process");
    world.spawn();
    let rows: i32 = world.psql("SELECT count(*) FROM t").parse().expect("a number");
    // The one that failed may be there: its bytes were written, and nobody knows whether they stayed.
    assert!(
        (acknowledged..=acknowledged + 1).contains(&rows),
        "{acknowledged} acknowledged, {rows} found"
    );
}

#[test]
fn it_says_which_format_versions_it_knows_and_writes_no_other() {
    let output = Command::new(env!("CARGO_BIN_EXE_craton-server"))
        .arg("--format-versions")
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said, json!({ "oldest": 1, "newest": 2 }));

    let world = World::start();
    let finalize = |body: Option<&str>| {
        let reply = world.admin("POST", "/v1/finalize", body);
        (reply.status, reply.json())
    };
    let is_final = (200, json!({ "active": 2, "newest": 2 }));
    for body in [None, Some(r#"{"version": 1}"#), Some(r#"{"version": 2}"#)] {
        assert_eq!(
            finalize(body),
            is_final,
            "a new directory begins with the newest version"
        );
    }
    let (status, problem) = finalize(Some(r#"{"version": 3}"#));
    assert_eq!((status, &problem["code"]), (409, &json!("format_unknown")));
    for body in [r#"{"version": 256}"#, r#"{"versions": 2}"#, "2"] {
        let (status, problem) = finalize(Some(body));
        assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")), "{body}");
    }
}
