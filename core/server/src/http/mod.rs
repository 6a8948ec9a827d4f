//! The HTTP interface: `/health`, `/ready` and `/metrics` for the machine's own supervisor and collector, and the
//! databases' logs, over TLS and with a password, for those who check them.

mod listener;
mod logs;
mod passwords;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::problem::Problem;
use crate::shared::{Readiness, Shared};

pub(crate) use listener::serve;
pub(crate) use passwords::Passwords;

/// The routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/logs/{database}/checkpoint", get(logs::checkpoint))
        .route("/logs/{database}/tile/{*path}", get(logs::tile))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such resource"))
        .with_state(shared)
}

/// The process is alive. Says nothing about whether it serves.
async fn health() -> impl IntoResponse {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Statements are being served.
async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.readiness() {
        Readiness::Ready => Json(json!({ "status": "ready" })).into_response(),
        Readiness::ReadOnly(reason) => Json(json!({ "status": "read_only", "detail": reason })).into_response(),
        Readiness::Stopping => not_ready("the server is stopping"),
        Readiness::Poisoned => not_ready("the engine has stopped after a failure that it may not survive"),
    }
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
