//! A cluster of three moves between builds with adjacent format versions while clients write.

use std::{path::Path, time::Duration};

use axum::http::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::group::{Group, begin_change, has_ended};
use crate::load::{Load, poll};
use crate::node::{previous_server_binary, runs, server_binary};

/// What a cluster writes and what all of its nodes know.
fn format(cluster: &Value) -> (u64, u64) {
    let number = |name: &str| cluster["format"][name].as_u64().expect(name);
    (number("active"), number("newest"))
}

/// Moves every member to a version; at every look at least two of the three servers run.
async fn roll(group: &Group, version: &str) {
    let path = format!("{}/upgrade", group.path);
    let operation = begin_change(&group.owner, &path, json!({ "version": version })).await;
    let seen = group.owner.until(&operation, |operation| {
        let running = group.nodes.iter().filter_map(|node| node.server_pid());
        assert!(
            running.filter(|pid| runs(*pid)).count() >= 2,
            "one at a time: {operation}"
        );
        has_ended(operation)
    });
    let done = seen.await;
    assert_eq!(done["state"], "succeeded", "{done}");
    let cluster = group.until_whole(3).await;
    for node in cluster["nodes"].as_array().unwrap() {
        assert_eq!(node["wanted_version"], version, "{cluster}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_moves_up_down_and_up_under_load_and_not_back_once_it_is_final() {
    let (previous, server) = (previous_server_binary(), server_binary());
    let group = Group::start(3, &previous, |_| {}).await;
    group.install("0.1.0", &previous).await;
    group.install("0.2.0", &server).await;
    assert_eq!(format(&group.until_whole(3).await), (1, 1));
    let (status, problem) = group.refused("finalize", json!({ "format_version": 2 })).await;
    assert_eq!(
        (status, &problem["code"], &problem["detail"]),
        (
            StatusCode::CONFLICT,
            &json!("format_unknown"),
            &json!("Format version 2 is asked for, and the build of member 1 knows versions up to 1.")
        )
    );

    let (way, members) = group.ways().await;
    let load = Load::start(&way).await;
    load.expect_progress().await;
    roll(&group, "0.2.0").await;
    load.expect_progress().await;
    roll(&group, "0.1.0").await;
    assert_eq!(
        format(&group.owner.get(&group.path).await),
        (1, 1),
        "nobody has decided"
    );
    roll(&group, "0.2.0").await;
    assert_eq!(format(&group.owner.get(&group.path).await), (1, 2));

    group.change_well("finalize", json!({ "format_version": 2 })).await;
    let cluster = group.until_whole(3).await;
    assert_eq!(format(&cluster), (2, 2));
    for node in cluster["nodes"].as_array().unwrap() {
        assert_eq!(node["format"], json!({ "active": 2, "newest": 2 }), "{cluster}");
    }
    load.expect_progress().await;
    let (status, problem) = group.refused("finalize", json!({ "format_version": 2 })).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("unchanged")));
    let (status, problem) = group.refused("upgrade", json!({ "version": "0.1.0" })).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::CONFLICT, &json!("format_unknown"))
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("The cluster writes format version 2, and version 0.1.0 of the server on node_"),
        "{detail}"
    );
    load.expect_progress().await;
    load.finish(&members).await;
    group.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_stops_at_the_first_member_that_does_not_come_up_and_goes_on_when_it_was_mended() {
    let server = server_binary();
    let group = Group::start(3, &server, |_| {}).await;
    group.install("0.3.0", Path::new("/bin/false")).await;
    let (way, members) = group.ways().await;
    let load = Load::start(&way).await;

    let failed = group.change("upgrade", json!({ "version": "0.3.0" })).await;
    assert_eq!(failed["state"], "failed", "{failed}");
    let error = failed["error"].as_str().unwrap();
    assert!(error.starts_with("version 0.3.0 does not run on node_"), "{error}");
    assert!(error.contains("the server ended with exit status 1"), "{error}");
    let cluster = group.owner.get(&group.path).await;
    let moved = |node: &&Value| node["wanted_version"] == "0.3.0";
    let nodes = cluster["nodes"].as_array().unwrap();
    assert_eq!(nodes.iter().filter(moved).count(), 1, "{cluster}");
    // The other two go on.
    load.expect_progress().await;

    // What was wrong with it is mended: the operation goes on where it stopped.
    for node in &group.nodes {
        node.install("0.3.0", &server);
    }
    let answers = |cluster: &Value| {
        let nodes = cluster["nodes"].as_array().unwrap();
        nodes.iter().all(|node| node["state"] == "running")
    };
    group.owner.until(&group.path, answers).await;
    let retry = format!("operations/{}/retry", failed["id"].as_str().unwrap());
    let (status, retried) = group.owner.call(Method::POST, &retry, None).await;
    assert_eq!(status, StatusCode::OK, "{retried}");
    let operation = format!("operations/{}", failed["id"].as_str().unwrap());
    let done = group.owner.until(&operation, has_ended).await;
    assert_eq!(done["state"], "succeeded", "{done}");
    group.until_whole(3).await;
    load.finish(&members).await;
    group.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_does_not_become_final_later() {
    let (previous, server) = (previous_server_binary(), server_binary());
    // What the node said before it went counts for as long as the test takes.
    let mut group = Group::start(1, &previous, |config| config.offline_after = Duration::from_secs(600)).await;
    group.install("0.2.0", &server).await;
    group.change_well("upgrade", json!({ "version": "0.2.0" })).await;
    let is_newer = |cluster: &Value| cluster["format"] == json!({ "active": 1, "newest": 2 });
    group.owner.until(&group.path, is_newer).await;

    // Nobody is there to be asked.
    group.nodes[0].end(Signal::KILL);
    let path = format!("{}/finalize", group.path);
    let operation = begin_change(&group.owner, &path, json!({ "format_version": 2 })).await;
    let events = async |kind: &str| {
        let events = group.world.events().await;
        events.iter().any(|event| event.event_type == kind)
    };
    poll("the node shall be asked", async || {
        events("cluster.format_version_set").await
    })
    .await;
    let cancel = format!("{operation}/cancel");
    let (status, cancelled) = group.owner.call(Method::POST, &cancel, None).await;
    assert_eq!((status, &cancelled["state"]), (StatusCode::OK, &json!("cancelled")));
    poll("the node shall be asked no more", async || {
        events("cluster.format_version_withdrawn").await
    })
    .await;
    group.nodes[0].start_again();
    let worked_through = |nodes: &Value| {
        let node = &nodes["items"][0];
        node["connected"] == true && node["observed_generation"] == node["generation"]
    };
    group
        .world
        .operator()
        .until("/api/v1/fleet/nodes", worked_through)
        .await;
    let cluster = group.owner.until(&group.path, is_newer).await;
    assert_eq!(cluster["nodes"][0]["state"], "running", "{cluster}");

    let retry = format!("{operation}/retry");
    let (status, retried) = group.owner.call(Method::POST, &retry, None).await;
    assert_eq!(status, StatusCode::OK, "{retried}");
    let done = group.owner.until(&operation, has_ended).await;
    assert_eq!(done["state"], "succeeded", "{done}");
    assert_eq!(format(&group.owner.get(&group.path).await), (2, 2));
    group.end().await;
}
