//! Browser sessions in a table. A deleted row is a revoked session, at once.

use async_trait::async_trait;
use craton_platform_kernel::{SecretHash, SessionId, SessionRecord, SessionStore, StoreError, UserId};
use craton_types::{Row, Value};
use jiff::Timestamp;

use crate::table::{self, Table, read_time, text, unexpected};

pub(crate) const CREATE: &str = "CREATE TABLE IF NOT EXISTS sessions (
    token_hash bytea PRIMARY KEY,
    id text NOT NULL,
    user_id text NOT NULL,
    created_at bigint NOT NULL,
    last_seen_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    user_agent text NOT NULL
)";

const COLUMNS: &str = "token_hash, id, user_id, created_at, last_seen_at, expires_at, user_agent";

/// Sessions on the engine.
pub(crate) struct EngineSessionStore(Table);

impl EngineSessionStore {
    pub(crate) fn new(table: Table) -> Self {
        Self(table)
    }
}

fn hash(hash: &SecretHash) -> Value {
    Value::Bytes(hash.as_bytes().to_vec())
}

fn read(row: &Row) -> Result<SessionRecord, StoreError> {
    let token_hash = match &row[0] {
        Value::Bytes(bytes) => bytes.as_slice().try_into().map_err(|_| unexpected(&row[0]))?,
        other => return Err(unexpected(other)),
    };
    Ok(SessionRecord {
        token_hash: SecretHash::new(token_hash),
        id: text(&row[1])?.parse().map_err(|_| unexpected(&row[1]))?,
        user_id: text(&row[2])?.parse().map_err(|_| unexpected(&row[2]))?,
        created_at: read_time(&row[3])?,
        last_seen_at: read_time(&row[4])?,
        expires_at: read_time(&row[5])?,
        user_agent: text(&row[6])?.to_owned(),
    })
}

#[async_trait]
impl SessionStore for EngineSessionStore {
    async fn insert(&self, session: SessionRecord) -> Result<(), StoreError> {
        let insert = "INSERT INTO sessions VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let parameters = [
            hash(&session.token_hash),
            Value::Text(session.id.to_string()),
            Value::Text(session.user_id.to_string()),
            table::time(session.created_at),
            table::time(session.last_seen_at),
            table::time(session.expires_at),
            Value::Text(session.user_agent),
        ];
        self.0.run(insert, &parameters).await.map(|_| ())
    }

    async fn find(&self, token_hash: &SecretHash) -> Result<Option<SessionRecord>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM sessions WHERE token_hash = $1");
        let answer = self.0.run(&query, &[hash(token_hash)]).await?;
        answer.rows.first().map(read).transpose()
    }

    async fn touch(&self, token_hash: &SecretHash, seen_at: Timestamp) -> Result<(), StoreError> {
        let update = "UPDATE sessions SET last_seen_at = $2 WHERE token_hash = $1";
        self.0
            .run(update, &[hash(token_hash), table::time(seen_at)])
            .await
            .map(|_| ())
    }

    async fn remove(&self, user_id: UserId, id: SessionId) -> Result<bool, StoreError> {
        let delete = "DELETE FROM sessions WHERE id = $1 AND user_id = $2";
        let parameters = [Value::Text(id.to_string()), Value::Text(user_id.to_string())];
        Ok(self.0.run(delete, &parameters).await?.count > 0)
    }

    async fn list(&self, user_id: UserId) -> Result<Vec<SessionRecord>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM sessions WHERE user_id = $1 ORDER BY created_at DESC, id DESC");
        let answer = self.0.run(&query, &[Value::Text(user_id.to_string())]).await?;
        answer.rows.iter().map(read).collect()
    }

    async fn remove_expired(&self, now: Timestamp, idle_since: Timestamp) -> Result<(), StoreError> {
        let delete = "DELETE FROM sessions WHERE expires_at <= $1 OR last_seen_at < $2";
        self.0
            .run(delete, &[table::time(now), table::time(idle_since)])
            .await
            .map(|_| ())
    }
}
