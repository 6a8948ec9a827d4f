//! Clients that write while a cluster changes: each write has an id of its own and is tried again, on any member, until it
//! is acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::task::JoinSet;
use tokio_postgres::{
    Client, Config,
    config::{LoadBalanceHosts, SslMode},
};
use tokio_util::sync::CancellationToken;

use crate::client::tls;
use crate::world::{LOOKS_MAX, PAUSE};

/// How many clients write.
const CLIENTS: i64 = 2;
/// How long a client waits before its next write: what counts is what is lost, not how much is done.
const BETWEEN_WRITES: Duration = Duration::from_millis(50);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Ids of one client are below the next one's.
const IDS_OF_A_CLIENT: i64 = 1_000_000_000;

/// How the members are reached, as drivers are told that are given several hosts.
#[derive(Clone)]
pub(crate) struct Way {
    config: Config,
    ca_pem: String,
}

impl Way {
    /// Through these members of what `GET …/connection` says, in any order.
    pub(crate) fn new(connection: &Value, members: &[Value], ca_pem: &str, password: &str) -> Self {
        let text = |name: &str| connection[name].as_str().expect(name).to_owned();
        let mut config = Config::new();
        config
            .dbname(text("database"))
            .user(text("user"))
            .password(password)
            .connect_timeout(ATTEMPT)
            .load_balance_hosts(LoadBalanceHosts::Random)
            .ssl_mode(SslMode::Require);
        for member in members {
            let address = member["host_address"].as_str().expect("an address");
            let port = member["port"].as_u64().and_then(|port| u16::try_from(port).ok());
            config
                .host(text("host"))
                .hostaddr(address.parse().expect("an address"))
                .port(port.expect("a port"));
        }
        let ca_pem = ca_pem.to_owned();
        Self { config, ca_pem }
    }

    pub(crate) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(tls(&self.ca_pem)).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Carries out a statement that may be repeated, with patience.
    async fn execute(&self, client: &mut Option<Client>, statement: &str, id: i64, number: i64) {
        let mut last = String::new();
        for _ in 0..LOOKS_MAX {
            let attempt = async {
                let connected = match client.take() {
                    Some(connected) => connected,
                    None => self.connect().await?,
                };
                connected.execute(statement, &[&id, &number]).await?;
                Ok::<_, tokio_postgres::Error>(connected)
            };
            match tokio::time::timeout(ATTEMPT, attempt).await {
                Ok(Ok(connected)) => {
                    *client = Some(connected);
                    return;
                }
                Ok(Err(error)) => last = format!("{error:?}"),
                Err(elapsed) => last = elapsed.to_string(),
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("write {id} still fails: {last}");
    }
}

/// Clients that write until they are told to stop.
pub(crate) struct Load {
    clients: JoinSet<()>,
    acknowledged: Arc<AtomicU64>,
    stopping: CancellationToken,
}

impl Load {
    pub(crate) async fn start(way: &Way) -> Self {
        let client = way.connect().await.expect("ready means connectable");
        client
            .batch_execute("CREATE TABLE load (id BIGINT PRIMARY KEY, client BIGINT NOT NULL)")
            .await
            .expect("a table");
        let (acknowledged, stopping) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (way, acknowledged, stopping) = (way.clone(), acknowledged.clone(), stopping.clone());
            clients.spawn(async move {
                let mut client = None;
                for id in number * IDS_OF_A_CLIENT.. {
                    if stopping.is_cancelled() {
                        return;
                    }
                    // An attempt whose outcome was lost may have been applied: then the next one changes nothing.
                    let statement = "INSERT INTO load VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
                    way.execute(&mut client, statement, id, number).await;
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(BETWEEN_WRITES).await;
                }
            });
        }
        Self {
            clients,
            acknowledged,
            stopping,
        }
    }

    /// Waits until each client has had a further write acknowledged, so that writes are known to go on.
    pub(crate) async fn expect_progress(&self) {
        let seen = self.acknowledged.load(Ordering::Relaxed);
        let goal = seen + 2 * u64::try_from(CLIENTS).expect("a count");
        poll("writes go on", async || {
            self.acknowledged.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    /// Stops the clients and makes sure that every one of the members holds what was acknowledged, once, and nothing else.
    pub(crate) async fn finish(mut self, members: &[Way]) {
        self.stopping.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("no write failed for good");
        }
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        for member in members {
            poll("a member lets clients in and holds every write", async || {
                let Ok(client) = member.connect().await else {
                    return false;
                };
                let query = "SELECT client, count(*), max(id) FROM load GROUP BY client";
                let Ok(rows) = client.query(query, &[]).await else {
                    return false;
                };
                let mut found = 0;
                for row in rows {
                    let (number, count, last): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
                    let expected = last - number * IDS_OF_A_CLIENT + 1;
                    assert_eq!(count, expected, "client {number} wrote consecutive ids up to {last}");
                    found += u64::try_from(count).expect("a count");
                }
                assert!(found <= acknowledged, "{found} rows, {acknowledged} writes");
                found == acknowledged
            })
            .await;
        }
    }
}

/// Polls until a condition holds.
pub(crate) async fn poll(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if condition().await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("waited too long: {what}");
}
