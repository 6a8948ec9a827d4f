//! Who is asking: a bearer token or a session cookie, looked up afresh for every request.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use craton_platform_http::{Authentication, Problem};
use craton_platform_kernel::{ApiKeyId, Principal, SecretToken, StoreError, TokenKind};
use jiff::SignedDuration;

use crate::identity::Identity;
use crate::sessions::CookieState;

/// How often the use of a key is recorded.
const USE_MINUTES: i64 = 5;

/// Middleware: puts the [`Authentication`] into the request. Routes decide whether they need it.
pub async fn authenticate(State(identity): State<Identity>, mut request: Request, next: Next) -> Response {
    let authentication = of_headers(&identity, request.headers()).await;
    request.extensions_mut().insert(authentication);
    next.run(request).await
}

async fn of_headers(identity: &Identity, headers: &HeaderMap) -> Authentication {
    let outcome = match headers.get(header::AUTHORIZATION) {
        Some(value) => of_token(identity, value).await.map(Some),
        None => of_cookie(identity, headers).await,
    };
    match outcome {
        Ok(Some(principal)) => Authentication::Principal(principal),
        Ok(None) => Authentication::Anonymous,
        Err(problem) => Authentication::Refused(problem),
    }
}

async fn of_cookie(identity: &Identity, headers: &HeaderMap) -> Result<Option<Principal>, Problem> {
    let session = match identity.sessions().find(headers).await? {
        CookieState::Absent => return Ok(None),
        CookieState::Ended => return Err(Problem::session_expired()),
        CookieState::Live(session) => session,
    };
    let memberships = identity
        .view()
        .memberships(session.user_id)
        .await
        .map_err(StoreError::from)?;
    Ok(Some(Principal::User {
        user_id: session.user_id,
        session_id: session.id,
        memberships,
    }))
}

async fn of_token(identity: &Identity, value: &HeaderValue) -> Result<Principal, Problem> {
    let text = value
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("Bearer "))
        .ok_or_else(invalid)?;
    if let Ok(token) = SecretToken::parse(TokenKind::Operator, text) {
        return identity.operator_key().principal(&token).ok_or_else(invalid);
    }
    let token = SecretToken::parse(TokenKind::Live, text).map_err(|_| invalid())?;
    let key_id = ApiKeyId::from_uuid(token.id()).ok_or_else(invalid)?;
    let key = identity.view().api_key(key_id).await.map_err(StoreError::from)?;
    let key = key.filter(|key| key.secret_hash == token.hash()).ok_or_else(invalid)?;
    let now = identity.environment().now();
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(unauthorized(
            "api_key_expired",
            "API key expired",
            "This API key has expired. Make a new one.",
        ));
    }
    record_use(identity, key_id).await?;
    Ok(Principal::ApiKey {
        key_id,
        org_id: key.org_id,
        role: key.role,
    })
}

async fn record_use(identity: &Identity, key_id: ApiKeyId) -> Result<(), Problem> {
    let (uses, now) = (identity.credential_use(), identity.environment().now());
    let credential_id = key_id.to_string();
    let last = uses.last_used(&credential_id).await?;
    if last.is_none_or(|last| now.duration_since(last) >= SignedDuration::from_mins(USE_MINUTES)) {
        uses.record_use(&credential_id, now).await?;
    }
    Ok(())
}

fn invalid() -> Problem {
    unauthorized(
        "invalid_api_key",
        "Invalid API key",
        "The bearer token is no API key that is in force.",
    )
}

fn unauthorized(code: &'static str, title: &'static str, detail: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, title, detail)
}
