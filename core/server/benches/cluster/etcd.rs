//! Three members of etcd, Debian's `etcd-server`, with what it does by default: every entry is synced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;

use crate::authority::{Authority, free_port};
use crate::load::{Client, Store};
use crate::processes::Processes;
use crate::{MEMBERS, VALUE_BYTES};

/// `etcdserverpb.PutRequest`, <https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/>.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`, without what is not looked at.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// `etcdserverpb.RangeRequest`; linearizable unless it says otherwise.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

/// `etcdserverpb.RangeResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(int64, tag = "4")]
    count: i64,
}

/// `etcdserverpb.StatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

/// `etcdserverpb.StatusResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// `etcdserverpb.ResponseHeader`.
#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

pub(crate) struct Cluster {
    directory: PathBuf,
    /// Of clients and of members.
    ports: Vec<(u16, u16)>,
    processes: Processes,
    authority_pem: String,
}

struct Connection {
    grpc: Grpc<Channel>,
    value: Vec<u8>,
}

impl Cluster {
    pub(crate) async fn start(directory: &Path, authority: &Authority) -> Self {
        fs::create_dir_all(directory).expect("writable");
        authority.issue(directory, "server", "localhost");
        let mut cluster = Self {
            directory: directory.to_owned(),
            ports: (0..MEMBERS).map(|_| (free_port(), free_port())).collect(),
            processes: Processes::default(),
            authority_pem: authority.pem.clone(),
        };
        for member in 0..MEMBERS {
            cluster.spawn(member);
        }
        for member in 0..MEMBERS {
            cluster.wait(member).await;
        }
        cluster
    }

    fn spawn(&mut self, member: usize) {
        let file = |name: &str| self.directory.join(name).display().to_string();
        let (client, peer) = self.ports[member];
        let own = |port| format!("https://127.0.0.1:{port}");
        let all: Vec<_> = (0..MEMBERS)
            .map(|member| format!("m{member}={}", own(self.ports[member].1)))
            .collect();
        let log = fs::File::create(file(&format!("m{member}.log"))).expect("writable");
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("m{member}")])
            .args(["--data-dir", &file(&format!("m{member}"))])
            .args(["--listen-client-urls", &own(client)])
            .args(["--advertise-client-urls", &own(client)])
            .args(["--listen-peer-urls", &own(peer)])
            .args(["--initial-advertise-peer-urls", &own(peer)])
            .args(["--initial-cluster", &all.join(",")])
            .args(["--cert-file", &file("server.crt"), "--key-file", &file("server.key")])
            .args(["--peer-cert-file", &file("server.crt")])
            .args(["--peer-key-file", &file("server.key")])
            .args(["--peer-trusted-ca-file", &file("ca.crt"), "--peer-client-cert-auth"]);
        self.processes.spawn(member, &mut command, log);
    }

    fn channel(&self, member: usize) -> Channel {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority_pem))
            .domain_name("localhost");
        let endpoint = format!("https://127.0.0.1:{}", self.ports[member].0);
        Endpoint::from_shared(endpoint)
            .and_then(|endpoint| endpoint.tls_config(tls))
            .expect("an address and a certificate")
            .connect_lazy()
    }

    async fn status(&self, member: usize) -> Option<StatusResponse> {
        let mut connection = Connection::new(self.channel(member));
        let status = connection
            .call("/etcdserverpb.Maintenance/Status", StatusRequest {})
            .await;
        status.ok().filter(|status: &StatusResponse| status.leader != 0)
    }

    /// Waits until a member takes writes.
    async fn wait(&self, member: usize) {
        let mut connection = Connection::new(self.channel(member));
        while connection.write(u64::MAX).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Store for Cluster {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn connect(&self, member: Option<usize>) -> BoxFuture<'static, Box<dyn Client>> {
        let channels: Vec<_> = (0..MEMBERS).map(|member| self.channel(member)).collect();
        let statuses = channels.clone();
        async move {
            let member = match member {
                Some(member) => member,
                None => leader_of(statuses).await,
            };
            let mut connection = Connection::new(channels[member].clone());
            connection.read(0).await.expect("the store works");
            Box::new(connection) as Box<dyn Client>
        }
        .boxed()
    }

    fn leader(&self) -> BoxFuture<'_, usize> {
        leader_of((0..MEMBERS).map(|member| self.channel(member)).collect()).boxed()
    }

    fn kill(&mut self, member: usize) {
        self.processes.kill(member);
    }

    fn restart(&mut self, member: usize) -> BoxFuture<'_, ()> {
        self.spawn(member);
        async move {
            self.wait(member).await;
            // The others are to know its address again.
            while self.status(member).await.is_none() {}
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        .boxed()
    }
}

async fn leader_of(channels: Vec<Channel>) -> usize {
    loop {
        for (member, channel) in channels.iter().enumerate() {
            let mut connection = Connection::new(channel.clone());
            let status: Result<StatusResponse, _> = connection
                .call("/etcdserverpb.Maintenance/Status", StatusRequest {})
                .await;
            let leads = |status: &StatusResponse| {
                status
                    .header
                    .as_ref()
                    .is_some_and(|header| header.member_id == status.leader)
            };
            if status.ok().as_ref().is_some_and(leads) {
                return member;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Connection {
    fn new(channel: Channel) -> Self {
        Self {
            grpc: Grpc::new(channel),
            value: vec![b'x'; VALUE_BYTES],
        }
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, String>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await.map_err(|error| error.to_string())?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = self
            .grpc
            .unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec)
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| status.to_string())
    }
}

fn key_bytes(key: u64) -> Vec<u8> {
    key.to_be_bytes().to_vec()
}

impl Client for Connection {
    fn write(&mut self, key: u64) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let request = PutRequest {
                key: key_bytes(key),
                value: self.value.clone(),
            };
            let _: PutResponse = self.call("/etcdserverpb.KV/Put", request).await?;
            Ok(())
        }
        .boxed()
    }

    fn read(&mut self, key: u64) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let request = RangeRequest { key: key_bytes(key) };
            let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
            // The first read of a connection is of a key that may not be there.
            (answer.count == 1 || key == 0)
                .then_some(())
                .ok_or_else(|| format!("no key {key}"))
        }
        .boxed()
    }
}
