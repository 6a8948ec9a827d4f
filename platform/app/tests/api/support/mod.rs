//! A world with a platform in it, and the people who call it.

mod client;
mod person;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use craton_platform_app::{Platform, RateLimits, Settings};
use craton_platform_http::{PublicUrl, RateLimit};
use craton_platform_kernel::testing::ManualClock;
use craton_platform_kernel::{Environment, Random};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use client::{Answer, Caller, send};
pub(crate) use person::Person;

/// The operating system's randomness: identifiers must stay unique across restarts.
struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("random bytes");
    }
}

/// A platform with a clock that the test moves.
pub(crate) struct World {
    platform: Platform,
    pub(crate) clock: Arc<ManualClock>,
    directory: TempDir,
    settings: Settings,
}

fn settings(directory: &TempDir, rate_limits: RateLimits) -> Settings {
    let any = "127.0.0.1:0".parse().expect("an address");
    Settings {
        data_dir: directory.path().join("data"),
        listen: any,
        public_url: None,
        tls_cert: None,
        tls_key: None,
        agent_listen: any,
        agent_host: Vec::new(),
        region: "local".to_owned(),
        cluster_domain: "craton.localhost".to_owned(),
        metrics_listen: any,
        development: false,
        replace_offline_after: 900,
        master_key_file: None,
        log_origin: "platform.test".to_owned(),
        witness_file: None,
        rate_limits,
    }
}

/// Limits that no test reaches unless it wants to.
fn generous() -> RateLimits {
    let limit = RateLimit {
        burst: NonZeroU32::new(100_000).expect("above zero"),
        per_second: NonZeroU32::new(100_000).expect("above zero"),
    };
    RateLimits {
        auth: limit,
        api: limit,
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(generous()).await
    }

    pub(crate) async fn start_with(rate_limits: RateLimits) -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let settings = settings(&directory, rate_limits);
        Self::launch(directory, settings).await
    }

    /// A platform that has a certificate, for a name that is not this machine's.
    pub(crate) async fn start_tls(public_url: &str, certificate: &str, key: &str) -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let mut settings = settings(&directory, generous());
        let (certificate_path, key_path) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        std::fs::write(&certificate_path, certificate).expect("writes");
        std::fs::write(&key_path, key).expect("writes");
        settings.public_url = Some(PublicUrl::parse(public_url).expect("a public URL"));
        settings.tls_cert = Some(certificate_path);
        settings.tls_key = Some(key_path);
        Self::launch(directory, settings).await
    }

    /// A platform whose own log is cosigned by the witnesses in a file.
    pub(crate) async fn start_witnessed(witness_file: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let mut settings = settings(&directory, generous());
        settings.witness_file = Some(witness_file.to_owned());
        Self::launch(directory, settings).await
    }

    /// Polls until there is an answer.
    #[expect(clippy::disallowed_methods, reason = "a deadline of a test")]
    pub(crate) async fn until<T>(&self, what: &str, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(answer) = poll().await {
                return answer;
            }
            assert!(Instant::now() < deadline, "no {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn launch(directory: TempDir, settings: Settings) -> Self {
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().expect("a time")));
        let platform = launch(&settings, &clock).await;
        Self {
            platform,
            clock,
            directory,
            settings,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.platform.address()
    }

    /// A request that may not even get an answer.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Answer, hyper_util::client::legacy::Error> {
        client::try_send(self.address(), "GET", path, &[], Vec::new()).await
    }

    /// Stops the platform, does something to its files, and starts it again at the same address.
    pub(crate) async fn restart(self, meanwhile: impl FnOnce(PathBuf)) -> Self {
        let Self {
            platform,
            clock,
            directory,
            mut settings,
        } = self;
        settings.listen = platform.address();
        platform.stop().await.expect("stops");
        meanwhile(settings.data_dir.clone());
        let platform = launch(&settings, &clock).await;
        Self {
            platform,
            clock,
            directory,
            settings,
        }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn origin(&self) -> String {
        self.platform.public_url().origin().to_owned()
    }

    /// The operator, by the key in the file.
    pub(crate) fn operator(&self) -> Caller {
        let key = std::fs::read_to_string(self.data_dir().join("operator.key")).expect("a key file");
        Caller::Token(key.trim().to_owned())
    }

    pub(crate) async fn get(&self, caller: &Caller, path: &str) -> Answer {
        self.send(caller, "GET", path, None).await
    }

    pub(crate) async fn post(&self, caller: &Caller, path: &str, body: Value) -> Answer {
        self.send(caller, "POST", path, Some(body)).await
    }

    pub(crate) async fn put(&self, caller: &Caller, path: &str, body: Value) -> Answer {
        self.send(caller, "PUT", path, Some(body)).await
    }

    pub(crate) async fn delete(&self, caller: &Caller, path: &str) -> Answer {
        self.send(caller, "DELETE", path, None).await
    }

    pub(crate) async fn send(&self, caller: &Caller, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut headers = Vec::new();
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.send_raw(caller, method, path, headers, body.into_bytes()).await
    }

    /// Sends anything; a cookie goes along with the origin that a browser would send.
    pub(crate) async fn send_raw(
        &self,
        caller: &Caller,
        method: &str,
        path: &str,
        mut headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Answer {
        match caller {
            Caller::Anonymous => {}
            Caller::Token(token) => headers.push(("authorization", format!("Bearer {token}"))),
            Caller::Cookie(cookie) => {
                headers.push(("cookie", cookie.clone()));
                if method != "GET"
                    && !headers
                        .iter()
                        .any(|(name, _)| matches!(*name, "origin" | "sec-fetch-site"))
                {
                    headers.push(("origin", self.origin()));
                }
            }
        }
        send(self.platform.address(), method, path, &headers, body).await
    }

    pub(crate) async fn metrics(&self) -> Answer {
        send(self.platform.metrics_address(), "GET", "/metrics", &[], Vec::new()).await
    }

    /// Makes an organisation and gives its id.
    pub(crate) async fn organisation(&self, owner: &Person, name: &str) -> String {
        let answer = self
            .post(&owner.caller(), "/api/v1/orgs", json!({ "name": name }))
            .await;
        answer.expect(201)["organisation"]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }

    /// Makes a key and gives its id and a caller that uses it.
    pub(crate) async fn api_key(&self, by: &Caller, org: &str, role: &str) -> (String, Caller) {
        let body = json!({ "name": "test", "role": role });
        let answer = self.post(by, &format!("/api/v1/orgs/{org}/api-keys"), body).await;
        let body = answer.expect(201);
        let id = body["api_key"]["id"].as_str().expect("an id").to_owned();
        (id, Caller::Token(body["secret"].as_str().expect("a secret").to_owned()))
    }

    /// Signs up a person who is a member of an organisation from then on.
    pub(crate) async fn member(&self, by: &Caller, org: &str, role: &str) -> Person {
        let person = Person::sign_up(self, role).await;
        let path = format!("/api/v1/orgs/{org}/members/{}", person.user_id);
        self.put(by, &path, json!({ "role": role })).await.expect(200);
        person
    }
}

async fn launch(settings: &Settings, clock: &Arc<ManualClock>) -> Platform {
    let environment = Environment::new(clock.clone(), Arc::new(SystemRandom));
    // The agents' link speaks TLS; in one process per test, the first test to come installs the provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Platform::start(settings.clone(), environment)
        .await
        .expect("the platform starts")
}
