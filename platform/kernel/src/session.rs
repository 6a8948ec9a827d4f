//! Browser sessions and the use of credentials: state that is not history.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{SecretHash, SessionId, StoreError, UserId};

/// A browser session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its public name.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The hash of the cookie's secret.
    pub token_hash: SecretHash,
    /// When the person signed in.
    pub created_at: Timestamp,
    /// When the cookie was last seen, to the resolution at which it is recorded.
    pub last_seen_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
    /// The browser's own description.
    pub user_agent: String,
}

/// Keeps browser sessions. A removed session is gone at once.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Adds a session.
    ///
    /// # Errors
    /// When the store fails.
    async fn insert(&self, session: SessionRecord) -> Result<(), StoreError>;

    /// Finds the session of a cookie.
    ///
    /// # Errors
    /// When the store fails.
    async fn find(&self, token_hash: &SecretHash) -> Result<Option<SessionRecord>, StoreError>;

    /// Records that the cookie was seen.
    ///
    /// # Errors
    /// When the store fails.
    async fn touch(&self, token_hash: &SecretHash, seen_at: Timestamp) -> Result<(), StoreError>;

    /// Removes a session; `false` when there is none of that user.
    ///
    /// # Errors
    /// When the store fails.
    async fn remove(&self, user_id: UserId, id: SessionId) -> Result<bool, StoreError>;

    /// All sessions of a user, newest first, also expired ones.
    ///
    /// # Errors
    /// When the store fails.
    async fn list(&self, user_id: UserId) -> Result<Vec<SessionRecord>, StoreError>;

    /// Removes every session whose absolute end has passed or that was last seen before `idle_since`.
    ///
    /// # Errors
    /// When the store fails.
    async fn remove_expired(&self, now: Timestamp, idle_since: Timestamp) -> Result<(), StoreError>;
}

/// Remembers when a credential was last used.
#[async_trait]
pub trait CredentialUse: Send + Sync {
    /// Records a use.
    ///
    /// # Errors
    /// When the store fails.
    async fn record_use(&self, credential_id: &str, used_at: Timestamp) -> Result<(), StoreError>;

    /// The last recorded use.
    ///
    /// # Errors
    /// When the store fails.
    async fn last_used(&self, credential_id: &str) -> Result<Option<Timestamp>, StoreError>;
}
