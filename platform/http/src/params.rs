//! Path and query parameters with typed problems.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::Problem;

/// Path parameters. An identifier that does not parse names nothing, so the answer is 404.
#[derive(Clone, Copy, Debug)]
pub struct PathParams<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(_) => Err(Problem::not_found()),
        }
    }
}

/// Query parameters.
#[derive(Clone, Copy, Debug)]
pub struct QueryParams<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                // The innermost cause is serde's own message, without axum's framing.
                let error: &dyn std::error::Error = &rejection;
                let inner = std::iter::successors(Some(error), |error| error.source()).last();
                let detail = inner.map(ToString::to_string).unwrap_or_default();
                // `name: what is wrong`, or: unknown field `name`, expected …
                let name = match detail.split('`').nth(1) {
                    Some(quoted) => quoted,
                    None => detail.split(':').next().unwrap_or_default(),
                };
                Err(
                    Problem::validation_failed("The query has parameters that are not acceptable; see errors.")
                        .with_field(name.to_owned(), "invalid_value", detail.clone()),
                )
            }
        }
    }
}
