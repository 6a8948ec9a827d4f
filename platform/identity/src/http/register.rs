//! `/auth/register/*`: a new person with a first passkey.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use craton_platform_http::{JsonBody, Problem, Problems};
use craton_platform_kernel::{CeremonyId, Receipt, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use webauthn_rs::prelude::RegisterPublicKeyCredential;

use super::me::UserView;
use super::refusals::invalid_text;
use crate::identity::Identity;
use crate::text::{Email, Name};

/// Who is about to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterStart {
    /// What others see, 1 to 100 characters.
    pub display_name: String,
    /// Where the person can be reached.
    pub email: String,
}

/// A passkey ceremony that waits for the browser.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ceremony {
    /// To be sent with the credential.
    pub ceremony_id: CeremonyId,
    /// The options for `navigator.credentials`, binary values as base64url.
    #[schema(value_type = Object)]
    pub options: Value,
}

/// Begins a registration
///
/// Gives the options for `navigator.credentials.create`.
#[utoipa::path(
    post, path = "/auth/register/start", tag = "auth", operation_id = "register_start",
    request_body = RegisterStart,
    responses((status = 200, description = "Options for the browser", body = Ceremony), Problems),
    security(()),
)]
pub async fn register_start(
    State(identity): State<Identity>,
    JsonBody(body): JsonBody<RegisterStart>,
) -> Result<Json<Ceremony>, Problem> {
    let display_name = Name::parse(&body.display_name).map_err(invalid_text("/display_name"))?;
    let email = Email::parse(&body.email).map_err(invalid_text("/email"))?;
    let (ceremony_id, options) = identity.start_registration(display_name, email)?;
    let options = serde_json::to_value(options).map_err(|error| Problem::internal(&error))?;
    Ok(Json(Ceremony { ceremony_id, options }))
}

/// The passkey that the browser made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterFinish {
    /// From the start.
    pub ceremony_id: CeremonyId,
    /// What `navigator.credentials.create` gave, binary values as base64url.
    #[schema(value_type = Object)]
    pub credential: RegisterPublicKeyCredential,
    /// What the person calls the passkey; "Passkey" when absent.
    #[serde(default)]
    pub passkey_name: Option<String>,
}

/// A new account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Registered {
    /// The person.
    pub user: UserView,
    /// The record of the registration.
    pub receipt: Receipt,
}

/// Finishes a registration
///
/// Makes the account and signs its owner in with a session cookie.
#[utoipa::path(
    post, path = "/auth/register/finish", tag = "auth", operation_id = "register_finish",
    request_body = RegisterFinish,
    responses((status = 201, description = "The account; the session is in the cookie", body = Registered), Problems),
    security(()),
)]
pub async fn register_finish(
    State(identity): State<Identity>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RegisterFinish>,
) -> Result<Response, Problem> {
    let name = body.passkey_name.as_deref().unwrap_or("Passkey");
    let name = Name::parse(name).map_err(invalid_text("/passkey_name"))?;
    let signed_in = identity
        .finish_registration(request_id, &headers, body.ceremony_id, &body.credential, name)
        .await?;
    let jar = CookieJar::new().add(signed_in.cookie);
    let view = Registered {
        user: signed_in.user.into(),
        receipt: signed_in.receipt,
    };
    Ok((StatusCode::CREATED, jar, Json(view)).into_response())
}
