//! Brings what is closer to what shall be. Level-triggered: it takes no input but events and what nodes observe, runs
//! on a signal and on a timer, and every pass may be repeated.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use craton_agent_protocol::InstancePhase;
use craton_platform_kernel::{Aggregate as _, ClusterId, CommandContext, ExecuteError, NodeId, OperationId, Principal};
use tokio_util::sync::CancellationToken;

use crate::{
    aggregate::{
        cluster::{self, Cluster, ClusterState, Lifecycle},
        member::{Change, MemberEndpoint, Standing},
        node::{self, Node, NodeState},
        operation::{Command, Kind, OperationState, Phase, Refusal},
    },
    desired::desired_state,
    executor::{Progress, take_step},
    fleet::Inner,
    health::Health,
    link::Snapshot,
    membership::Group,
    workflow::{WorkflowError, change, cluster as cluster_workflow, operation as operation_workflow},
};

/// How often the reconciler looks without a signal.
const TICK: Duration = Duration::from_secs(1);

/// Runs until the token is cancelled.
pub(crate) async fn run(fleet: Arc<Inner>, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = pass(&fleet).await {
            tracing::error!(%error, "the fleet could not be reconciled; it is tried again");
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = fleet.wake.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// One look at everything.
pub(crate) struct Look {
    pub(crate) clusters: Vec<ClusterState>,
    pub(crate) nodes: BTreeMap<NodeId, NodeState>,
    pub(crate) snapshot: Snapshot,
}

impl Look {
    fn cluster(&self, cluster_id: ClusterId) -> Option<&ClusterState> {
        self.clusters.iter().find(|cluster| cluster.cluster_id == cluster_id)
    }
}

async fn look(fleet: &Inner) -> Result<Look, WorkflowError> {
    let nodes = fleet.view.nodes().await?;
    fleet.links.expect(nodes.iter().map(|node| node.node_id));
    Ok(Look {
        clusters: fleet.view.live_clusters().await?,
        nodes: nodes.into_iter().map(|node| (node.node_id, node)).collect(),
        snapshot: fleet.links.snapshot(),
    })
}

pub(crate) fn context(fleet: &Inner) -> CommandContext {
    CommandContext::new(&Principal::System, fleet.ledger.environment().new_id())
}

async fn pass(fleet: &Arc<Inner>) -> Result<(), WorkflowError> {
    let look = Arc::new(look(fleet).await?);
    // What is wrong with one cluster or node must not keep the others waiting.
    for cluster in &look.clusters {
        if let Err(error) = tend(fleet, cluster, &look).await {
            tracing::error!(cluster_id = %cluster.cluster_id, %error, "a cluster could not be reconciled");
        }
    }
    for node in look.nodes.values() {
        if let Err(error) = bring_desired_state(fleet, node, &look).await {
            tracing::error!(node_id = %node.node_id, %error, "a node's desired state could not be brought to it");
        }
    }
    for operation in fleet.view.open_operations().await? {
        spawn_advance(fleet, operation);
    }
    Ok(())
}

async fn tend(fleet: &Inner, cluster: &ClusterState, look: &Look) -> Result<(), WorkflowError> {
    settle(fleet, cluster, look).await?;
    record_endpoints(fleet, cluster, &look.snapshot).await?;
    record_removals(fleet, cluster, look).await?;
    replace_lost(fleet, cluster, look).await?;
    pin_log_keys(fleet, cluster, &look.snapshot).await
}

/// Brings a cluster and the operation of its transitional state together. They are two streams, so the platform may
/// have ended between the two.
async fn settle(fleet: &Inner, cluster: &ClusterState, look: &Look) -> Result<(), WorkflowError> {
    let (kind, operation_id) = match (cluster.lifecycle, &cluster.change) {
        (Lifecycle::Provisioning, _) => (Kind::CreateCluster, cluster.operation_id),
        (Lifecycle::Deleting, _) => (Kind::DeleteCluster, cluster.operation_id),
        (Lifecycle::Ready, Some(pending)) => (change::kind(&pending.change), pending.operation_id),
        (Lifecycle::Ready | Lifecycle::Failed | Lifecycle::Deleted, _) => return Ok(()),
    };
    let context = context(fleet);
    let org_id = cluster.org_id;
    let operation = match fleet.view.operation(org_id, operation_id).await? {
        Some(operation) => operation,
        None => operation_workflow::start(fleet, &context, org_id, operation_id, kind, cluster.cluster_id).await?,
    };
    let command = match (kind, operation.phase) {
        (Kind::CreateCluster, Phase::Failed) => cluster::Command::MarkFailed {
            error: operation.error.unwrap_or_default(),
        },
        (Kind::CreateCluster, Phase::Cancelled) => cluster::Command::MarkFailed {
            error: "its creation was cancelled".to_owned(),
        },
        (Kind::ScaleCluster | Kind::ReplaceNode | Kind::UpgradeCluster | Kind::FinalizeCluster, Phase::Succeeded) => {
            cluster::Command::FinishChange { operation_id }
        }
        // What was given up must not happen later all the same.
        (Kind::FinalizeCluster, Phase::Failed | Phase::Cancelled) => {
            cluster::Command::WithdrawFormatVersion { operation_id }
        }
        // Its deadline has passed, but the nodes came back later and it is gone after all.
        (Kind::DeleteCluster, phase) if phase.is_ended() && is_removed(cluster) => {
            return cluster_workflow::finish_deletion(fleet, &context, cluster).await;
        }
        (Kind::DeleteCluster, phase) if phase.is_ended() => return begin_removals(fleet, cluster, look).await,
        _ => return Ok(()),
    };
    execute(fleet, &context, cluster, command).await
}

pub(crate) async fn execute(
    fleet: &Inner,
    context: &CommandContext,
    cluster: &ClusterState,
    command: cluster::Command,
) -> Result<(), WorkflowError> {
    let stream = cluster::stream(cluster.org_id, cluster.cluster_id);
    fleet.ledger.execute::<Cluster>(&stream, context, command).await?;
    Ok(())
}

/// Records where members listen, which the others need to know.
async fn record_endpoints(fleet: &Inner, cluster: &ClusterState, snapshot: &Snapshot) -> Result<(), WorkflowError> {
    if matches!(cluster.lifecycle, Lifecycle::Deleting | Lifecycle::Deleted) {
        return Ok(());
    }
    for (member_id, member) in &cluster.members {
        let instance = snapshot.instance(member.node_id, cluster.cluster_id, *member_id);
        let Some(seen) = instance.and_then(|instance| instance.endpoint.as_ref()) else {
            continue;
        };
        let endpoint = MemberEndpoint {
            address: seen.address,
            port: seen.port,
            https_port: seen.https_port,
            peer_port: seen.peer_port,
        };
        if member.endpoint != Some(endpoint) {
            let command = cluster::Command::RecordEndpoint {
                member_id: *member_id,
                endpoint,
            };
            execute(fleet, &context(fleet), cluster, command).await?;
            fleet.wake.notify_one();
        }
    }
    Ok(())
}

/// Records which members have nothing left on their nodes: those have worked through a desired state that says so.
async fn record_removals(fleet: &Inner, cluster: &ClusterState, look: &Look) -> Result<(), WorkflowError> {
    let removing = cluster
        .members
        .iter()
        .filter(|(_, member)| member.standing == Standing::Removing);
    for (member_id, member) in removing {
        let node_id = member.node_id;
        let Some(node) = look.nodes.get(&node_id) else { continue };
        let wanted = desired_state(node_id, node.generation, &look.clusters, &fleet.shared_settings());
        let observed = look.snapshot.observed(node_id);
        let is_gone = node.content_hash == Some(wanted.content_hash)
            && observed.is_some_and(|observed| observed.generation == node.generation)
            && look
                .snapshot
                .instance(node_id, cluster.cluster_id, *member_id)
                .is_none();
        if is_gone {
            let command = cluster::Command::RecordRemoved { member_id: *member_id };
            execute(fleet, &context(fleet), cluster, command).await?;
            fleet.wake.notify_one();
        }
    }
    Ok(())
}

/// Begins the removal of the members of a cluster that is being deleted, those first that can go first.
pub(crate) async fn begin_removals(fleet: &Inner, cluster: &ClusterState, look: &Look) -> Result<(), WorkflowError> {
    for member_id in Group::new(cluster, &look.snapshot).removable() {
        let command = cluster::Command::BeginRemoval { member_id };
        execute(fleet, &context(fleet), cluster, command).await?;
        fleet.wake.notify_one();
    }
    Ok(())
}

/// Whether no node has anything left of a cluster.
pub(crate) fn is_removed(cluster: &ClusterState) -> bool {
    cluster.lifecycle == Lifecycle::Deleted || cluster.members.is_empty()
}

/// Asks for a new member in the place of one that is lost, if the others can do it.
async fn replace_lost(fleet: &Inner, cluster: &ClusterState, look: &Look) -> Result<(), WorkflowError> {
    let is_settled = cluster.lifecycle == Lifecycle::Ready && cluster.change.is_none();
    if !is_settled || look.snapshot.is_mass_failure {
        return Ok(());
    }
    let is_silent = |node_id| {
        look.snapshot.health(node_id) == Health::Offline
            && look.snapshot.silent_for(node_id) >= fleet.config.replace_offline_after
    };
    let Some(member_id) = Group::new(cluster, &look.snapshot).lost(is_silent) else {
        return Ok(());
    };
    tracing::warn!(cluster_id = %cluster.cluster_id, %member_id, "a lost member is replaced");
    let (org_id, cluster_id) = (cluster.org_id, cluster.cluster_id);
    change::request(
        fleet,
        &context(fleet),
        org_id,
        cluster_id,
        Change::Replace { member_id },
    )
    .await?;
    Ok(())
}

/// Records the log keys that servers show. The first one stays; another one is an alarm.
async fn pin_log_keys(fleet: &Inner, cluster: &ClusterState, snapshot: &Snapshot) -> Result<(), WorkflowError> {
    for (member_id, member) in &cluster.members {
        let node_id = member.node_id;
        let databases = snapshot
            .instance(node_id, cluster.cluster_id, *member_id)
            .map_or(&[][..], |i| &i.databases);
        for database in databases
            .iter()
            .filter(|database| cluster.databases.contains(&database.name))
        {
            if cluster.log_keys.get(&database.name) == Some(&database.log_key) {
                continue;
            }
            let command = cluster::Command::RecordLogKey {
                database: database.name.clone(),
                verifier_key: database.log_key.clone(),
            };
            match execute(fleet, &context(fleet), cluster, command).await {
                Err(WorkflowError::Cluster(refusal @ cluster::Refusal::LogKeyChanged { .. })) => {
                    let alarm = (cluster.cluster_id, database.log_key.clone());
                    if fleet.log_key_alarms.lock().insert(alarm) {
                        tracing::error!(cluster_id = %cluster.cluster_id, %node_id, %refusal, "a log key changed");
                    }
                }
                result => result?,
            }
        }
    }
    Ok(())
}

/// Gives a node's desired state its generation and sends it.
async fn bring_desired_state(fleet: &Inner, node: &NodeState, look: &Look) -> Result<(), WorkflowError> {
    let build = |generation| desired_state(node.node_id, generation, &look.clusters, &fleet.shared_settings());
    let desired = build(node.generation);
    let held = look.snapshot.held(node.node_id);
    let command = node::Command::ChangeDesiredState {
        content_hash: desired.content_hash,
        held,
    };
    // Mostly nothing has changed, and the view is enough to see that.
    let is_settled = Node::decide(&Some(node.clone()), command.clone()).is_ok_and(|events| events.is_empty());
    let generation = if is_settled {
        node.generation
    } else {
        let stream = node::stream(node.node_id);
        match fleet.ledger.execute::<Node>(&stream, &context(fleet), command).await {
            Ok(executed) => executed.state.map_or(node.generation, |state| state.generation),
            Err(ExecuteError::Refused(refusal)) => return Err(WorkflowError::Internal(refusal.to_string())),
            Err(ExecuteError::Contended(_)) => return Err(WorkflowError::Contended),
            Err(ExecuteError::Store(error)) => return Err(error.into()),
        }
    };
    // A node that holds this very state is sent nothing.
    if held != Some((generation, Some(desired.content_hash))) {
        fleet.links.send_desired(node.node_id, build(generation));
    }
    Ok(())
}

/// Advances an operation on a task of its own, so that a slow probe holds up nobody else. At most one task works on
/// an operation.
fn spawn_advance(fleet: &Arc<Inner>, operation: OperationState) {
    if !fleet.advancing.lock().insert(operation.operation_id) {
        return;
    }
    let guard = Advancing {
        fleet: fleet.clone(),
        operation_id: operation.operation_id,
    };
    fleet.sessions.spawn(async move {
        let fleet = &guard.fleet;
        match advance(fleet, operation).await {
            // Another one was faster; the next pass sees what it did.
            Ok(()) | Err(WorkflowError::Operation(Refusal::Ended | Refusal::OtherStep(_))) => {}
            Err(error) => {
                tracing::error!(operation_id = %guard.operation_id, %error, "an operation could not be advanced");
            }
        }
    });
}

struct Advancing {
    fleet: Arc<Inner>,
    operation_id: OperationId,
}

impl Drop for Advancing {
    fn drop(&mut self) {
        self.fleet.advancing.lock().remove(&self.operation_id);
    }
}

async fn advance(fleet: &Inner, mut operation: OperationState) -> Result<(), WorkflowError> {
    let context = context(fleet);
    loop {
        let now = fleet.ledger.environment().now();
        let look = look(fleet).await?;
        let (org_id, operation_id) = (operation.org_id, operation.operation_id);
        let cluster = match look.cluster(operation.cluster_id) {
            Some(cluster) => cluster.clone(),
            None => match fleet.view.cluster(org_id, operation.cluster_id).await? {
                Some(cluster) => cluster,
                None => return Err(WorkflowError::NotFound),
            },
        };
        if is_overtaken(&operation, &cluster) {
            operation_workflow::execute(fleet, &context, org_id, operation_id, Command::Cancel { now }).await?;
            return Ok(());
        }
        if operation.kind == Kind::CreateCluster && cluster.lifecycle == Lifecycle::Failed {
            execute(fleet, &context, &cluster, cluster::Command::Retry).await?;
        }
        let Some(step) = operation.step() else { return Ok(()) };
        let waits = operation.retry_at.is_some_and(|at| now < at) && now < operation.deadline;
        if waits {
            return Ok(());
        }
        let command = match take_step(fleet, step, &cluster, &look, &operation).await? {
            Progress::Done => Command::CompleteStep { step, now },
            Progress::GivenUp(error) => Command::GiveUp { error, now },
            Progress::Waiting(seen) | Progress::Failed(seen) if now >= operation.deadline => {
                Command::Expire { seen, now }
            }
            Progress::Failed(error) => Command::FailAttempt { step, error, now },
            Progress::Waiting(_) => return Ok(()),
        };
        let is_done = matches!(command, Command::CompleteStep { .. });
        operation = operation_workflow::execute(fleet, &context, org_id, operation_id, command).await?;
        tracing::info!(%operation_id, %step, phase = ?operation.phase, error = operation.error, "an operation moved");
        fleet.wake.notify_one();
        if !is_done || operation.phase.is_ended() {
            return Ok(());
        }
    }
}

/// Whether something else has happened to the cluster that leaves an operation without a purpose.
fn is_overtaken(operation: &OperationState, cluster: &ClusterState) -> bool {
    let is_deleted = matches!(cluster.lifecycle, Lifecycle::Deleting | Lifecycle::Deleted);
    match operation.kind {
        Kind::DeleteCluster => false,
        Kind::CreateCluster => is_deleted,
        Kind::ScaleCluster | Kind::ReplaceNode | Kind::UpgradeCluster | Kind::FinalizeCluster => {
            let pending = cluster.change.as_ref().map(|pending| pending.operation_id);
            is_deleted || pending != Some(operation.operation_id)
        }
    }
}

/// The name of an instance's phase in the API.
pub(crate) const fn phase_name(phase: InstancePhase) -> &'static str {
    match phase {
        InstancePhase::AwaitingCertificate => "awaiting_certificate",
        InstancePhase::AwaitingMembers => "awaiting_members",
        InstancePhase::Starting => "starting",
        InstancePhase::Joining => "joining",
        InstancePhase::Configuring => "configuring",
        InstancePhase::Running => "running",
        InstancePhase::Backoff => "backoff",
        InstancePhase::Lost => "lost",
        InstancePhase::Removing => "removing",
        InstancePhase::Unlisted => "unlisted",
    }
}
