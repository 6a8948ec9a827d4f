//! Puts the parts together, and takes them apart again in order.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use craton_crypto::MasterKeyProvider;
use craton_engine::{Craton, EngineError, ScrubOptions, SyncPolicy};
use craton_listener::{ConnectionLimits, Listener, TlsSource};
use craton_types::{Format, Region};
use craton_witness::{FileCosigning, WitnessFileError};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::connections::Connections;
use crate::endpoints::Endpoints;
use crate::http::Passwords;
use crate::limits::{CONNECTIONS_OPENING_EXTRA, Limits};
use crate::master_key::VaultSettings;
use crate::member::{Joining, MemberError, MemberOptions, Membership};
use crate::metrics::Metrics;
use crate::peers::PeerListener;
use crate::postgres::{self, MockVerifiers};
use crate::shared::Shared;
use crate::tls::{Certificate, TlsError};
use crate::token::{TokenKeyError, TokenVerifier};
use crate::{admin, http};

/// How the server names itself to witnesses.
const USER_AGENT: &str = concat!("craton-server/", env!("CARGO_PKG_VERSION"));
/// How often the engine is asked whether it still runs.
const HEALTH_INTERVAL: Duration = Duration::from_millis(100);
/// How long accepting pauses after the system refused a socket, for lack of file descriptors perhaps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server is started with.
pub struct Options {
    /// Where the engine's files and `endpoints.json` lie.
    pub data_dir: PathBuf,
    /// What the databases' log names begin with.
    pub origin: String,
    /// Unwraps the node's keys.
    pub master_key: Arc<dyn MasterKeyProvider>,
    /// Where Vault is, for master keys in it.
    pub vault: Option<VaultSettings>,
    /// Where the PostgreSQL protocol is served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the logs are served over TLS, and `/health` and `/ready`; port 0 takes a free one.
    pub https_listen: SocketAddr,
    /// Where `/metrics`, `/health` and `/ready` are served in plain HTTP to whoever reaches the address; nowhere without
    /// it.
    pub metrics_listen: Option<SocketAddr>,
    /// The administrative API's Unix socket.
    pub admin_socket: PathBuf,
    /// The certificate chain, in PEM.
    pub tls_certificate: PathBuf,
    /// Its private key, in PEM, readable by its owner only.
    pub tls_key: PathBuf,
    /// Whose tokens are accepted from the probe; without it the probe cannot log in.
    pub token: Option<TokenOptions>,
    /// Which versions of the formats the build knows; [`Format::default`], but for a test of an older build.
    pub format: Arc<Format>,
    /// How the server takes part in a cluster; it stands alone without it.
    pub member: Option<MemberOptions>,
    /// Where the server is, for databases with placement rules.
    pub region: Option<Region>,
    /// Who cosigns the databases' checkpoints, as JSON; nobody without it.
    pub witness_file: Option<PathBuf>,
    /// How many commands share one `fdatasync`.
    pub sync_policy: SyncPolicy,
    /// How fast and how often the logs are read through in the background.
    pub scrub: ScrubOptions,
    /// The most bytes of records in a second that are sent to members that catch up; 0 for no limit.
    pub transfer_bytes_per_second: u64,
    /// Bounds.
    pub limits: Limits,
}

/// Which tokens are accepted.
pub struct TokenOptions {
    /// The audience that tokens must name.
    pub cluster_id: String,
    /// The issuer's Ed25519 public key, in PEM.
    pub key_path: PathBuf,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificate is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server cannot be a member of its cluster.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The token key is not usable.
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    /// The witnesses cannot be asked.
    #[error(transparent)]
    Witnesses(#[from] WitnessFileError),
    /// The engine did not open.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An address is not available.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address or path.
        address: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file with the addresses cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Endpoints {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Why a server ended otherwise than it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The engine failed for good. What was acknowledged is on the disk; a restart recovers it.
    #[error("the engine has stopped: {reason}")]
    EngineStopped {
        /// The first failure.
        reason: String,
    },
    /// The engine did not close in order. What was acknowledged is on the disk.
    #[error("the engine did not close in order: {0}")]
    Close(#[source] EngineError),
}

/// A server that accepts connections.
pub struct Server {
    shared: Arc<Shared>,
    endpoints: Endpoints,
    data_dir: PathBuf,
    accepting: JoinHandle<JoinSet<()>>,
    /// Cancelled when the HTTP interfaces are to end, which they do last.
    http_end: CancellationToken,
    http: JoinSet<()>,
}

impl Server {
    /// Opens the engine, binds every address and begins to serve.
    ///
    /// # Errors
    /// When a file, key, address or the engine is not usable. Nothing runs then.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options {
            data_dir,
            origin,
            master_key,
            vault,
            listen,
            https_listen,
            metrics_listen,
            admin_socket,
            tls_certificate,
            tls_key,
            token,
            format,
            member,
            region,
            witness_file,
            sync_policy,
            scrub,
            transfer_bytes_per_second,
            limits,
        } = options;
        let certificate = Certificate::load(tls_certificate, tls_key)?;
        let tokens = match token {
            Some(token) => Some(TokenVerifier::load(token.key_path, &token.cluster_id)?),
            None => None,
        };
        let options = Craton::options()
            .origin(origin)
            .master_key(master_key)
            .region(region)
            .sync_policy(sync_policy)
            .scrub(scrub)
            .transfer_bytes_per_second(transfer_bytes_per_second)
            .format(Arc::clone(&format));
        let mut joining = member.map(|member| Joining::load(member, format)).transpose()?;
        let peer_listener = match &joining {
            Some(joining) => Some(bind_peers(joining).await?),
            None => None,
        };
        let options = match &mut joining {
            Some(joining) => options.cluster(joining.engine_options(Craton::exists(&data_dir)).await?),
            None => options,
        };
        let engine_dir = data_dir.clone();
        let opened = tokio::task::spawn_blocking(move || options.open(engine_dir)).await;
        let engine = opened.expect("opening the engine does not panic")?;
        let membership = joining
            .zip(engine.member())
            .map(|(joining, member)| joining.membership(member));
        let mock_verifiers = MockVerifiers::new(engine.derive_secret("craton server mock authentication v1"));
        let passwords = Passwords::new(engine.derive_secret("craton server password cache v1"));
        let witnesses = match witness_file {
            Some(path) => Some(FileCosigning::start(path, engine.clone(), USER_AGENT)?),
            None => None,
        };

        let postgres_listener = bind(listen).await?;
        let admin_listener = bind_private(&admin_socket)?;
        #[expect(clippy::disallowed_methods, reason = "the start of the uptime")]
        let started_at = Instant::now();
        let shared = Arc::new(Shared {
            engine,
            membership,
            certificate,
            tokens,
            mock_verifiers,
            vault,
            passwords,
            witnesses,
            metrics: Metrics::new(),
            connections: Arc::new(Connections::default()),
            session_permits: Arc::new(Semaphore::new(limits.connections_max)),
            limits,
            stopping: CancellationToken::new(),
            started_at,
        });
        let http_end = CancellationToken::new();
        let mut http = JoinSet::new();
        let certificate = shared.clone();
        let tls: TlsSource = Arc::new(move || certificate.certificate.https());
        let public = bind_http(https_listen, Some(tls), &shared.limits).await?;
        let operator = match metrics_listen {
            Some(address) => Some(bind_http(address, None, &shared.limits).await?),
            None => None,
        };
        let endpoints = Endpoints {
            process_id: std::process::id(),
            postgres: local_address(&postgres_listener)?,
            https: public.address(),
            metrics: operator.as_ref().map(Listener::address),
            peer: peer_listener
                .as_ref()
                .map(PeerListener::address)
                .transpose()
                .map_err(|source| StartError::Listen {
                    address: "a bound socket".to_owned(),
                    source,
                })?,
            admin_socket,
        };
        if let (Some(listener), Some(membership)) = (peer_listener, &shared.membership) {
            http.spawn(listener.serve(membership.member.clone(), http_end.clone()));
        }
        http.spawn(public.serve(http::public_router(shared.clone()), http_end.clone()));
        if let Some(operator) = operator {
            http.spawn(operator.serve(http::operator_router(shared.clone()), http_end.clone()));
        }
        let ended = http_end.clone().cancelled_owned();
        let serve_admin = axum::serve(admin_listener, admin::router(shared.clone())).with_graceful_shutdown(ended);
        http.spawn(log_failure("admin", serve_admin.into_future()));
        let accepting = tokio::spawn(accept(shared.clone(), postgres_listener));

        // Last: whoever waits for this file may connect as soon as it is there.
        endpoints.write(&data_dir).map_err(|source| StartError::Endpoints {
            path: data_dir.join(crate::ENDPOINTS_FILE),
            source,
        })?;
        tracing::info!(
            postgres = %endpoints.postgres,
            https = %endpoints.https,
            metrics = ?endpoints.metrics,
            admin_socket = %endpoints.admin_socket.display(),
            version = env!("CARGO_PKG_VERSION"),
            "serving"
        );
        Ok(Self {
            shared,
            endpoints,
            data_dir,
            accepting,
            http_end,
            http,
        })
    }

    /// Where the server can be reached.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// A handle that reads the server's files again while it runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader {
            shared: self.shared.clone(),
        }
    }

    /// Serves until `shutdown` completes or the engine fails, then ends in order: no new connections, running
    /// statements finish within their time, the engine closes.
    ///
    /// # Errors
    /// When the engine failed, or did not close in order.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let failed = tokio::select! {
            () = shutdown => None,
            reason = engine_failure(&self.shared.engine) => Some(reason),
        };
        self.stop(failed).await
    }

    async fn stop(mut self, failed: Option<String>) -> Result<(), RunError> {
        if let Some(reason) = &failed {
            tracing::error!(reason, "the engine has failed, the server ends");
        } else {
            tracing::info!("stopping");
        }
        self.shared.stopping.cancel();
        if let (None, Some(membership)) = (&failed, &self.shared.membership) {
            // Another member leads before this one is gone.
            membership.member.drain().await;
        }
        if let Err(error) = Endpoints::remove(&self.data_dir) {
            tracing::warn!(%error, "endpoints.json was not removed");
        }
        let mut connections = self.accepting.await.unwrap_or_default();
        // After a failure there is nothing to wait for: no statement can succeed any more.
        let patience = if failed.is_some() {
            Duration::ZERO
        } else {
            self.shared.limits.shutdown_timeout
        };
        let finished = timeout(patience, async { while connections.join_next().await.is_some() {} }).await;
        if finished.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "connections were cut off at the deadline"
            );
            connections.shutdown().await;
        }
        // A member gets them from the others, like all that it applies, so its interface for them is still open.
        if failed.is_none() && timeout(patience, checkpoint_all(&self.shared.engine)).await.is_err() {
            tracing::warn!("the last checkpoints were not made in time; the next start makes them");
        }
        self.http_end.cancel();
        if timeout(patience, async { while self.http.join_next().await.is_some() {} })
            .await
            .is_err()
        {
            self.http.shutdown().await;
        }
        if let Err(error) = std::fs::remove_file(&self.endpoints.admin_socket) {
            tracing::debug!(%error, "the administrative socket was not removed");
        }
        if let Some(reason) = failed {
            return Err(RunError::EngineStopped { reason });
        }
        let shared = self.shared.clone();
        let close = move || {
            if let Some(witnesses) = &shared.witnesses {
                witnesses.stop();
            }
            shared.engine.close()
        };
        let closed = tokio::task::spawn_blocking(close).await;
        closed
            .expect("closing the engine does not panic")
            .map_err(RunError::Close)?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Reads a running server's files again.
pub struct Reloader {
    shared: Arc<Shared>,
}

impl Reloader {
    /// Reads the certificates, their keys, the members, the token key and the witnesses again. New connections and checkpoints use them;
    /// what cannot be read is logged and stays as it was.
    pub fn reload(&self) {
        match self.shared.certificate.reload() {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(%error, "the certificate was not read again, the old one stays in use"),
        }
        if let Some(Err(error)) = self.shared.tokens.as_ref().map(TokenVerifier::reload) {
            tracing::error!(%error, "the token key was not read again, the old one stays in use");
        }
        if let Some(Err(error)) = self.shared.membership.as_ref().map(Membership::reload) {
            tracing::error!(%error, "the members or the certificate for them were not read again, the old ones stay");
        }
        if let Some(Err(error)) = self.shared.witnesses.as_ref().map(FileCosigning::reload) {
            tracing::error!(%error, "the witnesses were not read again, the old ones are asked");
        }
    }
}

/// Covers everything written by checkpoints, so that a stopped server's logs can be proved to their end.
async fn checkpoint_all(engine: &Craton) {
    for database in engine.tenants().iter().filter_map(|name| engine.tenant(name)) {
        if let Err(error) = database.checkpoint().await {
            tracing::warn!(database = database.name(), %error, "no last checkpoint was made");
        }
    }
}

/// Completes with the reason when the engine has failed for good.
async fn engine_failure(engine: &Craton) -> String {
    let mut ticks = interval(HEALTH_INTERVAL);
    loop {
        ticks.tick().await;
        if let Some(reason) = engine.stop_reason() {
            return reason;
        }
    }
}

async fn log_failure(interface: &'static str, serving: impl Future<Output = io::Result<()>>) {
    if let Err(error) = serving.await {
        tracing::error!(interface, %error, "an interface ended");
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen {
        address: address.to_string(),
        source,
    })
}

async fn bind_http(address: SocketAddr, tls: Option<TlsSource>, limits: &Limits) -> Result<Listener, StartError> {
    let limits = ConnectionLimits {
        connections_max: limits.http_connections_max,
        handshake_time_max: limits.http_head_timeout,
        head_time_max: limits.http_head_timeout,
    };
    let bound = Listener::bind(address, tls, limits).await;
    bound.map_err(|source| StartError::Listen {
        address: address.to_string(),
        source,
    })
}

async fn bind_peers(joining: &Joining) -> Result<PeerListener, StartError> {
    let bound = PeerListener::bind(joining.listen, Arc::clone(&joining.identity)).await;
    bound.map_err(|source| StartError::Listen {
        address: joining.listen.to_string(),
        source,
    })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen {
        address: "a bound socket".to_owned(),
        source,
    })
}

/// Binds a Unix socket that only its owner can open: it gets its name after it got its mode.
fn bind_private(path: &Path) -> Result<UnixListener, StartError> {
    let listen_error = |source| StartError::Listen {
        address: path.display().to_string(),
        source,
    };
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(listen_error(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&temporary).map_err(listen_error)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600)).map_err(listen_error)?;
    std::fs::rename(&temporary, path).map_err(listen_error)?;
    Ok(listener)
}

/// Accepts connections until the server stops; returns those that are still open.
async fn accept(shared: Arc<Shared>, listener: TcpListener) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let connections_max = shared.limits.connections_max + CONNECTIONS_OPENING_EXTRA;
    loop {
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => return connections,
            Some(ended) = connections.join_next() => report_panic(ended),
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) if connections.len() < connections_max => {
                    connections.spawn(postgres::serve(shared.clone(), socket));
                }
                Ok((socket, _)) => refuse(&shared, socket),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// A session that panicked takes no other with it, and leaves no transaction behind; but it is a defect.
fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a session panicked");
    }
}

/// Closes a connection unheard: even telling why would take a TLS handshake.
fn refuse(shared: &Shared, socket: TcpStream) {
    shared
        .metrics
        .connections_refused_total
        .with_label_values(&["overload"])
        .inc();
    drop(socket);
}
