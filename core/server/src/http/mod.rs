//! The HTTP interfaces: the databases' logs for those who check them, over TLS and with a password; and what the machine's
//! own supervisor and collector ask for, on an address of its own if there is one, and on the administrative socket.

mod logs;
mod passwords;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::explain::{Explanation, Facts};
use crate::problem::Problem;
use crate::shared::{Readiness, Shared};

pub(crate) use passwords::Passwords;

/// The most damaged records that are named.
const DAMAGED_SHOWN_MAX: usize = 16;

/// What anyone may ask over TLS. Health and readiness tell nothing of the databases, and of the logs nothing is told without
/// a password.
pub(crate) fn public_router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/health", get(alive))
        .route("/ready", get(ready))
        .route("/logs/{database}/checkpoint", get(logs::checkpoint))
        .route("/logs/{database}/tile/{*path}", get(logs::tile))
        .fallback(missing)
        .with_state(shared)
}

/// What the operator may ask: metrics name databases, and health names what is damaged.
pub(crate) fn operator_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/explain", get(explain))
}

/// The same on an address of its own.
pub(crate) fn operator_router(shared: Arc<Shared>) -> Router {
    operator_routes().fallback(missing).with_state(shared)
}

async fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such resource")
}

/// The process is alive.
async fn alive() -> impl IntoResponse {
    Json(json!({ "status": "ok" }))
}

/// The process is alive. Says nothing about whether it serves, but which records are damaged.
async fn health(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let scrub = shared.engine.scrub_status();
    let damaged = scrub.damaged;
    let version = env!("CARGO_PKG_VERSION");
    if damaged.is_empty() && scrub.wal_damage.is_none() {
        return Json(json!({ "status": "ok", "version": version }));
    }
    let count = damaged.len();
    let shown = damaged
        .into_iter()
        .take(DAMAGED_SHOWN_MAX)
        .map(|record| json!({ "database": record.database, "position": record.position.get(), "field": record.field }));
    let shown: Vec<_> = shown.collect();
    Json(json!({
        "status": "damaged",
        "version": version,
        "damaged_count": count,
        "damaged": shown,
        "write_ahead_log": scrub.wal_damage,
    }))
}

/// Statements are being served.
async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.readiness() {
        Readiness::Ready => Json(json!({ "status": "ready" })).into_response(),
        Readiness::ReadOnly(reason) => Json(json!({ "status": "read_only", "detail": reason })).into_response(),
        Readiness::NotServing(reasons) => {
            let details: Vec<_> = reasons.iter().map(|reason| reason.detail.as_str()).collect();
            not_ready(&details.join("; "))
        }
        Readiness::Stopping => not_ready("the server is stopping"),
        Readiness::Poisoned => not_ready("the engine has stopped after a failure that it may not survive"),
    }
}

/// Why the server is not ready, does not lead, or rejects what clients send.
async fn explain(State(shared): State<Arc<Shared>>) -> Json<Explanation> {
    Json(Facts::of(&shared).explain())
}

fn not_ready(detail: &str) -> Response {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail)
        .retryable()
        .into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        shared.metrics.render(&shared),
    )
}
