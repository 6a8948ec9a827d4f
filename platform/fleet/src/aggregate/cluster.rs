//! A database cluster: what it shall be, where it was placed, and how its life goes.
//!
//! # Invariants
//! - Lifecycle: provisioning → ready → deleting → deleted, with failed beside provisioning. A deleted cluster stays as
//!   a tombstone; its id and host name never come back.
//! - `ready` is only reached after a probe, and every transitional state names the operation that ends it.
//! - What the platform, as a witness, refuses to cosign is an event when it begins and when it ends.
//! - The first log key that is seen of a database is its log key for ever. A server that shows another one is refused.
//! - No password is in any event, only SCRAM verifiers (RFC 5803).

use std::collections::BTreeMap;

use craton_platform_kernel::{Aggregate, ClusterId, NodeId, OperationId, OrgId, StreamName};
use jiff::Timestamp;

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
    Placed { nodes: Vec<NodeId> },
    #[serde(rename = "cluster.certificate_issued")]
    CertificateIssued {
        node_id: NodeId,
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
    Place {
        nodes: Vec<NodeId>,
    },
    RecordCertificate {
        node_id: NodeId,
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
    #[error("{0} is not a node of this cluster")]
    OtherNode(NodeId),
    #[error("database {database} shows the log key {seen}, but its log key is {pinned}")]
    LogKeyChanged {
        database: String,
        pinned: String,
        seen: String,
    },
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
    pub(crate) node_count: u32,
    pub(crate) host: ClusterHost,
    pub(crate) databases: Vec<String>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) nodes: Vec<NodeId>,
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
                L::Provisioning if cluster.nodes.is_empty() => Ok(vec![Event::Placed { nodes }]),
                // Another run of the same step was faster; its choice stands.
                L::Provisioning => Ok(vec![]),
                _ => wrong_state,
            },
            Command::RecordCertificate {
                node_id,
                serial,
                not_after,
            } => match cluster.lifecycle {
                L::Deleting | L::Deleted => wrong_state,
                _ if !cluster.nodes.contains(&node_id) => Err(Refusal::OtherNode(node_id)),
                _ => Ok(vec![Event::CertificateIssued {
                    node_id,
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
                host: new.host,
                databases: new.databases,
                users: BTreeMap::from([(new.user, user)]),
                nodes: vec![],
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
            Event::Placed { nodes } => cluster.nodes = nodes,
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
            host: ClusterHost::new("clinic", cluster_id, "local", "craton.localhost"),
            databases: vec!["main".into(), "probe".into()],
            user: "app".into(),
            user_databases: vec!["main".into()],
            scram_verifier: "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy".into(),
            operation_id: environment.new_id(),
            created_at: environment.now(),
        }
    }

    #[test]
    fn the_table_of_lifecycles_and_commands() {
        let environment = testing::environment();
        let new = new_cluster(&environment);
        let node: NodeId = environment.new_id();
        let operation_id = environment.new_id();
        let now = environment.now();
        let placed = [Event::Created(new), Event::Placed { nodes: vec![node] }];
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
                    node_id: node,
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
        let nodes = vec![environment.new_id()];
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
            Ok(vec![Event::Placed { nodes }])
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
                std::slice::from_ref(&created),
                Command::RecordCertificate {
                    node_id: stranger,
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
