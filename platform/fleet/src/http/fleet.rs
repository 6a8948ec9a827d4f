//! `/api/v1/fleet`: nodes and how they join, for the operator.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use craton_platform_http::{Authenticated, JsonBody, Page, Problem, Problems, ShownOnce};
use craton_platform_kernel::{NodeId, Receipt};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{fleet::Fleet, health::Health, name::is_place_name, workflow::join_token};

/// An hour: long enough to paste it somewhere.
const TTL_SECONDS_DEFAULT: u32 = 3_600;
/// A week.
const TTL_SECONDS_MAX: u32 = 7 * 24 * 3_600;
/// The zone of nodes that name none.
const ZONE_DEFAULT: &str = "default";

/// Where the node will be and how long the token can be used.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateJoinToken {
    /// What fails together: a rack, a building. `default` when absent.
    pub(crate) zone: Option<String>,
    /// Where; the platform's own region when absent.
    pub(crate) region: Option<String>,
    /// Seconds from now, at most a week; an hour when absent.
    #[schema(minimum = 1, maximum = 604800)]
    pub(crate) ttl_seconds: Option<u32>,
}

/// The right to join once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JoinTokenCreated {
    /// The token. It is shown in this answer and never again.
    pub(crate) token: String,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
    /// The record of its making.
    pub(crate) receipt: Receipt,
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Node)]
pub(crate) struct NodeView {
    /// The node's id.
    pub(crate) id: NodeId,
    /// Where it is.
    pub(crate) region: String,
    /// What it fails together with.
    pub(crate) zone: String,
    /// Its machine's name.
    pub(crate) hostname: String,
    /// The version of the agent that joined.
    pub(crate) agent_version: String,
    /// Usable processors.
    pub(crate) processors: u32,
    /// Whether it is alive.
    pub(crate) health: Health,
    /// Whether its link is up.
    pub(crate) connected: bool,
    /// When it joined.
    pub(crate) joined_at: Timestamp,
    /// When its certificate ends. The agent renews it at half of its time.
    #[schema(required)]
    pub(crate) certificate_not_after: Option<Timestamp>,
    /// The generation of its desired state.
    pub(crate) generation: u64,
    /// The generation that it has last worked through; null until it has reported.
    #[schema(required)]
    pub(crate) observed_generation: Option<u64>,
    /// How many instances it reports.
    pub(crate) instances: u32,
    /// The versions of the server that are installed beside its agent's own choice.
    pub(crate) server_versions: Vec<String>,
}

/// Makes a join token
#[utoipa::path(
    post, path = "/api/v1/fleet/join-tokens", tag = "fleet", operation_id = "create_join_token",
    request_body = CreateJoinToken,
    responses((status = 201, description = "The token", body = JoinTokenCreated), Problems),
)]
pub(crate) async fn create_join_token(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    JsonBody(body): JsonBody<CreateJoinToken>,
) -> Result<Response, Problem> {
    authenticated.require_operator()?;
    let region = body.region.unwrap_or_else(|| fleet.0.config.default_region.clone());
    let zone = body.zone.unwrap_or_else(|| ZONE_DEFAULT.to_owned());
    for (pointer, text) in [("/region", &region), ("/zone", &zone)] {
        if !is_place_name(text) {
            return Err(Problem::invalid_field(pointer, "Use 1 to 20 of a-z, 0-9 and hyphens."));
        }
    }
    let seconds = body.ttl_seconds.unwrap_or(TTL_SECONDS_DEFAULT);
    if !(1..=TTL_SECONDS_MAX).contains(&seconds) {
        return Err(Problem::invalid_field(
            "/ttl_seconds",
            format!("Use 1 to {TTL_SECONDS_MAX} seconds."),
        ));
    }
    let lifetime = SignedDuration::from_secs(seconds.into());
    let new = join_token::create(&fleet.0, &authenticated.context(), region, zone, lifetime).await?;
    let view = JoinTokenCreated {
        token: new.token.expose(),
        expires_at: new.expires_at,
        receipt: new.receipt,
    };
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    response.extensions_mut().insert(ShownOnce(&["/token"]));
    Ok(response)
}

/// Lists nodes
#[utoipa::path(
    get, path = "/api/v1/fleet/nodes", tag = "fleet", operation_id = "list_nodes",
    responses((status = 200, description = "Every node, oldest first", body = Page<NodeView>), Problems),
)]
pub(crate) async fn list_nodes(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
) -> Result<Json<Page<NodeView>>, Problem> {
    authenticated.require_operator()?;
    let nodes = fleet.0.view.nodes().await?;
    let snapshot = fleet.0.links.snapshot();
    let views = nodes.into_iter().map(|node| {
        let observed = snapshot.observed(node.node_id);
        NodeView {
            id: node.node_id,
            region: node.region,
            zone: node.zone,
            hostname: node.host.hostname,
            agent_version: node.host.agent_version,
            processors: node.host.processors,
            health: snapshot.health(node.node_id),
            connected: snapshot.is_connected(node.node_id),
            joined_at: node.joined_at,
            certificate_not_after: node.certificate_not_after,
            generation: node.generation,
            observed_generation: observed.map(|observed| observed.generation),
            instances: observed.map_or(0, |observed| {
                u32::try_from(observed.instances.len()).unwrap_or(u32::MAX)
            }),
            server_versions: observed.map_or_else(Vec::new, |observed| {
                let names = observed.server_versions.iter().map(|version| version.name.clone());
                names.collect()
            }),
        }
    });
    Ok(Json(Page::whole(views.collect())))
}
