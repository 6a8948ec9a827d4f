//! A cluster of several members on real agents.

use std::path::Path;

use axum::http::{Method, StatusCode};
use craton_platform_fleet::FleetConfig;
use craton_platform_kernel::Role;
use serde_json::{Value, json};

use crate::load::Way;
use crate::node::Node;
use crate::world::{Caller, World};

/// Asks for a change and waits for the end of its operation.
pub(crate) async fn change(owner: &Caller, path: String, body: Value) -> Value {
    let operation = begin_change(owner, &path, body).await;
    owner.until(&operation, has_ended).await
}

/// Asks for a change and returns the path of its operation.
pub(crate) async fn begin_change(owner: &Caller, path: &str, body: Value) -> String {
    let (status, changing) = owner.call(Method::POST, path, Some(body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{path}: {changing}");
    format!("operations/{}", changing["operation"]["id"].as_str().expect("an id"))
}

/// Whether an operation has ended, well or badly.
pub(crate) fn has_ended(operation: &Value) -> bool {
    !matches!(operation["state"].as_str(), Some("queued" | "running"))
}

/// Three members, an agent for each, and agents to spare; or a single member.
pub(crate) struct Group {
    pub(crate) world: World,
    pub(crate) nodes: Vec<Node>,
    pub(crate) owner: Caller,
    /// Of the cluster, relative to its organisation.
    pub(crate) path: String,
    pub(crate) password: String,
    pub(crate) ca_pem: String,
}

impl Group {
    /// Starts agents that run `server` unless they are told otherwise, and a cluster of three on them, or of one when there are
    /// fewer.
    pub(crate) async fn start(
        agents: usize,
        server: &Path,
        configure: impl Fn(&mut FleetConfig) + Send + Sync + 'static,
    ) -> Self {
        let world = World::start_with(configure).await;
        let mut nodes = Vec::new();
        for _ in 0..agents {
            nodes.push(Node::start(world.address(), &world.join_token(600).await, server));
        }
        let online = |listed: &Value| listed["items"].as_array().is_some_and(|listed| listed.len() == agents);
        world.operator().until("/api/v1/fleet/nodes", online).await;
        let owner = world.member(Role::Owner);
        let node_count = if agents < 3 { 1 } else { 3 };
        let body = json!({ "name": "clinic", "node_count": node_count });
        let (status, created) = owner.call(Method::POST, "clusters", Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{created}");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let path = format!("clusters/{}", text(&created["cluster"]["id"]));
        let operation = format!("operations/{}", text(&created["operation"]["id"]));
        let done = owner.until(&operation, has_ended).await;
        assert_eq!(done["state"], "succeeded", "{done}");
        let ca_pem = text(&owner.get(&format!("{path}/ca.pem")).await);
        Self {
            world,
            nodes,
            owner,
            path,
            password: text(&created["credentials"]["password"]),
            ca_pem,
        }
    }

    /// Ends everything. Members that are asked to end one after the other would look for a successor until the last one.
    pub(crate) async fn end(mut self) {
        self.world.stop().await;
        self.nodes.iter_mut().for_each(Node::lose_power);
    }

    /// Installs a program as a version of the server on every node, and waits until the platform knows.
    pub(crate) async fn install(&self, version: &str, program: &Path) {
        for node in &self.nodes {
            node.install(version, program);
        }
        let offers = |node: &Value| {
            let versions = node["server_versions"].as_array().expect("versions");
            versions.iter().any(|offered| offered == version)
        };
        let all = |nodes: &Value| nodes["items"].as_array().expect("nodes").iter().all(offers);
        self.world.operator().until("/api/v1/fleet/nodes", all).await;
    }

    /// Asks for a change and waits for the end of its operation.
    pub(crate) async fn change(&self, what: &str, body: Value) -> Value {
        change(&self.owner, format!("{}/{what}", self.path), body).await
    }

    /// Asks for a change, which succeeds.
    pub(crate) async fn change_well(&self, what: &str, body: Value) {
        let done = self.change(what, body).await;
        assert_eq!(done["state"], "succeeded", "{done}");
        self.owner
            .until(&self.path, |cluster| cluster["change"].is_null())
            .await;
    }

    /// Asks for a change, which is refused: status and code.
    pub(crate) async fn refused(&self, what: &str, body: Value) -> (StatusCode, Value) {
        let path = format!("{}/{what}", self.path);
        self.owner.call(Method::POST, &path, Some(body)).await
    }

    /// Waits until so many members take part and serve, and no others are left but those on nodes out of reach.
    pub(crate) async fn until_whole(&self, members: usize) -> Value {
        let is_whole = |cluster: &Value| {
            let nodes = cluster["nodes"].as_array().expect("nodes");
            let wanted: Vec<&Value> = nodes.iter().filter(|node| node["standing"] == "wanted").collect();
            let serves = |node: &&&Value| {
                node["state"] == "running" && matches!(node["role"].as_str(), Some("leader" | "follower"))
            };
            let leads = |node: &&&Value| node["role"] == "leader";
            let is_gone = |node: &Value| node["standing"] == "wanted" || node["state"] == "offline";
            cluster["state"] == "ready"
                && cluster["change"].is_null()
                && wanted.len() == members
                && wanted.iter().filter(serves).count() == members
                && wanted.iter().filter(leads).count() == 1
                && nodes.iter().all(is_gone)
        };
        self.owner.until(&self.path, is_whole).await
    }

    /// A way through all members, and one to each of them.
    pub(crate) async fn ways(&self) -> (Way, Vec<Way>) {
        let connection = self.owner.get(&format!("{}/connection", self.path)).await;
        let members = connection["members"].as_array().expect("members");
        let way = |members: &[Value]| Way::new(&connection, members, &self.ca_pem, &self.password);
        (
            way(members),
            members.iter().map(|member| way(std::slice::from_ref(member))).collect(),
        )
    }

    /// The node that a member is on.
    pub(crate) fn node_of(&self, member: &Value) -> usize {
        let id = self.path.trim_start_matches("clusters/");
        let directory = format!("agent/instances/{id}.{member}");
        let has_it = |node: &Node| node.path(&directory).exists();
        self.nodes.iter().position(has_it).expect("a node has it")
    }
}
