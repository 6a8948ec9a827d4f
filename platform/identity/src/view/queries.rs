//! Questions to the read model.

use std::fmt;
use std::str::FromStr;

use craton_platform_kernel::{
    Actor, ApiKeyId, EventId, Memberships, OrgId, PasskeyId, Position, RecordHash, RequestId, Role, SecretHash, UserId,
};
use craton_platform_sqlite::rusqlite::types::Type;
use craton_platform_sqlite::rusqlite::{self, Connection, OptionalExtension, Params, Row, params};
use craton_platform_sqlite::{ReadModel, ReadModelError};
use jiff::Timestamp;
use serde_json::Value;

/// A person.
#[derive(Clone, Debug)]
pub(crate) struct UserRow {
    pub(crate) id: UserId,
    pub(crate) display_name: String,
    pub(crate) email: String,
    pub(crate) created_at: Timestamp,
}

/// A passkey of a person.
#[derive(Clone, Debug)]
pub(crate) struct PasskeyRow {
    pub(crate) id: PasskeyId,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) last_used_at: Option<Timestamp>,
}

/// An organisation.
#[derive(Clone, Debug)]
pub(crate) struct OrganisationRow {
    pub(crate) id: OrgId,
    pub(crate) name: String,
    pub(crate) slug: String,
    pub(crate) created_at: Timestamp,
}

/// A member of an organisation.
#[derive(Clone, Debug)]
pub(crate) struct MemberRow {
    pub(crate) user_id: UserId,
    pub(crate) display_name: String,
    pub(crate) email: String,
    pub(crate) role: Role,
    pub(crate) joined_at: Timestamp,
}

/// An API key as lists show it.
#[derive(Clone, Debug)]
pub(crate) struct ApiKeyRow {
    pub(crate) id: ApiKeyId,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) created_by: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
}

/// An API key as authentication needs it.
#[derive(Clone, Debug)]
pub(crate) struct ApiKeyCredential {
    pub(crate) org_id: OrgId,
    pub(crate) role: Role,
    pub(crate) secret_hash: SecretHash,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Where an event is in an organisation's audit log: `<position>.<index>` as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AuditPlace {
    pub(crate) position: Position,
    pub(crate) index: u32,
}

impl fmt::Display for AuditPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.position, self.index)
    }
}

impl FromStr for AuditPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (position, index) = text.split_once('.').ok_or(())?;
        Ok(Self {
            position: position.parse().map_err(|_| ())?,
            index: index.parse().map_err(|_| ())?,
        })
    }
}

/// An event of an organisation.
#[derive(Clone, Debug)]
pub(crate) struct AuditEventRow {
    pub(crate) place: AuditPlace,
    pub(crate) id: EventId,
    pub(crate) event_type: String,
    pub(crate) record_hash: RecordHash,
    pub(crate) occurred_at: Timestamp,
    pub(crate) actor: Actor,
    pub(crate) actor_name: Option<String>,
    pub(crate) aggregate_kind: String,
    pub(crate) aggregate_id: String,
    pub(crate) request_id: RequestId,
    pub(crate) data: Value,
}

/// The read model with its questions. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct IdentityView(ReadModel);

impl IdentityView {
    pub(crate) fn new(model: ReadModel) -> Self {
        Self(model)
    }

    pub(crate) async fn user(&self, user_id: UserId) -> Result<Option<UserRow>, ReadModelError> {
        let query = "SELECT id, display_name, email, created_at FROM users WHERE id = ?1";
        self.one(query, [user_id.to_string()], user_row).await
    }

    pub(crate) async fn passkeys(&self, user_id: UserId) -> Result<Vec<PasskeyRow>, ReadModelError> {
        let query = "SELECT id, name, created_at, last_used_at FROM passkeys WHERE user_id = ?1 ORDER BY id";
        self.list(query, [user_id.to_string()], |row| {
            Ok(PasskeyRow {
                id: parsed(row, 0)?,
                name: row.get(1)?,
                created_at: parsed(row, 2)?,
                last_used_at: parsed_option(row, 3)?,
            })
        })
        .await
    }

    pub(crate) async fn knows_credential(&self, credential_id: Vec<u8>) -> Result<bool, ReadModelError> {
        let query = "SELECT EXISTS (SELECT 1 FROM passkeys WHERE credential_id = ?1)";
        self.0
            .read(move |view| view.query_row(query, params![credential_id], |row| row.get(0)))
            .await
    }

    pub(crate) async fn memberships(&self, user_id: UserId) -> Result<Memberships, ReadModelError> {
        let query = "SELECT org_id, role FROM members WHERE user_id = ?1";
        let list = self.list(query, [user_id.to_string()], |row| Ok((parsed(row, 0)?, role(row, 1)?)));
        Ok(list.await?.into_iter().collect())
    }

    pub(crate) async fn organisation(&self, org_id: OrgId) -> Result<Option<OrganisationRow>, ReadModelError> {
        let query = "SELECT id, name, slug, created_at FROM organisations WHERE id = ?1";
        self.one(query, [org_id.to_string()], organisation_row).await
    }

    pub(crate) async fn organisations(&self, ids: Vec<OrgId>) -> Result<Vec<OrganisationRow>, ReadModelError> {
        let query = "SELECT id, name, slug, created_at FROM organisations
                     WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id";
        let ids = serde_json::to_string(&ids).expect("identifiers are JSON");
        self.list(query, [ids], organisation_row).await
    }

    pub(crate) async fn members(
        &self,
        org_id: OrgId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<MemberRow>, ReadModelError> {
        let query = "SELECT user_id, display_name, email, role, joined_at FROM members JOIN users ON id = user_id
                     WHERE org_id = ?1 AND user_id > ?2 ORDER BY user_id LIMIT ?3";
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.list(query, (org_id.to_string(), after, limit), |row| {
            Ok(MemberRow {
                user_id: parsed(row, 0)?,
                display_name: row.get(1)?,
                email: row.get(2)?,
                role: role(row, 3)?,
                joined_at: parsed(row, 4)?,
            })
        })
        .await
    }

    pub(crate) async fn api_keys(
        &self,
        org_id: OrgId,
        after: Option<ApiKeyId>,
        limit: u32,
    ) -> Result<Vec<ApiKeyRow>, ReadModelError> {
        let query = "SELECT id, name, role, created_by, created_at, expires_at FROM api_keys
                     WHERE org_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.list(query, (org_id.to_string(), after, limit), |row| {
            Ok(ApiKeyRow {
                id: parsed(row, 0)?,
                name: row.get(1)?,
                role: role(row, 2)?,
                created_by: row.get(3)?,
                created_at: parsed(row, 4)?,
                expires_at: parsed_option(row, 5)?,
            })
        })
        .await
    }

    pub(crate) async fn api_key_count(&self, org_id: OrgId) -> Result<u32, ReadModelError> {
        let query = "SELECT count(*) FROM api_keys WHERE org_id = ?1";
        self.0
            .read(move |view| view.query_row(query, params![org_id.to_string()], |row| row.get(0)))
            .await
    }

    pub(crate) async fn api_key(&self, key_id: ApiKeyId) -> Result<Option<ApiKeyCredential>, ReadModelError> {
        let query = "SELECT org_id, role, secret_hash, expires_at FROM api_keys WHERE id = ?1";
        self.one(query, [key_id.to_string()], |row| {
            Ok(ApiKeyCredential {
                org_id: parsed(row, 0)?,
                role: role(row, 1)?,
                secret_hash: SecretHash::new(row.get(2)?),
                expires_at: parsed_option(row, 3)?,
            })
        })
        .await
    }

    /// Newest first.
    pub(crate) async fn audit_events(
        &self,
        org_id: OrgId,
        before: Option<AuditPlace>,
        limit: u32,
    ) -> Result<Vec<AuditEventRow>, ReadModelError> {
        let query =
            "SELECT position, event_index, audit_events.id, type, record_hash, occurred_at, actor, aggregate_kind,
                            aggregate_id, request_id, data, coalesce(users.display_name, api_keys.name)
                     FROM audit_events
                     LEFT JOIN users ON users.id = actor ->> 'id'
                     LEFT JOIN api_keys ON api_keys.id = actor ->> 'id'
                     WHERE audit_events.org_id = ?1 AND (position, event_index) < (?2, ?3)
                     ORDER BY position DESC, event_index DESC LIMIT ?4";
        let (position, index) = before.map_or((i64::MAX, 0), |place| (place.position.cast_signed(), place.index));
        self.list(query, (org_id.to_string(), position, index, limit), |row| {
            Ok(AuditEventRow {
                place: AuditPlace {
                    position: row.get::<_, i64>(0)?.cast_unsigned(),
                    index: row.get(1)?,
                },
                id: parsed(row, 2)?,
                event_type: row.get(3)?,
                record_hash: RecordHash(row.get(4)?),
                occurred_at: parsed(row, 5)?,
                actor: json(row, 6)?,
                aggregate_kind: row.get(7)?,
                aggregate_id: row.get(8)?,
                request_id: parsed(row, 9)?,
                data: json(row, 10)?,
                actor_name: row.get(11)?,
            })
        })
        .await
    }

    async fn one<T, P, F>(&self, query: &'static str, params: P, read: F) -> Result<Option<T>, ReadModelError>
    where
        T: Send + 'static,
        P: Params + Send + 'static,
        F: FnOnce(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.0
            .read(move |view| view.prepare_cached(query)?.query_row(params, read).optional())
            .await
    }

    async fn list<T, P, F>(&self, query: &'static str, params: P, read: F) -> Result<Vec<T>, ReadModelError>
    where
        T: Send + 'static,
        P: Params + Send + 'static,
        F: FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let work = move |view: &Connection| view.prepare_cached(query)?.query_map(params, read)?.collect();
        self.0.read(work).await
    }
}

fn user_row(row: &Row<'_>) -> rusqlite::Result<UserRow> {
    Ok(UserRow {
        id: parsed(row, 0)?,
        display_name: row.get(1)?,
        email: row.get(2)?,
        created_at: parsed(row, 3)?,
    })
}

fn organisation_row(row: &Row<'_>) -> rusqlite::Result<OrganisationRow> {
    Ok(OrganisationRow {
        id: parsed(row, 0)?,
        name: row.get(1)?,
        slug: row.get(2)?,
        created_at: parsed(row, 3)?,
    })
}

fn parsed<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(index)?;
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

fn parsed_option(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    let text: Option<String> = row.get(index)?;
    let parse = |text: String| text.parse();
    let conversion = |error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error));
    text.map(parse).transpose().map_err(conversion)
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    let conversion = |error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error));
    serde_json::from_str(&text).map_err(conversion)
}

/// Roles are stored in their JSON spelling, quotes included.
fn role(row: &Row<'_>, index: usize) -> rusqlite::Result<Role> {
    json(row, index)
}
