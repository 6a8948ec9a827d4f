//! `Idempotency-Key`: a POST that is sent again is answered again, not done again.
//!
//! The key is scoped to principal and route. While the first request runs, a second one gets 409; the same key
//! with another body gets 422. Answers are kept in memory for a day; a restart forgets them, after which names
//! and identifiers still keep most repetitions out. Secrets are not kept: a route marks them with [`ShownOnce`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use craton_platform_kernel::{Environment, Principal, RequestId};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::body::read_body;
use crate::{Authentication, Problem, within_request};

/// How long an answer is kept.
pub const IDEMPOTENCY_HOURS: i64 = 24;
/// The most answers kept; the oldest is forgotten first.
pub const IDEMPOTENCY_ENTRIES_MAX: usize = 4096;
/// The largest answer kept in bytes; larger ones are not replayed.
pub const IDEMPOTENCY_RESPONSE_BYTES_MAX: usize = 32 * 1024;
/// The longest key in bytes.
const KEY_BYTES_MAX: usize = 255;

const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A response extension: JSON pointers of fields that are shown in the first answer and null in a replay.
#[derive(Clone, Copy, Debug)]
pub struct ShownOnce(pub &'static [&'static str]);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Scope([u8; 32]);

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

enum Progress {
    Running,
    Answered(Arc<Answer>),
}

struct Entry {
    body_hash: [u8; 32],
    started_at: Timestamp,
    number: u64,
    progress: Progress,
}

#[derive(Default)]
struct Entries {
    by_scope: HashMap<Scope, Entry>,
    by_age: BTreeMap<u64, Scope>,
    next_number: u64,
}

/// The answers given to requests with a key. Cheap to clone.
#[derive(Clone)]
pub struct IdempotencyStore {
    environment: Environment,
    entries: Arc<Mutex<Entries>>,
}

enum Begun {
    First(u64),
    Replay(Arc<Answer>),
}

impl IdempotencyStore {
    /// An empty store.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        let entries = Arc::default();
        Self { environment, entries }
    }

    fn begin(&self, scope: &Scope, body_hash: [u8; 32]) -> Result<Begun, Problem> {
        let now = self.environment.now();
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.by_scope.get(scope) {
            if now.duration_since(entry.started_at) < SignedDuration::from_hours(IDEMPOTENCY_HOURS) {
                return match &entry.progress {
                    _ if entry.body_hash != body_hash => Err(Problem::new(
                        StatusCode::UNPROCESSABLE_ENTITY,
                        "idempotency_key_reused",
                        "Idempotency key reused",
                        "This Idempotency-Key was used with another body. Use a new key for a new request.",
                    )),
                    Progress::Running => Err(Problem::conflict(
                        "idempotency_key_in_flight",
                        "The first request with this Idempotency-Key is still running.",
                    )
                    .retry_after(1)),
                    Progress::Answered(answer) => Ok(Begun::Replay(answer.clone())),
                };
            }
            let number = entry.number;
            entries.remove(number);
        }
        while entries.by_scope.len() >= IDEMPOTENCY_ENTRIES_MAX {
            let (oldest, _) = entries.by_age.first_key_value().expect("as many ages as entries");
            let oldest = *oldest;
            entries.remove(oldest);
        }
        let number = entries.next_number;
        entries.next_number += 1;
        entries.by_age.insert(number, scope.clone());
        let entry = Entry {
            body_hash,
            started_at: now,
            number,
            progress: Progress::Running,
        };
        entries.by_scope.insert(scope.clone(), entry);
        Ok(Begun::First(number))
    }

    /// Keeps an answer, or forgets the key when there is none to keep.
    fn finish(&self, number: u64, answer: Option<Answer>) {
        let mut entries = self.entries.lock();
        let Some(scope) = entries.by_age.get(&number).cloned() else {
            return;
        };
        match answer {
            Some(answer) => {
                if let Some(entry) = entries.by_scope.get_mut(&scope) {
                    entry.progress = Progress::Answered(Arc::new(answer));
                }
            }
            None => entries.remove(number),
        }
    }
}

impl Entries {
    fn remove(&mut self, number: u64) {
        if let Some(scope) = self.by_age.remove(&number) {
            self.by_scope.remove(&scope);
        }
    }
}

/// Middleware: honours `Idempotency-Key` on POST requests of authenticated principals.
pub async fn idempotency(State(store): State<IdempotencyStore>, request: Request, next: Next) -> Response {
    let principal = match request.extensions().get::<Authentication>() {
        Some(Authentication::Principal(principal)) if *request.method() == Method::POST => principal.clone(),
        _ => return next.run(request).await,
    };
    let Some(key) = request.headers().get(KEY_HEADER).cloned() else {
        return next.run(request).await;
    };
    run_once(store, &principal, &key, request, next)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn run_once(
    store: IdempotencyStore,
    principal: &Principal,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) || key.to_str().is_err() {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_idempotency_key",
            "Invalid Idempotency-Key",
            format!("An Idempotency-Key is 1 to {KEY_BYTES_MAX} printable ASCII characters."),
        ));
    }
    let request_id = *request
        .extensions()
        .get::<RequestId>()
        .expect("the router gives every request its id");
    let scope = scope(principal, &request, key);
    let (parts, body) = request.into_parts();
    let body = read_body(body).await?;
    let number = match store.begin(&scope, Sha256::digest(&body).into())? {
        Begun::Replay(answer) => return Ok(replay(&answer)),
        Begun::First(number) => number,
    };
    // A task of its own: the work and its record are finished even when the client goes away.
    let work = tokio::spawn(within_request(request_id, async move {
        let guard = Unfinished {
            store: &store,
            number: Some(number),
        };
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        guard.finish(response).await
    }));
    work.await.map_err(|error| Problem::internal(&error))
}

/// Frees the key when the work ends without an answer, as it does on a panic.
struct Unfinished<'a> {
    store: &'a IdempotencyStore,
    number: Option<u64>,
}

impl Unfinished<'_> {
    async fn finish(mut self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let Ok(body) = body.collect().await else {
            return Problem::unavailable("The answer could not be read.").into_response();
        };
        let body = body.to_bytes();
        let keep = !parts.status.is_server_error()
            && body.len() <= IDEMPOTENCY_RESPONSE_BYTES_MAX
            && !parts.headers.contains_key(header::SET_COOKIE);
        let answer = keep.then(|| Answer {
            status: parts.status,
            headers: parts.headers.clone(),
            body: redacted(&body, parts.extensions.get::<ShownOnce>()),
        });
        if let Some(number) = self.number.take() {
            self.store.finish(number, answer);
        }
        Response::from_parts(parts, Body::from(body))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            self.store.finish(number, None);
        }
    }
}

fn redacted(body: &Bytes, shown_once: Option<&ShownOnce>) -> Bytes {
    let Some(ShownOnce(pointers)) = shown_once else {
        return body.clone();
    };
    let mut value: Value = serde_json::from_slice(body).expect("a route with a shown-once field answers with JSON");
    for pointer in *pointers {
        *value.pointer_mut(pointer).expect("a shown-once field is in the answer") = Value::Null;
    }
    serde_json::to_vec(&value).expect("JSON values encode").into()
}

fn replay(answer: &Answer) -> Response {
    let mut response = (answer.status, answer.body.clone()).into_response();
    *response.headers_mut() = answer.headers.clone();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
        .headers_mut()
        .insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    response
}

fn scope(principal: &Principal, request: &Request, key: &HeaderValue) -> Scope {
    let actor = principal.actor();
    let mut hasher = Sha256::new();
    // A session of a user is replaced at sign-in, so users count by their id.
    for part in [
        format!("{:?}", actor.kind).as_bytes(),
        actor.id.or(actor.credential_id).unwrap_or_default().as_bytes(),
        request.uri().path().as_bytes(),
        key.as_bytes(),
    ] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    Scope(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::middleware::{from_fn, from_fn_with_state};
    use axum::routing::post;
    use axum::{Extension, Json, Router};
    use craton_platform_kernel::testing::{ManualClock, environment_at};
    use serde_json::json;
    use tower::ServiceExt;

    use super::*;

    struct Fixture {
        router: Router,
        clock: Arc<ManualClock>,
        calls: Arc<AtomicU32>,
    }

    /// A route that counts its calls, shows a secret, and fails with 500 when asked to.
    fn fixture() -> Fixture {
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().expect("a time")));
        let environment = environment_at(clock.clone());
        let calls = Arc::new(AtomicU32::new(0));
        let counter = calls.clone();
        let handler = move |body: String| {
            let count = counter.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                if body == "slow" {
                    tokio::task::yield_now().await;
                }
                let status = if body == "fail" { 500 } else { 201 };
                let body = Json(json!({ "count": count, "secret": "s3cret" }));
                let status = StatusCode::from_u16(status).expect("a status");
                (status, Extension(ShownOnce(&["/secret"])), body)
            }
        };
        let key_id = environment.new_id();
        let with_principal = move |mut request: Request, next: Next| async move {
            request
                .extensions_mut()
                .insert(Authentication::Principal(Principal::Operator { key_id }));
            next.run(request).await
        };
        let router = Router::new()
            .route("/a", post(handler.clone()))
            .route("/b", post(handler))
            .layer(from_fn_with_state(
                IdempotencyStore::new(environment.clone()),
                idempotency,
            ))
            .layer(from_fn(with_principal))
            .layer(from_fn_with_state(environment, crate::request_id));
        Fixture { router, clock, calls }
    }

    async fn call(fixture: &Fixture, path: &str, key: &str, body: &str) -> (u16, bool, Value) {
        let request = Request::post(path)
            .header("idempotency-key", key)
            .body(Body::from(body.to_owned()));
        let response = fixture
            .router
            .clone()
            .oneshot(request.expect("a request"))
            .await
            .expect("infallible");
        let status = response.status().as_u16();
        let replayed = response.headers().contains_key("idempotency-replayed");
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (status, replayed, serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[tokio::test]
    async fn a_repetition_is_answered_and_not_done_and_shows_no_secret() {
        let fixture = fixture();
        assert_eq!(
            call(&fixture, "/a", "k", "x").await,
            (201, false, json!({"count": 1, "secret": "s3cret"}))
        );
        assert_eq!(
            call(&fixture, "/a", "k", "x").await,
            (201, true, json!({"count": 1, "secret": null}))
        );
        assert_eq!(call(&fixture, "/b", "k", "x").await.2["count"], 2, "another route");
        assert_eq!(call(&fixture, "/a", "l", "x").await.2["count"], 3, "another key");
    }

    #[tokio::test]
    async fn another_body_is_refused() {
        let fixture = fixture();
        call(&fixture, "/a", "k", "x").await;
        let (status, _, problem) = call(&fixture, "/a", "k", "y").await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (422, Some("idempotency_key_reused"))
        );
        assert_eq!(fixture.calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failure_of_ours_is_not_kept() {
        let fixture = fixture();
        assert_eq!(call(&fixture, "/a", "k", "fail").await.0, 500);
        let (status, replayed, body) = call(&fixture, "/a", "k", "fail").await;
        assert_eq!((status, replayed, body["count"].as_u64()), (500, false, Some(2)));
    }

    #[tokio::test]
    async fn the_second_of_two_at_once_hears_that_the_first_is_running() {
        let fixture = fixture();
        let (a, b) = tokio::join!(call(&fixture, "/a", "k", "slow"), call(&fixture, "/a", "k", "slow"));
        assert_eq!(
            (a.0, b.0, b.2["code"].as_str()),
            (201, 409, Some("idempotency_key_in_flight"))
        );
    }

    #[tokio::test]
    async fn a_key_is_forgotten_after_a_day_and_not_before() {
        let fixture = fixture();
        call(&fixture, "/a", "k", "x").await;
        fixture
            .clock
            .advance(SignedDuration::from_hours(IDEMPOTENCY_HOURS) - SignedDuration::from_nanos(1));
        assert!(call(&fixture, "/a", "k", "x").await.1);
        fixture.clock.advance(SignedDuration::from_nanos(1));
        assert!(!call(&fixture, "/a", "k", "x").await.1);
    }

    #[tokio::test]
    async fn keys_have_a_length() {
        let fixture = fixture();
        for (length, status) in [(0, 400), (1, 201), (255, 201), (256, 400)] {
            assert_eq!(
                call(&fixture, "/a", &"k".repeat(length), "x").await.0,
                status,
                "{length}"
            );
        }
    }

    #[tokio::test]
    async fn the_oldest_answer_is_forgotten_first() {
        let fixture = fixture();
        for number in 0..=IDEMPOTENCY_ENTRIES_MAX {
            call(&fixture, "/a", &number.to_string(), "x").await;
        }
        assert!(call(&fixture, "/a", "1", "x").await.1);
        assert!(!call(&fixture, "/a", "0", "x").await.1);
    }
}
