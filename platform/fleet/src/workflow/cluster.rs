//! Creates and deletes clusters and rotates passwords.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use craton_crypto::{SCRAM_ITERATIONS_DEFAULT, ScramVerifier};
use craton_platform_kernel::{ClusterId, CommandContext, ExecuteError, OperationId, OrgId, Principal, Receipt};
use zeroize::Zeroizing;

use super::{WorkflowError, operation};
use crate::{
    aggregate::{
        cluster::{self, Cluster, ClusterState, Command, ExternalWitness, NewCluster, TimeStampAuthority},
        cluster_name::{self, ClusterName},
        operation::{Kind, OperationState},
    },
    authority::{Authority, cluster_authority, peer_authority, peer_domain, probe_token::PROBE_DATABASE},
    desired::desired_instance,
    fleet::Inner,
    health::Health,
    name::{ClusterHost, ClusterNameText},
    witness::Noticed,
};

/// The database that every cluster has.
pub(crate) const MAIN_DATABASE: &str = "main";
/// The user that every cluster has.
pub(crate) const APP_USER: &str = "app";
/// 192 random bits.
const PASSWORD_BYTES: usize = 24;
/// How long a rotation waits for the servers to take the new password.
const ROTATION_WAIT_MAX: Duration = Duration::from_secs(10);

/// A new cluster with the password that is shown once.
pub(crate) struct Created {
    pub(crate) cluster: ClusterState,
    pub(crate) operation: OperationState,
    pub(crate) password: Zeroizing<String>,
    pub(crate) receipt: Receipt,
}

/// Creates a cluster and starts the operation that makes it ready.
pub(crate) async fn create(
    fleet: &Inner,
    context: &CommandContext,
    org_id: OrgId,
    name: ClusterNameText,
    region: String,
    node_count: u32,
) -> Result<Created, WorkflowError> {
    let environment = fleet.ledger.environment();
    let cluster_id: ClusterId = environment.new_id();
    let operation_id: OperationId = environment.new_id();
    let host = ClusterHost::new(name.as_str(), cluster_id, &region, &fleet.config.domain);
    take_name(fleet, context, org_id, &name, cluster_id).await?;
    // Before the cluster exists: from its first event on there is an authority that can sign for it.
    let common_name = format!("Craton cluster {}", name.as_str());
    Authority::open_or_create(
        &fleet.vault,
        &cluster_authority(cluster_id),
        &common_name,
        Some(host.as_str()),
        environment,
    )?;
    Authority::open_or_create(
        &fleet.vault,
        &peer_authority(cluster_id),
        &format!("Craton members of {}", name.as_str()),
        Some(&peer_domain(cluster_id)),
        environment,
    )?;
    let (password, scram_verifier) = new_password(fleet)?;
    let new = NewCluster {
        cluster_id,
        org_id,
        name: name.as_str().to_owned(),
        region,
        node_count,
        host,
        databases: vec![MAIN_DATABASE.to_owned(), PROBE_DATABASE.to_owned()],
        user: APP_USER.to_owned(),
        user_databases: vec![MAIN_DATABASE.to_owned()],
        scram_verifier,
        operation_id,
        created_at: environment.now(),
    };
    let stream = cluster::stream(org_id, cluster_id);
    let executed = fleet
        .ledger
        .execute::<Cluster>(&stream, context, Command::Create(new))
        .await?;
    let cluster = executed
        .state
        .ok_or_else(|| WorkflowError::Internal("a created cluster has no state".to_owned()))?;
    let operation = operation::start(fleet, context, org_id, operation_id, Kind::CreateCluster, cluster_id).await?;
    fleet.wake.notify_one();
    Ok(Created {
        cluster,
        operation,
        password,
        receipt: executed.receipt,
    })
}

async fn take_name(
    fleet: &Inner,
    context: &CommandContext,
    org_id: OrgId,
    name: &ClusterNameText,
    cluster_id: ClusterId,
) -> Result<(), WorkflowError> {
    let stream = cluster_name::stream(org_id, name.as_str());
    let mut abandoned = None;
    loop {
        let take = cluster_name::Command::Take { cluster_id, abandoned };
        match fleet.ledger.execute::<ClusterName>(&stream, context, take).await {
            Ok(_) => return Ok(()),
            Err(ExecuteError::Refused(cluster_name::Refusal::Taken { by })) => {
                // A holder without a cluster lost its platform in between. One that was just taken may still become
                // a cluster, so only an old one counts as abandoned; its id tells its age.
                let exists = fleet
                    .ledger
                    .load::<Cluster>(&cluster::stream(org_id, by))
                    .await?
                    .state
                    .is_some();
                if exists || abandoned == Some(by) || !is_old(fleet, by) {
                    return Err(WorkflowError::NameTaken);
                }
                abandoned = Some(by);
            }
            Err(ExecuteError::Refused(refusal @ cluster_name::Refusal::NotHolder(_))) => {
                return Err(WorkflowError::Internal(refusal.to_string()));
            }
            Err(ExecuteError::Contended(_)) => return Err(WorkflowError::Contended),
            Err(ExecuteError::Store(error)) => return Err(error.into()),
        }
    }
}

/// Whether an id was made more than a minute ago. A version 7 UUID begins with its time (RFC 9562 section 5.7).
fn is_old(fleet: &Inner, cluster_id: ClusterId) -> bool {
    let made_at = cluster_id
        .as_uuid()
        .get_timestamp()
        .map_or(0, |timestamp| timestamp.to_unix().0);
    let now = u64::try_from(fleet.ledger.environment().now().as_second()).unwrap_or(0);
    now.saturating_sub(made_at) > 60
}

fn new_password(fleet: &Inner) -> Result<(Zeroizing<String>, String), WorkflowError> {
    let environment = fleet.ledger.environment();
    let bytes = Zeroizing::new(environment.random_bytes::<PASSWORD_BYTES>());
    let password = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    let salt = environment.random_bytes::<16>();
    let verifier = ScramVerifier::from_password(&password, &salt, SCRAM_ITERATIONS_DEFAULT)
        .map_err(|error| WorkflowError::Internal(error.to_string()))?;
    Ok((password, verifier.to_string()))
}

/// Makes a new password for a user. Waits a moment for the servers to take it, so that it usually works when it is
/// shown.
pub(crate) async fn rotate_password(
    fleet: &Inner,
    context: &CommandContext,
    org_id: OrgId,
    cluster_id: ClusterId,
    user: String,
) -> Result<(Zeroizing<String>, Receipt), WorkflowError> {
    let (password, scram_verifier) = new_password(fleet)?;
    let now = fleet.ledger.environment().now();
    let command = Command::RotatePassword {
        user,
        scram_verifier,
        now,
    };
    let executed = fleet
        .ledger
        .execute::<Cluster>(&cluster::stream(org_id, cluster_id), context, command)
        .await?;
    fleet.wake.notify_one();
    if let Some(cluster) = executed.state.as_ref().filter(|cluster| !cluster.members.is_empty()) {
        // A node that is away takes the password as soon as it is back.
        let _ = tokio::time::timeout(ROTATION_WAIT_MAX, until_applied(fleet, cluster)).await;
    }
    Ok((password, executed.receipt))
}

async fn until_applied(fleet: &Inner, cluster: &ClusterState) {
    let settings = fleet.shared_settings();
    let mut changes = fleet.links.watch();
    loop {
        let snapshot = fleet.links.snapshot();
        let reachable = |node_id| snapshot.health(node_id) == Health::Online;
        let mut wanted = cluster.wanted().filter(|(_, member)| reachable(member.node_id));
        let is_applied = wanted.all(|(member_id, member)| {
            let wanted = desired_instance(cluster, member_id, &settings).map(|instance| instance.content_hash());
            let instance = snapshot.instance(member.node_id, cluster.cluster_id, member_id);
            instance.and_then(|instance| instance.applied) == wanted
        });
        if is_applied || changes.changed().await.is_err() {
            return;
        }
    }
}

/// Records what the platform noticed as a witness of a cluster's logs.
pub(crate) async fn record_noticed(fleet: &Inner, noticed: Noticed) -> Result<(), WorkflowError> {
    let context = CommandContext::new(&Principal::System, fleet.ledger.environment().new_id());
    let stream = cluster::stream(noticed.org_id, noticed.cluster_id);
    fleet
        .ledger
        .execute::<Cluster>(&stream, &context, noticed.command)
        .await?;
    Ok(())
}

/// Sets the witnesses of a cluster's logs beside the platform, and who stamps the time on what they cosigned.
pub(crate) async fn set_witnesses(
    fleet: &Inner,
    context: &CommandContext,
    org_id: OrgId,
    cluster_id: ClusterId,
    witnesses: Vec<ExternalWitness>,
    time_stamp_authority: Option<TimeStampAuthority>,
) -> Result<(ClusterState, Receipt), WorkflowError> {
    let command = Command::SetWitnesses {
        witnesses,
        time_stamp_authority,
    };
    let executed = fleet
        .ledger
        .execute::<Cluster>(&cluster::stream(org_id, cluster_id), context, command)
        .await?;
    fleet.wake.notify_one();
    let cluster = executed.state.ok_or(WorkflowError::NotFound)?;
    Ok((cluster, executed.receipt))
}

/// Starts the deletion of a cluster. Asking again gives the same operation.
pub(crate) async fn delete(
    fleet: &Inner,
    context: &CommandContext,
    org_id: OrgId,
    cluster_id: ClusterId,
) -> Result<(OperationState, Receipt), WorkflowError> {
    let operation_id = fleet.ledger.environment().new_id();
    let command = Command::RequestDeletion { operation_id };
    let executed = fleet
        .ledger
        .execute::<Cluster>(&cluster::stream(org_id, cluster_id), context, command)
        .await?;
    // The one of the first request, when this is not the first.
    let operation_id = executed.state.map_or(operation_id, |cluster| cluster.operation_id);
    let operation = operation::start(fleet, context, org_id, operation_id, Kind::DeleteCluster, cluster_id).await?;
    fleet.wake.notify_one();
    Ok((operation, executed.receipt))
}

/// Takes a removed cluster's name and key away.
pub(crate) async fn finish_deletion(
    fleet: &Inner,
    context: &CommandContext,
    cluster: &ClusterState,
) -> Result<(), WorkflowError> {
    let stream = cluster::stream(cluster.org_id, cluster.cluster_id);
    let release = cluster_name::Command::Release {
        cluster_id: cluster.cluster_id,
    };
    match fleet
        .ledger
        .execute::<ClusterName>(&cluster_name::stream(cluster.org_id, &cluster.name), context, release)
        .await
    {
        // Released already, before the platform ended the last time.
        Ok(_) | Err(ExecuteError::Refused(_)) => {}
        Err(ExecuteError::Contended(_)) => return Err(WorkflowError::Contended),
        Err(ExecuteError::Store(error)) => return Err(error.into()),
    }
    for authority in [
        cluster_authority(cluster.cluster_id),
        peer_authority(cluster.cluster_id),
    ] {
        crate::authority::destroy_key(&fleet.vault, &authority)?;
    }
    // Last, because a tombstone is not looked at again.
    fleet
        .ledger
        .execute::<Cluster>(&stream, context, Command::MarkDeleted)
        .await?;
    tracing::info!(cluster_id = %cluster.cluster_id, "a cluster was deleted");
    Ok(())
}
