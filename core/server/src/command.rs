//! The command line of `craton-server`.

use std::io::{IsTerminal, Write as _};
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, ValueEnum};
use craton_engine::{ScrubOptions, SyncPolicy, TRANSFER_BYTES_PER_SECOND_DEFAULT};
use craton_types::{Format, FormatVersion, Region};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use crate::{Limits, MasterKeySource, MemberOptions, Options, Server, TokenOptions, VaultSettings};

/// Serves Craton databases over the PostgreSQL protocol.
///
/// SIGTERM ends the server in order, SIGHUP makes it read its certificate and keys again. RUST_LOG selects what is
/// logged, `info` by default.
#[derive(Parser)]
#[command(version, args_override_self = true)]
struct Invocation {
    /// Print which versions of the formats this build opens and writes, as JSON, and end
    #[arg(long, exclusive = true)]
    format_versions: bool,
    #[command(flatten)]
    serve: Option<Arguments>,
}

/// What a server is started with.
#[derive(Args)]
struct Arguments {
    /// Directory of the logs, views and keys; created when missing
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: PathBuf,
    /// What the databases' log names begin with, such as a cluster's host name
    #[arg(long)]
    origin: String,
    /// Address of the PostgreSQL protocol; port 0 takes a free one, see endpoints.json in the data directory
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5432")]
    listen: SocketAddr,
    /// Address of the databases' logs over TLS, and of /health and /ready
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8008")]
    https_listen: SocketAddr,
    /// Address of /metrics, /health and /ready in plain HTTP and without a password, for the machine's own collector; not one
    /// that others reach. The administrative socket has them in any case
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// Unix socket of the administrative API [default: admin.sock in the data directory]
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<PathBuf>,
    /// Certificate chain, in PEM
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Private key of the certificate, in PEM, readable by its owner only
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
    /// The master key that all other keys are wrapped by: file:PATH, env:VARIABLE or vault:KEY
    #[arg(long, value_name = "SOURCE")]
    master_key: MasterKeySource,
    /// Create the master key's file, mode 0600, when it is missing
    #[arg(long)]
    generate_master_key: bool,
    /// Vault's origin, such as https://vault.example:8200
    #[arg(long, value_name = "URL", requires = "vault_token_file")]
    vault_address: Option<String>,
    /// File of Vault's token, readable by its owner only and read for every call
    #[arg(long, value_name = "FILE", requires = "vault_address")]
    vault_token_file: Option<PathBuf>,
    /// Mount of Vault's transit engine
    #[arg(long, value_name = "PATH", default_value = "transit")]
    vault_mount: String,
    /// Vault's namespace
    #[arg(long, value_name = "NAMESPACE")]
    vault_namespace: Option<String>,
    /// Authority of Vault's certificate, in PEM [default: the system's authorities]
    #[arg(long, value_name = "FILE")]
    vault_ca_file: Option<PathBuf>,
    /// The cluster's id, which the probe's tokens and the members' certificates must name
    #[arg(long, value_name = "ID")]
    cluster_id: Option<String>,
    /// Where the server is, such as eu-central. Databases can say in which regions data of a class may be kept; members
    /// of one cluster are in one region
    #[arg(long, value_name = "NAME")]
    region: Option<Region>,
    /// The node's number in its cluster: at least 1, unlike every other that ever was in it. The server stands alone without
    /// it
    #[arg(long, value_name = "NUMBER", requires_all = ["cluster_id", "peer_listen", "peer_cert", "peer_key", "peer_ca", "members"])]
    node_id: Option<u64>,
    /// Address where other members connect, with mutual TLS
    #[arg(long, value_name = "ADDRESS", requires = "node_id")]
    peer_listen: Option<SocketAddr>,
    /// Certificate chain for other members, in PEM; it names node-<number>.<cluster id>.peer.craton.internal
    #[arg(long, value_name = "FILE", requires = "node_id")]
    peer_cert: Option<PathBuf>,
    /// Private key of that certificate, in PEM, readable by its owner only
    #[arg(long, value_name = "FILE", requires = "node_id")]
    peer_key: Option<PathBuf>,
    /// Authority of the members' certificates, in PEM
    #[arg(long, value_name = "FILE", requires = "node_id")]
    peer_ca: Option<PathBuf>,
    /// JSON file of the members that the cluster shall have, read again on SIGHUP: {"generation": 1, "members": [{"node_id": 1,
    /// "peer_address": "host:port"}]}. An older generation is ignored
    #[arg(long, value_name = "FILE", requires = "node_id")]
    members: Option<PathBuf>,
    /// Form a new cluster, as its first member; harmless on a node that has data
    #[arg(long, requires = "node_id")]
    bootstrap: bool,
    /// Ed25519 public key, in PEM, of the issuer of the probe's tokens
    #[arg(long, value_name = "FILE", requires = "cluster_id")]
    token_key_file: Option<PathBuf>,
    /// JSON file of the witnesses that cosign the databases' checkpoints (C2SP tlog-witness), read again on SIGHUP:
    /// {"witnesses": [{"url": "https://witness.example", "verifier_key": "<name>+<key id>+<base64>"}],
    /// "time_stamp_authority": {"url": "https://tsa.example", "certificates": "<PEM>"}}; the latter, for time stamps (RFC
    /// 3161), may be left out
    #[arg(long, value_name = "FILE")]
    witness_file: Option<PathBuf>,
    /// How many commands share one sync of the log: every-batch, every-record or group:MILLISECONDS. Nothing is
    /// acknowledged before it is synced, whatever the policy
    #[arg(long, value_name = "POLICY", default_value = "every-batch")]
    sync_policy: SyncPolicy,
    /// The most bytes that are read in a second to look for damage in the background; 0 for none
    #[arg(long, value_name = "BYTES", default_value_t = ScrubOptions::default().bytes_per_second)]
    scrub_bytes_per_second: u64,
    /// Seconds between two passes that look for damage
    #[arg(long, value_name = "SECONDS", default_value_t = ScrubOptions::default().pause.as_secs())]
    scrub_pause: u64,
    /// The most bytes of records that are sent in a second to members of the cluster that catch up; 0 for no limit
    #[arg(long, value_name = "BYTES", default_value_t = TRANSFER_BYTES_PER_SECOND_DEFAULT)]
    transfer_bytes_per_second: u64,
    /// The most connections with a session
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().connections_max)]
    connections_max: usize,
    /// The most bytes of one COPY FROM STDIN
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().copy_bytes_max)]
    copy_bytes_max: usize,
    /// Seconds from a connection's first byte to the end of its authentication
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().authentication_timeout.as_secs())]
    authentication_timeout: u64,
    /// Seconds that a session may idle outside a transaction; 0 for ever
    #[arg(long, value_name = "SECONDS", default_value_t = seconds(Limits::default().idle_session_timeout))]
    idle_session_timeout: u64,
    /// Seconds that a session may idle inside a transaction; 0 for ever
    #[arg(long, value_name = "SECONDS", default_value_t = seconds(Limits::default().idle_in_transaction_timeout))]
    idle_in_transaction_timeout: u64,
    /// Seconds that running statements are given to finish at shutdown
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().shutdown_timeout.as_secs())]
    shutdown_timeout: u64,
    /// How log lines are written, to the standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// What is logged unless RUST_LOG says otherwise. openraft tells of each request that a dead member does not answer; what
/// matters of it, consensus says itself.
const LOG_FILTER: &str = "info,openraft=off";
/// The fewest threads that serve sessions.
const WORKER_THREADS_MIN: usize = 4;

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

fn seconds(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |duration| duration.as_secs())
}

fn duration(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Reads the process's arguments and serves until it is told to end. `format_newest` is the newest version of the formats that
/// the build takes part with: [`FormatVersion::NEWEST`], but for a test of an older build.
#[must_use]
pub fn run_command(format_newest: FormatVersion) -> ExitCode {
    let Invocation { serve, .. } = Invocation::parse();
    let Some(arguments) = serve else {
        return print_format_versions(format_newest);
    };
    start_log(arguments.log_format);
    match run(arguments, format_newest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What whoever is about to start the build on a directory asks first.
fn print_format_versions(newest: FormatVersion) -> ExitCode {
    let versions = serde_json::json!({ "oldest": FormatVersion::OLDEST.get(), "newest": newest.get() });
    match writeln!(std::io::stdout(), "{versions}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

fn run(arguments: Arguments, format_newest: FormatVersion) -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    let options = options(arguments, Format::new(format_newest))?;
    // Reads run on the worker threads: a long one must leave enough of them to the other sessions.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS_MIN.max(2 * processors))
        .enable_all()
        .build()
        .context("the runtime does not start")?
        .block_on(serve(options))
}

fn options(arguments: Arguments, format: Format) -> anyhow::Result<Options> {
    let member = member(&arguments);
    std::fs::create_dir_all(&arguments.data_dir)
        .with_context(|| format!("cannot create {}", arguments.data_dir.display()))?;
    let admin_socket = arguments
        .admin_socket
        .unwrap_or_else(|| arguments.data_dir.join("admin.sock"));
    // Whoever reads the path from endpoints.json may stand in another directory.
    let admin_socket = std::path::absolute(admin_socket).context("the working directory is not known")?;
    let token = arguments
        .cluster_id
        .zip(arguments.token_key_file)
        .map(|(cluster_id, key_path)| TokenOptions { cluster_id, key_path });
    if arguments.generate_master_key {
        generate_master_key(&arguments.master_key)?;
    }
    let vault = arguments
        .vault_address
        .zip(arguments.vault_token_file)
        .map(|(address, token_file)| VaultSettings {
            address,
            token_file,
            mount: arguments.vault_mount,
            namespace: arguments.vault_namespace,
            ca_file: arguments.vault_ca_file,
        });
    Ok(Options {
        master_key: arguments.master_key.open(vault.as_ref())?,
        vault,
        data_dir: arguments.data_dir,
        origin: arguments.origin,
        listen: arguments.listen,
        https_listen: arguments.https_listen,
        metrics_listen: arguments.metrics_listen,
        admin_socket,
        tls_certificate: arguments.tls_cert,
        tls_key: arguments.tls_key,
        token,
        format: Arc::new(format),
        member,
        region: arguments.region,
        witness_file: arguments.witness_file,
        sync_policy: arguments.sync_policy,
        transfer_bytes_per_second: arguments.transfer_bytes_per_second,
        scrub: ScrubOptions {
            bytes_per_second: arguments.scrub_bytes_per_second,
            pause: Duration::from_secs(arguments.scrub_pause),
        },
        limits: Limits {
            connections_max: arguments.connections_max,
            copy_bytes_max: arguments.copy_bytes_max,
            authentication_timeout: Duration::from_secs(arguments.authentication_timeout),
            idle_session_timeout: duration(arguments.idle_session_timeout),
            idle_in_transaction_timeout: duration(arguments.idle_in_transaction_timeout),
            shutdown_timeout: Duration::from_secs(arguments.shutdown_timeout),
            ..Limits::default()
        },
    })
}

/// The server's part in a cluster, if it has one.
fn member(arguments: &Arguments) -> Option<MemberOptions> {
    Some(MemberOptions {
        node_id: arguments.node_id?,
        cluster_id: arguments.cluster_id.clone()?,
        region: arguments.region.clone(),
        listen: arguments.peer_listen?,
        certificate: arguments.peer_cert.clone()?,
        key: arguments.peer_key.clone()?,
        authority: arguments.peer_ca.clone()?,
        members_file: arguments.members.clone()?,
        bootstrap: arguments.bootstrap,
    })
}

fn generate_master_key(source: &MasterKeySource) -> anyhow::Result<()> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).context("no random bytes for a master key")?;
    if source.generate_missing_file(|| *secret)? {
        tracing::info!(%source, "a master key was made; without it the data cannot be read, keep a copy");
    }
    Ok(())
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP cannot be handled")?;
    let server = Server::start(options).await?;
    let reload = server.reloader();
    let reloading = tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            reload.reload();
        }
    });
    let result = server
        .run_until(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    reloading.abort();
    Ok(result?)
}
