//! A database's log for those who check it, as C2SP tlog-tiles 0.1 has it.
//!
//! | path below `/logs/<database>` | content |
//! |---|---|
//! | `/checkpoint` | the newest checkpoint, a signed note; where witnesses are asked, the newest that they cosigned |
//! | `/tile/<L>/<N>[.p/<W>]` | hashes of the Merkle tree |
//! | `/tile/entries/<N>[.p/<W>]` | the log's entries: the headers of its records |
//!
//! A record's header is the entry, because its hash is the tree's leaf; it says nothing of what the record holds but
//! its length and hash. Only what a checkpoint covers is shown. Nothing is shown without TLS and the name and password
//! of a user who may use the database; to anyone else a database looks like none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use craton_engine::{EngineError, Tenant};
use craton_proof::{TILE_HEIGHT, TILE_WIDTH, TileContent, TilePath, encode_entry_bundle};
use craton_types::Offset;
use craton_witness::FileCosigning;

use super::passwords::{Credentials, FAILURE_PERIOD, Verdict};
use crate::problem::Problem;
use crate::shared::Shared;

/// A checkpoint is replaced within seconds.
const MUTABLE: HeaderValue = HeaderValue::from_static("private, no-cache");
/// What a tile's path names never changes. It is for the one who had the password, so caches for many keep out.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// The database of the path, once the caller has shown to be allowed to see it.
pub(super) struct Readable(Tenant);

impl FromRequestParts<Arc<Shared>> for Readable {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Response> {
        let Path(path) = Path::<std::collections::HashMap<String, String>>::from_request_parts(parts, shared)
            .await
            .map_err(IntoResponse::into_response)?;
        let credentials = Credentials::of(&parts.headers).ok_or_else(unauthorized)?;
        let known = shared.engine.user(&credentials.user);
        let ConnectInfo(peer) = ConnectInfo::<SocketAddr>::from_request_parts(parts, shared)
            .await
            .map_err(IntoResponse::into_response)?;
        #[expect(clippy::disallowed_methods, reason = "the edge reads the clock")]
        let now = Instant::now();
        let passwords = &shared.passwords;
        let verdict = passwords.check(&shared.mock_verifiers, peer.ip(), credentials, known.as_ref(), now);
        match verdict.await {
            Verdict::Right => {}
            Verdict::Wrong => {
                shared.metrics.failed_logins_total.with_label_values(&["basic"]).inc();
                return Err(unauthorized());
            }
            Verdict::TooMany => return Err(too_many()),
        }
        let name = path.get("database").map(String::as_str).unwrap_or_default();
        let is_allowed =
            known.is_some_and(|user| user.databases.is_empty() || user.databases.iter().any(|own| own == name));
        let database = shared.engine.tenant(name).filter(|_| is_allowed);
        database.map(Self).ok_or_else(|| missing().into_response())
    }
}

fn unauthorized() -> Response {
    let detail = "the name and password of a database user are needed";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"craton\", charset=\"UTF-8\"")];
    (challenge, problem).into_response()
}

fn too_many() -> Response {
    let seconds = FAILURE_PERIOD.as_secs();
    let detail = format!("too many wrong passwords came from this address; wait {seconds} s");
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retryable();
    ([(header::RETRY_AFTER, seconds.to_string())], problem).into_response()
}

fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such resource")
}

/// `GET /logs/{database}/checkpoint`.
pub(super) async fn checkpoint(
    State(shared): State<Arc<Shared>>,
    Readable(database): Readable,
) -> Result<Response, Problem> {
    let is_witnessed = shared.witnesses.as_ref().is_some_and(FileCosigning::is_any);
    let checkpoint = read(move || match database.newest_cosigned_checkpoint()? {
        Some(cosigned) if is_witnessed => Ok(Some(cosigned)),
        _ => database.newest_checkpoint(),
    });
    let checkpoint = checkpoint.await?.ok_or_else(missing)?;
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, MUTABLE),
    ];
    Ok((headers, checkpoint.note).into_response())
}

/// `GET /logs/{database}/tile/…`.
pub(super) async fn tile(
    Readable(database): Readable,
    Path((_, path)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let tile: TilePath = format!("tile/{path}").parse().map_err(|_| missing())?;
    let is_covered = tile.size_min().is_some_and(|size| size <= database.checkpoint_size());
    if !is_covered {
        return Err(missing());
    }
    let bytes = read(move || tile_bytes(&database, tile)).await?;
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (header::CACHE_CONTROL, IMMUTABLE),
    ];
    Ok((headers, bytes).into_response())
}

fn tile_bytes(database: &Tenant, tile: TilePath) -> Result<Vec<u8>, EngineError> {
    let start = tile.index() * u64::from(TILE_WIDTH);
    match tile.content() {
        TileContent::Hashes(level) => {
            let end = start + u64::from(tile.width());
            let hashes = database.tree_hashes(level * TILE_HEIGHT, start..end)?;
            Ok(hashes.iter().flat_map(|hash| *hash.as_bytes()).collect())
        }
        TileContent::Entries => {
            let headers = database.record_headers(Offset::new(start), usize::from(tile.width()))?;
            let entries: Vec<_> = headers.iter().map(|header| header.encode()).collect();
            let bundle = encode_entry_bundle(entries.iter().map(<[u8; _]>::as_slice));
            Ok(bundle.expect("a header is shorter than the longest entry"))
        }
    }
}

/// Reads the log on a thread that may wait for the disk.
async fn read<T: Send + 'static>(read: impl FnOnce() -> Result<T, EngineError> + Send + 'static) -> Result<T, Problem> {
    let read = tokio::task::spawn_blocking(read).await;
    Ok(read.expect("reading a log does not panic")?)
}
