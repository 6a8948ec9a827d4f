//! The executor with a driver and a server that do what the story says.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use craton_agent_protocol::{
    ClusterId, DesiredInstance, DesiredMember, DesiredMembership, DesiredUser, InstancePhase, MemberId, NodeId,
    ObservedFormat, RunState,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair};
use tokio::net::UnixListener;

use super::*;
use crate::{
    config::PortRange,
    driver::{Launch, Observation, Request},
};

/// A driver whose processes are a flag, and what it was told.
#[derive(Default)]
struct Stage {
    running: Mutex<Option<Launch>>,
    told: Mutex<Vec<String>>,
}

#[async_trait]
impl Driver for Stage {
    async fn observe(&self, _: &InstanceDirectory) -> Result<Observation, DriverError> {
        Ok(match &*self.running.lock() {
            None => Observation::Stopped {
                ended: None,
                server_version: None,
            },
            Some(launch) => Observation::Running {
                pid: 1,
                certificate_sha256: launch.certificate_sha256.clone(),
                server_version: launch.server_version.clone(),
            },
        })
    }

    async fn start(&self, _: &InstanceDirectory, launch: &Launch) -> Result<(), DriverError> {
        self.told.lock().push("start".to_owned());
        *self.running.lock() = Some(launch.clone());
        Ok(())
    }

    async fn request(&self, _: &InstanceDirectory, request: Request) -> Result<(), DriverError> {
        self.told.lock().push(format!("{request:?}").to_lowercase());
        if request != Request::Reload {
            *self.running.lock() = None;
        }
        Ok(())
    }

    async fn note_certificate(&self, _: &InstanceDirectory, certificate_sha256: &str) -> Result<(), DriverError> {
        if let Some(launch) = &mut *self.running.lock() {
            launch.certificate_sha256 = certificate_sha256.to_owned();
        }
        Ok(())
    }
}

/// A server's admin interface that writes down its calls.
#[derive(Default)]
struct Server {
    calls: Mutex<Vec<String>>,
    poisoned: Mutex<bool>,
    /// What it says of its group.
    group: Mutex<Option<serde_json::Value>>,
    /// Which version of the formats it writes, of two that it knows.
    format_active: Mutex<u8>,
}

impl Server {
    async fn answer(&self, request: hyper::Request<Incoming>) -> Response<Full<Bytes>> {
        let call = format!("{} {}", request.method(), request.uri().path());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if call == "POST /v1/finalize" {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            *self.format_active.lock() = u8::try_from(body["version"].as_u64().unwrap()).unwrap();
        }
        if call != "GET /v1/status" {
            self.calls.lock().push(call);
        }
        let status = serde_json::json!({
            "version": "1",
            "uptime_seconds": 1,
            "databases": [{ "name": "main", "position": null, "log_key": "key" }],
            "poisoned": *self.poisoned.lock(),
            "cluster": *self.group.lock(),
            "format": { "active": *self.format_active.lock(), "newest": 2 },
        });
        Response::new(Full::new(status.to_string().into()))
    }
}

struct World {
    executor: Executor,
    memories: Memories,
    stage: Arc<Stage>,
    server: Arc<Server>,
    observed: watch::Receiver<ObservedState>,
    certificates: mpsc::Sender<CertificateAnswer>,
    generation: u64,
    _data_dir: tempfile::TempDir,
}

fn id() -> InstanceId {
    InstanceId {
        cluster_id: ClusterId::parse("clu_01h455vb4pex5vsknk084sn02q").unwrap(),
        member_id: MemberId::FIRST,
    }
}

fn node() -> NodeId {
    NodeId::parse("node_01h455vb4pex5vsknk084sn02q").unwrap()
}

fn instance(run_state: RunState, users: &[&str]) -> DesiredInstance {
    let user = |name: &&str| DesiredUser {
        name: (*name).to_owned(),
        scram_verifier: "verifier".into(),
        databases: vec!["main".into()],
        read_only: false,
        compliance: false,
    };
    DesiredInstance {
        cluster_id: id().cluster_id,
        member_id: id().member_id,
        name: "clinic".into(),
        run_state,
        hostnames: vec!["clinic.example".into()],
        log_origin: "clinic.example".into(),
        region: "local".into(),
        databases: vec!["main".into()],
        users: users.iter().map(user).collect(),
        token_verification_key: "key".into(),
        witnesses: vec![],
        time_stamp_authority: None,
        established: false,
        membership: None,
        server_version: None,
        format_version: None,
    }
}

impl World {
    fn new() -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let stage = Arc::new(Stage::default());
        let (observed_sender, observed) = watch::channel(ObservedState {
            generation: 0,
            server_versions: vec![],
            instances: vec![],
        });
        let (certificates, receiver) = mpsc::channel(8);
        let executor = Executor {
            config: AgentConfig {
                data_dir: data_dir.path().to_owned(),
                platform: "wss://localhost:1".parse().unwrap(),
                join_token: None,
                server_binary: "server".into(),
                server_versions: Some(data_dir.path().join("versions")),
                launcher: "launcher".into(),
                listen_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                ports: PortRange::DEFAULT,
            },
            desired: Arc::new(DesiredStore::load(data_dir.path(), node()).unwrap()),
            driver: stage.clone(),
            link: Arc::new(LinkHandle::default()),
            observed: observed_sender,
            wake: Arc::new(Notify::new()),
            certificates: receiver,
            versions: Versions::default(),
        };
        Self {
            executor,
            memories: Memories::new(),
            stage,
            server: Arc::default(),
            observed,
            certificates,
            generation: 0,
            _data_dir: data_dir,
        }
    }

    /// Takes a new desired state, runs one pass and returns what is reported.
    async fn want(&mut self, instances: Vec<DesiredInstance>) -> ObservedState {
        self.generation += 1;
        let _ = self
            .executor
            .desired
            .offer(DesiredState::new(node(), self.generation, instances));
        self.pass().await
    }

    async fn pass(&mut self) -> ObservedState {
        self.executor.install_certificates(&mut self.memories);
        self.executor.reconcile(&mut self.memories).await;
        self.observed.borrow().clone()
    }

    /// Signs a certificate for the instance's key, as the platform does.
    async fn sign(&self) {
        let request = self.executor.directory(&id()).certificate_request("clinic").unwrap();
        self.answer(CertificateSubject::instance(id()), &request).await;
    }

    /// Signs a certificate for other members.
    async fn sign_peer(&self) {
        let directory = self.executor.directory(&id());
        let request = directory.peer_certificate_request("clinic").unwrap();
        self.answer(CertificateSubject::peer(id()), &request).await;
    }

    async fn answer(&self, subject: CertificateSubject, request: &str) {
        let key = KeyPair::generate().unwrap();
        let authority = CertificateParams::default().self_signed(&key).unwrap();
        let issuer = Issuer::new(CertificateParams::default(), key);
        let request = CertificateSigningRequestParams::from_pem(request).unwrap();
        let chain_pem = request.signed_by(&issuer).unwrap().pem() + &authority.pem();
        let issued = CertificateOutcome::Issued { chain_pem };
        self.certificates.send((subject, issued)).await.unwrap();
    }

    /// Lets the server answer on the instance's socket.
    fn serve(&self) {
        let listener = UnixListener::bind(self.executor.directory(&id()).admin_socket()).unwrap();
        let server = self.server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.stage.told.lock())
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.server.calls.lock())
    }
}

fn phases(observed: &ObservedState) -> Vec<InstancePhase> {
    observed.instances.iter().map(|instance| instance.phase).collect()
}

#[tokio::test]
async fn an_instance_goes_from_nothing_to_running_and_back_to_nothing() {
    let mut world = World::new();
    let wanted = instance(RunState::Running, &["app"]);
    let observed = world.want(vec![wanted.clone()]).await;
    assert_eq!(phases(&observed), [InstancePhase::AwaitingCertificate]);
    assert!(world.told().is_empty(), "no server without a certificate");

    world.sign().await;
    let observed = world.pass().await;
    assert_eq!(world.told(), ["start"]);
    assert_eq!(phases(&observed), [InstancePhase::Starting]);

    world.serve();
    let observed = world.pass().await;
    assert_eq!(world.calls(), ["PUT /v1/databases/main", "PUT /v1/users/app"]);
    assert_eq!(phases(&observed), [InstancePhase::Running]);
    assert_eq!(observed.instances[0].applied, Some(wanted.content_hash()));
    assert_eq!(observed.instances[0].databases[0].log_key, "key");
    world.pass().await;
    assert!(
        world.calls().is_empty() && world.told().is_empty(),
        "nothing is left to do"
    );

    let observed = world.want(vec![instance(RunState::Deleted, &["app"])]).await;
    assert_eq!(world.told(), ["terminate"]);
    assert_eq!(phases(&observed), [InstancePhase::Removing]);
    let observed = world.pass().await;
    assert_eq!(phases(&observed), []);
    assert!(!world.executor.directory(&id()).path().exists());
}

#[tokio::test]
async fn a_user_that_is_no_longer_wanted_is_dropped_also_after_the_agent_was_restarted() {
    let mut world = World::new();
    world.want(vec![instance(RunState::Running, &["app", "report"])]).await;
    world.sign().await;
    world.pass().await;
    world.serve();
    world.pass().await;
    world.calls();
    // A new agent remembers nothing but what is on disk.
    world.memories.clear();
    world.want(vec![instance(RunState::Running, &["app"])]).await;
    assert_eq!(
        world.calls(),
        ["PUT /v1/databases/main", "PUT /v1/users/app", "DELETE /v1/users/report"]
    );
    world.memories.clear();
    world.pass().await;
    assert_eq!(world.calls(), ["PUT /v1/databases/main", "PUT /v1/users/app"]);
}

#[tokio::test]
async fn a_new_certificate_is_reloaded_and_a_new_token_key_too() {
    let mut world = World::new();
    world.want(vec![instance(RunState::Running, &[])]).await;
    world.sign().await;
    world.pass().await;
    world.serve();
    world.pass().await;
    world.told();

    world.sign().await;
    world.pass().await;
    assert_eq!(world.told(), ["reload"]);
    world.pass().await;
    assert!(world.told().is_empty(), "once is enough");

    let mut other_key = instance(RunState::Running, &[]);
    other_key.token_verification_key = "another key".into();
    world.want(vec![other_key]).await;
    assert_eq!(world.told(), ["reload"]);
}

#[tokio::test]
async fn a_poisoned_server_is_started_again_after_a_growing_wait() {
    let mut world = World::new();
    world.want(vec![instance(RunState::Running, &[])]).await;
    world.sign().await;
    world.pass().await;
    world.serve();
    world.pass().await;
    world.told();

    *world.server.poisoned.lock() = true;
    world.pass().await;
    assert_eq!(world.told(), ["terminate"]);
    let observed = world.pass().await;
    assert_eq!(world.told(), ["start"], "the first time at once");
    assert_eq!(observed.instances[0].restarts, 1);
    world.pass().await;
    assert_eq!(world.told(), ["terminate"]);
    let observed = world.pass().await;
    assert!(world.told().is_empty(), "the second time after a wait");
    assert_eq!(
        (phases(&observed), observed.instances[0].restarts),
        (vec![InstancePhase::Backoff], 2)
    );
}

#[tokio::test]
async fn an_instance_that_is_not_listed_is_reported_and_left_alone() {
    let mut world = World::new();
    world.want(vec![instance(RunState::Running, &[])]).await;
    world.sign().await;
    world.pass().await;
    world.told();
    let observed = world.want(vec![]).await;
    assert_eq!(phases(&observed), [InstancePhase::Unlisted]);
    assert!(world.told().is_empty());
}

#[tokio::test]
async fn an_instance_whose_directory_is_gone_is_reported_as_lost_and_not_begun_anew() {
    let mut world = World::new();
    let established = DesiredInstance {
        established: true,
        ..instance(RunState::Running, &[])
    };
    world.want(vec![instance(RunState::Running, &[])]).await;
    let observed = world.want(vec![established.clone()]).await;
    assert_eq!(phases(&observed), [InstancePhase::AwaitingCertificate], "it is there");
    std::fs::remove_dir_all(world.executor.directory(&id()).path()).unwrap();
    let observed = world.pass().await;
    assert_eq!(phases(&observed), [InstancePhase::Lost]);
    assert!(
        observed.instances[0]
            .error
            .as_ref()
            .is_some_and(|error| error.contains("is gone"))
    );
    assert!(!world.executor.directory(&id()).path().exists());
    let deleted = DesiredInstance {
        run_state: RunState::Deleted,
        ..established
    };
    assert_eq!(phases(&world.want(vec![deleted]).await), []);
}

#[tokio::test]
async fn a_refused_certificate_is_reported() {
    let mut world = World::new();
    world.want(vec![instance(RunState::Running, &[])]).await;
    let refused = CertificateOutcome::Refused {
        detail: "not here".into(),
    };
    let subject = CertificateSubject::instance(id());
    world.certificates.send((subject, refused)).await.unwrap();
    let observed = world.pass().await;
    assert_eq!(
        observed.instances[0].error.as_deref(),
        Some("the platform gave no certificate: not here")
    );
}

fn member(members_generation: u64, members: &[u64]) -> DesiredInstance {
    let members = members.iter().map(|number| DesiredMember {
        member_id: MemberId::new(*number).unwrap(),
        peer_address: ([127, 0, 0, 1], 1).into(),
    });
    DesiredInstance {
        membership: Some(DesiredMembership {
            bootstrap: true,
            generation: members_generation,
            members: members.collect(),
        }),
        ..instance(RunState::Running, &["app"])
    }
}

fn group(members_generation: u64, leader: Option<u64>) -> Option<serde_json::Value> {
    Some(serde_json::json!({
        "node_id": 1, "role": "follower", "leader": leader, "term": 1, "committed": 7, "applied": 7,
        "voters": [1, 2], "learners": [], "members_generation": members_generation, "not_ready": [],
    }))
}

#[tokio::test]
async fn a_member_starts_when_the_others_know_it_and_is_configured_when_its_group_has_a_leader() {
    let mut world = World::new();
    let observed = world.want(vec![member(1, &[])]).await;
    assert_eq!(phases(&observed), [InstancePhase::AwaitingCertificate]);
    world.sign().await;
    world.sign_peer().await;
    let observed = world.pass().await;
    assert_eq!(phases(&observed), [InstancePhase::AwaitingMembers]);
    assert!(world.told().is_empty(), "nobody could reach it");

    world.want(vec![member(2, &[1, 2])]).await;
    assert_eq!(world.told(), ["start"]);
    let arguments = world.stage.running.lock().clone().unwrap().arguments;
    let has = |argument: &str| arguments.iter().any(|a| a.to_str() == Some(argument));
    assert!(
        has("--node-id") && has("--peer-listen") && has("--bootstrap") && has("--region"),
        "{arguments:?}"
    );
    let file = std::fs::read_to_string(world.executor.directory(&id()).members_file()).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    assert_eq!(
        file,
        serde_json::json!({ "generation": 2, "members": [
            { "node_id": 1, "peer_address": "127.0.0.1:1" },
            { "node_id": 2, "peer_address": "127.0.0.1:1" },
        ] })
    );

    *world.server.group.lock() = group(2, None);
    world.serve();
    let observed = world.pass().await;
    assert_eq!(phases(&observed), [InstancePhase::Joining]);
    assert!(world.calls().is_empty(), "without a leader nobody could take it");
    *world.server.group.lock() = group(2, Some(2));
    let observed = world.pass().await;
    assert_eq!(world.calls(), ["PUT /v1/databases/main", "PUT /v1/users/app"]);
    assert_eq!(phases(&observed), [InstancePhase::Running]);
    let seen = observed.instances[0].membership.as_ref().unwrap();
    assert_eq!(seen.voters.len(), 2);

    let observed = world.want(vec![member(3, &[1, 2, 3])]).await;
    assert_eq!(world.calls(), ["PUT /v1/members"]);
    assert_eq!(phases(&observed), [InstancePhase::Configuring]);
    *world.server.group.lock() = group(3, Some(2));
    world.pass().await;
    assert_eq!(world.calls(), ["PUT /v1/databases/main", "PUT /v1/users/app"]);
}

#[tokio::test]
async fn a_newer_format_version_is_asked_for_once_and_reported() {
    let mut world = World::new();
    world.want(vec![member(1, &[1])]).await;
    world.sign().await;
    world.sign_peer().await;
    world.pass().await;
    *world.server.group.lock() = group(1, Some(1));
    *world.server.format_active.lock() = 1;
    world.serve();
    let observed = world.pass().await;
    assert_eq!(
        observed.instances[0].format,
        Some(ObservedFormat { active: 1, newest: 2 })
    );
    world.calls();

    let wanted = DesiredInstance {
        format_version: Some(2),
        ..member(1, &[1])
    };
    let observed = world.want(vec![wanted]).await;
    assert_eq!(
        world.calls(),
        ["PUT /v1/databases/main", "PUT /v1/users/app", "POST /v1/finalize"]
    );
    assert_eq!(
        observed.instances[0].format,
        Some(ObservedFormat { active: 2, newest: 2 })
    );
    world.pass().await;
    assert!(world.calls().is_empty(), "it is done");
}

#[tokio::test]
async fn another_version_is_started_after_the_old_one_was_drained() {
    let mut world = World::new();
    world.want(vec![member(1, &[1])]).await;
    world.sign().await;
    world.sign_peer().await;
    world.pass().await;
    *world.server.group.lock() = group(1, Some(1));
    world.serve();
    world.pass().await;
    world.told();
    world.calls();

    let newer = DesiredInstance {
        server_version: Some("0.2.0".into()),
        ..member(1, &[1])
    };
    world.want(vec![newer]).await;
    assert_eq!(world.calls(), ["POST /v1/drain"]);
    assert_eq!(world.told(), ["terminate"]);
    let observed = world.pass().await;
    let error = observed.instances[0].error.as_deref();
    assert_eq!(error, Some("version 0.2.0 of the server is not installed on this node"));
    assert!(world.told().is_empty());

    let installed = world.executor.config.data_dir.join("versions/0.2.0");
    std::fs::create_dir_all(&installed).unwrap();
    std::fs::write(installed.join("craton-server"), "").unwrap();
    world.memories.clear();
    let observed = world.pass().await;
    assert_eq!(world.told(), ["start"]);
    let installed_version = InstalledVersion {
        name: "0.2.0".into(),
        formats: None,
    };
    assert_eq!(observed.server_versions, [installed_version]);
    assert_eq!(observed.instances[0].runs_version.as_deref(), Some("0.2.0"));
    assert_eq!(observed.instances[0].restarts, 0, "it was asked to end");
    let launch = world.stage.running.lock().clone().unwrap();
    assert_eq!(launch.program, installed.join("craton-server"));
}
