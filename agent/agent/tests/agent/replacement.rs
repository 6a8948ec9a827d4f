//! Members of a cluster come and go while clients write.

use std::time::Duration;

use serde_json::{Value, json};

use crate::group::Group;
use crate::load::{Load, poll};
use crate::node::{runs, server_binary};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_replaced_and_finds_no_place_when_it_comes_back() {
    let server = server_binary();
    let mut group = Group::start(4, &server, |config| {
        config.heartbeat_interval = Duration::from_secs(1);
        config.offline_after = Duration::from_secs(8);
        config.replace_offline_after = Duration::from_secs(8);
    })
    .await;
    let cluster = group.until_whole(3).await;
    let (way, _) = group.ways().await;
    let load = Load::start(&way).await;
    load.expect_progress().await;

    // For good: the agent and the server that leads.
    let members = cluster["nodes"].as_array().unwrap();
    let leader = members.iter().find(|node| node["role"] == "leader").unwrap();
    let dead = group.node_of(&leader["member"]);
    let pid = group.nodes[dead].server_pid().expect("it runs");
    group.nodes[dead].lose_power();
    load.expect_progress().await;

    let is_replaced = |cluster: &Value| {
        let nodes = cluster["nodes"].as_array().unwrap();
        let successor = |node: &Value| node["member"] == 4 && node["standing"] == "wanted";
        nodes.iter().any(successor) && cluster["change"].is_null()
    };
    group.owner.until(&group.path, is_replaced).await;
    let cluster = group.until_whole(3).await;
    let nodes = cluster["nodes"].as_array().unwrap();
    let lost = nodes.iter().find(|node| node["member"] == leader["member"]);
    assert_eq!(
        lost.map(|node| &node["standing"]),
        Some(&json!("removing")),
        "it is removed when it comes back: {cluster}"
    );
    load.expect_progress().await;

    // Back again: what is left of the member goes, and the others have never counted it.
    group.nodes[dead].start_again();
    poll("nothing is left of the old member", async || {
        group.nodes[dead].instance().is_none() && !runs(pid)
    })
    .await;
    let is_forgotten = |cluster: &Value| cluster["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3);
    group.owner.until(&group.path, is_forgotten).await;
    let cluster = group.until_whole(3).await;
    assert!(
        cluster["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|node| node["member"] != leader["member"]),
        "{cluster}"
    );
    load.expect_progress().await;
    let (_, members) = group.ways().await;
    load.finish(&members).await;
    group.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_to_five_members_and_shrinks_to_three_under_load() {
    let server = server_binary();
    let group = Group::start(5, &server, |_| {}).await;
    let (way, _) = group.ways().await;
    let load = Load::start(&way).await;
    load.expect_progress().await;
    group.change_well("scale", json!({ "node_count": 5 })).await;
    group.until_whole(5).await;
    load.expect_progress().await;
    let (_, members) = group.ways().await;
    assert_eq!(members.len(), 5);
    group.change_well("scale", json!({ "node_count": 3 })).await;
    group.until_whole(3).await;
    load.expect_progress().await;
    let (_, members) = group.ways().await;
    assert_eq!(members.len(), 3);
    load.finish(&members).await;
    group.end().await;
}
