//! Signs what agents ask for on their links.

use craton_agent_protocol::ClusterId as WireClusterId;
use craton_platform_kernel::{ClusterId, CommandContext, ExecuteError, NodeId, Principal};

use super::WorkflowError;
use crate::{
    aggregate::{
        cluster::{self, Cluster},
        node::{self, Node},
    },
    authority::{Authority, cluster_authority},
    fleet::Inner,
};

/// Renews a node's own certificate.
pub(crate) async fn renew_node(fleet: &Inner, node_id: NodeId, csr_pem: &str) -> Result<String, WorkflowError> {
    let issued = fleet
        .agent_authority
        .issue_node(csr_pem, node_id, fleet.config.node_certificate_lifetime)?;
    let command = node::Command::RecordCertificate {
        serial: issued.serial,
        not_after: issued.not_after,
    };
    match fleet
        .ledger
        .execute::<Node>(&node::stream(node_id), &context(fleet, node_id), command)
        .await
    {
        Ok(_) => Ok(issued.chain_pem),
        Err(ExecuteError::Refused(_)) => Err(WorkflowError::NotFound),
        Err(ExecuteError::Contended(_)) => Err(WorkflowError::Contended),
        Err(ExecuteError::Store(error)) => Err(error.into()),
    }
}

/// Signs the server certificate of a cluster's instance, if the cluster was placed on the node.
pub(crate) async fn issue_instance(
    fleet: &Inner,
    node_id: NodeId,
    cluster_id: &WireClusterId,
    csr_pem: &str,
) -> Result<String, WorkflowError> {
    let cluster_id: ClusterId = cluster_id.as_str().parse().map_err(|_| WorkflowError::NotFound)?;
    let cluster = fleet
        .view
        .cluster_by_id(cluster_id)
        .await?
        .ok_or(WorkflowError::NotFound)?;
    // Asked before signing: what was signed cannot be taken back. A foreign cluster looks like a missing one.
    if !cluster.nodes.contains(&node_id) {
        return Err(WorkflowError::NotFound);
    }
    let authority = Authority::open(&fleet.vault, &cluster_authority(cluster_id), fleet.ledger.environment())?;
    let hostnames = [cluster.host.as_str()];
    let issued = authority.issue_server(csr_pem, &hostnames, fleet.config.instance_certificate_lifetime)?;
    let command = cluster::Command::RecordCertificate {
        node_id,
        serial: issued.serial,
        not_after: issued.not_after,
    };
    let stream = cluster::stream(cluster.org_id, cluster_id);
    // On record before it is handed out.
    fleet
        .ledger
        .execute::<Cluster>(&stream, &context(fleet, node_id), command)
        .await?;
    Ok(issued.chain_pem)
}

fn context(fleet: &Inner, node_id: NodeId) -> CommandContext {
    CommandContext::new(&Principal::Node { node_id }, fleet.ledger.environment().new_id())
}
