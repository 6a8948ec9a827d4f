//! The fleet end to end: a platform, a real agent as a process, and real database servers.

use std::{path::Path, process::Command};

use crate::client::{connect, connect_soon};
use crate::group::change;
use crate::node::{Node, runs, send, server_binary, until};
use crate::world::{Caller, World};
use axum::http::{Method, StatusCode};
use craton_platform_kernel::Role;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_postgres::Client;

async fn notes(client: &Client) -> Vec<String> {
    let rows = client
        .query("SELECT note FROM visit ORDER BY id", &[])
        .await
        .expect("a query");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Runs the command line that the API shows, as a person does who has saved the CA certificate beside.
fn paste_psql(connection: &Value, ca_pem: &str, password: &str, sql: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let line = connection["psql"].as_str().unwrap();
    let ca_file = line.split("sslrootcert=").nth(1).unwrap().trim_end_matches('"');
    std::fs::write(directory.path().join(ca_file), ca_pem).unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("{line} --no-psqlrc --tuples-only --no-align --command \"$0\""),
            sql,
        ])
        .current_dir(directory.path())
        .env("PGPASSWORD", password)
        .output()
        .expect("a shell");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "psql is installed by `make setup`: {line}: {errors}"
    );
    String::from_utf8(output.stdout).unwrap()
}

struct Cluster {
    path: String,
    operation: String,
    password: String,
}

async fn create_cluster(owner: &Caller, name: &str) -> Cluster {
    let (status, created) = owner
        .call(Method::POST, "clusters", Some(json!({ "name": name })))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    Cluster {
        path: format!("clusters/{}", created["cluster"]["id"].as_str().unwrap()),
        operation: format!("operations/{}", created["operation"]["id"].as_str().unwrap()),
        password: created["credentials"]["password"].as_str().unwrap().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_ready_when_it_can_be_used_and_outlives_platform_agent_and_crashes() {
    // Before the token is made: the program may have to be built.
    let server = server_binary();
    let mut world = World::start().await;
    let mut node = Node::start(world.address(), &world.join_token(60).await, &server);
    let owner = world.member(Role::Owner);
    let cluster = create_cluster(&owner, "clinic").await;

    // Ready means connectable: right after `ready` the first try succeeds.
    let done = owner
        .until(&cluster.operation, |operation| {
            operation["state"] != "running" && operation["state"] != "queued"
        })
        .await;
    assert_eq!(done["state"], "succeeded", "{done}\n{}", node.log());
    let shown = owner.get(&cluster.path).await;
    assert_eq!(shown["state"], "ready", "{shown}");
    let connection = owner.get(&format!("{}/connection", cluster.path)).await;
    let ca_pem = owner
        .get(&format!("{}/ca.pem", cluster.path))
        .await
        .as_str()
        .unwrap()
        .to_owned();
    let client = connect(&connection, &ca_pem, &cluster.password)
        .await
        .expect("ready means connectable");
    client
        .batch_execute("CREATE TABLE visit (id BIGINT PRIMARY KEY, note TEXT NOT NULL)")
        .await
        .unwrap();
    client
        .execute("INSERT INTO visit VALUES ($1, $2)", &[&1i64, &"first"])
        .await
        .unwrap();
    let pinned: Vec<&str> = connection["log_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["database"].as_str().unwrap())
        .collect();
    assert_eq!(pinned, ["main"]);
    assert!(connect(&connection, &ca_pem, "wrong").await.is_err());
    assert_eq!(
        paste_psql(&connection, &ca_pem, &cluster.password, "SELECT note FROM visit"),
        "first\n"
    );
    let mut other_name = connection.clone();
    other_name["host"] = json!("another.local.craton.localhost");
    assert!(
        connect(&other_name, &ca_pem, &cluster.password).await.is_err(),
        "the host name is checked"
    );

    // A rotated password works when it is shown; the old one and the sessions that it opened end.
    let rotate = format!("{}/users/app/rotate-password", cluster.path);
    let (_, rotated) = owner.call(Method::POST, &rotate, None).await;
    let password = rotated["password"].as_str().unwrap();
    assert!(
        client.query("SELECT note FROM visit", &[]).await.is_err(),
        "the old session"
    );
    assert!(
        connect(&connection, &ca_pem, &cluster.password).await.is_err(),
        "the old password"
    );
    let client = connect(&connection, &ca_pem, password).await.expect("the new password");
    assert_eq!(notes(&client).await, ["first"]);

    // A restart of the platform is not noticed by the server or its clients.
    let pid = node.server_pid().expect("a server runs");
    world.restart().await;
    let owner = world.member_of(owner.org_id, Role::Owner);
    assert_eq!(notes(&client).await, ["first"]);
    owner
        .until(&cluster.path, |cluster| cluster["nodes"][0]["state"] == "running")
        .await;
    assert_eq!(owner.get(&cluster.path).await["state"], "ready");
    assert_eq!(node.server_pid(), Some(pid));
    assert!(runs(pid));

    // Nor is the sudden end of the agent. The next one adopts the process.
    node.end(Signal::KILL);
    client
        .execute("INSERT INTO visit VALUES ($1, $2)", &[&2i64, &"without an agent"])
        .await
        .unwrap();
    node.start_again();
    until("the agent adopts the server", || {
        node.log().contains("a running server was found and is kept")
    });
    assert_eq!(notes(&client).await, ["first", "without an agent"]);
    assert_eq!(node.server_pid(), Some(pid), "the same process");
    assert!(runs(pid));

    // An agent that ends in order leaves it alone, too.
    assert!(node.end(Signal::TERM).success());
    assert!(runs(pid));
    node.start_again();

    // A server that is killed is started again, on the same port and with its data.
    send(pid, Signal::KILL);
    until("another server runs", || {
        node.server_pid().is_some_and(|new| new != pid && runs(new))
    });
    let client = connect_soon(&connection, &ca_pem, password).await;
    assert_eq!(notes(&client).await, ["first", "without an agent"]);
    owner.until(&cluster.path, |cluster| cluster["state"] == "ready").await;

    // Deletion removes process, data and keys, and leaves a tombstone.
    let pid = node.server_pid().expect("a server runs");
    let (status, deleted) = owner.call(Method::DELETE, &cluster.path, None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let deletion = format!("operations/{}", deleted["operation"]["id"].as_str().unwrap());
    owner
        .until(&deletion, |operation| operation["state"] == "succeeded")
        .await;
    assert!(!runs(pid));
    let left: Vec<_> = std::fs::read_dir(node.path("agent/instances")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(owner.get(&cluster.path).await["state"], "deleted");
    assert!(connect(&connection, &ca_pem, password).await.is_err());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_lets_one_node_in() {
    let world = World::start().await;
    let token = world.join_token(60).await;
    let server = Path::new("/bin/false");
    let first = Node::start(world.address(), &token, server);
    let nodes = "/api/v1/fleet/nodes";
    let joined = world
        .operator()
        .until(nodes, |nodes| nodes["items"][0]["connected"] == true)
        .await;
    assert_eq!(joined["items"][0]["health"], "online");

    let mut second = Node::start(world.address(), &token, server);
    assert!(!second.wait().success());
    assert!(second.log().contains("another node, node_"), "{}", second.log());

    let brief = world.join_token(1).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let mut late = Node::start(world.address(), &brief, server);
    assert!(!late.wait().success());
    assert!(late.log().contains("the join token expired at"), "{}", late.log());

    // One that another platform made: this one's authority is not the one that it names.
    let elsewhere = World::start().await;
    let mut stranger = Node::start(world.address(), &elsewhere.join_token(60).await, server);
    until("the agent sees another authority", || {
        stranger.log().contains("UnknownIssuer")
    });
    stranger.end(Signal::TERM);
    elsewhere.stop().await;

    let listed = world.operator().get(nodes).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    drop(first);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_run_makes_the_operation_say_so() {
    let world = World::start().await;
    let node = Node::start(world.address(), &world.join_token(60).await, Path::new("/bin/false"));
    let owner = world.member(Role::Owner);
    let cluster = create_cluster(&owner, "clinic").await;
    let shown = owner
        .until(&cluster.path, |cluster| cluster["nodes"][0]["state"] == "backoff")
        .await;
    assert_eq!(shown["state"], "provisioning");
    let operation = owner
        .until(&cluster.operation, |operation| operation["step"] == "started")
        .await;
    assert_eq!(operation["state"], "running", "{operation}");
    let (_, deleted) = owner.call(Method::DELETE, &cluster.path, None).await;
    let deletion = format!("operations/{}", deleted["operation"]["id"].as_str().unwrap());
    owner
        .until(&deletion, |operation| operation["state"] == "succeeded")
        .await;
    drop(node);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_moves_between_installed_versions_and_stops_at_one_that_does_not_run() {
    let server = server_binary();
    let world = World::start().await;
    let node = Node::start(world.address(), &world.join_token(60).await, &server);
    node.install("0.2.0", &server);
    node.install("broken", Path::new("/bin/false"));
    let owner = world.member(Role::Owner);
    let cluster = create_cluster(&owner, "clinic").await;
    owner
        .until(&cluster.operation, |operation| operation["state"] == "succeeded")
        .await;
    let upgrade = format!("{}/upgrade", cluster.path);
    let nodes = "/api/v1/fleet/nodes";
    let listed = world.operator().get(nodes).await;
    assert_eq!(listed["items"][0]["server_versions"], json!(["0.2.0", "broken"]));
    let (status, problem) = owner
        .call(Method::POST, &upgrade, Some(json!({ "version": "0.3.0" })))
        .await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/version"))
    );

    let pid = node.server_pid().expect("a server runs");
    let done = change(&owner, upgrade.clone(), json!({ "version": "0.2.0" })).await;
    assert_eq!(done["state"], "succeeded", "{done}\n{}", node.log());
    assert_ne!(node.server_pid(), Some(pid));
    let shown = owner.until(&cluster.path, |cluster| cluster["change"].is_null()).await;
    assert_eq!(shown["nodes"][0]["wanted_version"], "0.2.0");
    let (status, problem) = owner
        .call(Method::POST, &upgrade, Some(json!({ "version": "0.2.0" })))
        .await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("unchanged")));

    let failed = change(&owner, upgrade.clone(), json!({ "version": "broken" })).await;
    let error = failed["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("version broken does not run on node_"), "{failed}");
    let shown = owner.get(&cluster.path).await;
    assert_eq!(
        (&shown["state"], &shown["change"]["kind"]),
        (&json!("degraded"), &json!("cluster.upgrade"))
    );
    // A change that failed is given up for the next one, which leads back.
    let back = change(&owner, upgrade, json!({ "version": "0.2.0" })).await;
    assert_eq!(back["state"], "succeeded", "{back}\n{}", node.log());
    let connection = owner.get(&format!("{}/connection", cluster.path)).await;
    let ca_pem = owner.get(&format!("{}/ca.pem", cluster.path)).await;
    connect_soon(&connection, ca_pem.as_str().unwrap(), &cluster.password).await;
    world.stop().await;
}

/// Inserts a row through the first member that takes it, with patience.
async fn insert_somewhere(connection: &Value, ca_pem: &str, password: &str, id: i64) {
    let mut last = String::new();
    for _ in 0..300 {
        for member in connection["members"].as_array().expect("members") {
            let mut target = connection.clone();
            target["host_address"] = member["host_address"].clone();
            target["port"] = member["port"].clone();
            let Ok(client) = connect(&target, ca_pem, password).await else {
                continue;
            };
            let insert = "INSERT INTO visit VALUES ($1, 'x') ON CONFLICT DO NOTHING";
            match client.execute(insert, &[&id]).await {
                Ok(_) => return,
                Err(error) => last = error.to_string(),
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("no member took the row: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_survives_the_loss_of_its_leader_and_shrinks_to_one() {
    let server = server_binary();
    let world = World::start().await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::start(world.address(), &world.join_token(60).await, &server));
    }
    let online = |nodes: &Value| nodes["items"].as_array().is_some_and(|nodes| nodes.len() == 3);
    world.operator().until("/api/v1/fleet/nodes", online).await;
    let owner = world.member(Role::Owner);
    let body = json!({ "name": "clinic", "node_count": 3 });
    let (status, created) = owner.call(Method::POST, "clusters", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let path = format!("clusters/{}", created["cluster"]["id"].as_str().unwrap());
    let operation = format!("operations/{}", created["operation"]["id"].as_str().unwrap());
    let password = created["credentials"]["password"].as_str().unwrap();
    let has_ended = |operation: &Value| !matches!(operation["state"].as_str(), Some("queued" | "running"));
    let done = owner.until(&operation, has_ended).await;
    assert_eq!(done["state"], "succeeded", "{done}");

    let connection = owner.get(&format!("{path}/connection")).await;
    assert_eq!(connection["members"].as_array().unwrap().len(), 3);
    let ca_pem = owner.get(&format!("{path}/ca.pem")).await.as_str().unwrap().to_owned();
    let client = connect(&connection, &ca_pem, password)
        .await
        .expect("ready means connectable");
    client
        .batch_execute("CREATE TABLE visit (id BIGINT PRIMARY KEY, note TEXT NOT NULL)")
        .await
        .unwrap();
    insert_somewhere(&connection, &ca_pem, password, 1).await;

    let is_leader = |node: &&Value| node["role"] == "leader";
    let led = |cluster: &Value| cluster["nodes"].as_array().unwrap().iter().find(is_leader).cloned();
    let leader = led(&owner.until(&path, |cluster| led(cluster).is_some()).await).unwrap();
    let directory = format!(
        "agent/instances/{}.{}",
        path.trim_start_matches("clusters/"),
        leader["member"]
    );
    let node = nodes
        .iter()
        .find(|node| node.path(&directory).exists())
        .expect("a node has it");
    send(node.server_pid().expect("it runs"), Signal::KILL);
    insert_somewhere(&connection, &ca_pem, password, 2).await;

    // The agent starts it again, and the cluster is whole.
    let is_whole = |cluster: &Value| {
        let nodes = cluster["nodes"].as_array().unwrap();
        cluster["state"] == "ready" && nodes.iter().all(|node| node["state"] == "running") && led(cluster).is_some()
    };
    owner.until(&path, is_whole).await;
    let scaled = change(&owner, format!("{path}/scale"), json!({ "node_count": 1 })).await;
    assert_eq!(scaled["state"], "succeeded", "{scaled}");
    let shown = owner.until(&path, |cluster| cluster["change"].is_null()).await;
    assert_eq!(shown["nodes"].as_array().unwrap().len(), 1, "{shown}");
    let connection = owner.get(&format!("{path}/connection")).await;
    let client = connect_soon(&connection, &ca_pem, password).await;
    assert_eq!(notes(&client).await, ["x", "x"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_at_half_of_their_time() {
    use jiff::SignedDuration;
    let server = server_binary();
    let world = World::start_with(|config| {
        // Not-before lies five minutes back, so half of the validity is over after a few seconds.
        config.node_certificate_lifetime = SignedDuration::from_secs(305);
        config.instance_certificate_lifetime = SignedDuration::from_secs(305);
        config.heartbeat_interval = std::time::Duration::from_millis(200);
    })
    .await;
    let mut node = Node::start(world.address(), &world.join_token(60).await, &server);
    let owner = world.member(Role::Owner);
    let cluster = create_cluster(&owner, "clinic").await;
    owner
        .until(&cluster.operation, |operation| operation["state"] == "succeeded")
        .await;
    let pid = node.server_pid();
    let count = |events: &[craton_platform_kernel::NewEvent], kind: &str| {
        events.iter().filter(|event| event.event_type == kind).count()
    };
    for _ in 0..600 {
        let events = world.events().await;
        if count(&events, "node.certificate_issued") >= 3 && count(&events, "cluster.certificate_issued") >= 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let events = world.events().await;
    assert!(count(&events, "node.certificate_issued") >= 3, "{}", node.log());
    assert!(count(&events, "cluster.certificate_issued") >= 3, "{}", node.log());
    assert_eq!(node.server_pid(), pid, "a renewal restarts nothing");
    let connection = owner.get(&format!("{}/connection", cluster.path)).await;
    let ca_pem = owner
        .get(&format!("{}/ca.pem", cluster.path))
        .await
        .as_str()
        .unwrap()
        .to_owned();
    connect_soon(&connection, &ca_pem, &cluster.password).await;
    assert!(node.end(Signal::TERM).success());
    world.stop().await;
}
