//! Signs what agents ask for on their links.

use craton_agent_protocol::{ClusterId as WireClusterId, MemberId};
use craton_platform_kernel::{ClusterId, CommandContext, ExecuteError, NodeId, Principal};

use super::WorkflowError;
use crate::{
    aggregate::{
        cluster::{self, CertificatePurpose, Cluster},
        node::{self, Node},
    },
    authority::{Authority, cluster_authority, peer_authority, peer_name},
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

/// Signs a certificate of a cluster's member, if it was placed on the node.
pub(crate) async fn issue_instance(
    fleet: &Inner,
    node_id: NodeId,
    cluster_id: &WireClusterId,
    member_id: MemberId,
    purpose: CertificatePurpose,
    csr_pem: &str,
) -> Result<String, WorkflowError> {
    let cluster_id: ClusterId = cluster_id.as_str().parse().map_err(|_| WorkflowError::NotFound)?;
    let cluster = fleet
        .view
        .cluster_by_id(cluster_id)
        .await?
        .ok_or(WorkflowError::NotFound)?;
    // Asked before signing: what was signed cannot be taken back. A foreign cluster looks like a missing one.
    if cluster
        .members
        .get(&member_id)
        .is_none_or(|member| member.node_id != node_id)
    {
        return Err(WorkflowError::NotFound);
    }
    let lifetime = fleet.config.instance_certificate_lifetime;
    let issued = match purpose {
        CertificatePurpose::Server => {
            let authority = Authority::open(&fleet.vault, &cluster_authority(cluster_id), fleet.ledger.environment())?;
            let own_name = cluster.host.of_member(member_id);
            authority.issue_server(csr_pem, &[cluster.host.as_str(), &own_name], lifetime)?
        }
        CertificatePurpose::Peer => {
            let authority = Authority::open(&fleet.vault, &peer_authority(cluster_id), fleet.ledger.environment())?;
            authority.issue_peer(csr_pem, &peer_name(cluster_id, member_id), lifetime)?
        }
    };
    let command = cluster::Command::RecordCertificate {
        member_id,
        node_id,
        purpose,
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
