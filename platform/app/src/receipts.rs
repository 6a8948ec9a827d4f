//! Receipts of the platform's own log: what an auditor checks offline, with no call back to us.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use craton_platform_data::EngineEventStore;
use craton_platform_http::{Authenticated, PathParams, Problem, Problems};
use craton_platform_kernel::{EventStore, OrgId, Permission, Position};
use serde::Serialize;
use utoipa::ToSchema;

/// The key of the platform's log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlatformLogKey)]
pub(crate) struct LogKey {
    /// The verifier key in the C2SP signed-note form.
    pub verifier_key: String,
}

/// Shows the key of the platform's log
///
/// Whoever keeps it can check receipts without the platform.
#[utoipa::path(
    get, path = "/api/v1/log-key", tag = "audit", operation_id = "get_log_key",
    responses((status = 200, description = "The verifier key", body = LogKey), Problems),
    security(()),
)]
pub(crate) async fn get_log_key(State(events): State<EngineEventStore>) -> Json<LogKey> {
    Json(LogKey {
        verifier_key: events.log_key(),
    })
}

/// Shows the receipt of a change
///
/// A C2SP tlog-proof of the record at this position, which must be one of the organisation's.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/receipts/{position}", tag = "audit", operation_id = "get_receipt",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("position" = u64, Path, description = "The record's position in the platform's log"),
    ),
    responses((status = 200, description = "The receipt", body = String, content_type = "text/plain"), Problems),
)]
pub(crate) async fn get_receipt(
    State(events): State<EngineEventStore>,
    authenticated: Authenticated,
    PathParams((org_id, position)): PathParams<(OrgId, Position)>,
) -> Result<Response, Problem> {
    authenticated.require(org_id, Permission::ReadAuditEvents)?;
    let record = events.read_all(position, 1).await?;
    let own = record
        .first()
        .is_some_and(|event| event.position == position && event.org() == Some(org_id));
    if !own {
        return Err(Problem::not_found());
    }
    let receipt = events.receipt(position).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], receipt).into_response())
}
