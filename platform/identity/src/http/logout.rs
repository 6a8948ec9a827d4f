//! `/auth/logout`: the end of the session.

use axum::extract::State;
use axum::http::StatusCode;
use axum_extra::extract::CookieJar;
use craton_platform_http::{Authenticated, Problem, Problems};

use crate::identity::Identity;

/// Signs out
///
/// Ends the session at once and takes the cookie away.
#[utoipa::path(
    post, path = "/auth/logout", tag = "auth", operation_id = "logout",
    responses((status = 204, description = "Signed out"), Problems),
    security(("session" = [])),
)]
pub async fn logout(
    State(identity): State<Identity>,
    authenticated: Authenticated,
) -> Result<(StatusCode, CookieJar), Problem> {
    let (user_id, session_id) = authenticated.require_user()?;
    identity
        .end_session(user_id, session_id, &authenticated.context())
        .await?;
    Ok((
        StatusCode::NO_CONTENT,
        CookieJar::new().add(identity.sessions().removal()),
    ))
}
