//! What the API's answers say, as far as this program reads them.

use std::fmt;

use serde::Deserialize;

/// An organisation as a member of it sees it.
#[derive(Debug, Deserialize)]
pub(crate) struct Organisation {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) slug: String,
    pub(crate) role: String,
}

/// A cluster.
#[derive(Debug, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) node_count: u32,
    pub(crate) state: ClusterState,
    pub(crate) created_at: String,
    pub(crate) ready_at: Option<String>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) nodes: Vec<ClusterNode>,
    /// Absent until every node has said what it writes and knows.
    pub(crate) format: Option<FormatVersions>,
    pub(crate) last_error: Option<String>,
}

/// Versions of what is written to disks and said between nodes.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct FormatVersions {
    /// The one that is written.
    pub(crate) active: u8,
    /// The newest one that is known.
    pub(crate) newest: u8,
}

/// A member of a cluster and the node that it is on.
#[derive(Debug, Deserialize)]
pub(crate) struct ClusterNode {
    pub(crate) member: u64,
    pub(crate) node_id: String,
    pub(crate) standing: String,
    pub(crate) state: String,
    pub(crate) role: Option<String>,
    pub(crate) server_version: Option<String>,
}

/// Where a cluster is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClusterState {
    Provisioning,
    Ready,
    Degraded,
    Failed,
    Deleting,
    Deleted,
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        })
    }
}

/// The answer to the creation of a cluster.
#[derive(Debug, Deserialize)]
pub(crate) struct ClusterCreated {
    pub(crate) cluster: Cluster,
    pub(crate) operation: Operation,
    pub(crate) credentials: Credentials,
}

/// A database user's first password.
#[derive(Debug, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    /// Absent when the request was a repetition of an earlier one.
    pub(crate) password: Option<String>,
    pub(crate) database: String,
}

/// The answer to the rotation of a password.
#[derive(Debug, Deserialize)]
pub(crate) struct PasswordRotated {
    pub(crate) user: String,
    pub(crate) password: Option<String>,
}

/// Something that takes its time.
#[derive(Debug, Deserialize)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) state: OperationState,
    pub(crate) step: String,
    pub(crate) steps_done: u32,
    pub(crate) steps_total: u32,
    pub(crate) error: Option<String>,
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperationState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

/// How to connect to a cluster.
#[derive(Debug, Deserialize)]
pub(crate) struct Connection {
    pub(crate) host: String,
    pub(crate) members: Vec<ConnectionMember>,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) uri: String,
    pub(crate) psql: String,
    pub(crate) log_keys: Vec<LogKey>,
    pub(crate) witness_keys: Vec<String>,
}

/// Where one member of a cluster accepts clients.
#[derive(Debug, Deserialize)]
pub(crate) struct ConnectionMember {
    pub(crate) member: u64,
    pub(crate) host_address: String,
    pub(crate) port: u16,
    pub(crate) https_port: u16,
}

/// The key that a database's log is signed with, and where the log is served.
#[derive(Debug, Deserialize)]
pub(crate) struct LogKey {
    pub(crate) database: String,
    pub(crate) verifier_key: String,
    pub(crate) url: String,
}

/// The answer to the creation of a join token.
#[derive(Debug, Deserialize)]
pub(crate) struct JoinTokenCreated {
    pub(crate) token: String,
}

/// A machine of the fleet.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) health: String,
    pub(crate) connected: bool,
}
