//! A database cluster: what it shall be, where it was placed, and how its life goes.
//!
//! # Invariants
//! - Lifecycle: provisioning → ready → deleting → deleted, with failed beside provisioning. A deleted cluster stays as
//!   a tombstone; its id and host name never come back.
//! - `ready` is only reached after a probe, and every transitional state names the operation that ends it.
//! - What the platform, as a witness, refuses to cosign is an event when it begins and when it ends.
//! - A member's number is used once. The generation of the members grows with every change of who shall be in the group
//!   or where it is.
//! - At most one change of a ready cluster is under way.
//! - The first log key that is seen of a database is its log key for ever. A server that shows another one is refused.
//! - No password is in any event, only SCRAM verifiers (RFC 5803).

use std::collections::BTreeMap;

use craton_agent_protocol::MemberId;
use craton_platform_kernel::{Aggregate, ClusterId, NodeId, OperationId, OrgId, StreamName};
use jiff::Timestamp;

use super::member::{Change, Member, MemberEndpoint, Members, PendingChange, PlacedMember, Standing};
use crate::name::ClusterHost;

/// The aggregate.
pub(crate) enum Cluster {}

/// A new cluster.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct NewCluster {
    pub(crate) cluster_id: ClusterId,
    pub(crate) org_id: OrgId,
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) node_count: u32,
    /// Whether its members form a consensus group.
    pub(crate) replicated: bool,
    pub(crate) host: ClusterHost,
    pub(crate) databases: Vec<String>,
    pub(crate) user: String,
    pub(crate) user_databases: Vec<String>,
    pub(crate) scram_verifier: String,
    pub(crate) operation_id: OperationId,
    pub(crate) created_at: Timestamp,
}

/// A witness of the cluster's logs beside the platform itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ExternalWitness {
    /// The prefix of its API.
    pub(crate) url: String,
    /// What verifies its cosignatures.
    pub(crate) verifier_key: String,
}

/// Who stamps the time on what the witnesses cosigned (RFC 3161).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct TimeStampAuthority {
    /// Where it is asked.
    pub(crate) url: String,
    /// The certificates, in PEM, that the chain of its certificate may end in.
    pub(crate) certificates: String,
}

/// A log that was not cosigned because it shows another history than the one that the platform has witnessed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct RefusedHistory {
    /// `other_root`, `not_consistent` or `turned_back`.
    pub(crate) reason: String,
    /// How many records the refused checkpoint covers.
    pub(crate) size: u64,
    /// How many records the platform has witnessed.
    pub(crate) witnessed_size: u64,
    /// When it was refused.
    pub(crate) at: Timestamp,
}

/// What happened to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum Event {
    #[serde(rename = "cluster.created")]
    Created(NewCluster),
    #[serde(rename = "cluster.placed")]
    Placed { members: Vec<PlacedMember> },
    #[serde(rename = "cluster.member_endpoint_seen")]
    EndpointSeen {
        member_id: MemberId,
        endpoint: MemberEndpoint,
    },
    #[serde(rename = "cluster.members_leaving")]
    MembersLeaving { member_ids: Vec<MemberId> },
    #[serde(rename = "cluster.member_removal_begun")]
    RemovalBegun { member_id: MemberId },
    #[serde(rename = "cluster.member_removed")]
    MemberRemoved { member_id: MemberId },
    #[serde(rename = "cluster.member_version_set")]
    VersionSet { member_id: MemberId, version: String },
    #[serde(rename = "cluster.change_requested")]
    ChangeRequested(PendingChange),
    #[serde(rename = "cluster.change_finished")]
    ChangeFinished { operation_id: OperationId },
    #[serde(rename = "cluster.certificate_issued")]
    CertificateIssued {
        member_id: MemberId,
        node_id: NodeId,
        purpose: CertificatePurpose,
        serial: String,
        not_after: Timestamp,
    },
    #[serde(rename = "cluster.log_key_seen")]
    LogKeySeen { database: String, verifier_key: String },
    #[serde(rename = "cluster.ready")]
    Ready { at: Timestamp },
    #[serde(rename = "cluster.failed")]
    Failed { error: String },
    #[serde(rename = "cluster.retried")]
    Retried,
    #[serde(rename = "cluster.password_rotated")]
    PasswordRotated {
        user: String,
        scram_verifier: String,
        at: Timestamp,
    },
    #[serde(rename = "cluster.witnesses_set")]
    WitnessesSet {
        witnesses: Vec<ExternalWitness>,
        time_stamp_authority: Option<TimeStampAuthority>,
    },
    #[serde(rename = "cluster.history_refused")]
    HistoryRefused {
        database: String,
        #[serde(flatten)]
        refused: RefusedHistory,
    },
    #[serde(rename = "cluster.history_continued")]
    HistoryContinued { database: String, size: u64 },
    #[serde(rename = "cluster.deletion_requested")]
    DeletionRequested { operation_id: OperationId },
    #[serde(rename = "cluster.deleted")]
    Deleted,
}

/// What is asked of a cluster.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Create(NewCluster),
    /// The first members, one on each of these nodes; a node may be named more than once.
    Place {
        nodes: Vec<NodeId>,
    },
    /// Further members for the change of this operation.
    AddMembers {
        operation_id: OperationId,
        nodes: Vec<NodeId>,
    },
    RecordEndpoint {
        member_id: MemberId,
        endpoint: MemberEndpoint,
    },
    ReleaseMembers {
        member_ids: Vec<MemberId>,
    },
    BeginRemoval {
        member_id: MemberId,
    },
    RecordRemoved {
        member_id: MemberId,
    },
    SetVersion {
        member_id: MemberId,
        version: String,
    },
    /// `ended` names an operation that is known to have ended: its change may be given up for this one.
    RequestChange {
        operation_id: OperationId,
        change: Change,
        ended: Option<OperationId>,
    },
    FinishChange {
        operation_id: OperationId,
    },
    RecordCertificate {
        member_id: MemberId,
        node_id: NodeId,
        purpose: CertificatePurpose,
        serial: String,
        not_after: Timestamp,
    },
    RecordLogKey {
        database: String,
        verifier_key: String,
    },
    MarkReady {
        now: Timestamp,
    },
    MarkFailed {
        error: String,
    },
    Retry,
    RotatePassword {
        user: String,
        scram_verifier: String,
        now: Timestamp,
    },
    SetWitnesses {
        witnesses: Vec<ExternalWitness>,
        time_stamp_authority: Option<TimeStampAuthority>,
    },
    RecordRefusedHistory {
        database: String,
        refused: RefusedHistory,
    },
    RecordContinuedHistory {
        database: String,
        size: u64,
    },
    RequestDeletion {
        operation_id: OperationId,
    },
    MarkDeleted,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such cluster")]
    Unknown,
    #[error("the cluster exists already")]
    Exists,
    #[error("a {0} cluster does not allow this")]
    Lifecycle(Lifecycle),
    #[error("the cluster has no user {0:?}")]
    UnknownUser(String),
    #[error("{0} has no such member of this cluster")]
    OtherNode(NodeId),
    #[error("the cluster has no member {0} that could be changed")]
    UnknownMember(MemberId),
    #[error("the cluster is being changed already")]
    ChangePending(PendingChange),
    #[error("the cluster is like this already")]
    Unchanged,
    #[error("a cluster that was made to stand alone cannot get more nodes")]
    StandsAlone,
    #[error("the operation {0} does not change this cluster")]
    OtherOperation(OperationId),
    #[error("a cluster has had at most {max} members in its life", max = MemberId::MAX)]
    MembersExhausted,
    #[error("database {database} shows the log key {seen}, but its log key is {pinned}")]
    LogKeyChanged {
        database: String,
        pinned: String,
        seen: String,
    },
}

/// Who a certificate is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CertificatePurpose {
    /// Clients.
    Server,
    /// Other members.
    Peer,
}

/// Where a cluster is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lifecycle {
    Provisioning,
    Ready,
    Failed,
    Deleting,
    Deleted,
}

impl Lifecycle {
    /// The name in the API and the view.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }
}

impl std::fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A database user.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct User {
    pub(crate) scram_verifier: String,
    pub(crate) databases: Vec<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) password_rotated_at: Option<Timestamp>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ClusterState {
    pub(crate) cluster_id: ClusterId,
    pub(crate) org_id: OrgId,
    pub(crate) name: String,
    pub(crate) region: String,
    /// How many members it shall have.
    pub(crate) node_count: u32,
    /// Whether its members form a consensus group.
    pub(crate) replicated: bool,
    pub(crate) host: ClusterHost,
    pub(crate) databases: Vec<String>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) members: Members,
    /// The number that was given to a member last; 0 before the first.
    pub(crate) last_member_id: u64,
    /// Grows with every change of who shall be in the group or where it is.
    pub(crate) members_generation: u64,
    /// The change that is under way, or that did not come to its end.
    pub(crate) change: Option<PendingChange>,
    pub(crate) lifecycle: Lifecycle,
    /// The operation that the cluster's last transitional state belongs to.
    pub(crate) operation_id: OperationId,
    pub(crate) log_keys: BTreeMap<String, String>,
    pub(crate) witnesses: Vec<ExternalWitness>,
    pub(crate) time_stamp_authority: Option<TimeStampAuthority>,
    /// By database, until a checkpoint continues the witnessed history again.
    pub(crate) refused_histories: BTreeMap<String, RefusedHistory>,
    pub(crate) created_at: Timestamp,
    pub(crate) ready_at: Option<Timestamp>,
    pub(crate) last_error: Option<String>,
}

impl ClusterState {
    /// The members that the cluster shall have.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (MemberId, &Member)> {
        let members = self.members.iter().map(|(id, member)| (*id, member));
        members.filter(|(_, member)| member.standing == Standing::Wanted)
    }

    /// Gives the next numbers to members on these nodes.
    fn number(&self, nodes: Vec<NodeId>) -> Result<Vec<PlacedMember>, Refusal> {
        let numbered = (self.last_member_id + 1..).zip(nodes).map(|(number, node_id)| {
            let member_id = MemberId::new(number).map_err(|_| Refusal::MembersExhausted)?;
            Ok(PlacedMember { member_id, node_id })
        });
        numbered.collect()
    }

    /// New members run what the others run.
    fn place(&mut self, members: Vec<PlacedMember>) {
        let server_version = self
            .wanted()
            .last()
            .and_then(|(_, member)| member.server_version.clone());
        for PlacedMember { member_id, node_id } in members {
            self.last_member_id = self.last_member_id.max(member_id.get());
            let member = Member {
                node_id,
                standing: Standing::Wanted,
                endpoint: None,
                server_version: server_version.clone(),
            };
            self.members.insert(member_id, member);
        }
    }

    fn stand(&mut self, member_ids: &[MemberId], standing: Standing) {
        for member_id in member_ids {
            if let Some(member) = self.members.get_mut(member_id) {
                member.standing = standing;
            }
        }
    }

    fn member(&self, member_id: MemberId) -> Result<&Member, Refusal> {
        self.members.get(&member_id).ok_or(Refusal::UnknownMember(member_id))
    }

    fn check_change(&self, change: &Change, ended: Option<OperationId>) -> Result<(), Refusal> {
        if let Some(pending) = &self.change
            && Some(pending.operation_id) != ended
        {
            return Err(Refusal::ChangePending(pending.clone()));
        }
        match change {
            Change::Scale { .. } | Change::Replace { .. } if !self.replicated => Err(Refusal::StandsAlone),
            Change::Scale { node_count } => {
                let is_there = usize::try_from(*node_count).is_ok_and(|count| self.wanted().count() == count)
                    && self.node_count == *node_count;
                if is_there { Err(Refusal::Unchanged) } else { Ok(()) }
            }
            Change::Replace { member_id } => match self.member(*member_id)?.standing {
                Standing::Wanted => Ok(()),
                Standing::Leaving | Standing::Removing => Err(Refusal::UnknownMember(*member_id)),
            },
            Change::Upgrade { version } => {
                let mut versions = self.wanted().map(|(_, member)| member.server_version.as_ref());
                if versions.all(|runs| runs == Some(version)) {
                    Err(Refusal::Unchanged)
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// A cluster, once it was created.
pub(crate) type State = Option<ClusterState>;

/// The stream of a cluster.
pub(crate) fn stream(org_id: OrgId, cluster_id: ClusterId) -> StreamName {
    StreamName::new(Some(org_id), Cluster::KIND, cluster_id)
}

impl Aggregate for Cluster {
    const KIND: &'static str = "cluster";
    const EVENT_VERSION: u32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
        use Lifecycle as L;
        let cluster = match (state, command) {
            (None, Command::Create(new)) => return Ok(vec![Event::Created(new)]),
            (None, _) => return Err(Refusal::Unknown),
            (Some(_), Command::Create(_)) => return Err(Refusal::Exists),
            (Some(cluster), command) => (cluster, command),
        };
        let (cluster, command) = cluster;
        let wrong_state = Err(Refusal::Lifecycle(cluster.lifecycle));
        match command {
            Command::Create(_) => unreachable!("answered above"),
            Command::Place { nodes } => match cluster.lifecycle {
                L::Provisioning if cluster.members.is_empty() => {
                    let members = cluster.number(nodes)?;
                    Ok(vec![Event::Placed { members }])
                }
                // Another run of the same step was faster; its choice stands.
                L::Provisioning => Ok(vec![]),
                _ => wrong_state,
            },
            Command::AddMembers { operation_id, nodes } => match &cluster.change {
                _ if cluster.lifecycle != L::Ready => wrong_state,
                Some(pending) if pending.operation_id == operation_id => {
                    let members = cluster.number(nodes)?;
                    Ok(vec![Event::Placed { members }])
                }
                _ => Err(Refusal::OtherOperation(operation_id)),
            },
            Command::RecordEndpoint { member_id, endpoint } => match cluster.lifecycle {
                L::Deleting | L::Deleted => wrong_state,
                _ if cluster.member(member_id)?.endpoint == Some(endpoint) => Ok(vec![]),
                _ => Ok(vec![Event::EndpointSeen { member_id, endpoint }]),
            },
            Command::ReleaseMembers { mut member_ids } => {
                for member_id in &member_ids {
                    cluster.member(*member_id)?;
                }
                member_ids.retain(|member_id| {
                    cluster
                        .members
                        .get(member_id)
                        .is_some_and(|member| member.standing == Standing::Wanted)
                });
                match cluster.lifecycle {
                    L::Ready if member_ids.is_empty() => Ok(vec![]),
                    L::Ready => Ok(vec![Event::MembersLeaving { member_ids }]),
                    _ => wrong_state,
                }
            }
            Command::BeginRemoval { member_id } => match (cluster.lifecycle, cluster.member(member_id)?.standing) {
                (_, Standing::Removing) => Ok(vec![]),
                (L::Deleting, _) | (L::Ready, Standing::Leaving) => Ok(vec![Event::RemovalBegun { member_id }]),
                (L::Ready, Standing::Wanted) => Err(Refusal::UnknownMember(member_id)),
                _ => wrong_state,
            },
            Command::RecordRemoved { member_id } => match cluster.members.get(&member_id).map(|member| member.standing)
            {
                None => Ok(vec![]),
                Some(Standing::Removing) => Ok(vec![Event::MemberRemoved { member_id }]),
                Some(Standing::Wanted | Standing::Leaving) => Err(Refusal::UnknownMember(member_id)),
            },
            Command::SetVersion { member_id, version } => match cluster.lifecycle {
                _ if cluster.member(member_id)?.server_version.as_ref() == Some(&version) => Ok(vec![]),
                L::Ready => Ok(vec![Event::VersionSet { member_id, version }]),
                _ => wrong_state,
            },
            Command::RequestChange {
                operation_id,
                change,
                ended,
            } => match cluster.lifecycle {
                L::Ready => {
                    cluster.check_change(&change, ended)?;
                    Ok(vec![Event::ChangeRequested(PendingChange { operation_id, change })])
                }
                _ => wrong_state,
            },
            Command::FinishChange { operation_id } => match &cluster.change {
                Some(pending) if pending.operation_id == operation_id => {
                    Ok(vec![Event::ChangeFinished { operation_id }])
                }
                // Finished before, or given up for another one.
                _ => Ok(vec![]),
            },
            Command::RecordCertificate {
                member_id,
                node_id,
                purpose,
                serial,
                not_after,
            } => match cluster.lifecycle {
                L::Deleting | L::Deleted => wrong_state,
                _ if cluster.member(member_id)?.node_id != node_id => Err(Refusal::OtherNode(node_id)),
                _ => Ok(vec![Event::CertificateIssued {
                    member_id,
                    node_id,
                    purpose,
                    serial,
                    not_after,
                }]),
            },
            Command::RecordLogKey { database, verifier_key } => match cluster.log_keys.get(&database) {
                Some(pinned) if *pinned == verifier_key => Ok(vec![]),
                Some(pinned) => Err(Refusal::LogKeyChanged {
                    database,
                    pinned: pinned.clone(),
                    seen: verifier_key,
                }),
                None => Ok(vec![Event::LogKeySeen { database, verifier_key }]),
            },
            Command::MarkReady { now } => match cluster.lifecycle {
                L::Provisioning => Ok(vec![Event::Ready { at: now }]),
                L::Ready => Ok(vec![]),
                _ => wrong_state,
            },
            Command::MarkFailed { error } => match cluster.lifecycle {
                L::Provisioning => Ok(vec![Event::Failed { error }]),
                L::Failed => Ok(vec![]),
                _ => wrong_state,
            },
            Command::Retry => match cluster.lifecycle {
                L::Failed => Ok(vec![Event::Retried]),
                L::Provisioning | L::Deleting => Ok(vec![]),
                _ => wrong_state,
            },
            Command::RotatePassword {
                user,
                scram_verifier,
                now,
            } => match cluster.lifecycle {
                L::Deleting | L::Deleted => wrong_state,
                _ if !cluster.users.contains_key(&user) => Err(Refusal::UnknownUser(user)),
                _ => Ok(vec![Event::PasswordRotated {
                    user,
                    scram_verifier,
                    at: now,
                }]),
            },
            Command::SetWitnesses {
                witnesses,
                time_stamp_authority,
            } => match cluster.lifecycle {
                L::Deleting | L::Deleted => wrong_state,
                _ if cluster.witnesses == witnesses && cluster.time_stamp_authority == time_stamp_authority => {
                    Ok(vec![])
                }
                _ => Ok(vec![Event::WitnessesSet {
                    witnesses,
                    time_stamp_authority,
                }]),
            },
            // A node asks again and again: only what is new is worth an event.
            Command::RecordRefusedHistory { database, refused } => match cluster.refused_histories.get(&database) {
                _ if cluster.lifecycle == L::Deleted => wrong_state,
                Some(known) if known.reason == refused.reason => Ok(vec![]),
                _ => Ok(vec![Event::HistoryRefused { database, refused }]),
            },
            Command::RecordContinuedHistory { database, size } => match cluster.refused_histories.get(&database) {
                _ if cluster.lifecycle == L::Deleted => wrong_state,
                None => Ok(vec![]),
                Some(_) => Ok(vec![Event::HistoryContinued { database, size }]),
            },
            Command::RequestDeletion { operation_id } => match cluster.lifecycle {
                L::Deleted => wrong_state,
                L::Deleting => Ok(vec![]),
                _ => Ok(vec![Event::DeletionRequested { operation_id }]),
            },
            Command::MarkDeleted => match cluster.lifecycle {
                L::Deleting => Ok(vec![Event::Deleted]),
                L::Deleted => Ok(vec![]),
                _ => wrong_state,
            },
        }
    }

    fn apply(state: State, event: &Event) -> State {
        if let Event::Created(new) = event.clone() {
            let user = User {
                scram_verifier: new.scram_verifier,
                databases: new.user_databases,
                created_at: new.created_at,
                password_rotated_at: None,
            };
            return Some(ClusterState {
                cluster_id: new.cluster_id,
                org_id: new.org_id,
                name: new.name,
                region: new.region,
                node_count: new.node_count,
                replicated: new.replicated,
                host: new.host,
                databases: new.databases,
                users: BTreeMap::from([(new.user, user)]),
                members: Members::new(),
                last_member_id: 0,
                members_generation: 0,
                change: None,
                lifecycle: Lifecycle::Provisioning,
                operation_id: new.operation_id,
                log_keys: BTreeMap::new(),
                witnesses: vec![],
                time_stamp_authority: None,
                refused_histories: BTreeMap::new(),
                created_at: new.created_at,
                ready_at: None,
                last_error: None,
            });
        }
        let mut cluster = state?;
        match event.clone() {
            Event::Created(_) => unreachable!("applied above"),
            Event::Placed { members } => cluster.place(members),
            Event::EndpointSeen { member_id, endpoint } => {
                if let Some(member) = cluster.members.get_mut(&member_id) {
                    member.endpoint = Some(endpoint);
                    cluster.members_generation += 1;
                }
            }
            Event::MembersLeaving { member_ids } => {
                cluster.stand(&member_ids, Standing::Leaving);
                cluster.members_generation += 1;
            }
            Event::RemovalBegun { member_id } => cluster.stand(&[member_id], Standing::Removing),
            Event::MemberRemoved { member_id } => {
                cluster.members.remove(&member_id);
            }
            Event::VersionSet { member_id, version } => {
                if let Some(member) = cluster.members.get_mut(&member_id) {
                    member.server_version = Some(version);
                }
            }
            Event::ChangeRequested(pending) => {
                if let Change::Scale { node_count } = pending.change {
                    cluster.node_count = node_count;
                }
                cluster.change = Some(pending);
            }
            Event::ChangeFinished { .. } => cluster.change = None,
            Event::CertificateIssued { .. } => {}
            Event::LogKeySeen { database, verifier_key } => {
                cluster.log_keys.insert(database, verifier_key);
            }
            Event::Ready { at } => {
                cluster.lifecycle = Lifecycle::Ready;
                cluster.ready_at = Some(at);
                cluster.last_error = None;
            }
            Event::Failed { error } => {
                cluster.lifecycle = Lifecycle::Failed;
                cluster.last_error = Some(error);
            }
            Event::Retried => {
                cluster.lifecycle = Lifecycle::Provisioning;
                cluster.last_error = None;
            }
            Event::PasswordRotated {
                user,
                scram_verifier,
                at,
            } => {
                if let Some(user) = cluster.users.get_mut(&user) {
                    user.scram_verifier = scram_verifier;
                    user.password_rotated_at = Some(at);
                }
            }
            Event::WitnessesSet {
                witnesses,
                time_stamp_authority,
            } => {
                cluster.witnesses = witnesses;
                cluster.time_stamp_authority = time_stamp_authority;
            }
            Event::HistoryRefused { database, refused } => {
                cluster.refused_histories.insert(database, refused);
            }
            Event::HistoryContinued { database, .. } => {
                cluster.refused_histories.remove(&database);
            }
            Event::DeletionRequested { operation_id } => {
                cluster.lifecycle = Lifecycle::Deleting;
                cluster.operation_id = operation_id;
            }
            Event::Deleted => cluster.lifecycle = Lifecycle::Deleted,
        }
        Some(cluster)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use craton_platform_kernel::{Environment, testing};

    use super::*;
    use crate::aggregate::story::{decide, state};

    pub(crate) fn new_cluster(environment: &Environment) -> NewCluster {
        let cluster_id = environment.new_id();
        NewCluster {
            cluster_id,
            org_id: environment.new_id(),
            name: "clinic".into(),
            region: "local".into(),
            node_count: 1,
            replicated: false,
            host: ClusterHost::new("clinic", cluster_id, "local", "craton.localhost"),
            databases: vec!["main".into(), "probe".into()],
            user: "app".into(),
            user_databases: vec!["main".into()],
            scram_verifier: "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy".into(),
            operation_id: environment.new_id(),
            created_at: environment.now(),
        }
    }

    /// The first members, on these nodes.
    pub(crate) fn placed(nodes: &[NodeId]) -> Event {
        let members = (1..).zip(nodes).map(|(number, node_id)| PlacedMember {
            member_id: member(number),
            node_id: *node_id,
        });
        Event::Placed {
            members: members.collect(),
        }
    }

    pub(crate) fn member(number: u64) -> MemberId {
        MemberId::new(number).unwrap()
    }

    /// A ready cluster in a group, with a member on each of these nodes.
    pub(crate) fn replicated(environment: &Environment, nodes: &[NodeId]) -> Vec<Event> {
        let new = NewCluster {
            node_count: u32::try_from(nodes.len()).unwrap(),
            replicated: true,
            ..new_cluster(environment)
        };
        let at = environment.now();
        vec![Event::Created(new), placed(nodes), Event::Ready { at }]
    }

    pub(crate) fn endpoint(port: u16) -> MemberEndpoint {
        MemberEndpoint {
            address: [127, 0, 0, 1].into(),
            port,
            https_port: port + 2,
            peer_port: port + 1,
        }
    }

    #[test]
    fn members_are_numbered_once_and_the_generation_follows_who_is_in_the_group() {
        let environment = testing::environment();
        let nodes: Vec<NodeId> = (0..3).map(|_| environment.new_id()).collect();
        let operation_id: OperationId = environment.new_id();
        let mut given = replicated(&environment, &nodes);
        let scale = Change::Scale { node_count: 5 };
        let story = [
            (
                Command::RecordEndpoint {
                    member_id: member(1),
                    endpoint: endpoint(10),
                },
                1,
            ),
            // Seen again: nothing is new.
            (
                Command::RecordEndpoint {
                    member_id: member(1),
                    endpoint: endpoint(10),
                },
                1,
            ),
            (
                Command::RecordEndpoint {
                    member_id: member(1),
                    endpoint: endpoint(20),
                },
                2,
            ),
            (
                Command::RequestChange {
                    operation_id,
                    change: scale,
                    ended: None,
                },
                2,
            ),
            (
                Command::AddMembers {
                    operation_id,
                    nodes: nodes[..2].to_vec(),
                },
                2,
            ),
            (
                Command::RecordEndpoint {
                    member_id: member(5),
                    endpoint: endpoint(30),
                },
                3,
            ),
            (
                Command::ReleaseMembers {
                    member_ids: vec![member(5), member(2)],
                },
                4,
            ),
            (
                Command::ReleaseMembers {
                    member_ids: vec![member(5)],
                },
                4,
            ),
            (Command::BeginRemoval { member_id: member(5) }, 4),
            (Command::BeginRemoval { member_id: member(5) }, 4),
            (Command::RecordRemoved { member_id: member(5) }, 4),
            (Command::RecordRemoved { member_id: member(5) }, 4),
            // The number does not come back.
            (
                Command::AddMembers {
                    operation_id,
                    nodes: nodes[..1].to_vec(),
                },
                4,
            ),
            (Command::FinishChange { operation_id }, 4),
            (Command::FinishChange { operation_id }, 4),
        ];
        for (command, generation) in story {
            given.extend(
                decide::<Cluster>(&given, command.clone()).unwrap_or_else(|error| panic!("{command:?}: {error}")),
            );
            assert_eq!(
                state::<Cluster>(&given).unwrap().members_generation,
                generation,
                "{command:?}"
            );
        }
        let cluster = state::<Cluster>(&given).unwrap();
        let standings: Vec<_> = cluster
            .members
            .iter()
            .map(|(id, m)| (id.get(), m.standing.as_str()))
            .collect();
        assert_eq!(
            standings,
            [
                (1, "wanted"),
                (2, "leaving"),
                (3, "wanted"),
                (4, "wanted"),
                (6, "wanted")
            ]
        );
        assert_eq!((cluster.node_count, cluster.change), (5, None));
    }

    #[test]
    fn a_cluster_is_changed_by_one_operation_at_a_time() {
        let environment = testing::environment();
        let nodes: Vec<NodeId> = (0..3).map(|_| environment.new_id()).collect();
        let [first, second]: [OperationId; 2] = [environment.new_id(), environment.new_id()];
        let request = |operation_id, change, ended| Command::RequestChange {
            operation_id,
            change,
            ended,
        };
        let scale = |node_count| Change::Scale { node_count };
        let replace = |number| Change::Replace {
            member_id: member(number),
        };
        let upgrade = || Change::Upgrade {
            version: "0.2.0".into(),
        };
        let ready = replicated(&environment, &nodes);
        let pending = PendingChange {
            operation_id: first,
            change: scale(5),
        };
        let changing = [&ready[..], &[Event::ChangeRequested(pending.clone())]].concat();
        let alone = [
            Event::Created(new_cluster(&environment)),
            placed(&nodes[..1]),
            Event::Ready { at: environment.now() },
        ];
        let asked = |change: Change| {
            Ok(vec![Event::ChangeRequested(PendingChange {
                operation_id: second,
                change,
            })])
        };
        let table = [
            (&ready[..], request(second, scale(3), None), Err(Refusal::Unchanged)),
            (&ready[..], request(second, scale(1), None), asked(scale(1))),
            (&ready[..], request(second, replace(3), None), asked(replace(3))),
            (
                &ready[..],
                request(second, replace(4), None),
                Err(Refusal::UnknownMember(member(4))),
            ),
            (&ready[..], request(second, upgrade(), None), asked(upgrade())),
            (
                &changing[..],
                request(second, upgrade(), None),
                Err(Refusal::ChangePending(pending.clone())),
            ),
            (
                &changing[..],
                request(second, upgrade(), Some(second)),
                Err(Refusal::ChangePending(pending)),
            ),
            (&changing[..], request(second, scale(3), Some(first)), asked(scale(3))),
            (&alone[..], request(second, scale(3), None), Err(Refusal::StandsAlone)),
            (&alone[..], request(second, upgrade(), None), asked(upgrade())),
            (
                &ready[..2],
                request(second, upgrade(), None),
                Err(Refusal::Lifecycle(Lifecycle::Provisioning)),
            ),
            (
                &ready[..],
                Command::AddMembers {
                    operation_id: second,
                    nodes: vec![],
                },
                Err(Refusal::OtherOperation(second)),
            ),
            (
                &ready[..],
                Command::BeginRemoval { member_id: member(1) },
                Err(Refusal::UnknownMember(member(1))),
            ),
        ];
        for (given, when, then) in table {
            assert_eq!(decide::<Cluster>(given, when.clone()), then, "{when:?}");
        }
    }

    #[test]
    fn the_table_of_lifecycles_and_commands() {
        let environment = testing::environment();
        let new = new_cluster(&environment);
        let node: NodeId = environment.new_id();
        let operation_id = environment.new_id();
        let now = environment.now();
        let placed = [Event::Created(new), placed(&[node])];
        let with = |more: &[Event]| [&placed[..], more].concat();
        let (ready, failed) = (Event::Ready { at: now }, Event::Failed { error: "no".into() });
        let deleting = Event::DeletionRequested { operation_id };
        let given = [
            ("provisioning", with(&[])),
            ("ready", with(&[ready])),
            ("failed", with(&[failed])),
            ("deleting", with(std::slice::from_ref(&deleting))),
            ("deleted", with(&[deleting, Event::Deleted])),
        ];
        let commands = [
            ("place", Command::Place { nodes: vec![node] }),
            (
                "certificate",
                Command::RecordCertificate {
                    member_id: MemberId::FIRST,
                    node_id: node,
                    purpose: CertificatePurpose::Server,
                    serial: "1".into(),
                    not_after: now,
                },
            ),
            ("mark ready", Command::MarkReady { now }),
            ("mark failed", Command::MarkFailed { error: "no".into() }),
            ("retry", Command::Retry),
            (
                "rotate",
                Command::RotatePassword {
                    user: "app".into(),
                    scram_verifier: "v".into(),
                    now,
                },
            ),
            (
                "witnesses",
                Command::SetWitnesses {
                    witnesses: vec![ExternalWitness {
                        url: "https://witness.example".into(),
                        verifier_key: "key".into(),
                    }],
                    time_stamp_authority: None,
                },
            ),
            (
                "refused",
                Command::RecordRefusedHistory {
                    database: "main".into(),
                    refused: refused("turned_back", now),
                },
            ),
            ("delete", Command::RequestDeletion { operation_id }),
            ("mark deleted", Command::MarkDeleted),
        ];
        let table: Vec<String> = commands
            .iter()
            .map(|(name, command)| {
                let cells: Vec<&str> = given
                    .iter()
                    .map(|(_, given)| match decide::<Cluster>(given, command.clone()) {
                        Ok(events) if events.is_empty() => "same",
                        Ok(_) => "yes",
                        Err(Refusal::Lifecycle(_)) => "no",
                        Err(other) => panic!("{name}: {other}"),
                    })
                    .collect();
                format!("{name:12} {}", cells.join(" "))
            })
            .collect();
        let columns: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
        assert_eq!(columns, ["provisioning", "ready", "failed", "deleting", "deleted"]);
        assert_eq!(
            table,
            [
                "place        same no no no no",
                "certificate  yes yes yes no no",
                "mark ready   yes same no no no",
                "mark failed  yes no same no no",
                "retry        same no yes same no",
                "rotate       yes yes yes no no",
                "witnesses    yes yes yes no no",
                "refused      yes yes yes yes no",
                "delete       yes yes yes same no",
                "mark deleted no no no yes same",
            ]
        );
    }

    #[test]
    fn a_cluster_is_created_once_and_placed_once() {
        let environment = testing::environment();
        let new = new_cluster(&environment);
        let created = Event::Created(new.clone());
        let nodes: Vec<NodeId> = vec![environment.new_id()];
        assert_eq!(
            decide::<Cluster>(&[], Command::Create(new.clone())),
            Ok(vec![created.clone()])
        );
        assert_eq!(
            decide::<Cluster>(std::slice::from_ref(&created), Command::Create(new)),
            Err(Refusal::Exists)
        );
        assert_eq!(decide::<Cluster>(&[], Command::Retry), Err(Refusal::Unknown));
        assert_eq!(
            decide::<Cluster>(&[created], Command::Place { nodes: nodes.clone() }),
            Ok(vec![placed(&nodes)])
        );
    }

    #[test]
    fn a_log_key_is_pinned_at_first_sight() {
        let environment = testing::environment();
        let created = Event::Created(new_cluster(&environment));
        let record = |key: &str| Command::RecordLogKey {
            database: "main".into(),
            verifier_key: key.into(),
        };
        let seen = Event::LogKeySeen {
            database: "main".into(),
            verifier_key: "a".into(),
        };
        assert_eq!(
            decide::<Cluster>(std::slice::from_ref(&created), record("a")),
            Ok(vec![seen.clone()])
        );
        assert_eq!(
            decide::<Cluster>(&[created.clone(), seen.clone()], record("a")),
            Ok(vec![])
        );
        assert_eq!(
            decide::<Cluster>(&[created, seen], record("b")),
            Err(Refusal::LogKeyChanged {
                database: "main".into(),
                pinned: "a".into(),
                seen: "b".into()
            })
        );
    }

    fn refused(reason: &str, at: Timestamp) -> RefusedHistory {
        RefusedHistory {
            reason: reason.into(),
            size: 7,
            witnessed_size: 9,
            at,
        }
    }

    #[test]
    fn a_refused_history_is_told_once_until_the_log_continues() {
        let environment = testing::environment();
        let now = environment.now();
        let record = |reason: &str| Command::RecordRefusedHistory {
            database: "main".into(),
            refused: refused(reason, now),
        };
        let event = |reason: &str| Event::HistoryRefused {
            database: "main".into(),
            refused: refused(reason, now),
        };
        let continues = || Command::RecordContinuedHistory {
            database: "main".into(),
            size: 10,
        };
        let continued = Event::HistoryContinued {
            database: "main".into(),
            size: 10,
        };
        let mut given = vec![Event::Created(new_cluster(&environment))];
        for (command, then) in [
            (continues(), None),
            (record("turned_back"), Some(event("turned_back"))),
            (record("turned_back"), None),
            (record("other_root"), Some(event("other_root"))),
            (record("other_root"), None),
            (continues(), Some(continued)),
            (continues(), None),
            (record("other_root"), Some(event("other_root"))),
        ] {
            let events = decide::<Cluster>(&given, command).unwrap();
            assert_eq!(events, Vec::from_iter(then));
            given.extend(events);
        }
        let json = serde_json::to_value(event("turned_back")).unwrap();
        assert_eq!(
            (&json["type"], &json["data"]["database"], &json["data"]["reason"]),
            (&"cluster.history_refused".into(), &"main".into(), &"turned_back".into())
        );
    }

    #[test]
    fn only_nodes_of_the_cluster_get_certificates_and_only_its_users_passwords() {
        let environment = testing::environment();
        let created = Event::Created(new_cluster(&environment));
        let stranger: NodeId = environment.new_id();
        let now = environment.now();
        assert_eq!(
            decide::<Cluster>(
                &[created.clone(), placed(&[environment.new_id()])],
                Command::RecordCertificate {
                    member_id: MemberId::FIRST,
                    node_id: stranger,
                    purpose: CertificatePurpose::Server,
                    serial: "1".into(),
                    not_after: now
                }
            ),
            Err(Refusal::OtherNode(stranger))
        );
        let rotate = |user: &str| Command::RotatePassword {
            user: user.into(),
            scram_verifier: "new".into(),
            now,
        };
        assert_eq!(
            decide::<Cluster>(std::slice::from_ref(&created), rotate("root")),
            Err(Refusal::UnknownUser("root".into()))
        );
        let rotated = decide::<Cluster>(std::slice::from_ref(&created), rotate("app")).unwrap();
        let cluster = state::<Cluster>(&[vec![created], rotated].concat()).unwrap();
        assert_eq!(cluster.users["app"].scram_verifier, "new");
        assert_eq!(cluster.users["app"].password_rotated_at, Some(now));
    }
}
