//! `/api/v1/me`: the person who is signed in, their passkeys and their sessions.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use craton_platform_http::{Authenticated, Page, PathParams, Problem, Problems};
use craton_platform_kernel::{OrgId, PasskeyId, Role, SessionId, StoreError, UserId};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::refusals::view_lags;
use crate::identity::Identity;
use crate::view::UserRow;

/// A person.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserView {
    /// The person's id.
    pub id: UserId,
    /// What others see.
    pub display_name: String,
    /// Where the person can be reached.
    pub email: String,
    /// When the account was made.
    pub created_at: Timestamp,
}

impl From<UserRow> for UserView {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            display_name: row.display_name,
            email: row.email,
            created_at: row.created_at,
        }
    }
}

/// An organisation of a person, with the person's role.
#[derive(Debug, Serialize, ToSchema)]
pub struct Membership {
    /// The organisation.
    pub id: OrgId,
    /// Its name.
    pub name: String,
    /// Its short name for addresses.
    pub slug: String,
    /// The person's role there.
    pub role: Role,
}

/// The person who is asking.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The person.
    pub user: UserView,
    /// Their organisations.
    pub organisations: Vec<Membership>,
}

/// Who am I
#[utoipa::path(
    get, path = "/api/v1/me", tag = "me", operation_id = "get_me",
    responses((status = 200, description = "The person and their organisations", body = Me), Problems),
    security(("session" = [])),
)]
pub async fn get_me(State(identity): State<Identity>, authenticated: Authenticated) -> Result<Json<Me>, Problem> {
    let (user_id, _) = authenticated.require_user()?;
    let view = identity.view();
    let user = view
        .user(user_id)
        .await
        .map_err(StoreError::from)?
        .ok_or_else(view_lags)?;
    let memberships = view.memberships(user_id).await.map_err(StoreError::from)?;
    let rows = view
        .organisations(memberships.keys().copied().collect())
        .await
        .map_err(StoreError::from)?;
    let organisations = rows.into_iter().map(|row| Membership {
        id: row.id,
        name: row.name,
        slug: row.slug,
        role: memberships[&row.id],
    });
    Ok(Json(Me {
        user: user.into(),
        organisations: organisations.collect(),
    }))
}

/// A passkey.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Passkey)]
pub struct PasskeyView {
    /// The passkey's id.
    pub id: PasskeyId,
    /// What the person calls it.
    pub name: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it last signed in; null when it never did since it was added.
    #[schema(required)]
    pub last_used_at: Option<Timestamp>,
}

/// Lists my passkeys
#[utoipa::path(
    get, path = "/api/v1/me/passkeys", tag = "me", operation_id = "list_my_passkeys",
    responses((status = 200, description = "The passkeys, oldest first", body = Page<PasskeyView>), Problems),
    security(("session" = [])),
)]
pub async fn list_my_passkeys(
    State(identity): State<Identity>,
    authenticated: Authenticated,
) -> Result<Json<Page<PasskeyView>>, Problem> {
    let (user_id, _) = authenticated.require_user()?;
    let rows = identity.view().passkeys(user_id).await.map_err(StoreError::from)?;
    let views = rows.into_iter().map(|row| PasskeyView {
        id: row.id,
        name: row.name,
        created_at: row.created_at,
        last_used_at: row.last_used_at,
    });
    Ok(Json(Page::whole(views.collect())))
}

/// A browser session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    /// The session's id.
    pub id: SessionId,
    /// When the person signed in.
    pub created_at: Timestamp,
    /// When it was last used, to five minutes.
    pub last_seen_at: Timestamp,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
    /// The browser's own description.
    pub user_agent: String,
    /// Whether this request came with it.
    pub current: bool,
}

/// Lists my sessions
#[utoipa::path(
    get, path = "/api/v1/me/sessions", tag = "me", operation_id = "list_my_sessions",
    responses((status = 200, description = "The live sessions, newest first", body = Page<SessionView>), Problems),
    security(("session" = [])),
)]
pub async fn list_my_sessions(
    State(identity): State<Identity>,
    authenticated: Authenticated,
) -> Result<Json<Page<SessionView>>, Problem> {
    let (user_id, current) = authenticated.require_user()?;
    let sessions = identity.sessions().list(user_id).await?;
    let views = sessions.into_iter().map(|session| SessionView {
        id: session.id,
        created_at: session.created_at,
        last_seen_at: session.last_seen_at,
        expires_at: session.expires_at,
        user_agent: session.user_agent,
        current: session.id == current,
    });
    Ok(Json(Page::whole(views.collect())))
}

/// Revokes one of my sessions
///
/// The session ends at once.
#[utoipa::path(
    delete, path = "/api/v1/me/sessions/{session}", tag = "me", operation_id = "revoke_my_session",
    params(("session" = SessionId, Path, description = "The session")),
    responses((status = 204, description = "The session has ended"), Problems),
    security(("session" = [])),
)]
pub async fn revoke_my_session(
    State(identity): State<Identity>,
    authenticated: Authenticated,
    PathParams(session_id): PathParams<SessionId>,
) -> Result<StatusCode, Problem> {
    let (user_id, _) = authenticated.require_user()?;
    identity
        .end_session(user_id, session_id, &authenticated.context())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
