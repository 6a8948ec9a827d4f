//! A fleet over a store in memory, and callers of each kind.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Method, StatusCode, header},
    middleware::{Next, from_fn},
};
use craton_crypto::{FileMasterKey, SecretBytes};
use craton_platform_fleet::{Fleet, FleetConfig, projection};
use craton_platform_http::Authentication;
use craton_platform_kernel::{
    Clock, Environment, EventStore, Ledger, NewEvent, OrgId, Principal, RequestId, Role, testing,
};
use craton_platform_sqlite::{ReadModel, Views};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// The real time: retries and deadlines of operations are measured with it.
struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A running fleet without nodes.
pub(crate) struct World {
    router: Router,
    environment: Environment,
    store: Arc<testing::MemoryEventStore>,
    /// The fleet ends before the view: its last changes wait for the view to see them.
    tasks: Vec<(CancellationToken, JoinHandle<()>)>,
    _directory: TempDir,
}

impl World {
    /// Starts a fleet.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let environment = Environment::new(Arc::new(WallClock), Arc::new(testing::CountingRandom::default()));
        let store = Arc::new(testing::MemoryEventStore::default());
        let model = ReadModel::open(directory.path(), projection()).expect("a read model");
        let (end_fleet, end_view) = (CancellationToken::new(), CancellationToken::new());
        let following = tokio::spawn(model.clone().run(store.clone(), end_view.clone()));
        let ledger = Ledger::new(
            store.clone(),
            Arc::new(Views::new(vec![model.clone()])),
            environment.clone(),
        );
        let master_key = FileMasterKey::generate(&directory.path().join("master.key"), SecretBytes::new([7; 32]))
            .expect("a master key");
        let address = "127.0.0.1:0".parse().expect("an address");
        let config = FleetConfig::new(directory.path().join("vault"), address);
        let fleet = Fleet::new(config, ledger, model, &master_key).expect("a fleet");
        let listener = fleet.bind().await.expect("a listener");
        let (running, stop) = (fleet.clone(), end_fleet.clone());
        let serving = tokio::spawn(async move { running.run(listener, stop).await.expect("a fleet runs") });
        let (router, _) = fleet.routes().split_for_parts();
        Self {
            router,
            environment,
            store,
            tasks: vec![(end_fleet, serving), (end_view, following)],
            _directory: directory,
        }
    }

    /// Ends the fleet.
    pub(crate) async fn stop(self) {
        for (end, task) in self.tasks {
            end.cancel();
            task.await.expect("no panic");
        }
    }

    /// Someone with a role in a new organisation.
    pub(crate) fn member(&self, role: Role) -> Caller {
        self.member_of(self.environment.new_id(), role)
    }

    /// Someone with a role in an organisation.
    pub(crate) fn member_of(&self, org_id: OrgId, role: Role) -> Caller {
        let principal = Principal::User {
            user_id: self.environment.new_id(),
            session_id: self.environment.new_id(),
            memberships: BTreeMap::from([(org_id, role)]),
        };
        self.caller(org_id, Authentication::Principal(principal))
    }

    /// The operator.
    pub(crate) fn operator(&self) -> Caller {
        let principal = Principal::Operator {
            key_id: self.environment.new_id(),
        };
        self.caller(self.environment.new_id(), Authentication::Principal(principal))
    }

    /// Nobody.
    pub(crate) fn anonymous(&self) -> Caller {
        self.caller(self.environment.new_id(), Authentication::Anonymous)
    }

    fn caller(&self, org_id: OrgId, authentication: Authentication) -> Caller {
        let environment = self.environment.clone();
        let router = self
            .router
            .clone()
            .layer(from_fn(move |mut request: Request, next: Next| {
                request.extensions_mut().insert(authentication.clone());
                request.extensions_mut().insert(environment.new_id::<RequestId>());
                next.run(request)
            }));
        Caller { router, org_id }
    }

    /// Every event so far.
    pub(crate) async fn events(&self) -> Vec<NewEvent> {
        let all = self.store.read_all(0, usize::MAX).await.expect("a store in memory");
        all.into_iter().map(|envelope| envelope.event).collect()
    }
}

/// Someone who calls the API.
pub(crate) struct Caller {
    router: Router,
    /// The organisation that relative paths are in.
    pub(crate) org_id: OrgId,
}

impl Caller {
    /// Calls a route of the caller's organisation, or an absolute one.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.call_in(self.org_id, method, path, body).await
    }

    /// Calls a route of an organisation. An answer that is no JSON is given as a string.
    pub(crate) async fn call_in(&self, org_id: OrgId, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/api/v1/orgs/{org_id}/{path}")
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let status = response.status();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The whole answer to a GET as text; waits for the end of a stream.
    pub(crate) async fn text(&self, path: &str) -> String {
        match self.call(Method::GET, path, None).await {
            (StatusCode::OK, Value::String(text)) => text,
            (status, other) => panic!("{path}: {status} {other}"),
        }
    }

    /// Polls a route until its answer fulfils a condition.
    #[expect(clippy::disallowed_methods, reason = "a deadline of a test")]
    pub(crate) async fn until(&self, path: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, value) = self.call(Method::GET, path, None).await;
            if condition(&value) {
                return value;
            }
            assert!(Instant::now() < deadline, "{path} is still {value}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
