//! Folds the events of identities, and of every organisation's audit log, into SQLite.

use craton_platform_kernel::{Aggregate, EventEnvelope, Projection, ProjectionError, WITHHELD_FIELDS, decode_event};
use craton_platform_sqlite::SqliteProjection;
use craton_platform_sqlite::rusqlite::{Connection, params};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api_key::{self, ApiKey};
use crate::organisation::{self, Organisation};
use crate::user::{self, User};

/// The version of `schema.sql` and of the folding below.
const VERSION: u32 = 1;

/// The projection of identities.
#[derive(Clone, Copy, Debug)]
pub struct IdentityProjection;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

impl Projection for IdentityProjection {
    type View = Connection;

    fn name(&self) -> &'static str {
        "identity"
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn apply(&self, view: &Connection, event: &EventEnvelope) -> Result<(), ProjectionError> {
        let folded = match event.stream.aggregate() {
            User::KIND => fold(event, |body| apply_user(view, event, body)),
            Organisation::KIND => fold(event, |body| apply_organisation(view, event, body)),
            ApiKey::KIND => fold(event, |body| apply_api_key(view, event, body)),
            _ => Ok(()),
        };
        folded
            .and_then(|()| apply_audit(view, event))
            .map_err(|source| ProjectionError {
                projection: "identity",
                position: event.position,
                source,
            })
    }
}

impl SqliteProjection for IdentityProjection {
    fn schema(&self) -> &'static str {
        include_str!("schema.sql")
    }
}

fn fold<E: DeserializeOwned>(event: &EventEnvelope, apply: impl FnOnce(E) -> Outcome) -> Outcome {
    apply(decode_event(&event.event.event_type, &event.event.data)?)
}

fn apply_user(view: &Connection, envelope: &EventEnvelope, event: user::Event) -> Outcome {
    let time = envelope.event.occurred_at.to_string();
    match event {
        user::Event::Registered {
            user_id,
            display_name,
            email,
        } => view.execute(
            "INSERT INTO users VALUES (?1, ?2, ?3, ?4)",
            params![user_id.to_string(), display_name.as_str(), email.as_str(), time],
        ),
        user::Event::PasskeyAdded {
            user_id,
            passkey_id,
            name,
            passkey,
        } => view.execute(
            "INSERT INTO passkeys VALUES (?1, ?2, ?3, ?4, ?5, NULL)",
            params![
                passkey_id.to_string(),
                user_id.to_string(),
                AsRef::<[u8]>::as_ref(passkey.cred_id()),
                name.as_str(),
                time
            ],
        ),
        user::Event::SignedIn { passkey_id, .. } => view.execute(
            "UPDATE passkeys SET last_used_at = ?2 WHERE id = ?1",
            params![passkey_id.to_string(), time],
        ),
        user::Event::SessionEnded { .. } => Ok(0),
    }?;
    Ok(())
}

fn apply_organisation(view: &Connection, envelope: &EventEnvelope, event: organisation::Event) -> Outcome {
    let time = envelope.event.occurred_at.to_string();
    let org = envelope.org().map(|org| org.to_string());
    match event {
        organisation::Event::Created { org_id, name, slug } => view.execute(
            "INSERT INTO organisations VALUES (?1, ?2, ?3, ?4)",
            params![org_id.to_string(), name.as_str(), slug, time],
        ),
        organisation::Event::MemberAdded { user_id, role } => view.execute(
            "INSERT INTO members VALUES (?1, ?2, ?3, ?4)",
            params![org, user_id.to_string(), serde_json::to_string(&role)?, time],
        ),
        organisation::Event::MemberRoleChanged { user_id, role } => view.execute(
            "UPDATE members SET role = ?3 WHERE org_id = ?1 AND user_id = ?2",
            params![org, user_id.to_string(), serde_json::to_string(&role)?],
        ),
        organisation::Event::MemberRemoved { user_id } => view.execute(
            "DELETE FROM members WHERE org_id = ?1 AND user_id = ?2",
            params![org, user_id.to_string()],
        ),
    }?;
    Ok(())
}

fn apply_api_key(view: &Connection, envelope: &EventEnvelope, event: api_key::Event) -> Outcome {
    match event {
        api_key::Event::Created {
            key_id,
            name,
            role,
            secret_hash,
            created_by,
            expires_at,
        } => view.execute(
            "INSERT INTO api_keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                key_id.to_string(),
                envelope.org().map(|org| org.to_string()),
                name.as_str(),
                serde_json::to_string(&role)?,
                secret_hash.as_bytes(),
                created_by.id,
                envelope.event.occurred_at.to_string(),
                expires_at.map(|time| time.to_string()),
            ],
        ),
        api_key::Event::Revoked { key_id } => {
            view.execute("DELETE FROM api_keys WHERE id = ?1", params![key_id.to_string()])
        }
    }?;
    Ok(())
}

fn apply_audit(view: &Connection, envelope: &EventEnvelope) -> Outcome {
    let Some(org) = envelope.org() else { return Ok(()) };
    let mut data = envelope.event.data.clone();
    hide(&mut data);
    view.execute(
        "INSERT INTO audit_events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            org.to_string(),
            envelope.position.cast_signed(),
            envelope.index,
            envelope.event.id.to_string(),
            envelope.event.event_type,
            envelope.record_hash.0,
            envelope.event.occurred_at.to_string(),
            serde_json::to_string(&envelope.event.actor)?,
            envelope.stream.aggregate(),
            envelope.stream.id(),
            envelope.event.correlation_id.to_string(),
            data.to_string(),
        ],
    )?;
    Ok(())
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !WITHHELD_FIELDS.contains(&name.as_str()));
            fields.values_mut().for_each(hide);
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}
