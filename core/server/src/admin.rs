//! The administrative API: HTTP over a Unix socket that only the server's own user can open.
//!
//! Every request may be repeated: the result is the state that it asks for. Passwords never come here, only their
//! SCRAM verifiers.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use craton_crypto::ScramVerifier;
use craton_types::{ActorId, DatabaseName, FormatVersion, UserDefinition};
use craton_witness::FileCosigning;
use serde::{Deserialize, Serialize};

use crate::limits::ADMIN_BODY_BYTES_MAX;
use crate::member::{MembersBody, MembershipStatus};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::token::PROBE_USER;

/// The routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/databases/{name}", put(put_database))
        .route("/v1/users/{name}", put(put_user).delete(delete_user))
        .route("/v1/members", put(put_members))
        .route("/v1/drain", post(drain))
        .route("/v1/finalize", post(finalize))
        .merge(crate::admin_keys::router())
        .merge(crate::http::operator_routes())
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such resource"))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the resource has no such method",
            )
        })
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .with_state(shared)
}

/// `GET /v1/status`.
#[derive(Serialize)]
struct Status {
    version: &'static str,
    uptime_seconds: u64,
    databases: Vec<DatabaseStatus>,
    /// Each database and witness that was asked.
    witnesses: Vec<WitnessStatus>,
    /// What went wrong with the last request for a time stamp, while it is still wrong.
    time_stamp_error: Option<String>,
    poisoned: bool,
    format: FormatStatus,
    /// The server's part in its cluster; absent for one that stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<MembershipStatus>,
}

/// The versions of the formats.
#[derive(Serialize)]
struct FormatStatus {
    /// The one that is written.
    active: u8,
    /// The newest one that the server's build knows.
    newest: u8,
}

impl From<craton_engine::FormatStatus> for FormatStatus {
    fn from(status: craton_engine::FormatStatus) -> Self {
        Self {
            active: status.active.get(),
            newest: status.newest.get(),
        }
    }
}

/// A witness of a database as the API shows it.
#[derive(Serialize)]
struct WitnessStatus {
    database: String,
    /// Name and id of the witness's key.
    witness: String,
    /// How many records the last checkpoint covers that it cosigned since the server started.
    cosigned_size: Option<u64>,
    /// What went wrong last, while it is still wrong.
    error: Option<String>,
}

/// A database as the API shows it.
#[derive(Serialize)]
struct DatabaseStatus {
    name: String,
    /// The position of the log's last record; absent while the log is empty.
    position: Option<u64>,
    /// The C2SP verifier key of the database's log.
    log_key: String,
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<Status> {
    let status = shared.engine.status();
    let cosigning = shared.witnesses.as_ref().map(FileCosigning::status).unwrap_or_default();
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: shared.uptime().as_secs(),
        databases: status.databases.into_iter().map(DatabaseStatus::from).collect(),
        witnesses: witnesses(cosigning.witnesses),
        time_stamp_error: cosigning.time_stamp_error,
        poisoned: status.stop_reason.is_some(),
        format: shared.engine.format().into(),
        cluster: shared
            .membership
            .as_ref()
            .map(|membership| membership.status(shared.engine.applied().get())),
    })
}

fn not_a_member() -> Problem {
    let detail = "the server stands alone";
    Problem::new(StatusCode::CONFLICT, "not_a_member", detail)
}

/// `PUT /v1/members`: who shall be a member. An older list than the one that is known changes nothing.
async fn put_members(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<MembersBody>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let membership = shared.membership.as_ref().ok_or_else(not_a_member)?;
    let Json(body) = body?;
    membership
        .member
        .set_members(body.into_list().map_err(Problem::validation)?);
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/drain`: hands leadership to another member. This one leads no more until it is started again.
async fn drain(State(shared): State<Arc<Shared>>) -> Result<StatusCode, Problem> {
    let membership = shared.membership.as_ref().ok_or_else(not_a_member)?;
    membership.member.drain().await;
    Ok(StatusCode::NO_CONTENT)
}

/// The body of `POST /v1/finalize`, which may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finalize {
    /// The version of the formats; the newest one that this server's build knows when there is no body.
    version: u8,
}

/// `POST /v1/finalize`: from now on a version of the formats, or a newer one, is written by every member, and no member can go
/// back to a build that does not know it.
async fn finalize(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Json<FormatStatus>, Problem> {
    let wanted = match &body[..] {
        [] => None,
        json => {
            let body: Finalize =
                serde_json::from_slice(json).map_err(|error| Problem::validation(error.to_string()))?;
            Some(FormatVersion::new(body.version))
        }
    };
    let status = shared.engine.finalize_format(ActorId::NIL, wanted).await?;
    tracing::info!(version = %status.active, "the format version is final");
    Ok(Json(status.into()))
}

fn witnesses(witnesses: Vec<craton_witness::WitnessStatus>) -> Vec<WitnessStatus> {
    let shown = witnesses.into_iter().map(|status| WitnessStatus {
        database: status.database,
        witness: status.witness,
        cosigned_size: status.cosigned_size,
        error: status.error,
    });
    shown.collect()
}

impl From<craton_engine::DatabaseStatus> for DatabaseStatus {
    fn from(status: craton_engine::DatabaseStatus) -> Self {
        Self {
            name: status.name,
            position: status.records.checked_sub(1),
            log_key: status.log_key,
        }
    }
}

/// `PUT /v1/databases/{name}`: 201 when it was created, 200 when it was there.
async fn put_database(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<DatabaseStatus>), Problem> {
    let name = DatabaseName::parse(&name).map_err(|error| Problem::validation(error.to_string()))?;
    let created = shared.engine.tenant(name.as_str()).is_none();
    let database = shared.engine.open_tenant(name.as_str()).await?;
    if created {
        tracing::info!(database = %name, "database created");
    }
    let status = DatabaseStatus {
        name: name.to_string(),
        position: database.end().get().checked_sub(1),
        log_key: database.log_key(),
    };
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(status)))
}

/// `PUT /v1/users/{name}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutUser {
    scram_verifier: String,
    /// The databases that the user may connect to. An empty list means all, so it has to be spelled out.
    databases: Vec<String>,
    #[serde(default)]
    read_only: bool,
    /// Whether the user may erase and hold data subjects and say how long data is kept.
    #[serde(default)]
    compliance: bool,
}

/// A user as the API shows it: without the verifier.
#[derive(Serialize)]
struct UserStatus {
    name: String,
    databases: Vec<String>,
    read_only: bool,
    compliance: bool,
}

async fn put_user(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Result<Json<PutUser>, JsonRejection>,
) -> Result<(StatusCode, Json<UserStatus>), Problem> {
    let Json(body) = body?;
    check_user_name(&name)?;
    // The error never repeats the text, which is nearly as good as the password.
    body.scram_verifier
        .parse::<ScramVerifier>()
        .map_err(|error| Problem::validation(format!("scram_verifier: {error}")))?;
    for database in &body.databases {
        DatabaseName::parse(database).map_err(|error| Problem::validation(format!("databases: {error}")))?;
    }
    let existed = shared.engine.user(&name).is_some();
    let user = UserDefinition {
        name: name.clone(),
        // The engine keeps the actor of a user that exists and makes one for a new user.
        actor: ActorId::NIL,
        scram_verifier: body.scram_verifier,
        databases: body.databases,
        read_only: body.read_only,
        compliance: body.compliance,
    };
    let status = UserStatus {
        name: name.clone(),
        databases: user.databases.clone(),
        read_only: user.read_only,
        compliance: user.compliance,
    };
    if shared.engine.put_user(user, ActorId::NIL).await? {
        // Sessions that began under the old password or the old rights do not go on.
        let ended = shared.connections.end_sessions(&name);
        tracing::info!(user = name, sessions_ended = ended, "user stored");
    }
    Ok((if existed { StatusCode::OK } else { StatusCode::CREATED }, Json(status)))
}

/// `DELETE /v1/users/{name}`: 204 whether or not there was one.
async fn delete_user(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    check_user_name(&name)?;
    if shared.engine.drop_user(&name, ActorId::NIL).await? {
        let ended = shared.connections.end_sessions(&name);
        tracing::info!(user = name, sessions_ended = ended, "user dropped");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// User names follow the rule for database names, so that they never need quoting.
fn check_user_name(name: &str) -> Result<(), Problem> {
    if DatabaseName::parse(name).is_err() {
        return Err(Problem::validation(format!(
            "{name:?} is no user name: use 1 to 63 of a-z, 0-9 and _, beginning with a letter"
        )));
    }
    if name == PROBE_USER {
        return Err(Problem::validation(format!(
            "{PROBE_USER:?} is reserved: it logs in with a token"
        )));
    }
    Ok(())
}
