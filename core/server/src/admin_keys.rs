//! The keys in the administrative API: what they are, and their rotation while the server serves.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use craton_engine::{Commit, KeyEpochStatus, Tenant};
use craton_types::ActorId;
use serde::{Deserialize, Serialize};

use crate::master_key::{MasterKeyOpenError, MasterKeySource};
use crate::problem::Problem;
use crate::shared::Shared;

/// The routes.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/keys", get(keys))
        .route("/v1/keys/master", put(put_master_key))
        .route("/v1/databases/{name}/keys", get(database_keys))
        .route("/v1/databases/{name}/keys/rotate", post(rotate))
}

/// `GET /v1/keys`, and the answer to `PUT /v1/keys/master`.
#[derive(Serialize)]
struct Keys {
    /// Which master key the keyring is under, for people.
    master_key: String,
}

async fn keys(State(shared): State<Arc<Shared>>) -> Json<Keys> {
    Json(Keys {
        master_key: shared.engine.master_key_name(),
    })
}

/// `PUT /v1/keys/master`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutMasterKey {
    /// Where the new master key is: `file:PATH`, `env:VARIABLE` or `vault:KEY`, as this process sees it.
    source: String,
}

/// Puts the keyring under another master key. The next start has to be given that key.
async fn put_master_key(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<PutMasterKey>, JsonRejection>,
) -> Result<Json<Keys>, Problem> {
    let Json(body) = body?;
    let source: MasterKeySource = body
        .source
        .parse()
        .map_err(|error| Problem::validation(format!("source: {error}")))?;
    let unusable = |error: MasterKeyOpenError| Problem::validation(format!("source: {error}"));
    let master_key = source.open(shared.vault.as_ref()).map_err(unusable)?;
    shared.engine.rotate_master_key(master_key, ActorId::NIL).await?;
    let master_key = shared.engine.master_key_name();
    tracing::info!(%source, master_key, "the keyring is under another master key");
    Ok(Json(Keys { master_key }))
}

/// `GET /v1/databases/{name}/keys`.
#[derive(Serialize)]
struct DatabaseKeys {
    epochs: Vec<KeyEpoch>,
}

/// A key epoch as the API shows it.
#[derive(Serialize)]
struct KeyEpoch {
    epoch: u32,
    data_key: u32,
    /// The position of its first record.
    position: u64,
    active: bool,
}

impl From<KeyEpochStatus> for KeyEpoch {
    fn from(status: KeyEpochStatus) -> Self {
        Self {
            epoch: status.epoch.get(),
            data_key: status.data_key.get(),
            position: status.offset.get(),
            active: status.active,
        }
    }
}

async fn database_keys(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Json<DatabaseKeys>, Problem> {
    let epochs = database(&shared, &name)?.key_epochs()?;
    Ok(Json(DatabaseKeys {
        epochs: epochs.into_iter().map(KeyEpoch::from).collect(),
    }))
}

/// `POST /v1/databases/{name}/keys/rotate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    key: RotatedKey,
}

/// Which of a database's keys is to be replaced.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RotatedKey {
    /// The key that new records are encrypted under.
    Data,
    /// The key that wraps the data keys.
    KeyEncryption,
}

/// A rotation's record.
#[derive(Serialize)]
struct Rotated {
    position: u64,
}

async fn rotate(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Result<Json<Rotate>, JsonRejection>,
) -> Result<Json<Rotated>, Problem> {
    let Json(Rotate { key }) = body?;
    let database = database(&shared, &name)?;
    let Commit { offset, .. } = match key {
        RotatedKey::Data => database.rotate_data_key(ActorId::NIL).await?,
        RotatedKey::KeyEncryption => database.rotate_key_encryption_key(ActorId::NIL).await?,
    };
    tracing::info!(database = name, ?key, position = offset.get(), "key rotated");
    Ok(Json(Rotated { position: offset.get() }))
}

fn database(shared: &Shared, name: &str) -> Result<Tenant, Problem> {
    shared
        .engine
        .tenant(name)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such database"))
}
