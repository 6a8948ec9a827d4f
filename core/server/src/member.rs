//! The server as a member of a cluster: what it is started with, joining, and what it says of its cluster.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use craton_consensus::{
    ClusterStatus, ConsensusError, ListedMember, MemberList, MemberRole, Peer, Standing, Transport, TransportError,
};
use craton_engine::{ClusterKeys, ClusterOptions, Member, fetch_cluster_keys};
use craton_types::{Format, FormatUnknown, NodeId, Region};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::peers::{PeerIdentity, PeerTlsError, PeerTransport};

/// How long one member is waited for when it is asked for the cluster's keys.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node that joins waits before it asks the other members again.
const JOIN_PAUSE: Duration = Duration::from_millis(250);
/// After so many rounds without success it says so.
const JOIN_ROUNDS_TOLD: u32 = 20;
/// The longest list of members, in bytes.
const MEMBERS_FILE_BYTES_MAX: u64 = 64 * 1024;
/// The most members of a cluster.
const MEMBERS_MAX: usize = 16;

/// How a server takes part in a cluster.
pub struct MemberOptions {
    /// Its number: at least one, unlike every other that ever was in the cluster.
    pub node_id: u64,
    /// The cluster's id, which the members' certificates name.
    pub cluster_id: String,
    /// Where it is; members of one cluster are in one region.
    pub region: Option<Region>,
    /// Where other members connect.
    pub listen: SocketAddr,
    /// Its certificate chain for other members, in PEM.
    pub certificate: PathBuf,
    /// The certificate's key, in PEM, readable by its owner only.
    pub key: PathBuf,
    /// The authority of the members' certificates, in PEM.
    pub authority: PathBuf,
    /// The members that the cluster shall have, as JSON.
    pub members_file: PathBuf,
    /// Whether it forms the cluster, unless it has data.
    pub bootstrap: bool,
}

/// Why a server is no member.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// It cannot show who it is.
    #[error(transparent)]
    Tls(#[from] PeerTlsError),
    /// The list of members is not usable.
    #[error("the members in {}: {reason}", path.display())]
    Members {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A node's number is at least one.
    #[error("a node's number is at least 1")]
    NodeId,
    /// The node shall join a cluster that uses a version of the formats which its build does not know.
    #[error("the node cannot join its cluster")]
    Format(#[source] FormatUnknown),
}

/// The list of members in its file and in `PUT /v1/members`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MembersBody {
    generation: u64,
    members: Vec<MemberBody>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberBody {
    node_id: u64,
    peer_address: String,
}

impl MembersBody {
    /// The list, or what is wrong with it.
    pub(crate) fn into_list(self) -> Result<MemberList, String> {
        if self.members.len() > MEMBERS_MAX {
            return Err(format!(
                "{} members, at most {MEMBERS_MAX} are possible",
                self.members.len()
            ));
        }
        let mut members: Vec<ListedMember> = Vec::new();
        for member in self.members {
            if member.node_id == 0 || members.iter().any(|known| known.id.get() == member.node_id) {
                return Err(format!("member {} is zero or named twice", member.node_id));
            }
            members.push(ListedMember {
                id: NodeId::new(member.node_id),
                peer_address: member.peer_address,
            });
        }
        Ok(MemberList {
            generation: self.generation,
            members,
        })
    }
}

fn read_members(path: &Path) -> Result<MemberList, MemberError> {
    let failed = |reason: String| MemberError::Members {
        path: path.to_owned(),
        reason,
    };
    let length = std::fs::metadata(path)
        .map_err(|error| failed(error.to_string()))?
        .len();
    if length > MEMBERS_FILE_BYTES_MAX {
        return Err(failed(format!(
            "it has {length} bytes, at most {MEMBERS_FILE_BYTES_MAX} are read"
        )));
    }
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let body: MembersBody = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    body.into_list().map_err(failed)
}

/// What a member is before its engine is open.
pub(crate) struct Joining {
    pub(crate) identity: Arc<PeerIdentity>,
    pub(crate) listen: SocketAddr,
    transport: Arc<PeerTransport>,
    members: MemberList,
    members_file: PathBuf,
    bootstrap: bool,
}

impl Joining {
    /// Reads the files.
    pub(crate) fn load(options: MemberOptions, format: Arc<Format>) -> Result<Self, MemberError> {
        if options.node_id == 0 {
            return Err(MemberError::NodeId);
        }
        let identity = Arc::new(PeerIdentity::load(
            NodeId::new(options.node_id),
            (options.cluster_id, options.region),
            options.certificate,
            options.key,
            options.authority,
            format,
        )?);
        Ok(Self {
            transport: Arc::new(PeerTransport::new(Arc::clone(&identity))),
            listen: options.listen,
            members: read_members(&options.members_file)?,
            members_file: options.members_file,
            bootstrap: options.bootstrap,
            identity,
        })
    }

    /// What the engine is opened with. A node without data that does not form the cluster first gets the cluster's keys
    /// from another member, however long that takes.
    ///
    /// # Errors
    /// When the cluster uses a version of the formats that this build does not know.
    pub(crate) async fn engine_options(&mut self, has_data: bool) -> Result<ClusterOptions, MemberError> {
        let keys = match has_data || self.bootstrap {
            true => None,
            false => Some(self.fetch_keys().await?),
        };
        Ok(ClusterOptions {
            node: self.identity.node,
            bootstrap: self.bootstrap,
            members: self.members.clone(),
            transport: Arc::<PeerTransport>::clone(&self.transport) as Arc<dyn Transport>,
            keys,
            runtime: None,
        })
    }

    async fn fetch_keys(&mut self) -> Result<ClusterKeys, MemberError> {
        let mut rounds = 0u32;
        loop {
            self.read_members_again();
            let own = self.identity.node;
            let others = self.members.members.iter().filter(|listed| listed.id != own);
            if others.clone().next().is_none() && rounds.is_multiple_of(JOIN_ROUNDS_TOLD) {
                tracing::warn!("the list of members names nobody who could give the cluster's keys");
            }
            for listed in others {
                let peer = Peer {
                    id: listed.id,
                    address: listed.peer_address.clone(),
                };
                // A member that is itself not ready yet may accept the connection and never answer.
                match timeout(JOIN_TIMEOUT, fetch_cluster_keys(self.transport.as_ref(), peer)).await {
                    Ok(Ok(keys)) => {
                        tracing::info!(from = %listed.id, "got the cluster's keys");
                        return Ok(keys);
                    }
                    Ok(Err(ConsensusError::Peer(TransportError::Format { error, .. }))) => {
                        return Err(MemberError::Format(error));
                    }
                    Ok(Err(error)) if rounds.is_multiple_of(JOIN_ROUNDS_TOLD) => {
                        tracing::info!(%error, "waiting for another member to give the cluster's keys");
                    }
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            rounds = rounds.wrapping_add(1);
            sleep(JOIN_PAUSE).await;
        }
    }

    /// Members may get other addresses while this one waits.
    fn read_members_again(&mut self) {
        match read_members(&self.members_file) {
            Ok(members) if members.generation >= self.members.generation => self.members = members,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the members were not read again"),
        }
    }

    pub(crate) fn membership(self, member: Member) -> Membership {
        Membership {
            identity: self.identity,
            members_file: self.members_file,
            member,
        }
    }
}

/// What a running member is.
pub(crate) struct Membership {
    identity: Arc<PeerIdentity>,
    members_file: PathBuf,
    pub(crate) member: Member,
}

/// A member's cluster as `GET /v1/status` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct MembershipStatus {
    node_id: u64,
    role: &'static str,
    leader: Option<u64>,
    term: u64,
    committed: Option<u64>,
    applied: Option<u64>,
    voters: Vec<u64>,
    learners: Vec<u64>,
    members_generation: u64,
    not_ready: Vec<NotReady>,
    /// How many entries the others lack, when this one leads.
    lags: Vec<Lag>,
}

/// A member that lacks entries of the leader's log.
#[derive(Debug, Serialize)]
struct Lag {
    node_id: u64,
    entries: u64,
}

/// Why a member does not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NotReady {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

impl Membership {
    /// Reads the certificate and the list of members again.
    pub(crate) fn reload(&self) -> Result<(), MemberError> {
        self.identity.reload()?;
        if self.member.set_members(read_members(&self.members_file)?) {
            tracing::info!("the cluster shall have other members");
        }
        Ok(())
    }

    pub(crate) fn status(&self, applied: u64) -> MembershipStatus {
        let status = self.member.status();
        let numbers = |ids: &[NodeId]| ids.iter().map(|id| id.get()).collect();
        MembershipStatus {
            node_id: status.node.get(),
            role: match status.role {
                MemberRole::Leader => "leader",
                MemberRole::Follower => "follower",
                MemberRole::Candidate => "candidate",
                // One that is being started has no part yet.
                MemberRole::Learner | MemberRole::Stopped => "learner",
            },
            leader: status.leader.map(NodeId::get),
            term: status.term.get(),
            committed: Some(status.committed.get()).filter(|index| *index > 0),
            applied: Some(applied).filter(|index| *index > 0),
            voters: numbers(&status.voters),
            learners: numbers(&status.learners),
            members_generation: status.generation,
            not_ready: not_ready(&status, self.identity.outdated.get()),
            lags: status
                .lags
                .iter()
                .map(|(id, entries)| Lag {
                    node_id: id.get(),
                    entries: *entries,
                })
                .collect(),
        }
    }

    /// Why the cluster does not let this build take part, if so.
    pub(crate) fn outdated(&self) -> Option<FormatUnknown> {
        self.identity.outdated.get().copied()
    }

    pub(crate) fn not_ready(&self) -> Vec<NotReady> {
        not_ready(&self.member.status(), self.identity.outdated.get())
    }
}

pub(crate) fn not_ready(status: &ClusterStatus, outdated: Option<&FormatUnknown>) -> Vec<NotReady> {
    let mut reasons = Vec::new();
    let mut reason = |code, detail: String| reasons.push(NotReady { code, detail });
    if let Some(unknown) = outdated {
        reason("format_version", unknown.to_string());
    }
    if status.role == MemberRole::Stopped {
        reason("starting", "consensus is being started".to_owned());
    } else if status.leader.is_none() {
        let others = status.voters.len();
        reason("no_leader", format!("no member is known to lead; {others} vote"));
    }
    if !status.voters.contains(&status.node) {
        let detail = match status.learners.contains(&status.node) {
            true => "the member catches up and does not vote yet",
            false => "the node is not a member of the cluster",
        };
        reason("not_a_voter", detail.to_owned());
    }
    if status.lacks_majority {
        reason(
            "no_majority",
            "the member leads, and a majority does not answer it".to_owned(),
        );
    }
    match &status.standing {
        Standing::Good => {}
        Standing::Unknown => reason(
            "not_introduced",
            "no other member has said yet that this one may take part".to_owned(),
        ),
        Standing::Refused(detail) => reason("refused", detail.clone()),
    }
    if status.is_incomplete {
        let detail = "the log lost entries that it may have acknowledged, and gets them back from the others";
        reason("incomplete", detail.to_owned());
    }
    if status.is_out_of_space {
        reason(
            "disk_full",
            "the disk is full: the member does not lead and takes no entries".to_owned(),
        );
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_members_are_checked() {
        let parse = |json: &str| {
            let body: Result<MembersBody, _> = serde_json::from_str(json);
            body.map_err(|error| error.to_string()).and_then(MembersBody::into_list)
        };
        let good = parse(r#"{"generation": 7, "members": [{"node_id": 1, "peer_address": "a:1"}]}"#);
        assert_eq!(good.expect("a list").generation, 7);
        for (json, expected) in [
            (r#"{"generation": 7}"#, "members"),
            (
                r#"{"generation": 7, "members": [{"node_id": 0, "peer_address": "a:1"}]}"#,
                "member 0",
            ),
            (
                r#"{"generation": 7, "members": [{"node_id": 1, "peer_address": "a"}, {"node_id": 1, "peer_address": "b"}]}"#,
                "member 1",
            ),
            (r#"{"generation": 7, "members": [], "more": 1}"#, "more"),
        ] {
            let error = parse(json).expect_err("refused");
            assert!(error.contains(expected), "{error}");
        }
        let member = |id: usize| format!(r#"{{"node_id": {id}, "peer_address": "a"}}"#);
        let many = |count: usize| {
            let members: Vec<_> = (1..=count).map(member).collect();
            parse(&format!(r#"{{"generation": 1, "members": [{}]}}"#, members.join(",")))
        };
        assert!(many(MEMBERS_MAX).is_ok());
        assert!(many(MEMBERS_MAX + 1).is_err());
    }
}
