//! Brings what is closer to what shall be. Level-triggered: it takes no input but events and what nodes observe, runs
//! on a signal and on a timer, and every pass may be repeated.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use craton_agent_protocol::{DesiredState, INSTANCES_MAX, InstancePhase};
use craton_platform_kernel::{Aggregate as _, ClusterId, CommandContext, ExecuteError, NodeId, OperationId, Principal};
use tokio_util::sync::CancellationToken;

use crate::{
    aggregate::{
        cluster::{self, Cluster, ClusterState, Lifecycle},
        node::{self, Node, NodeState},
        operation::{Command, Kind, OperationState, Phase, Refusal, Step},
    },
    desired::{desired_instance, desired_state},
    fleet::Inner,
    health::Health,
    link::Snapshot,
    probe::probe,
    schedule::{Candidate, PlacementRequest, schedule},
    workflow::{WorkflowError, cluster as cluster_workflow, operation as operation_workflow},
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
struct Look {
    clusters: Vec<ClusterState>,
    nodes: BTreeMap<NodeId, NodeState>,
    snapshot: Snapshot,
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

fn context(fleet: &Inner) -> CommandContext {
    CommandContext::new(&Principal::System, fleet.ledger.environment().new_id())
}

async fn pass(fleet: &Arc<Inner>) -> Result<(), WorkflowError> {
    let look = Arc::new(look(fleet).await?);
    // What is wrong with one cluster or node must not keep the others waiting.
    for cluster in &look.clusters {
        if let Err(error) = tend(fleet, cluster, &look.snapshot).await {
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

async fn tend(fleet: &Inner, cluster: &ClusterState, snapshot: &Snapshot) -> Result<(), WorkflowError> {
    settle(fleet, cluster).await?;
    pin_log_keys(fleet, cluster, snapshot).await
}

/// Brings a cluster and the operation of its transitional state together. They are two streams, so the platform may
/// have ended between the two.
async fn settle(fleet: &Inner, cluster: &ClusterState) -> Result<(), WorkflowError> {
    let kind = match cluster.lifecycle {
        Lifecycle::Provisioning => Kind::CreateCluster,
        Lifecycle::Deleting => Kind::DeleteCluster,
        Lifecycle::Ready | Lifecycle::Failed | Lifecycle::Deleted => return Ok(()),
    };
    let context = context(fleet);
    let (org_id, operation_id) = (cluster.org_id, cluster.operation_id);
    let operation = match fleet.view.operation(org_id, operation_id).await? {
        Some(operation) => operation,
        None => operation_workflow::start(fleet, &context, org_id, operation_id, kind, cluster.cluster_id).await?,
    };
    if cluster.lifecycle == Lifecycle::Provisioning {
        let error = match operation.phase {
            Phase::Failed => operation.error.unwrap_or_default(),
            Phase::Cancelled => "its creation was cancelled".to_owned(),
            Phase::Queued | Phase::Running | Phase::Succeeded => return Ok(()),
        };
        execute(fleet, &context, cluster, cluster::Command::MarkFailed { error }).await?;
    } else if operation.phase.is_ended() && is_removed(fleet, cluster, &look(fleet).await?) {
        // Its deadline has passed, but the nodes came back later and it is gone after all.
        cluster_workflow::finish_deletion(fleet, &context, cluster).await?;
    }
    Ok(())
}

async fn execute(
    fleet: &Inner,
    context: &CommandContext,
    cluster: &ClusterState,
    command: cluster::Command,
) -> Result<(), WorkflowError> {
    let stream = cluster::stream(cluster.org_id, cluster.cluster_id);
    fleet.ledger.execute::<Cluster>(&stream, context, command).await?;
    Ok(())
}

/// Records the log keys that servers show. The first one stays; another one is an alarm.
async fn pin_log_keys(fleet: &Inner, cluster: &ClusterState, snapshot: &Snapshot) -> Result<(), WorkflowError> {
    for node_id in &cluster.nodes {
        let databases = snapshot
            .instance(*node_id, cluster.cluster_id)
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

/// What a look at a step shows.
enum Progress {
    Done,
    /// Someone else is at work; this is how far they are.
    Waiting(String),
    /// A try of ours failed and is repeated after a while.
    Failed(String),
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
        if operation.kind == Kind::CreateCluster {
            match cluster.lifecycle {
                Lifecycle::Deleting | Lifecycle::Deleted => {
                    operation_workflow::execute(fleet, &context, org_id, operation_id, Command::Cancel { now }).await?;
                    return Ok(());
                }
                Lifecycle::Failed => execute(fleet, &context, &cluster, cluster::Command::Retry).await?,
                Lifecycle::Provisioning | Lifecycle::Ready => {}
            }
        }
        let Some(step) = operation.step() else { return Ok(()) };
        let waits = operation.retry_at.is_some_and(|at| now < at) && now < operation.deadline;
        if waits {
            return Ok(());
        }
        let command = match take_step(fleet, step, &cluster, &look, operation_id).await? {
            Progress::Done => Command::CompleteStep { step, now },
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

async fn take_step(
    fleet: &Inner,
    step: Step,
    cluster: &ClusterState,
    look: &Look,
    operation_id: OperationId,
) -> Result<Progress, WorkflowError> {
    match step {
        Step::Placed => place(fleet, cluster, look).await,
        Step::Certificate => Ok(on_every_node(cluster, look, |phase, instance| {
            instance.certificate_not_after_s.is_some() && phase != InstancePhase::AwaitingCertificate
        })),
        Step::Started => Ok(on_every_node(cluster, look, |phase, _| {
            matches!(phase, InstancePhase::Configuring | InstancePhase::Running)
        })),
        Step::Configured => {
            let wanted = desired_instance(cluster, &fleet.shared_settings()).map(|i| i.content_hash());
            Ok(on_every_node(cluster, look, |phase, instance| {
                phase == InstancePhase::Running && instance.applied == wanted
            }))
        }
        Step::Probed => try_endpoint(fleet, cluster, look, operation_id).await,
        Step::Removed => {
            if !is_removed(fleet, cluster, look) {
                return Ok(Progress::Waiting(seen_on_nodes(cluster, look)));
            }
            if cluster.lifecycle == Lifecycle::Deleting {
                cluster_workflow::finish_deletion(fleet, &context(fleet), cluster).await?;
            }
            Ok(Progress::Done)
        }
    }
}

async fn place(fleet: &Inner, cluster: &ClusterState, look: &Look) -> Result<Progress, WorkflowError> {
    if !cluster.nodes.is_empty() {
        return Ok(Progress::Done);
    }
    if look.snapshot.is_mass_failure {
        return Ok(Progress::Failed(
            crate::schedule::Unplaceable::FleetUnsettled.to_string(),
        ));
    }
    let mut instances: HashMap<NodeId, usize> = HashMap::new();
    for node_id in look.clusters.iter().flat_map(|cluster| &cluster.nodes) {
        *instances.entry(*node_id).or_default() += 1;
    }
    let candidates: Vec<Candidate> = look
        .nodes
        .values()
        .map(|node| Candidate {
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
        })
        .collect();
    let request = PlacementRequest {
        region: &cluster.region,
        node_count: cluster.node_count as usize,
    };
    match schedule(&request, &candidates) {
        Ok(nodes) => {
            execute(fleet, &context(fleet), cluster, cluster::Command::Place { nodes }).await?;
            Ok(Progress::Done)
        }
        Err(unplaceable) => Ok(Progress::Failed(unplaceable.to_string())),
    }
}

fn on_every_node(
    cluster: &ClusterState,
    look: &Look,
    reached: impl Fn(InstancePhase, &craton_agent_protocol::ObservedInstance) -> bool,
) -> Progress {
    let is_reached = !cluster.nodes.is_empty()
        && cluster.nodes.iter().all(|node_id| {
            look.snapshot
                .instance(*node_id, cluster.cluster_id)
                .is_some_and(|i| reached(i.phase, i))
        });
    if is_reached {
        Progress::Done
    } else {
        Progress::Waiting(seen_on_nodes(cluster, look))
    }
}

/// What the cluster's nodes show, for the error of an operation that ran out of time.
fn seen_on_nodes(cluster: &ClusterState, look: &Look) -> String {
    let seen = cluster.nodes.iter().map(|node_id| {
        let health = look.snapshot.health(*node_id);
        match look.snapshot.instance(*node_id, cluster.cluster_id) {
            _ if health == Health::Offline => format!("{node_id} is offline"),
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

/// The name of an instance's phase in the API.
pub(crate) const fn phase_name(phase: InstancePhase) -> &'static str {
    match phase {
        InstancePhase::AwaitingCertificate => "awaiting_certificate",
        InstancePhase::Starting => "starting",
        InstancePhase::Configuring => "configuring",
        InstancePhase::Running => "running",
        InstancePhase::Backoff => "backoff",
        InstancePhase::Removing => "removing",
        InstancePhase::Unlisted => "unlisted",
    }
}

async fn try_endpoint(
    fleet: &Inner,
    cluster: &ClusterState,
    look: &Look,
    operation_id: OperationId,
) -> Result<Progress, WorkflowError> {
    if cluster.lifecycle == Lifecycle::Ready {
        return Ok(Progress::Done);
    }
    for node_id in &cluster.nodes {
        let endpoint = look
            .snapshot
            .instance(*node_id, cluster.cluster_id)
            .and_then(|instance| instance.endpoint.as_ref());
        let Some(endpoint) = endpoint else {
            return Ok(Progress::Waiting(seen_on_nodes(cluster, look)));
        };
        if let Err(error) = probe(fleet, cluster, endpoint, operation_id).await {
            return Ok(Progress::Failed(error.to_string()));
        }
    }
    let now = fleet.ledger.environment().now();
    execute(fleet, &context(fleet), cluster, cluster::Command::MarkReady { now }).await?;
    Ok(Progress::Done)
}

/// Whether every node has worked through a desired state that says `deleted` and has nothing left of the cluster.
fn is_removed(fleet: &Inner, cluster: &ClusterState, look: &Look) -> bool {
    if matches!(cluster.lifecycle, Lifecycle::Deleted) {
        return true;
    }
    cluster.nodes.iter().all(|node_id| {
        let Some(node) = look.nodes.get(node_id) else {
            return false;
        };
        let wanted: DesiredState = desired_state(*node_id, node.generation, &look.clusters, &fleet.shared_settings());
        node.content_hash == Some(wanted.content_hash)
            && look
                .snapshot
                .observed(*node_id)
                .is_some_and(|observed| observed.generation == node.generation)
            && look.snapshot.instance(*node_id, cluster.cluster_id).is_none()
    })
}
