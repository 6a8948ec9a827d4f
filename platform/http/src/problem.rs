//! Errors as RFC 9457 problem details.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use craton_platform_kernel::{ExecuteError, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};

use crate::request::current_request_id;

/// The media type of problems.
const MEDIA_TYPE: &str = "application/problem+json";

/// One field of a request that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901) into the body, or the name of a query parameter.
    pub pointer: String,
    /// What, for programs: `unknown_field`, `missing_field`, `invalid_value`.
    pub code: String,
    /// What, for people.
    pub detail: String,
}

/// A problem as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// `urn:craton:problem:` and the code.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The kind of problem, for people; the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence, for people.
    pub detail: String,
    /// The kind of problem, for programs; stable.
    pub code: String,
    /// The request, for support.
    pub request_id: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The fields at fault, when the request was not acceptable.
    pub errors: Vec<FieldError>,
}

/// For the documents of routes: every error is a problem.
#[derive(Clone, Copy, Debug)]
pub struct Problems;

impl utoipa::IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let schema = Ref::from_schema_name(ProblemBody::name());
        let response = ResponseBuilder::new()
            .description("The request failed")
            .content(MEDIA_TYPE, Content::new(Some(schema)))
            .build();
        BTreeMap::from([("default".to_owned(), response.into())])
    }
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    retryable: bool,
    retry_after_seconds: Option<u64>,
    errors: Vec<FieldError>,
}

impl Problem {
    /// A problem of one kind. `code` is snake case and never changes its meaning; `detail` tells people what to do.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            retryable: false,
            retry_after_seconds: None,
            errors: Vec::new(),
        }
    }

    /// Says that the same request may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Says when the same request may succeed.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self.retryable()
    }

    /// Names a field at fault.
    #[must_use]
    pub fn with_field(mut self, pointer: impl Into<String>, code: &str, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError {
            pointer: pointer.into(),
            code: code.to_owned(),
            detail: detail.into(),
        });
        self
    }

    /// 404: there is nothing here for this principal, whether it exists or not.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "Not found",
            "There is nothing with this address that you may see.",
        )
    }

    /// 401: nobody is signed in.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "Not signed in",
            "Sign in, or send an API key as a bearer token.",
        )
    }

    /// 401: the session has ended.
    #[must_use]
    pub fn session_expired() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "session_expired",
            "Session ended",
            "Your session has expired or was revoked. Sign in again.",
        )
    }

    /// 403: known, visible, but not allowed.
    #[must_use]
    pub fn permission_denied(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_denied", "Not allowed", detail)
    }

    /// 422: the request was understood but its content is not acceptable. Add fields with [`Self::with_field`].
    #[must_use]
    pub fn validation_failed(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "validation_failed",
            "Not acceptable",
            detail,
        )
    }

    /// 422 for one field with an unacceptable value.
    #[must_use]
    pub fn invalid_field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::validation_failed(detail.clone()).with_field(pointer, "invalid_value", detail)
    }

    /// 409: the state of the resource does not allow it.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, "Conflict", detail)
    }

    /// 503: try again.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Temporarily unavailable",
            detail,
        )
        .retry_after(1)
    }

    /// 500: our fault. The cause goes to the log, not to the client.
    #[must_use]
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        let causes: Vec<String> = std::iter::successors(Some(cause), |error| error.source())
            .map(ToString::to_string)
            .collect();
        tracing::error!(request_id = %request_id_text(), cause = causes.join(": "), "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            "Something went wrong on our side. Quote the request id when you ask about it.",
        )
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }
}

fn request_id_text() -> String {
    current_request_id().map(|id| id.to_string()).unwrap_or_default()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            problem_type: format!("urn:craton:problem:{}", self.code),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            request_id: request_id_text(),
            retryable: self.retryable,
            errors: self.errors,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) => {
                tracing::warn!(request_id = %request_id_text(), %error, "the store is unavailable");
                Self::unavailable("The platform's log is not available right now.")
            }
            StoreError::Damaged { .. } => Self::internal(&error),
        }
    }
}

impl<R: std::error::Error + Into<Problem>> From<ExecuteError<R>> for Problem {
    fn from(error: ExecuteError<R>) -> Self {
        match error {
            ExecuteError::Refused(refusal) => refusal.into(),
            ExecuteError::Contended(_) => {
                Self::conflict("contended", "Others changed the same thing at the same time.").retryable()
            }
            ExecuteError::Store(error) => error.into(),
        }
    }
}
