//! Errors of the HTTP interfaces as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use craton_engine::EngineError;
use serde::Serialize;

/// One error, for a person and for a program.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    retryable: bool,
}

impl Problem {
    /// A problem with a code that programs can rely on.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            // No page describes the codes: RFC 9457 has `about:blank` for that.
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            retryable: false,
        }
    }

    /// The same request may succeed later.
    pub(crate) fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// A field of the request is not acceptable.
    pub(crate) fn validation(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let detail = rejection.body_text();
        match rejection.status() {
            status @ StatusCode::PAYLOAD_TOO_LARGE => Self::new(status, "body_too_large", detail),
            status @ StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(status, "unsupported_media_type", detail),
            StatusCode::UNPROCESSABLE_ENTITY => Self::validation(detail),
            _ => Self::new(StatusCode::BAD_REQUEST, "malformed_json", detail),
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::DatabaseReserved { .. } => return Self::validation(error.to_string()),
            EngineError::Overloaded | EngineError::OverShare { .. } => {
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error.to_string()).retryable();
            }
            EngineError::Format(_) => return Self::new(StatusCode::CONFLICT, "format_unknown", error.to_string()),
            _ => {}
        }
        tracing::error!(%error, "an administrative request failed");
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "engine_error", error.to_string());
        if error.is_retryable() {
            problem.retryable()
        } else {
            problem
        }
    }
}
