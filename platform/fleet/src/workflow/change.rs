//! Changes a ready cluster: its number of members, one of them, or the version that they run or write.

use craton_platform_kernel::{ClusterId, CommandContext, OperationId, OrgId, Receipt};

use super::{WorkflowError, operation};
use crate::{
    aggregate::{
        cluster::{self, Cluster, ClusterState, Command, Refusal},
        member::Change,
        operation::{Kind, OperationState},
    },
    fleet::Inner,
    link::Snapshot,
};

/// The operation that carries out a change.
pub(crate) const fn kind(change: &Change) -> Kind {
    match change {
        Change::Scale { .. } => Kind::ScaleCluster,
        Change::Replace { .. } => Kind::ReplaceNode,
        Change::Upgrade { .. } => Kind::UpgradeCluster,
        Change::Finalize { .. } => Kind::FinalizeCluster,
    }
}

/// Asks for a change and starts its operation. A change whose operation has ended without success is given up for it.
pub(crate) async fn request(
    fleet: &Inner,
    context: &CommandContext,
    org_id: OrgId,
    cluster_id: ClusterId,
    change: Change,
) -> Result<(OperationState, Receipt), WorkflowError> {
    let operation_id: OperationId = fleet.ledger.environment().new_id();
    let stream = cluster::stream(org_id, cluster_id);
    let kind = kind(&change);
    let mut ended = None;
    let executed = loop {
        let command = Command::RequestChange {
            operation_id,
            change: change.clone(),
            ended,
        };
        let requested = fleet.ledger.execute::<Cluster>(&stream, context, command).await;
        match requested.map_err(WorkflowError::from) {
            Err(WorkflowError::Cluster(Refusal::ChangePending(pending))) if ended != Some(pending.operation_id) => {
                let earlier = operation::load(fleet, org_id, pending.operation_id).await;
                if !earlier.is_ok_and(|earlier| earlier.phase.is_ended()) {
                    return Err(WorkflowError::Cluster(Refusal::ChangePending(pending)));
                }
                ended = Some(pending.operation_id);
            }
            result => break result?,
        }
    };
    let operation = operation::start(fleet, context, org_id, operation_id, kind, cluster_id).await?;
    fleet.wake.notify_one();
    Ok((operation, executed.receipt))
}

/// The nodes of a cluster's members that do not offer a version of the server.
pub(crate) fn nodes_without(cluster: &ClusterState, snapshot: &Snapshot, version: &str) -> Vec<String> {
    let lacks = |node_id| {
        let observed = snapshot.observed(node_id);
        observed.is_none_or(|observed| observed.server_version(version).is_none())
    };
    let nodes = cluster.wanted().map(|(_, member)| member.node_id);
    nodes
        .filter(|node_id| lacks(*node_id))
        .map(|id| id.to_string())
        .collect()
}
