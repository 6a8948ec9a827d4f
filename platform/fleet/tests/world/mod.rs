//! A fleet over a store in memory that can be restarted, and callers of each kind.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

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

/// How often a condition that shall come true is looked at on a busy machine. Looks are counted rather than seconds: a machine
/// that stood still has not waited.
pub(crate) const LOOKS_MAX: u32 = 6_000;
/// Between two looks.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// The real time: retries and deadlines of operations are measured with it.
struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// What survives a restart of the platform.
struct Disk {
    environment: Environment,
    store: Arc<testing::MemoryEventStore>,
    witnessed: Arc<testing::MemoryWitnessStore>,
    directory: TempDir,
    configure: Box<dyn Fn(&mut FleetConfig) + Send + Sync>,
}

/// What does not.
struct Running {
    router: Router,
    address: SocketAddr,
    /// The fleet ends before the view: its last changes wait for the view to see them.
    tasks: Vec<(CancellationToken, JoinHandle<()>)>,
}

/// A running fleet.
pub(crate) struct World {
    disk: Disk,
    running: Running,
}

impl World {
    /// Starts a fleet with the usual configuration.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a fleet with a changed configuration.
    pub(crate) async fn start_with(configure: impl Fn(&mut FleetConfig) + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        FileMasterKey::generate(&directory.path().join("master.key"), SecretBytes::new([7; 32])).expect("a key");
        let environment = Environment::new(Arc::new(WallClock), Arc::new(testing::CountingRandom::default()));
        let store = Arc::new(testing::MemoryEventStore::default());
        let disk = Disk {
            environment,
            store,
            witnessed: Arc::default(),
            directory,
            configure: Box::new(configure),
        };
        let running = disk.start("127.0.0.1:0".parse().expect("an address")).await;
        Self { disk, running }
    }

    /// Ends the platform and starts it again on the same disk and address.
    pub(crate) async fn restart(&mut self) {
        let address = self.running.address;
        self.running.stop().await;
        self.running = self.disk.start(address).await;
    }

    /// Ends the fleet.
    pub(crate) async fn stop(mut self) {
        self.running.stop().await;
    }

    /// Where agents connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// Someone with a role in a new organisation.
    pub(crate) fn member(&self, role: Role) -> Caller {
        self.member_of(self.disk.environment.new_id(), role)
    }

    /// Someone with a role in an organisation.
    pub(crate) fn member_of(&self, org_id: OrgId, role: Role) -> Caller {
        let principal = Principal::User {
            user_id: self.disk.environment.new_id(),
            session_id: self.disk.environment.new_id(),
            memberships: BTreeMap::from([(org_id, role)]),
        };
        self.caller(org_id, Authentication::Principal(principal))
    }

    /// The operator.
    pub(crate) fn operator(&self) -> Caller {
        let principal = Principal::Operator {
            key_id: self.disk.environment.new_id(),
        };
        self.caller(self.disk.environment.new_id(), Authentication::Principal(principal))
    }

    /// A join token from the operator's route.
    pub(crate) async fn join_token(&self, ttl_seconds: u32) -> String {
        let body = serde_json::json!({ "ttl_seconds": ttl_seconds });
        let (status, created) = self
            .operator()
            .call(Method::POST, "/api/v1/fleet/join-tokens", Some(body))
            .await;
        assert_eq!(status, StatusCode::CREATED, "{created}");
        created["token"].as_str().expect("a token").to_owned()
    }

    /// A caller of any kind, for relative paths in an organisation.
    pub(crate) fn caller(&self, org_id: OrgId, authentication: Authentication) -> Caller {
        let environment = self.disk.environment.clone();
        let router = self
            .running
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
        let all = self
            .disk
            .store
            .read_all(0, usize::MAX)
            .await
            .expect("a store in memory");
        all.into_iter().map(|envelope| envelope.event).collect()
    }
}

impl Disk {
    async fn start(&self, address: SocketAddr) -> Running {
        let path = self.directory.path();
        let (end_fleet, end_view) = (CancellationToken::new(), CancellationToken::new());
        let model = ReadModel::open(path, projection()).expect("a read model");
        model.catch_up(&*self.store).await.expect("a view");
        let following = tokio::spawn(model.clone().run(self.store.clone(), end_view.clone()));
        let views = Arc::new(Views::new(vec![model.clone()]));
        let ledger = Ledger::new(self.store.clone(), views, self.environment.clone());
        let master_key = FileMasterKey::open(&path.join("master.key")).expect("a master key");
        let mut config = FleetConfig::new(path.join("vault"), address);
        (self.configure)(&mut config);
        let fleet = Fleet::new(config, ledger, model, self.witnessed.clone(), &master_key).expect("a fleet");
        let listener = fleet.bind().await.expect("a listener");
        let address = listener.local_address().expect("bound");
        let (serving, stop) = (fleet.clone(), end_fleet.clone());
        let serving = tokio::spawn(async move { serving.run(listener, stop).await.expect("a fleet runs") });
        let (router, _) = craton_platform_fleet::routes()
            .with_state(fleet.clone())
            .split_for_parts();
        Running {
            router,
            address,
            tasks: vec![(end_fleet, serving), (end_view, following)],
        }
    }
}

impl Running {
    async fn stop(&mut self) {
        for (end, task) in self.tasks.drain(..) {
            end.cancel();
            task.await.expect("no panic");
        }
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
    pub(crate) async fn call_in(
        &self,
        org_id: OrgId,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
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

    /// The answer to a GET.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, value) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    /// Polls a route until its answer fulfils a condition.
    pub(crate) async fn until(&self, path: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..LOOKS_MAX {
            last = self.call(Method::GET, path, None).await.1;
            if condition(&last) {
                return last;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{path} is still {last}");
    }
}
