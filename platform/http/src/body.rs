//! JSON bodies with typed problems.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::Problem;

/// The largest request body in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a client may take to send its body.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// Extracts a JSON body; types should be `#[serde(deny_unknown_fields)]`.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let essence = content_type
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Unsupported media type",
                "Send the body as application/json.",
            ));
        }
        parse(&read_body(request.into_body()).await?).map(Self)
    }
}

/// Reads a body within its limits of size and time.
pub(crate) async fn read_body(body: Body) -> Result<Bytes, Problem> {
    let read = Limited::new(body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIME_MAX, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "body_unreadable",
            "Body unreadable",
            "The body ended before it was complete.",
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            "Body too slow",
            format!("A body must arrive within {} s.", BODY_TIME_MAX.as_secs()),
        )
        .retryable()),
    }
}

fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        "Body too large",
        format!("A request body has at most {BODY_BYTES_MAX} bytes."),
    )
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| match error.inner().classify() {
            Category::Data => invalid(error.path(), error.inner()),
            Category::Syntax | Category::Eof | Category::Io => malformed(error.inner()),
        })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "malformed_json",
        "Malformed JSON",
        format!("The body is no JSON: line {}, column {}.", error.line(), error.column()),
    )
}

/// Serde's message names the kind of fault; the position within the text says nothing beside a pointer.
fn invalid(path: &Path, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    let message = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(head, _)| head);
    let quoted = || message.split('`').nth(1).unwrap_or_default();
    let mut pointer = pointer(path);
    let code = if message.starts_with("unknown field") {
        // The path already ends with the unknown field.
        "unknown_field"
    } else if message.starts_with("missing field") {
        pointer = format!("{pointer}/{}", quoted());
        "missing_field"
    } else {
        "invalid_value"
    };
    Problem::validation_failed("The body has fields that are not acceptable; see errors.")
        .with_field(pointer, code, message)
}

fn pointer(path: &Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => "/".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;
    use serde::Deserialize;

    use super::*;
    use crate::ProblemBody;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        #[expect(dead_code, reason = "only parsed")]
        name: String,
        #[expect(dead_code, reason = "only parsed")]
        count: Option<u8>,
        #[expect(dead_code, reason = "only parsed")]
        nested: Option<Vec<Nested>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nested {
        #[expect(dead_code, reason = "only parsed")]
        value: u8,
    }

    async fn problem_of(text: &str) -> ProblemBody {
        let problem = parse::<Input>(text.as_bytes()).expect_err(text);
        let bytes = problem
            .into_response()
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        serde_json::from_slice(&bytes).expect("a problem")
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let problem = read_body(body).await.expect_err("nothing comes");
        assert_eq!(
            (problem.status(), problem.code()),
            (StatusCode::REQUEST_TIMEOUT, "body_too_slow")
        );
    }

    #[tokio::test]
    async fn faults_of_a_body_are_named() {
        for (text, status, code, pointer, field_code) in [
            ("", 400, "malformed_json", "", ""),
            ("{", 400, "malformed_json", "", ""),
            ("{\"name\":\"a\"} x", 400, "malformed_json", "", ""),
            ("{}", 422, "validation_failed", "/name", "missing_field"),
            ("{\"name\":1}", 422, "validation_failed", "/name", "invalid_value"),
            (
                "{\"name\":\"a\",\"count\":256}",
                422,
                "validation_failed",
                "/count",
                "invalid_value",
            ),
            (
                "{\"name\":\"a\",\"a/b\":1}",
                422,
                "validation_failed",
                "/a~1b",
                "unknown_field",
            ),
            (
                "{\"name\":\"a\",\"name\":\"b\"}",
                422,
                "validation_failed",
                "",
                "invalid_value",
            ),
            (
                "{\"name\":\"a\",\"nested\":[{}]}",
                422,
                "validation_failed",
                "/nested/0/value",
                "missing_field",
            ),
        ] {
            let problem = problem_of(text).await;
            assert_eq!((problem.status, problem.code.as_str()), (status, code), "{text}");
            let field = problem
                .errors
                .first()
                .map(|field| (field.pointer.as_str(), field.code.as_str()));
            assert_eq!(field.unwrap_or_default(), (pointer, field_code), "{text}");
        }
    }
}
