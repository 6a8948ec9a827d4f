//! What is asked of a cluster, and why it is refused.

use craton_agent_protocol::MemberId;
use craton_platform_kernel::{NodeId, OperationId};
use jiff::Timestamp;

use super::{CertificatePurpose, ExternalWitness, Lifecycle, NewCluster, RefusedHistory, TimeStampAuthority};
use crate::aggregate::member::{Change, MemberEndpoint, PendingChange};

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
    /// Lets the members be asked to write a version of the formats.
    SetFormatVersion {
        operation_id: OperationId,
        format_version: u8,
    },
    /// Lets them be asked no more: the operation has ended without it.
    WithdrawFormatVersion {
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
