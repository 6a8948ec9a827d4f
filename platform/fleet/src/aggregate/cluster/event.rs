//! What happens to a cluster.

use craton_agent_protocol::MemberId;
use craton_platform_kernel::{ClusterId, NodeId, OperationId, OrgId};
use jiff::Timestamp;

use crate::aggregate::member::{MemberEndpoint, PendingChange, PlacedMember};
use crate::name::ClusterHost;

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
    #[serde(rename = "cluster.format_version_set")]
    FormatVersionSet { format_version: u8 },
    #[serde(rename = "cluster.format_version_withdrawn")]
    FormatVersionWithdrawn,
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

/// Who a certificate is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CertificatePurpose {
    /// Clients.
    Server,
    /// Other members.
    Peer,
}
