//! Clients that write while the cluster changes: each write has an id of its own and is tried again, on any member, until it is
//! acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::task::JoinSet;
use tokio_postgres::config::{LoadBalanceHosts, SslMode};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, DATABASE, HOST, PASSWORD, USER};

/// How long a write is tried again before it counts as failed: the documented window, and what a busy machine adds.
const WINDOW: Duration = Duration::from_secs(20);
/// How long a client waits before it tries again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Ids of one client are below the next one's.
const IDS_OF_A_CLIENT: i64 = 1_000_000_000;

/// What one client wrote.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// Writes that were acknowledged, with consecutive ids.
    pub(crate) acknowledged: u64,
    /// How often a write was tried again.
    pub(crate) retried: u64,
    /// The longest time from the first attempt of a write to its acknowledgement.
    pub(crate) slowest: Duration,
}

/// Clients that write until they are told to stop.
pub(crate) struct Load {
    clients: JoinSet<anyhow::Result<Written>>,
    stopping: CancellationToken,
}

impl Load {
    pub(crate) async fn start(cluster: &Cluster, clients: u32) -> anyhow::Result<Self> {
        let way = Arc::new(Way::new(cluster)?);
        let client = way.connect().await?;
        client
            .batch_execute("CREATE TABLE load (id bigint PRIMARY KEY, client bigint NOT NULL)")
            .await?;
        let stopping = CancellationToken::new();
        let mut set = JoinSet::new();
        for number in 0..clients {
            set.spawn(write(Arc::clone(&way), i64::from(number), stopping.clone()));
        }
        Ok(Self { clients: set, stopping })
    }

    /// Whether no client has given up. Clients do not end before they are told to.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.clients.try_join_next() {
            None => Ok(()),
            Some(ended) => {
                ended??;
                bail!("a client ended by itself")
            }
        }
    }

    /// Stops the clients. Fails when one of them had given up.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Vec<Written>> {
        self.stopping.cancel();
        let mut all = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            all.push(ended??);
        }
        Ok(all)
    }
}

/// How the members are reached.
pub(crate) struct Way {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Way {
    /// All members, in any order, as drivers do it that are given several hosts.
    pub(crate) fn new(cluster: &Cluster) -> anyhow::Result<Self> {
        let mut way = Self::to(cluster, &[])?;
        for node in &cluster.nodes {
            way.config
                .host(HOST)
                .hostaddr([127, 0, 0, 1].into())
                .port(node.sql_port);
        }
        way.config.load_balance_hosts(LoadBalanceHosts::Random);
        Ok(way)
    }

    /// One member.
    pub(crate) fn to(cluster: &Cluster, ports: &[u16]) -> anyhow::Result<Self> {
        use rustls_pki_types::pem::PemObject;
        let mut config = Config::new();
        config
            .user(USER)
            .password(PASSWORD)
            .dbname(DATABASE)
            .connect_timeout(ATTEMPT)
            .ssl_mode(SslMode::Require);
        for port in ports {
            config.host(HOST).hostaddr([127, 0, 0, 1].into()).port(*port);
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls_pki_types::CertificateDer::from_pem_slice(
            cluster.certificate_pem.as_bytes(),
        )?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(tls),
        })
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Writes one id after the other.
#[expect(clippy::disallowed_methods, reason = "what is measured")]
async fn write(way: Arc<Way>, number: i64, stopping: CancellationToken) -> anyhow::Result<Written> {
    let mut written = Written::default();
    let mut client = None;
    while !stopping.is_cancelled() {
        let id = number * IDS_OF_A_CLIENT + i64::try_from(written.acknowledged)?;
        let begun = Instant::now();
        loop {
            match attempt(&way, &mut client, id, number).await {
                Ok(()) => break,
                Err(error) => {
                    client = None;
                    written.retried += 1;
                    let waited = begun.elapsed();
                    ensure!(
                        waited < WINDOW,
                        "write {id} failed for {waited:?}, the last time with: {error:#}"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        written.acknowledged += 1;
        written.slowest = written.slowest.max(begun.elapsed());
    }
    Ok(written)
}

async fn attempt(way: &Way, client: &mut Option<Client>, id: i64, number: i64) -> anyhow::Result<()> {
    let connected = match client {
        Some(client) => client,
        None => client.insert(way.connect().await?),
    };
    // An attempt whose outcome was lost may have been applied: then this one changes nothing.
    let statement = "INSERT INTO load VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    let executed = async { connected.execute(statement, &[&id, &number]).await };
    tokio::time::timeout(ATTEMPT, executed)
        .await
        .context("an attempt took too long")??;
    Ok(())
}

/// Makes sure that a member holds exactly what was acknowledged, and of what was not at most the last write of each client.
pub(crate) async fn check_rows(cluster: &Cluster, place: usize, written: &[Written]) -> anyhow::Result<u64> {
    let client = Way::to(cluster, &[cluster.nodes[place].sql_port])?.connect().await?;
    let rows = client
        .query("SELECT client, count(*), max(id) FROM load GROUP BY client", &[])
        .await?;
    let (mut expected, mut found) = (0, 0);
    for written in written {
        expected += written.acknowledged;
    }
    for row in rows {
        let (number, count, last): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        // Ids of a client are consecutive, so nothing is missing before the last one.
        ensure!(
            count == last - number * IDS_OF_A_CLIENT + 1,
            "node {place}: client {number} has {count} rows up to {last}"
        );
        found += u64::try_from(count)?;
    }
    ensure!(
        found == expected,
        "node {place} holds {found} rows, {expected} were acknowledged"
    );
    Ok(found)
}
