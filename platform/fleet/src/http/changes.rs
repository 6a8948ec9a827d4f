//! `/api/v1/orgs/{org}/clusters/{cluster}/scale`, `upgrade`, `finalize` and `nodes/{member}/replace`: changes of a ready
//! cluster.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use craton_agent_protocol::{MemberId, is_version_name};
use craton_platform_http::{Authenticated, JsonBody, PathParams, Problem, Problems};
use craton_platform_kernel::{ClusterId, OrgId, Permission, Receipt};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    clusters::{check_node_count, find},
    operations::OperationView,
};
use crate::{
    aggregate::{cluster::Lifecycle, member::Change},
    fleet::{Fleet, Inner},
    format,
    workflow::{WorkflowError, change},
};

/// How many nodes the cluster shall have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleCluster {
    /// 1, 3 or 5: an even number would bear the loss of no more nodes than the odd one below.
    pub(crate) node_count: u32,
}

/// What the cluster's nodes shall run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpgradeCluster {
    /// A version of the server that is installed on every node of the cluster. It may be an older one.
    #[schema(pattern = "^[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,63}$")]
    pub(crate) version: String,
}

/// What the cluster's nodes shall write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FinalizeCluster {
    /// A version of the formats that the build of every node knows: at most `format.newest` of the cluster.
    #[schema(minimum = 1)]
    pub(crate) format_version: u8,
}

/// A cluster that is being changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterChanging {
    /// The operation that changes it.
    pub(crate) operation: OperationView,
    /// The record of the request.
    pub(crate) receipt: Receipt,
}

/// Changes how many nodes a cluster has
///
/// New nodes receive everything before they get a vote, and then the nodes that are too many leave, the leader last.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/clusters/{cluster}/scale", tag = "clusters", operation_id = "scale_cluster",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
    ),
    request_body = ScaleCluster,
    responses((status = 202, description = "The change has begun", body = ClusterChanging), Problems),
)]
pub(crate) async fn scale_cluster(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id)): PathParams<(OrgId, ClusterId)>,
    JsonBody(body): JsonBody<ScaleCluster>,
) -> Result<Response, Problem> {
    authenticated.require(org_id, Permission::ManageClusters)?;
    let node_count = check_node_count(body.node_count)?;
    request(
        &fleet.0,
        &authenticated,
        org_id,
        cluster_id,
        Change::Scale { node_count },
    )
    .await
}

/// Moves a cluster to another version of the server
///
/// One node after the other, the leader last, and the next one only while every node takes part and lets clients in.
/// When the version does not run on a node, nothing further is touched.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/clusters/{cluster}/upgrade", tag = "clusters", operation_id = "upgrade_cluster",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
    ),
    request_body = UpgradeCluster,
    responses((status = 202, description = "The change has begun", body = ClusterChanging), Problems),
)]
pub(crate) async fn upgrade_cluster(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id)): PathParams<(OrgId, ClusterId)>,
    JsonBody(body): JsonBody<UpgradeCluster>,
) -> Result<Response, Problem> {
    authenticated.require(org_id, Permission::ManageClusters)?;
    if !is_version_name(&body.version) {
        let detail = "Use 1 to 64 of letters, digits and . _ + -, with no full stop first.";
        return Err(Problem::invalid_field("/version", detail));
    }
    let cluster = find(&fleet.0, org_id, cluster_id).await?;
    let missing = change::nodes_without(&cluster, &fleet.0.links.snapshot(), &body.version);
    if !missing.is_empty() {
        let detail = format!("This version is not installed on {}.", missing.join(", "));
        return Err(Problem::invalid_field("/version", detail));
    }
    format::check_server_version(&cluster, &fleet.0.links.snapshot(), &body.version).map_err(WorkflowError::from)?;
    let version = body.version;
    request(
        &fleet.0,
        &authenticated,
        org_id,
        cluster_id,
        Change::Upgrade { version },
    )
    .await
}

/// Makes an upgrade final
///
/// From then on the nodes write a newer version of the formats, and the cluster cannot move back to a version of the server
/// that does not know it. Every node's build has to know it: `409 format_unknown` names the one that does not.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/clusters/{cluster}/finalize", tag = "clusters", operation_id = "finalize_cluster",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
    ),
    request_body = FinalizeCluster,
    responses((status = 202, description = "The change has begun", body = ClusterChanging), Problems),
)]
pub(crate) async fn finalize_cluster(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id)): PathParams<(OrgId, ClusterId)>,
    JsonBody(body): JsonBody<FinalizeCluster>,
) -> Result<Response, Problem> {
    authenticated.require(org_id, Permission::ManageClusters)?;
    let format_version = body.format_version;
    let cluster = find(&fleet.0, org_id, cluster_id).await?;
    if cluster.lifecycle == Lifecycle::Ready {
        format::check_final(&cluster, &fleet.0.links.snapshot(), format_version).map_err(WorkflowError::from)?;
    }
    request(
        &fleet.0,
        &authenticated,
        org_id,
        cluster_id,
        Change::Finalize { format_version },
    )
    .await
}

/// Replaces a node of a cluster
///
/// A new member on another node takes the place of one, which may be out of reach. It receives everything before the
/// old one leaves.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/clusters/{cluster}/nodes/{member}/replace", tag = "clusters",
    operation_id = "replace_cluster_node",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
        ("member" = u64, Path, description = "The member's number"),
    ),
    responses((status = 202, description = "The change has begun", body = ClusterChanging), Problems),
)]
pub(crate) async fn replace_cluster_node(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id, member)): PathParams<(OrgId, ClusterId, u64)>,
) -> Result<Response, Problem> {
    authenticated.require(org_id, Permission::ManageClusters)?;
    let member_id = MemberId::new(member).map_err(|_| Problem::not_found())?;
    request(
        &fleet.0,
        &authenticated,
        org_id,
        cluster_id,
        Change::Replace { member_id },
    )
    .await
}

async fn request(
    fleet: &Inner,
    authenticated: &Authenticated,
    org_id: OrgId,
    cluster_id: ClusterId,
    change: Change,
) -> Result<Response, Problem> {
    let (operation, receipt) = change::request(fleet, &authenticated.context(), org_id, cluster_id, change).await?;
    let location = format!("/api/v1/orgs/{org_id}/operations/{}", operation.operation_id);
    let view = ClusterChanging {
        operation: OperationView::new(&operation),
        receipt,
    };
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view)).into_response())
}
