//! Browser sessions: an opaque cookie whose hash finds the session.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use craton_platform_http::PublicUrl;
use craton_platform_kernel::{Environment, SecretHash, SessionId, SessionRecord, SessionStore, StoreError, UserId};
use jiff::{SignedDuration, Timestamp};

/// How long a session lasts, used or not.
pub const SESSION_ABSOLUTE_HOURS: i64 = 7 * 24;
/// How long a session lasts unused.
pub const SESSION_IDLE_HOURS: i64 = 24;
/// How often the use of a session is recorded.
const TOUCH_MINUTES: i64 = 5;
/// How much of a browser's description is kept.
const USER_AGENT_CHARS_MAX: usize = 200;

/// Makes, finds and ends sessions.
pub(crate) struct Sessions {
    store: Arc<dyn SessionStore>,
    environment: Environment,
    cookie_name: &'static str,
    secure: bool,
}

/// What a cookie turned out to be.
pub(crate) enum CookieState {
    /// There is none.
    Absent,
    /// It names no live session.
    Ended,
    /// It names this session.
    Live(SessionRecord),
}

impl Sessions {
    pub(crate) fn new(store: Arc<dyn SessionStore>, environment: Environment, public_url: &PublicUrl) -> Self {
        let secure = public_url.is_https();
        // The prefix makes browsers insist on Secure, no Domain and path / (RFC 6265bis, section 4.1.3.2).
        let cookie_name = if secure {
            "__Host-craton_session"
        } else {
            "craton_session"
        };
        Self {
            store,
            environment,
            cookie_name,
            secure,
        }
    }

    /// Begins a session and gives the cookie that carries it.
    pub(crate) async fn begin(
        &self,
        id: SessionId,
        user_id: UserId,
        headers: &HeaderMap,
    ) -> Result<Cookie<'static>, StoreError> {
        let secret = URL_SAFE_NO_PAD.encode(self.environment.random_bytes::<32>());
        let now = self.environment.now();
        let user_agent = headers.get("user-agent").and_then(|value| value.to_str().ok());
        let user_agent = user_agent
            .unwrap_or_default()
            .chars()
            .take(USER_AGENT_CHARS_MAX)
            .collect();
        let session = SessionRecord {
            id,
            user_id,
            token_hash: SecretHash::of(secret.as_bytes()),
            created_at: now,
            last_seen_at: now,
            expires_at: now + SignedDuration::from_hours(SESSION_ABSOLUTE_HOURS),
            user_agent,
        };
        self.store.insert(session).await?;
        let mut cookie = self.cookie(secret);
        cookie.set_max_age(cookie::time::Duration::hours(SESSION_ABSOLUTE_HOURS));
        Ok(cookie)
    }

    /// The cookie that takes the browser's away.
    pub(crate) fn removal(&self) -> Cookie<'static> {
        let mut cookie = self.cookie(String::new());
        cookie.make_removal();
        cookie
    }

    /// Finds the session of a request, and records that it was seen.
    pub(crate) async fn find(&self, headers: &HeaderMap) -> Result<CookieState, StoreError> {
        let jar = CookieJar::from_headers(headers);
        let Some(cookie) = jar.get(self.cookie_name) else {
            return Ok(CookieState::Absent);
        };
        let hash = SecretHash::of(cookie.value().as_bytes());
        let now = self.environment.now();
        let Some(session) = self.store.find(&hash).await? else {
            return Ok(CookieState::Ended);
        };
        if !is_live(&session, now) {
            self.store.remove(session.user_id, session.id).await?;
            return Ok(CookieState::Ended);
        }
        if now.duration_since(session.last_seen_at) >= SignedDuration::from_mins(TOUCH_MINUTES) {
            self.store.touch(&hash, now).await?;
        }
        Ok(CookieState::Live(session))
    }

    /// Ends a session; `false` when the user has none of that id.
    pub(crate) async fn end(&self, user_id: UserId, id: SessionId) -> Result<bool, StoreError> {
        self.store.remove(user_id, id).await
    }

    /// The live sessions of a user, newest first.
    pub(crate) async fn list(&self, user_id: UserId) -> Result<Vec<SessionRecord>, StoreError> {
        let now = self.environment.now();
        let mut sessions = self.store.list(user_id).await?;
        sessions.retain(|session| is_live(session, now));
        Ok(sessions)
    }

    /// Removes what has ended.
    pub(crate) async fn remove_expired(&self) -> Result<(), StoreError> {
        let now = self.environment.now();
        let idle_since = now - SignedDuration::from_hours(SESSION_IDLE_HOURS);
        self.store.remove_expired(now, idle_since).await
    }

    fn cookie(&self, value: String) -> Cookie<'static> {
        Cookie::build((self.cookie_name, value))
            .http_only(true)
            .path("/")
            .same_site(SameSite::Lax)
            .secure(self.secure)
            .build()
    }
}

fn is_live(session: &SessionRecord, now: Timestamp) -> bool {
    let idle = now.duration_since(session.last_seen_at);
    now < session.expires_at && idle < SignedDuration::from_hours(SESSION_IDLE_HOURS)
}
