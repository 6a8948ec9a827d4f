//! The request id: made here, returned in a header and in problems, and the correlation id of events.

use std::future::Future;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use craton_platform_kernel::{Environment, RequestId};

/// The header that carries the request id back.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static REQUEST_ID: RequestId;
}

/// The id of the request that this task serves.
#[must_use]
pub fn current_request_id() -> Option<RequestId> {
    REQUEST_ID.try_with(|id| *id).ok()
}

/// Runs a future as part of a request, as the tasks that a request starts must.
pub async fn within_request<F: Future>(id: RequestId, future: F) -> F::Output {
    REQUEST_ID.scope(id, future).await
}

/// Middleware: gives the request its id and logs its end. Queries and bodies are not logged, they may hold secrets.
pub async fn request_id(State(environment): State<Environment>, mut request: Request, next: Next) -> Response {
    let id: RequestId = environment.new_id();
    let started_at = environment.now();
    request.extensions_mut().insert(id);
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let mut response = within_request(id, next.run(request)).await;
    let text = HeaderValue::from_str(&id.to_string()).expect("an identifier is ASCII");
    response.headers_mut().insert(REQUEST_ID_HEADER, text);
    let duration_ms = environment.now().as_millisecond() - started_at.as_millisecond();
    tracing::info!(request_id = %id, %method, route, status = response.status().as_u16(), duration_ms, "request");
    response
}
