//! Members of one cluster on this machine, their certificates and their ports.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use craton_crypto::ScramVerifier;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;
use tempfile::TempDir;

use crate::node::{Node, write_private};

pub(crate) const CLUSTER: &str = "clu_upgrade";
pub(crate) const HOST: &str = "localhost";
pub(crate) const DATABASE: &str = "main";
pub(crate) const USER: &str = "app";
pub(crate) const PASSWORD: &str = "correct horse";
/// How long anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Members, and where their files are.
pub(crate) struct Cluster {
    directory: TempDir,
    pub(crate) nodes: Vec<Node>,
    /// The certificate that clients check.
    pub(crate) certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Polls until there is something.
#[expect(clippy::disallowed_methods, reason = "a deadline")]
pub(crate) async fn wait_for<T>(what: &str, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Cluster {
    /// The files of `count` members; nothing runs yet.
    pub(crate) fn prepare(count: u64) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let certificate = rcgen::generate_simple_self_signed(vec![HOST.to_owned()])?;
        fs::write(directory.path().join("server.pem"), certificate.cert.pem())?;
        write_private(
            &directory.path().join("server.key"),
            &certificate.signing_key.serialize_pem(),
        )?;
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.distinguished_name.push(DnType::CommonName, "Members");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        fs::write(directory.path().join("peer.ca"), parameters.self_signed(&key)?.pem())?;
        let mut cluster = Self {
            directory,
            nodes: Vec::new(),
            certificate_pem: certificate.cert.pem(),
            issuer: Issuer::new(parameters, key),
        };
        for id in 1..=count {
            let node = cluster.node(id)?;
            cluster.nodes.push(node);
        }
        let members: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| json!({"node_id": node.id, "peer_address": format!("127.0.0.1:{}", node.peer_port)}))
            .collect();
        let members = json!({"generation": 1, "members": members});
        fs::write(cluster.directory.path().join("members.json"), members.to_string())?;
        Ok(cluster)
    }

    /// The files of a member that nobody knows of yet.
    pub(crate) fn node(&self, id: u64) -> anyhow::Result<Node> {
        let directory = self.directory.path().join(id.to_string());
        fs::create_dir(&directory)?;
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(vec![format!("node-{id}.{CLUSTER}.peer.craton.internal")])?;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        fs::write(directory.join("peer.pem"), certificate.pem())?;
        write_private(&directory.join("peer.key"), &key.serialize_pem())?;
        Ok(Node::new(id, directory, free_port()?, free_port()?))
    }

    /// Starts every member, and makes the database and the user of the load.
    pub(crate) async fn start(&mut self, build: &Path) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(|node| node.spawn(build))?;
        self.wait_until_all_serve().await?;
        let verifier = ScramVerifier::from_password(PASSWORD, &[5; 16], 4_096).context("a verifier")?;
        let user = json!({
            "scram_verifier": verifier.to_string(),
            "databases": [DATABASE],
            "read_only": false,
        });
        for (path, body) in [
            (format!("/v1/databases/{DATABASE}"), String::new()),
            (format!("/v1/users/{USER}"), user.to_string()),
        ] {
            let reply = self.nodes[0].admin("PUT", &path, &body)?;
            ensure!(matches!(reply.status, 200 | 201), "{path}: {reply:?}");
        }
        Ok(())
    }

    /// The health gate: the next member is touched when every one takes part and lets clients in.
    pub(crate) async fn wait_until_all_serve(&mut self) -> anyhow::Result<()> {
        let voters = self.nodes.len();
        wait_for("every member to serve", || {
            for node in &mut self.nodes {
                if let Some(status) = node.ended()? {
                    anyhow::bail!("node {} ended with {status}:\n{}", node.id, node.log_end());
                }
            }
            Ok(self.nodes.iter().all(|node| node.serves(voters)).then_some(()))
        })
        .await
    }

    /// The place of the member that leads.
    pub(crate) async fn leader(&self) -> anyhow::Result<usize> {
        wait_for("a leader", || {
            let leads = |node: &Node| {
                node.status()
                    .is_some_and(|status| status["cluster"]["role"] == "leader")
            };
            Ok(self.nodes.iter().position(leads))
        })
        .await
    }

    /// Moves one member to a build, in order: it hands over, finishes and ends; the other build starts on its directory.
    pub(crate) async fn move_to(&mut self, place: usize, build: &Path) -> anyhow::Result<()> {
        self.nodes[place].stop().await?;
        self.nodes[place].spawn(build)?;
        self.wait_until_all_serve().await
    }

    /// Moves every member to a build, one after the other, the leader last.
    pub(crate) async fn move_all_to(&mut self, build: &Path) -> anyhow::Result<()> {
        let leader = self.leader().await?;
        let followers = (0..self.nodes.len()).filter(|place| *place != leader);
        for place in followers.chain([leader]).collect::<Vec<_>>() {
            self.move_to(place, build).await?;
        }
        Ok(())
    }
}
