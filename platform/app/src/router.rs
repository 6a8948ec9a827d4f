//! Every route of the platform, and the layers that a request passes. The fleet's list is in its `http` module.

use axum::Router;
use axum::extract::FromRef;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use craton_platform_data::EngineEventStore;
use craton_platform_fleet::Fleet;
use craton_platform_http::{
    IdempotencyStore, Problem, PublicUrl, RateLimiting, idempotency, request_id, same_origin, security_headers,
};
use craton_platform_identity::http::{api_keys, audit_events, login, logout, me, members, organisations, register};
use craton_platform_identity::{Identity, authenticate};
use craton_platform_kernel::Environment;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::health::{self, Health};
use crate::metrics::{self, Metrics};
use crate::{console, openapi, receipts};

/// What handlers and layers need.
#[derive(Clone)]
pub(crate) struct AppState {
    pub(crate) environment: Environment,
    pub(crate) identity: Identity,
    pub(crate) fleet: Fleet,
    pub(crate) events: EngineEventStore,
    pub(crate) public_url: PublicUrl,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) auth_rate: RateLimiting,
    pub(crate) api_rate: RateLimiting,
}

impl FromRef<AppState> for Identity {
    fn from_ref(state: &AppState) -> Self {
        state.identity.clone()
    }
}

impl FromRef<AppState> for Fleet {
    fn from_ref(state: &AppState) -> Self {
        state.fleet.clone()
    }
}

impl FromRef<AppState> for EngineEventStore {
    fn from_ref(state: &AppState) -> Self {
        state.events.clone()
    }
}

impl FromRef<AppState> for Health {
    fn from_ref(state: &AppState) -> Self {
        state.health.clone()
    }
}

/// The routes below `/auth`.
fn auth_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(register::register_start))
        .routes(routes!(register::register_finish))
        .routes(routes!(login::login_start))
        .routes(routes!(login::login_finish))
        .routes(routes!(logout::logout))
}

/// The routes below `/api/v1`.
fn api_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(me::get_me))
        .routes(routes!(me::list_my_passkeys))
        .routes(routes!(me::list_my_sessions))
        .routes(routes!(me::revoke_my_session))
        .routes(routes!(
            organisations::create_organisation,
            organisations::list_organisations
        ))
        .routes(routes!(organisations::get_organisation))
        .routes(routes!(members::list_members))
        .routes(routes!(members::set_member, members::remove_member))
        .routes(routes!(api_keys::create_api_key, api_keys::list_api_keys))
        .routes(routes!(api_keys::revoke_api_key))
        .routes(routes!(audit_events::list_audit_events))
        .routes(routes!(receipts::get_receipt))
        .routes(routes!(receipts::get_log_key))
        .merge(craton_platform_fleet::routes())
}

/// The routes below `/witness`, which logs call; a checkpoint's own signature is the credential.
fn witness_routes() -> OpenApiRouter<AppState> {
    craton_platform_fleet::witness_routes()
}

/// The routes about the platform itself, which need no credential.
fn service_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::default()
        .routes(routes!(health::get_health))
        .routes(routes!(health::get_ready))
}

/// All documented routes, without layers.
#[must_use]
pub(crate) fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::document())
        .merge(auth_routes())
        .merge(api_routes())
        .merge(witness_routes())
        .merge(service_routes())
}

/// The router as it serves. A request passes the layers from the first to the last named.
pub(crate) fn router(state: AppState) -> Router {
    let limited = |limiting: &RateLimiting| from_fn_with_state(limiting.clone(), RateLimiting::layer);
    let authenticated = |rate: &RateLimiting| {
        ServiceBuilder::new()
            .layer(from_fn_with_state(state.identity.clone(), authenticate))
            .layer(limited(rate))
            .layer(from_fn_with_state(state.public_url.clone(), same_origin))
            .layer(from_fn_with_state(
                IdempotencyStore::new(state.environment.clone()),
                idempotency,
            ))
    };
    let auth = Router::from(auth_routes()).layer(authenticated(&state.auth_rate));
    let api = Router::from(api_routes()).layer(authenticated(&state.api_rate));
    let witness = Router::from(witness_routes()).layer(limited(&state.api_rate));
    let layers = ServiceBuilder::new()
        .layer(from_fn_with_state(state.environment.clone(), request_id))
        .layer(from_fn_with_state(state.public_url.clone(), security_headers))
        .layer(from_fn_with_state(
            (state.metrics.clone(), state.environment.clone()),
            metrics::record,
        ))
        .layer(CatchPanicLayer::custom(panicked));
    let document = openapi::openapi_json();
    Router::new()
        .merge(auth)
        .merge(api)
        .merge(witness)
        .merge(Router::from(service_routes()))
        .route(
            "/api/v1/openapi.json",
            get(|| async { ([(header::CONTENT_TYPE, "application/json")], document) }),
        )
        .fallback(console::serve)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(layers)
        .with_state(state)
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "Method not allowed",
        "This address does not take this method.",
    )
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Problem::internal(&std::io::Error::other(text.unwrap_or_default())).into_response()
}
