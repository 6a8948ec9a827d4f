//! `/witness`: the platform as a witness, and who else witnesses a cluster's logs.

use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use craton_platform_http::{Authenticated, JsonBody, PathParams, Problem, Problems};
use craton_platform_kernel::{ClusterId, OrgId, Permission, Receipt};
use craton_proof::{ADD_CHECKPOINT_BYTES_MAX, CosignerKey, TLOG_SIZE_CONTENT_TYPE};
use craton_witness::{ServiceUrl, WITNESSES_MAX};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::clusters::find;
use crate::{
    aggregate::cluster::{ClusterState as ClusterAggregate, ExternalWitness},
    authority::probe_token::PROBE_DATABASE,
    fleet::{Fleet, Inner},
    witness::WitnessError,
    workflow::cluster,
};

/// The most witnesses beside the platform itself.
const EXTERNAL_WITNESSES_MAX: usize = WITNESSES_MAX - 1;
const TEXT: &str = "text/plain; charset=utf-8";

/// Cosigns a checkpoint
///
/// `add-checkpoint` of C2SP tlog-witness. Only logs of this platform's clusters are known. The checkpoint's own
/// signature is the only credential.
#[utoipa::path(
    post, path = "/witness/add-checkpoint", tag = "witness", operation_id = "add_checkpoint",
    request_body(content = String, content_type = "text/plain", description = "Old size, consistency proof and checkpoint"),
    responses(
        (status = 200, description = "The cosignature as a note's signature line", body = String, content_type = "text/plain"),
        (status = 400, description = "Malformed, or the old size is above the checkpoint's", body = String, content_type = "text/plain"),
        (status = 403, description = "Not signed by the log's key", body = String, content_type = "text/plain"),
        (status = 404, description = "An unknown log", body = String, content_type = "text/plain"),
        (status = 409, description = "The size that was cosigned last", body = String, content_type = "text/x.tlog.size"),
        (status = 422, description = "The proof does not show one history", body = String, content_type = "text/plain"),
    ),
    security(()),
)]
pub(crate) async fn add_checkpoint(State(fleet): State<Fleet>, body: Bytes) -> Response {
    let answer = fleet.0.witness.add_checkpoint(&fleet.0.view, &body).await;
    let refused = match answer {
        Ok(lines) => return ([(header::CONTENT_TYPE, TEXT)], lines).into_response(),
        Err(refused) => refused,
    };
    if let WitnessError::Refused(refusal) = &refused
        && let Some(size) = refusal.latest_size()
    {
        let body = format!("{size}\n");
        return (
            StatusCode::CONFLICT,
            [(header::CONTENT_TYPE, TLOG_SIZE_CONTENT_TYPE)],
            body,
        )
            .into_response();
    }
    let status = match &refused {
        WitnessError::Request(_) => 400,
        WitnessError::Refused(refusal) => refusal.status(),
        WitnessError::Contended => 503,
        WitnessError::Store(error) => {
            tracing::error!(%error, "a checkpoint was not cosigned");
            503
        }
        WitnessError::Cosign(_) => 400,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    (status, [(header::CONTENT_TYPE, TEXT)], format!("{refused}\n")).into_response()
}

/// Bounds the body of `add-checkpoint`.
pub(super) fn body_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(ADD_CHECKPOINT_BYTES_MAX)
}

/// A witness: where it is asked, and what verifies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Witness {
    /// The prefix of its API (C2SP tlog-witness), `https`.
    #[schema(max_length = 2048)]
    pub(crate) url: String,
    /// What verifies its cosignatures, as C2SP's signed-note writes keys.
    #[schema(max_length = 512)]
    pub(crate) verifier_key: String,
}

/// A checkpoint that was not cosigned because it shows another history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedCheckpoint {
    /// `other_root`, `not_consistent` or `turned_back`.
    pub(crate) reason: String,
    /// How many records it covers.
    pub(crate) size: u64,
    /// The checkpoint as the log signed it: evidence.
    pub(crate) note: String,
    /// When.
    pub(crate) refused_at: Timestamp,
}

/// What the platform has witnessed of one database's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WitnessedLog {
    /// The database.
    pub(crate) database: String,
    /// How many records the last checkpoint covers that the platform cosigned.
    #[schema(required)]
    pub(crate) size: Option<u64>,
    /// When it did.
    #[schema(required)]
    pub(crate) witnessed_at: Option<Timestamp>,
    /// The last checkpoint that showed another history.
    #[schema(required)]
    pub(crate) refused: Option<RefusedCheckpoint>,
}

/// Who witnesses a cluster's logs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterWitnesses {
    /// The platform itself.
    pub(crate) platform: Witness,
    /// Others.
    pub(crate) external: Vec<Witness>,
    /// What the platform has witnessed.
    pub(crate) logs: Vec<WitnessedLog>,
}

/// Shows the platform's key as a witness
#[utoipa::path(
    get, path = "/api/v1/witness-key", tag = "witness", operation_id = "get_witness_key",
    responses((status = 200, description = "The witness", body = Witness), Problems),
    security(()),
)]
pub(crate) async fn get_witness_key(State(fleet): State<Fleet>) -> Json<Witness> {
    Json(platform_witness(&fleet.0))
}

fn platform_witness(fleet: &Inner) -> Witness {
    Witness {
        url: fleet.witness.url().to_owned(),
        verifier_key: fleet.witness.verifier_key(),
    }
}

/// Shows who witnesses a cluster's logs
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/clusters/{cluster}/witnesses", tag = "witness", operation_id = "get_cluster_witnesses",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
    ),
    responses((status = 200, description = "The witnesses", body = ClusterWitnesses), Problems),
)]
pub(crate) async fn get_cluster_witnesses(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id)): PathParams<(OrgId, ClusterId)>,
) -> Result<Json<ClusterWitnesses>, Problem> {
    authenticated.require(org_id, Permission::ReadClusters)?;
    let cluster = find(&fleet.0, org_id, cluster_id).await?;
    Ok(Json(witnesses_of(&fleet.0, &cluster).await?))
}

async fn witnesses_of(fleet: &Inner, cluster: &ClusterAggregate) -> Result<ClusterWitnesses, Problem> {
    let mut logs = Vec::new();
    let own = cluster
        .log_keys
        .iter()
        .filter(|(database, _)| *database != PROBE_DATABASE);
    for (database, key) in own {
        let origin = key.split('+').next().unwrap_or_default();
        let (witnessed, refused) = fleet.witness.state_of(origin).await?;
        logs.push(WitnessedLog {
            database: database.clone(),
            size: witnessed.map(|witnessed| witnessed.size),
            witnessed_at: witnessed.map(|witnessed| witnessed.witnessed_at),
            refused: refused.map(|refused| RefusedCheckpoint {
                reason: refused.reason,
                size: refused.size,
                note: refused.note,
                refused_at: refused.refused_at,
            }),
        });
    }
    let external = cluster.witnesses.iter().map(|witness| Witness {
        url: witness.url.clone(),
        verifier_key: witness.verifier_key.clone(),
    });
    Ok(ClusterWitnesses {
        platform: platform_witness(fleet),
        external: external.collect(),
        logs,
    })
}

/// The witnesses beside the platform.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetClusterWitnesses {
    /// All of them; others are asked no more.
    #[schema(max_items = 7)]
    pub(crate) external: Vec<Witness>,
}

/// The cluster's witnesses after a change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterWitnessesSet {
    /// The witnesses.
    pub(crate) witnesses: ClusterWitnesses,
    /// The record of the change.
    pub(crate) receipt: Receipt,
}

/// Sets who else witnesses a cluster's logs
///
/// The platform is always one of them.
#[utoipa::path(
    put, path = "/api/v1/orgs/{org}/clusters/{cluster}/witnesses", tag = "witness", operation_id = "set_cluster_witnesses",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
    ),
    request_body = SetClusterWitnesses,
    responses((status = 200, description = "The witnesses", body = ClusterWitnessesSet), Problems),
)]
pub(crate) async fn set_cluster_witnesses(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id)): PathParams<(OrgId, ClusterId)>,
    JsonBody(body): JsonBody<SetClusterWitnesses>,
) -> Result<Json<ClusterWitnessesSet>, Problem> {
    authenticated.require(org_id, Permission::ManageClusters)?;
    let witnesses = check(&fleet.0, body.external)?;
    find(&fleet.0, org_id, cluster_id).await?;
    let context = authenticated.context();
    let (cluster, receipt) = cluster::set_witnesses(&fleet.0, &context, org_id, cluster_id, witnesses).await?;
    let witnesses = witnesses_of(&fleet.0, &cluster).await?;
    Ok(Json(ClusterWitnessesSet { witnesses, receipt }))
}

/// Checks what nodes would refuse.
fn check(fleet: &Inner, external: Vec<Witness>) -> Result<Vec<ExternalWitness>, Problem> {
    if external.len() > EXTERNAL_WITNESSES_MAX {
        let detail = format!("At most {EXTERNAL_WITNESSES_MAX} witnesses can be set.");
        return Err(Problem::invalid_field("/external", detail));
    }
    let mut keys = vec![fleet.witness.public_key()];
    let mut checked = Vec::new();
    for (index, witness) in external.into_iter().enumerate() {
        let url: ServiceUrl = witness
            .url
            .parse()
            .map_err(|error| Problem::invalid_field(format!("/external/{index}/url"), format!("{error}.")))?;
        let field = format!("/external/{index}/verifier_key");
        let key: CosignerKey = witness
            .verifier_key
            .parse()
            .map_err(|error| Problem::invalid_field(field.clone(), format!("{error}.")))?;
        if keys.contains(key.public_key()) {
            return Err(Problem::invalid_field(field, "The key is there already.".to_owned()));
        }
        keys.push(*key.public_key());
        checked.push(ExternalWitness {
            url: url.to_string(),
            verifier_key: key.to_string(),
        });
    }
    Ok(checked)
}
