//! Three members of Craton, set up as in `docs/clustering.md`, and clients that speak the PostgreSQL protocol.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use craton_crypto::ScramVerifier;
use craton_server::Endpoints;
use futures::FutureExt;
use futures::future::BoxFuture;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio_postgres::{Config, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::authority::{Authority, free_port};
use crate::load::{Client, Store};
use crate::processes::Processes;
use crate::{MEMBERS, VALUE_BYTES};

const CLUSTER: &str = "benchmark";
const PASSWORD: &str = "benchmark";

pub(crate) struct Cluster {
    directory: PathBuf,
    peer_ports: Vec<u16>,
    processes: Processes,
    tls: MakeRustlsConnect,
}

struct Connection {
    client: tokio_postgres::Client,
    insert: Statement,
    select: Statement,
    value: String,
}

impl Cluster {
    pub(crate) async fn start(directory: &Path, authority: &Authority) -> Self {
        let mut cluster = Self {
            directory: directory.to_owned(),
            peer_ports: (0..MEMBERS).map(|_| free_port()).collect(),
            processes: Processes::default(),
            tls: connector(authority),
        };
        for member in 0..MEMBERS {
            cluster.prepare(member, authority);
            cluster.spawn(member);
        }
        for member in 0..MEMBERS {
            cluster.wait(member).await;
        }
        cluster.admin(0, "PUT", "/v1/databases/main", "");
        let verifier = ScramVerifier::from_password(PASSWORD, b"of the benchmark", 4096).expect("a password");
        let user = json!({"scram_verifier": verifier.to_string(), "databases": ["main"], "read_only": false});
        cluster.admin(0, "PUT", "/v1/users/app", &user.to_string());
        let client = connect(cluster.config(0), cluster.tls.clone()).await;
        client
            .batch_execute("CREATE TABLE entries (id bigint PRIMARY KEY, payload text NOT NULL)")
            .await
            .expect("a table");
        cluster
    }

    fn path(&self, member: usize, name: &str) -> PathBuf {
        self.directory.join(format!("m{member}")).join(name)
    }

    fn prepare(&self, member: usize, authority: &Authority) {
        let home = self.path(member, "");
        fs::create_dir_all(&home).expect("writable");
        authority.issue(&home, "server", "localhost");
        let name = format!("node-{}.{CLUSTER}.peer.craton.internal", member + 1);
        authority.issue(&home, "peer", &name);
        let members: Vec<_> = (1..)
            .zip(&self.peer_ports)
            .map(|(id, port)| json!({"node_id": id, "peer_address": format!("127.0.0.1:{port}")}))
            .collect();
        let list = json!({"generation": 1, "members": members});
        fs::write(home.join("members.json"), list.to_string()).expect("writable");
    }

    fn spawn(&mut self, member: usize) {
        let file = |name: &str| self.path(member, name).display().to_string();
        let log = fs::File::create(file("log")).expect("writable");
        let mut command = Command::new(env!("CARGO_BIN_EXE_craton-server"));
        command
            .args(["--data-dir", &file("data")])
            .args(["--master-key", &format!("file:{}", file("master.key"))])
            .args(["--generate-master-key", "--origin", "localhost"])
            .args(["--tls-cert", &file("server.crt"), "--tls-key", &file("server.key")])
            .args(["--listen", "127.0.0.1:0", "--https-listen", "127.0.0.1:0"])
            .args(["--cluster-id", CLUSTER, "--node-id", &(member + 1).to_string()])
            .args(["--members", &file("members.json")])
            .args(["--peer-listen", &format!("127.0.0.1:{}", self.peer_ports[member])])
            .args(["--peer-cert", &file("peer.crt"), "--peer-key", &file("peer.key")])
            .args(["--peer-ca", &file("ca.crt")]);
        if member == 0 {
            command.arg("--bootstrap");
        }
        self.processes.spawn(member, &mut command, log);
    }

    fn endpoints(&self, member: usize) -> Option<Endpoints> {
        let process = self.processes.id(member)?;
        let endpoints = Endpoints::read(&self.path(member, "data")).ok()?;
        (endpoints.process_id == process).then_some(endpoints)
    }

    fn status(&self, member: usize) -> Option<Value> {
        self.endpoints(member)?;
        let status: Value = serde_json::from_str(&self.admin(member, "GET", "/v1/status", "")).ok()?;
        Some(status["cluster"].clone())
    }

    /// Waits until a member serves, and all members vote.
    async fn wait(&self, member: usize) {
        loop {
            if let Some(status) = self.status(member)
                && status["voters"].as_array().map_or(0, Vec::len) == MEMBERS
                && status["not_ready"].as_array().is_some_and(Vec::is_empty)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A request to the administrative socket.
    fn admin(&self, member: usize, method: &str, path: &str, body: &str) -> String {
        let endpoints = self.endpoints(member).expect("it serves");
        let mut stream = UnixStream::connect(endpoints.admin_socket).expect("the administrative socket");
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        let request = format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
        assert!(head.starts_with("HTTP/1.1 2"), "{answer}");
        body.to_owned()
    }

    fn leader_now(&self) -> Option<usize> {
        (0..MEMBERS).find(|member| self.status(*member).is_some_and(|status| status["role"] == "leader"))
    }

    fn config(&self, member: usize) -> Config {
        let mut config = Config::new();
        config
            .host("localhost")
            .hostaddr([127, 0, 0, 1].into())
            .port(self.endpoints(member).expect("it serves").postgres.port())
            .user("app")
            .password(PASSWORD)
            .dbname("main")
            .ssl_mode(tokio_postgres::config::SslMode::Require);
        config
    }
}

fn connector(authority: &Authority) -> MakeRustlsConnect {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = rustls_pki_types::CertificateDer::from_pem_slice(authority.pem.as_bytes());
    roots.add(certificate.expect("a certificate")).expect("an authority");
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(Arc::new(roots))
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

async fn connect(config: Config, tls: MakeRustlsConnect) -> tokio_postgres::Client {
    let (client, connection) = config.connect(tls).await.expect("a session");
    tokio::spawn(connection);
    client
}

impl Store for Cluster {
    fn name(&self) -> &'static str {
        "Craton"
    }

    fn connect(&self, member: Option<usize>) -> BoxFuture<'static, Box<dyn Client>> {
        let member = member.or_else(|| self.leader_now()).expect("a leader");
        let (config, tls) = (self.config(member), self.tls.clone());
        async move {
            let client = connect(config, tls).await;
            let insert = "INSERT INTO entries (id, payload) VALUES ($1, $2)";
            let select = "SELECT payload FROM entries WHERE id = $1";
            let connection = Connection {
                insert: client.prepare(insert).await.expect("a statement"),
                select: client.prepare(select).await.expect("a statement"),
                client,
                value: "x".repeat(VALUE_BYTES),
            };
            Box::new(connection) as Box<dyn Client>
        }
        .boxed()
    }

    fn leader(&self) -> BoxFuture<'_, usize> {
        async {
            loop {
                if let Some(leader) = self.leader_now() {
                    return leader;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        .boxed()
    }

    fn kill(&mut self, member: usize) {
        self.processes.kill(member);
    }

    fn restart(&mut self, member: usize) -> BoxFuture<'_, ()> {
        self.spawn(member);
        async move {
            self.wait(member).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        .boxed()
    }
}

impl Client for Connection {
    fn write(&mut self, key: u64) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let key = i64::try_from(key).expect("63 bits");
            let written = self.client.execute(&self.insert, &[&key, &self.value]).await;
            written.map(|_| ()).map_err(|error| format!("{error:?}"))
        }
        .boxed()
    }

    fn read(&mut self, key: u64) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let key = i64::try_from(key).expect("63 bits");
            let row = self.client.query_one(&self.select, &[&key]).await;
            row.map(|_| ()).map_err(|error| format!("{error:?}"))
        }
        .boxed()
    }
}
