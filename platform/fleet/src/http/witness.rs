//! `/witness`: the platform as a witness, and who else witnesses a cluster's logs.

use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use craton_platform_http::{Authenticated, JsonBody, PathParams, Problem, Problems};
use craton_platform_kernel::{ClusterId, OrgId, Permission, Receipt};
use craton_proof::{ADD_CHECKPOINT_BYTES_MAX, CosignerKey, TLOG_SIZE_CONTENT_TYPE};
use craton_timestamp::Authorities;
use craton_witness::{ServiceUrl, WITNESSES_MAX};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::clusters::find;
use crate::{
    aggregate::cluster::{self as aggregate, ClusterState as ClusterAggregate, ExternalWitness},
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
    let snapshot = fleet.0.links.snapshot();
    let (answer, noticed) = fleet.0.witness.add_checkpoint(&fleet.0.view, &snapshot, &body).await;
    if let Some(noticed) = noticed
        && let Err(error) = cluster::record_noticed(&fleet.0, noticed).await
    {
        // The log asks again, and it is noticed again.
        tracing::error!(%error, "what was noticed of a log was not recorded");
    }
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

/// Who stamps the time on what the witnesses cosigned (RFC 3161).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeStampAuthority {
    /// Where it is asked, `https` or `http`.
    #[schema(max_length = 2048)]
    pub(crate) url: String,
    /// The certificates, in PEM, that the chain of its certificate may end in.
    #[schema(max_length = 16384)]
    pub(crate) certificates: String,
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
    /// The root of the tree over them, in base64 as in the checkpoint.
    #[schema(required)]
    pub(crate) root: Option<String>,
    /// When it did.
    #[schema(required)]
    pub(crate) witnessed_at: Option<Timestamp>,
    /// Whether the log is refused now, because it shows another history than what was witnessed: it was turned back to
    /// an older copy, or forked.
    pub(crate) is_refused: bool,
    /// The last checkpoint that showed another history, even if that is over.
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
    /// Who stamps the time on what was cosigned.
    #[schema(required)]
    pub(crate) time_stamp_authority: Option<TimeStampAuthority>,
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
            root: witnessed.map(|witnessed| BASE64_STANDARD.encode(witnessed.root)),
            witnessed_at: witnessed.map(|witnessed| witnessed.witnessed_at),
            is_refused: cluster.refused_histories.contains_key(database),
            refused: refused.map(|refused| RefusedCheckpoint {
                reason: refused.reason,
                size: refused.size,
                note: refused.note,
                refused_at: refused.refused_at,
            }),
        });
    }
    let authority = cluster.time_stamp_authority.as_ref();
    let external = cluster.witnesses.iter().map(|witness| Witness {
        url: witness.url.clone(),
        verifier_key: witness.verifier_key.clone(),
    });
    Ok(ClusterWitnesses {
        platform: platform_witness(fleet),
        external: external.collect(),
        time_stamp_authority: authority.map(|authority| TimeStampAuthority {
            url: authority.url.clone(),
            certificates: authority.certificates.clone(),
        }),
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
    /// Who stamps the time on what was cosigned; nobody, when it is left out.
    pub(crate) time_stamp_authority: Option<TimeStampAuthority>,
}

/// The cluster's witnesses after a change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterWitnessesSet {
    /// The witnesses.
    pub(crate) witnesses: ClusterWitnesses,
    /// The record of the change.
    pub(crate) receipt: Receipt,
}

/// Sets who else witnesses a cluster's logs, and who stamps the time
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
    let authority = body.time_stamp_authority.map(check_authority).transpose()?;
    find(&fleet.0, org_id, cluster_id).await?;
    let context = authenticated.context();
    let (cluster, receipt) =
        cluster::set_witnesses(&fleet.0, &context, org_id, cluster_id, witnesses, authority).await?;
    let witnesses = witnesses_of(&fleet.0, &cluster).await?;
    Ok(Json(ClusterWitnessesSet { witnesses, receipt }))
}

fn check_authority(authority: TimeStampAuthority) -> Result<aggregate::TimeStampAuthority, Problem> {
    let url = ServiceUrl::parse_any_http(&authority.url)
        .map_err(|error| Problem::invalid_field("/time_stamp_authority/url", format!("{error}.")))?;
    let certificates = Authorities::from_pem(&authority.certificates)
        .map_err(|error| Problem::invalid_field("/time_stamp_authority/certificates", format!("{error}.")))?;
    Ok(aggregate::TimeStampAuthority {
        url: url.to_string(),
        certificates: certificates.as_pem().to_owned(),
    })
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
