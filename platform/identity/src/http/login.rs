//! `/auth/login/*`: a person comes back.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use axum_extra::extract::CookieJar;
use craton_platform_http::{Authentication, JsonBody, Problem, Problems};
use craton_platform_kernel::{CeremonyId, Principal, Receipt, RequestId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use webauthn_rs::prelude::PublicKeyCredential;

use super::me::UserView;
use super::register::Ceremony;
use crate::identity::Identity;

/// Nothing: the browser finds the account by its passkey.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginStart {}

/// Begins a sign-in
///
/// Gives the options for `navigator.credentials.get`.
#[utoipa::path(
    post, path = "/auth/login/start", tag = "auth", operation_id = "login_start",
    request_body = LoginStart,
    responses((status = 200, description = "Options for the browser", body = Ceremony), Problems),
    security(()),
)]
pub async fn login_start(
    State(identity): State<Identity>,
    JsonBody(LoginStart {}): JsonBody<LoginStart>,
) -> Result<Json<Ceremony>, Problem> {
    let (ceremony_id, options) = identity.start_sign_in()?;
    let options = serde_json::to_value(options).map_err(|error| Problem::internal(&error))?;
    Ok(Json(Ceremony { ceremony_id, options }))
}

/// The proof that the browser made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginFinish {
    /// From the start.
    pub ceremony_id: CeremonyId,
    /// What `navigator.credentials.get` gave, binary values as base64url.
    #[schema(value_type = Object)]
    pub credential: PublicKeyCredential,
}

/// A person who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedIn {
    /// The person.
    pub user: UserView,
    /// The record of the sign-in.
    pub receipt: Receipt,
}

/// Finishes a sign-in
///
/// Begins a new session; a session that the browser had before ends.
#[utoipa::path(
    post, path = "/auth/login/finish", tag = "auth", operation_id = "login_finish",
    request_body = LoginFinish,
    responses((status = 200, description = "The account; the session is in the cookie", body = LoggedIn), Problems),
    security(()),
)]
pub async fn login_finish(
    State(identity): State<Identity>,
    Extension(request_id): Extension<RequestId>,
    Extension(authentication): Extension<Authentication>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LoginFinish>,
) -> Result<Response, Problem> {
    let previous = match authentication {
        Authentication::Principal(Principal::User {
            user_id, session_id, ..
        }) => Some((user_id, session_id)),
        _ => None,
    };
    let signed_in = identity
        .finish_sign_in(request_id, &headers, body.ceremony_id, &body.credential, previous)
        .await?;
    let jar = CookieJar::new().add(signed_in.cookie);
    let view = LoggedIn {
        user: signed_in.user.into(),
        receipt: signed_in.receipt,
    };
    Ok((jar, Json(view)).into_response())
}
