//! The steps of operations. Each looks, does what is to be done next, and says how far it is; each may be repeated.

use std::collections::HashMap;

use craton_agent_protocol::{INSTANCES_MAX, InstancePhase, MemberId, ObservedInstance};
use craton_platform_kernel::NodeId;

use crate::{
    aggregate::{
        cluster::{self, ClusterState, Lifecycle},
        member::{Change, Standing},
        operation::{Kind, OperationState, Step},
    },
    desired::desired_instance,
    fleet::Inner,
    format,
    health::Health,
    membership::{Group, UpgradeStep},
    probe::probe,
    reconciler::{Look, begin_removals, context, execute, is_removed, phase_name},
    schedule::{Candidate, PlacementRequest, Unplaceable, schedule},
    workflow::{WorkflowError, cluster as cluster_workflow},
};

/// What a look at a step shows.
pub(crate) enum Progress {
    Done,
    /// Someone else is at work; this is how far they are.
    Waiting(String),
    /// A try of ours failed and is repeated after a while.
    Failed(String),
    /// Going on would do harm.
    GivenUp(String),
}

pub(crate) async fn take_step(
    fleet: &Inner,
    step: Step,
    cluster: &ClusterState,
    look: &Look,
    operation: &OperationState,
) -> Result<Progress, WorkflowError> {
    let replaced = replaced(cluster);
    match step {
        Step::Placed => place(fleet, cluster, look, operation).await,
        Step::Certificate => Ok(on_every_node(cluster, look, replaced, |phase, instance| {
            phase != InstancePhase::AwaitingCertificate
                && instance.certificate_not_after_s.is_some()
                && instance.peer_certificate_not_after_s.is_some()
        })),
        Step::Started => Ok(on_every_node(cluster, look, replaced, |phase, _| {
            matches!(
                phase,
                InstancePhase::Joining | InstancePhase::Configuring | InstancePhase::Running
            )
        })),
        Step::Joined => Ok(match Group::new(cluster, &look.snapshot).check_whole(replaced) {
            Ok(()) => Progress::Done,
            Err(reason) => Progress::Waiting(reason),
        }),
        Step::Configured => {
            let settings = fleet.shared_settings();
            Ok(on_every_node(cluster, look, replaced, |phase, instance| {
                let wanted = desired_instance(cluster, instance.member_id, &settings).map(|i| i.content_hash());
                phase == InstancePhase::Running && instance.applied == wanted
            }))
        }
        Step::Probed => try_endpoints(fleet, cluster, look, operation, replaced).await,
        Step::Left => release(fleet, cluster, look).await,
        Step::Upgraded => upgrade(fleet, cluster, look, operation).await,
        Step::Finalized => finalize(fleet, cluster, look, operation).await,
        Step::Removed if operation.kind == Kind::DeleteCluster => delete(fleet, cluster, look).await,
        Step::Removed => Ok(removed(cluster, look)),
    }
}

/// The member that is to be replaced by another one. Nothing is expected of it any more.
fn replaced(cluster: &ClusterState) -> Option<MemberId> {
    match cluster.change.as_ref().map(|pending| &pending.change) {
        Some(Change::Replace { member_id }) => Some(*member_id),
        _ => None,
    }
}

async fn place(
    fleet: &Inner,
    cluster: &ClusterState,
    look: &Look,
    operation: &OperationState,
) -> Result<Progress, WorkflowError> {
    let wanted = cluster.wanted().count();
    let is_replaced = |member_id| cluster.wanted().any(|(wanted, _)| wanted == member_id);
    // A member that is replaced stays until the new one has its place.
    let goal = cluster.node_count as usize + usize::from(replaced(cluster).is_some_and(is_replaced));
    let Some(missing) = goal.checked_sub(wanted).filter(|missing| *missing > 0) else {
        return Ok(Progress::Done);
    };
    if look.snapshot.is_mass_failure {
        return Ok(Progress::Failed(Unplaceable::FleetUnsettled.to_string()));
    }
    let taken: Vec<NodeId> = cluster
        .members
        .iter()
        .filter(|(member_id, member)| {
            // Where only its directory was lost, its successor may be on the same node.
            let instance = look.snapshot.instance(member.node_id, cluster.cluster_id, **member_id);
            !instance.is_some_and(|instance| instance.phase == InstancePhase::Lost)
        })
        .map(|(_, member)| member.node_id)
        .collect();
    let request = PlacementRequest {
        region: &cluster.region,
        node_count: missing,
        taken: &taken,
        may_share: fleet.config.development,
    };
    let nodes = match schedule(&request, &candidates(look)) {
        Ok(nodes) => nodes,
        Err(unplaceable) => return Ok(Progress::Failed(unplaceable.to_string())),
    };
    let operation_id = operation.operation_id;
    let command = match operation.kind {
        Kind::CreateCluster => cluster::Command::Place { nodes },
        _ => cluster::Command::AddMembers { operation_id, nodes },
    };
    execute(fleet, &context(fleet), cluster, command).await?;
    Ok(Progress::Done)
}

fn candidates(look: &Look) -> Vec<Candidate> {
    let mut instances: HashMap<NodeId, usize> = HashMap::new();
    for member in look.clusters.iter().flat_map(|cluster| cluster.members.values()) {
        *instances.entry(member.node_id).or_default() += 1;
    }
    let candidate = |node: &crate::aggregate::node::NodeState| Candidate {
        node_id: node.node_id,
        region: node.region.clone(),
        zone: node.zone.clone(),
        hostname: node.host.hostname.clone(),
        // A node whose link is down may be alive, but it would not hear of the cluster.
        health: if look.snapshot.is_connected(node.node_id) {
            look.snapshot.health(node.node_id)
        } else {
            Health::Offline
        },
        instances: instances.get(&node.node_id).copied().unwrap_or(0),
        instances_max: INSTANCES_MAX,
    };
    look.nodes.values().map(candidate).collect()
}

fn on_every_node(
    cluster: &ClusterState,
    look: &Look,
    replaced: Option<MemberId>,
    reached: impl Fn(InstancePhase, &ObservedInstance) -> bool,
) -> Progress {
    let mut expected = cluster.wanted().filter(|(member_id, _)| Some(*member_id) != replaced);
    let is_reached = expected.all(|(member_id, member)| {
        look.snapshot
            .instance(member.node_id, cluster.cluster_id, member_id)
            .is_some_and(|i| reached(i.phase, i))
    });
    if is_reached && !cluster.members.is_empty() {
        Progress::Done
    } else {
        Progress::Waiting(seen_on_nodes(cluster, look))
    }
}

/// What the cluster's nodes show, for the error of an operation that ran out of time.
fn seen_on_nodes(cluster: &ClusterState, look: &Look) -> String {
    let seen = cluster.members.iter().map(|(member_id, member)| {
        let node_id = member.node_id;
        match look.snapshot.instance(node_id, cluster.cluster_id, *member_id) {
            _ if look.snapshot.health(node_id) == Health::Offline => format!("{node_id} is offline"),
            None => format!("{node_id} has not reported the instance"),
            Some(instance) => {
                let phase = phase_name(instance.phase);
                let error = instance
                    .error
                    .as_ref()
                    .map(|error| format!(" ({error})"))
                    .unwrap_or_default();
                format!("{node_id} reports it as {phase}{error}")
            }
        }
    });
    let seen: Vec<String> = seen.collect();
    if seen.is_empty() {
        "it is on no node".to_owned()
    } else {
        seen.join("; ")
    }
}

/// Probes every member that clients shall use.
async fn probe_members(
    fleet: &Inner,
    cluster: &ClusterState,
    look: &Look,
    operation: &OperationState,
    replaced: Option<MemberId>,
) -> Progress {
    for (member_id, member) in cluster.wanted().filter(|(member_id, _)| Some(*member_id) != replaced) {
        let endpoint = look
            .snapshot
            .instance(member.node_id, cluster.cluster_id, member_id)
            .and_then(|instance| instance.endpoint.as_ref());
        let Some(endpoint) = endpoint else {
            return Progress::Waiting(seen_on_nodes(cluster, look));
        };
        if let Err(error) = probe(fleet, cluster, endpoint, operation.operation_id).await {
            return Progress::Failed(error.to_string());
        }
    }
    Progress::Done
}

async fn try_endpoints(
    fleet: &Inner,
    cluster: &ClusterState,
    look: &Look,
    operation: &OperationState,
    replaced: Option<MemberId>,
) -> Result<Progress, WorkflowError> {
    let is_creation = operation.kind == Kind::CreateCluster;
    if is_creation && cluster.lifecycle == Lifecycle::Ready {
        return Ok(Progress::Done);
    }
    let progress = probe_members(fleet, cluster, look, operation, replaced).await;
    if is_creation && matches!(progress, Progress::Done) {
        let now = fleet.ledger.environment().now();
        execute(fleet, &context(fleet), cluster, cluster::Command::MarkReady { now }).await?;
    }
    Ok(progress)
}

/// Lets the group go on without the members that are too many, and begins the removal of those that it has let go.
async fn release(fleet: &Inner, cluster: &ClusterState, look: &Look) -> Result<Progress, WorkflowError> {
    let group = Group::new(cluster, &look.snapshot);
    let surplus = match cluster.change.as_ref().map(|pending| &pending.change) {
        Some(Change::Scale { node_count }) => group.surplus(*node_count as usize),
        Some(Change::Replace { member_id }) => vec![*member_id],
        Some(Change::Upgrade { .. } | Change::Finalize { .. }) | None => vec![],
    };
    let is_wanted = |member_id: &MemberId| cluster.wanted().any(|(wanted, _)| wanted == *member_id);
    let member_ids: Vec<MemberId> = surplus.into_iter().filter(is_wanted).collect();
    if !member_ids.is_empty() {
        execute(
            fleet,
            &context(fleet),
            cluster,
            cluster::Command::ReleaseMembers { member_ids },
        )
        .await?;
        fleet.wake.notify_one();
        return Ok(Progress::Waiting("the group is told to go on without them".to_owned()));
    }
    for member_id in group.released() {
        let command = cluster::Command::BeginRemoval { member_id };
        execute(fleet, &context(fleet), cluster, command).await?;
        fleet.wake.notify_one();
    }
    let mut leaving = cluster
        .members
        .iter()
        .filter(|(_, member)| member.standing == Standing::Leaving);
    Ok(match leaving.next() {
        None => Progress::Done,
        Some((member_id, _)) => Progress::Waiting(format!("the group has not let member {member_id} go")),
    })
}

/// A node that is out of reach removes its member when it comes back, and is not waited for.
fn removed(cluster: &ClusterState, look: &Look) -> Progress {
    let mut waited_for = cluster.members.values().filter(|member| {
        member.standing == Standing::Removing && look.snapshot.health(member.node_id) != Health::Offline
    });
    match waited_for.next() {
        None => Progress::Done,
        Some(_) => Progress::Waiting(seen_on_nodes(cluster, look)),
    }
}

async fn delete(fleet: &Inner, cluster: &ClusterState, look: &Look) -> Result<Progress, WorkflowError> {
    if !is_removed(cluster) {
        begin_removals(fleet, cluster, look).await?;
        return Ok(Progress::Waiting(seen_on_nodes(cluster, look)));
    }
    if cluster.lifecycle == Lifecycle::Deleting {
        cluster_workflow::finish_deletion(fleet, &context(fleet), cluster).await?;
    }
    Ok(Progress::Done)
}

/// Moves the next member to the wanted version once the group is whole and lets clients in.
async fn upgrade(
    fleet: &Inner,
    cluster: &ClusterState,
    look: &Look,
    operation: &OperationState,
) -> Result<Progress, WorkflowError> {
    let Some(Change::Upgrade { version }) = cluster.change.as_ref().map(|pending| &pending.change) else {
        return Ok(Progress::Done);
    };
    match Group::new(cluster, &look.snapshot).next_upgrade(version) {
        UpgradeStep::Done => Ok(Progress::Done),
        UpgradeStep::Wait(reason) => Ok(Progress::Waiting(reason)),
        UpgradeStep::GiveUp(reason) => Ok(Progress::GivenUp(reason)),
        next @ (UpgradeStep::Restart(member_id) | UpgradeStep::Rescue(member_id)) => {
            if matches!(next, UpgradeStep::Restart(_)) {
                let progress = probe_members(fleet, cluster, look, operation, None).await;
                if !matches!(progress, Progress::Done) {
                    return Ok(progress);
                }
            }
            let version = version.clone();
            execute(
                fleet,
                &context(fleet),
                cluster,
                cluster::Command::SetVersion { member_id, version },
            )
            .await?;
            fleet.wake.notify_one();
            Ok(Progress::Waiting(format!("member {member_id} is being upgraded")))
        }
    }
}

/// Lets the agents ask their servers to write the wanted version of the formats, and waits until every member does.
async fn finalize(
    fleet: &Inner,
    cluster: &ClusterState,
    look: &Look,
    operation: &OperationState,
) -> Result<Progress, WorkflowError> {
    let Some(Change::Finalize { format_version }) = cluster.change.as_ref().map(|pending| &pending.change) else {
        return Ok(Progress::Done);
    };
    let (operation_id, format_version) = (operation.operation_id, *format_version);
    if let Err(refusal) = format::check_known(cluster, &look.snapshot, format_version) {
        return Ok(Progress::GivenUp(refusal.to_string()));
    }
    let Some(missing) = format::missing(cluster, &look.snapshot, format_version) else {
        return Ok(Progress::Done);
    };
    if cluster.format_version < Some(format_version) {
        let command = cluster::Command::SetFormatVersion {
            operation_id,
            format_version,
        };
        execute(fleet, &context(fleet), cluster, command).await?;
        fleet.wake.notify_one();
    }
    Ok(Progress::Waiting(missing))
}
