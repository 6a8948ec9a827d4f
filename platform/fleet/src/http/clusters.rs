//! `/api/v1/orgs/{org}/clusters`: clusters.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use craton_agent_protocol::{InstancePhase, MemberId, ObservedFormat, Role};
use craton_platform_http::{
    Authenticated, JsonBody, Page, PageQuery, PathParams, Problem, Problems, QueryParams, ShownOnce,
};
use craton_platform_kernel::{ClusterId, NodeId, OperationId, OrgId, Permission, Receipt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::operations::OperationView;
use crate::{
    aggregate::{
        cluster::{ClusterState as ClusterAggregate, Lifecycle},
        member::{Member, MemberEndpoint, PendingChange, Standing},
    },
    fleet::{Fleet, Inner},
    format,
    health::Health,
    link::Snapshot,
    name::{CLUSTER_NAME_BYTES_MAX, ClusterNameText, is_place_name},
    reconciler::phase_name,
    workflow::{
        WorkflowError, change,
        cluster::{self, APP_USER, MAIN_DATABASE},
    },
};

/// How many nodes a cluster may have.
const NODE_COUNTS: [u32; 3] = [1, 3, 5];

/// Checks how many nodes a cluster shall have.
pub(super) fn check_node_count(node_count: u32) -> Result<u32, Problem> {
    if NODE_COUNTS.contains(&node_count) {
        return Ok(node_count);
    }
    let detail = "A cluster has 1, 3 or 5 nodes.";
    Err(Problem::invalid_field("/node_count", detail))
}

/// What the new cluster shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateCluster {
    /// 1 to 40 of a-z, 0-9 and hyphens, with a letter or digit at both ends; unique in the organisation.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    pub(crate) name: String,
    /// Where; the platform's own region when absent.
    pub(crate) region: Option<String>,
    /// How many nodes: 1, 3 or 5; 1 when absent.
    pub(crate) node_count: Option<u32>,
}

/// Where a cluster is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClusterState {
    /// It is being made.
    Provisioning,
    /// It was probed and can be connected to.
    Ready,
    /// It was ready, and a node is out of reach or its server does not answer.
    Degraded,
    /// It could not be made; the operation says why and can be retried.
    Failed,
    /// It is being removed.
    Deleting,
    /// It is gone.
    Deleted,
}

/// What a member is in its cluster's consensus group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemberRole {
    /// Orders the writes.
    Leader,
    /// Has a vote.
    Follower,
    /// Receives everything and has no vote yet.
    Learner,
    /// Asks for votes, because it hears of no leader.
    Candidate,
    /// Has no part in the group at the moment: it is starting, or has stopped.
    Stopped,
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Leader => Self::Leader,
            Role::Follower => Self::Follower,
            Role::Learner => Self::Learner,
            Role::Candidate => Self::Candidate,
            Role::Stopped => Self::Stopped,
        }
    }
}

/// Versions of what is written to disks and said between nodes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FormatVersions {
    /// The one that is written.
    pub(crate) active: u8,
    /// The newest one that is known.
    pub(crate) newest: u8,
}

impl From<ObservedFormat> for FormatVersions {
    fn from(ObservedFormat { active, newest }: ObservedFormat) -> Self {
        Self { active, newest }
    }
}

/// One node's part in a cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterNode {
    /// The member's number in the cluster. It is never used again.
    #[schema(value_type = u64)]
    pub(crate) member: MemberId,
    /// The node that it is on.
    pub(crate) node_id: NodeId,
    /// `wanted`; `leaving` until the others go on without it; `removing` until nothing is left of it.
    pub(crate) standing: String,
    /// `offline`, `unknown` until it has reported, or what its agent reports: `awaiting_certificate`,
    /// `awaiting_members`, `starting`, `joining`, `configuring`, `running`, `backoff`, `lost`, `removing`.
    pub(crate) state: String,
    /// What it is in the cluster's group; null while that is not known, and for a cluster that stands alone.
    #[schema(required)]
    pub(crate) role: Option<MemberRole>,
    /// The installed version that it shall run; null for its agent's own choice.
    #[schema(required)]
    pub(crate) wanted_version: Option<String>,
    /// The version of its server; null while it does not answer.
    #[schema(required)]
    pub(crate) server_version: Option<String>,
    /// What it writes, and what its build knows; null while its server does not say.
    #[schema(required)]
    pub(crate) format: Option<FormatVersions>,
}

/// A change of a ready cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterChange {
    /// What it does: `cluster.scale`, `cluster.replace_node`, `cluster.upgrade` or `cluster.finalize`.
    pub(crate) kind: String,
    /// The operation that carries it out.
    pub(crate) operation_id: OperationId,
}

impl ClusterChange {
    fn new(pending: &PendingChange) -> Self {
        Self {
            kind: change::kind(&pending.change).as_str().to_owned(),
            operation_id: pending.operation_id,
        }
    }
}

/// A cluster.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cluster)]
pub(crate) struct ClusterView {
    /// The cluster's id.
    pub(crate) id: ClusterId,
    /// Its organisation.
    pub(crate) org_id: OrgId,
    /// Its name.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) region: String,
    /// How many nodes it shall have.
    pub(crate) node_count: u32,
    /// Where it is in its life.
    pub(crate) state: ClusterState,
    /// When it was asked for.
    pub(crate) created_at: Timestamp,
    /// When it was first ready.
    #[schema(required)]
    pub(crate) ready_at: Option<Timestamp>,
    /// Its host name, which its certificate is for.
    pub(crate) host: String,
    /// The TCP port of its first member, once its node has chosen one.
    #[schema(required)]
    pub(crate) port: Option<u16>,
    /// Its members and the nodes that they were placed on.
    pub(crate) nodes: Vec<ClusterNode>,
    /// What it writes, and what every node's build knows, which an upgrade can be made final with; null until every node has
    /// said it.
    #[schema(required)]
    pub(crate) format: Option<FormatVersions>,
    /// What it is being changed to, or was when the operation ended without success.
    #[schema(required)]
    pub(crate) change: Option<ClusterChange>,
    /// Why it failed or is degraded.
    #[schema(required)]
    pub(crate) last_error: Option<String>,
}

impl ClusterView {
    pub(crate) fn new(cluster: &ClusterAggregate, snapshot: &Snapshot) -> Self {
        let trouble = trouble(cluster, snapshot);
        let state = match cluster.lifecycle {
            Lifecycle::Provisioning => ClusterState::Provisioning,
            Lifecycle::Ready if trouble.is_some() => ClusterState::Degraded,
            Lifecycle::Ready => ClusterState::Ready,
            Lifecycle::Failed => ClusterState::Failed,
            Lifecycle::Deleting => ClusterState::Deleting,
            Lifecycle::Deleted => ClusterState::Deleted,
        };
        let nodes = cluster
            .members
            .iter()
            .map(|(member_id, member)| node(cluster, *member_id, member, snapshot));
        Self {
            id: cluster.cluster_id,
            org_id: cluster.org_id,
            name: cluster.name.clone(),
            region: cluster.region.clone(),
            node_count: cluster.node_count,
            state,
            created_at: cluster.created_at,
            ready_at: cluster.ready_at,
            host: cluster.host.to_string(),
            port: endpoints(cluster).next().map(|(_, endpoint)| endpoint.port),
            nodes: nodes.collect(),
            format: format::of_cluster(cluster, snapshot).map(FormatVersions::from),
            change: cluster.change.as_ref().map(ClusterChange::new),
            last_error: cluster.last_error.clone().or(trouble),
        }
    }
}

/// Where a cluster's members accept clients, as far as their nodes have said.
pub(super) fn endpoints(cluster: &ClusterAggregate) -> impl Iterator<Item = (MemberId, MemberEndpoint)> {
    cluster
        .wanted()
        .filter_map(|(member_id, member)| Some((member_id, member.endpoint?)))
}

fn node(cluster: &ClusterAggregate, member_id: MemberId, member: &Member, snapshot: &Snapshot) -> ClusterNode {
    let is_offline = snapshot.health(member.node_id) == Health::Offline;
    let instance = snapshot.instance(member.node_id, cluster.cluster_id, member_id);
    let instance = instance.filter(|_| !is_offline);
    let state = match instance {
        _ if is_offline => "offline",
        None => "unknown",
        Some(instance) => phase_name(instance.phase),
    };
    let membership = instance.and_then(|instance| instance.membership.as_ref());
    ClusterNode {
        member: member_id,
        node_id: member.node_id,
        standing: member.standing.as_str().to_owned(),
        state: state.to_owned(),
        role: membership.map(|membership| membership.role.into()),
        wanted_version: member.server_version.clone(),
        server_version: instance.and_then(|instance| instance.server_version.clone()),
        format: instance.and_then(|instance| instance.format).map(FormatVersions::from),
    }
}

/// What keeps a ready cluster from serving, or from being trusted. A node that has not reported since the platform started is given the time
/// until it counts as offline.
fn trouble(cluster: &ClusterAggregate, snapshot: &Snapshot) -> Option<String> {
    if cluster.lifecycle != Lifecycle::Ready {
        return None;
    }
    let refused = cluster.refused_histories.iter().next().map(|(database, refused)| {
        format!(
            "the log of database {database} shows another history than the one that was witnessed ({}): it was turned \
             back to an older copy, or forked",
            refused.reason
        )
    });
    refused.or_else(|| {
        let mut wanted = cluster
            .members
            .iter()
            .filter(|(_, member)| member.standing == Standing::Wanted);
        wanted.find_map(|(member_id, member)| node_trouble(cluster, *member_id, member.node_id, snapshot))
    })
}

fn node_trouble(
    cluster: &ClusterAggregate,
    member_id: MemberId,
    node_id: NodeId,
    snapshot: &Snapshot,
) -> Option<String> {
    if snapshot.health(node_id) == Health::Offline {
        return Some(format!("node {node_id} is offline"));
    }
    snapshot.observed(node_id)?;
    match snapshot.instance(node_id, cluster.cluster_id, member_id) {
        None => Some(format!("node {node_id} no longer has the instance")),
        Some(instance) => match instance.phase {
            InstancePhase::Running | InstancePhase::Configuring => None,
            phase => Some(match &instance.error {
                Some(error) => format!("node {node_id} reports {}: {error}", phase_name(phase)),
                None => format!("node {node_id} reports {}", phase_name(phase)),
            }),
        },
    }
}

/// What to log in with. The password is shown in this answer and never again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Credentials {
    /// The database user.
    pub(crate) user: String,
    /// Its password.
    pub(crate) password: String,
    /// The database.
    pub(crate) database: String,
}

/// A new cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterCreated {
    /// The cluster.
    pub(crate) cluster: ClusterView,
    /// The operation that makes it ready.
    pub(crate) operation: OperationView,
    /// What to log in with.
    pub(crate) credentials: Credentials,
    /// The record of its making.
    pub(crate) receipt: Receipt,
}

/// A cluster that is being deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterDeleted {
    /// The operation that removes it.
    pub(crate) operation: OperationView,
    /// The record of the request.
    pub(crate) receipt: Receipt,
}

/// Lists clusters
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/clusters", tag = "clusters", operation_id = "list_clusters",
    params(("org" = OrgId, Path, description = "The organisation"), PageQuery),
    responses((status = 200, description = "The clusters, oldest first", body = Page<ClusterView>), Problems),
)]
pub(crate) async fn list_clusters(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams(org_id): PathParams<OrgId>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<Page<ClusterView>>, Problem> {
    authenticated.require(org_id, Permission::ReadClusters)?;
    let request = query.parse()?;
    let clusters = fleet
        .0
        .view
        .clusters_of(org_id, request.after_parsed()?, request.read_limit())
        .await?;
    let snapshot = fleet.0.links.snapshot();
    let views = clusters
        .iter()
        .map(|cluster| ClusterView::new(cluster, &snapshot))
        .collect();
    Ok(Json(Page::new(views, &request, |cluster: &ClusterView| {
        cluster.id.to_string()
    })))
}

/// Creates a cluster
///
/// The answer comes at once; the operation in it tells when the cluster is ready. The password is shown here only.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/clusters", tag = "clusters", operation_id = "create_cluster",
    params(("org" = OrgId, Path, description = "The organisation")),
    request_body = CreateCluster,
    responses((status = 201, description = "The cluster", body = ClusterCreated), Problems),
)]
pub(crate) async fn create_cluster(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams(org_id): PathParams<OrgId>,
    JsonBody(body): JsonBody<CreateCluster>,
) -> Result<Response, Problem> {
    authenticated.require(org_id, Permission::ManageClusters)?;
    let name = ClusterNameText::parse(&body.name).ok_or_else(|| {
        let detail = format!(
            "A name has 1 to {CLUSTER_NAME_BYTES_MAX} of a-z, 0-9 and hyphens, with a letter or digit at both ends."
        );
        Problem::invalid_field("/name", detail)
    })?;
    let region = body.region.unwrap_or_else(|| fleet.0.config.default_region.clone());
    if !is_place_name(&region) {
        return Err(Problem::invalid_field("/region", "There is no such region."));
    }
    let node_count = check_node_count(body.node_count.unwrap_or(1))?;
    let context = authenticated.context();
    let created = cluster::create(&fleet.0, &context, org_id, name, region, node_count).await?;
    let location = format!("/api/v1/orgs/{org_id}/clusters/{}", created.cluster.cluster_id);
    let view = ClusterCreated {
        cluster: ClusterView::new(&created.cluster, &fleet.0.links.snapshot()),
        operation: OperationView::new(&created.operation),
        credentials: Credentials {
            user: APP_USER.to_owned(),
            password: created.password.to_string(),
            database: MAIN_DATABASE.to_owned(),
        },
        receipt: created.receipt,
    };
    let mut response = (StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response();
    response.extensions_mut().insert(ShownOnce(&["/credentials/password"]));
    Ok(response)
}

/// Shows a cluster
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/clusters/{cluster}", tag = "clusters", operation_id = "get_cluster",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
    ),
    responses((status = 200, description = "The cluster", body = ClusterView), Problems),
)]
pub(crate) async fn get_cluster(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id)): PathParams<(OrgId, ClusterId)>,
) -> Result<Json<ClusterView>, Problem> {
    authenticated.require(org_id, Permission::ReadClusters)?;
    let cluster = find(&fleet.0, org_id, cluster_id).await?;
    Ok(Json(ClusterView::new(&cluster, &fleet.0.links.snapshot())))
}

/// A cluster of an organisation; 404 for a foreign one.
pub(super) async fn find(fleet: &Inner, org_id: OrgId, cluster_id: ClusterId) -> Result<ClusterAggregate, Problem> {
    Ok(fleet
        .view
        .cluster(org_id, cluster_id)
        .await?
        .ok_or(WorkflowError::NotFound)?)
}

/// Deletes a cluster
///
/// Its data and keys are destroyed on its nodes. The id and the host name are never used again.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/clusters/{cluster}", tag = "clusters", operation_id = "delete_cluster",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
    ),
    responses((status = 202, description = "The deletion has begun", body = ClusterDeleted), Problems),
)]
pub(crate) async fn delete_cluster(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id)): PathParams<(OrgId, ClusterId)>,
) -> Result<Response, Problem> {
    authenticated.require(org_id, Permission::DeleteClusters)?;
    let (operation, receipt) = cluster::delete(&fleet.0, &authenticated.context(), org_id, cluster_id).await?;
    let location = format!("/api/v1/orgs/{org_id}/operations/{}", operation.operation_id);
    let view = ClusterDeleted {
        operation: OperationView::new(&operation),
        receipt,
    };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view)).into_response())
}

#[cfg(test)]
mod tests {
    use craton_agent_protocol::{ObservedInstance, ObservedState};
    use craton_platform_kernel::testing;

    use super::*;
    use crate::{
        aggregate::{
            cluster::{
                Cluster, Event,
                tests::{endpoint, new_cluster, placed},
            },
            story::state,
        },
        link::Links,
        membership::tests::observed,
    };

    fn reported(cluster: &ClusterAggregate, phase: InstancePhase) -> ObservedState {
        let instance = ObservedInstance {
            phase,
            error: Some("no space left".into()),
            ..observed(cluster, MemberId::FIRST)
        };
        ObservedState {
            generation: 1,
            server_versions: vec![],
            instances: vec![instance],
        }
    }

    #[test]
    fn a_ready_cluster_is_degraded_when_its_node_says_so() {
        let environment = testing::environment();
        let node: NodeId = environment.new_id();
        let now = environment.now();
        let events = [
            Event::Created(new_cluster(&environment)),
            placed(&[node]),
            Event::EndpointSeen {
                member_id: MemberId::FIRST,
                endpoint: endpoint(20_001),
            },
            Event::Ready { at: now },
        ];
        let cluster = state::<Cluster>(&events).unwrap();
        let view = |links: &Links| ClusterView::new(&cluster, &links.snapshot());
        let links = Links::default();

        assert_eq!(
            view(&links).state,
            ClusterState::Degraded,
            "its node was never heard of"
        );
        links.expect([node]);
        let unknown = view(&links);
        assert_eq!(
            (unknown.state, unknown.port),
            (ClusterState::Ready, Some(20_001)),
            "right after a restart"
        );
        assert_eq!(unknown.nodes[0].state, "unknown");
        for (phase, wanted) in [
            (InstancePhase::Running, ClusterState::Ready),
            (InstancePhase::Configuring, ClusterState::Ready),
            (InstancePhase::Joining, ClusterState::Degraded),
            (InstancePhase::Starting, ClusterState::Degraded),
            (InstancePhase::Backoff, ClusterState::Degraded),
            (InstancePhase::Unlisted, ClusterState::Degraded),
        ] {
            links.observe(node, reported(&cluster, phase));
            let view = view(&links);
            assert_eq!((view.state, view.port), (wanted, Some(20_001)), "{phase:?}");
            assert_eq!(view.nodes[0].state, phase_name(phase));
            let says_why = view.last_error.is_some_and(|error| error.contains("no space left"));
            assert_eq!(says_why, wanted == ClusterState::Degraded, "{phase:?}");
        }
        links.observe(
            node,
            ObservedState {
                generation: 1,
                server_versions: vec![],
                instances: vec![],
            },
        );
        assert_eq!(view(&links).state, ClusterState::Degraded, "its instance is gone");
    }
}
