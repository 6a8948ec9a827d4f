//! The `craton-agent` program.

use std::{ffi::OsString, net::IpAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use craton_agent::{AgentConfig, PlatformUrl, PortRange};
use craton_agent_protocol::JoinToken;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Joins this machine to a Craton fleet and runs the database servers that the fleet places on it.
///
/// The servers go on when the agent ends, and the next agent takes them over as they are. RUST_LOG selects what is
/// logged, `info` by default.
#[derive(Parser)]
#[command(
    name = "craton-agent",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where the agent keeps the node's identity and its instances.
    #[arg(long, env = "CRATON_AGENT_DATA_DIR", required = true)]
    data_dir: Option<PathBuf>,

    /// The control plane's agent listener, wss://host:port.
    #[arg(long, env = "CRATON_PLATFORM", required = true)]
    platform: Option<PlatformUrl>,

    /// The right to join, needed once. Prefer the environment variable: arguments can be seen by other users.
    #[arg(long, env = "CRATON_JOIN_TOKEN", hide_env_values = true, value_parser = JoinToken::parse)]
    join_token: Option<JoinToken>,

    /// The database server's program [default: craton-server beside this program].
    #[arg(long, env = "CRATON_SERVER_BINARY")]
    server_binary: Option<PathBuf>,

    /// Where other versions of the server are installed, as DIRECTORY/<version>/craton-server. The control plane moves
    /// clusters between them.
    #[arg(long, value_name = "DIRECTORY", env = "CRATON_SERVER_VERSIONS")]
    server_versions: Option<PathBuf>,

    /// The address that servers listen on and that clients are told.
    #[arg(long, default_value = "127.0.0.1")]
    listen_address: IpAddr,

    /// The ports that servers may take.
    #[arg(long, default_value_t = PortRange::DEFAULT)]
    ports: PortRange,
}

#[derive(Subcommand)]
enum Command {
    /// End every database server of a data directory whose agent does not run.
    StopInstances {
        /// The agent's data directory.
        #[arg(long)]
        data_dir: PathBuf,
    },
    /// Become a database server. The agent calls this by itself.
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        instance: PathBuf,
        #[arg(long)]
        certificate_sha256: String,
        #[arg(long)]
        server_version: Option<String>,
        #[arg(last = true, required = true)]
        server: Vec<OsString>,
    },
}

#[expect(clippy::print_stderr, reason = "the last word of a program that failed")]
fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("craton-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Launch {
        instance,
        certificate_sha256,
        server_version,
        server,
    }) = &arguments.command
    {
        let (program, rest) = server.split_first().context("no program was given")?;
        // Returns only when it failed.
        return Err(craton_agent::launch(
            instance,
            certificate_sha256,
            server_version.as_deref(),
            program.as_ref(),
            rest,
        )
        .into());
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot start")?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::StopInstances { data_dir }) = &arguments.command {
        let stopped = craton_agent::stop_instances(data_dir).await?;
        tracing::info!(stopped, "the servers were stopped");
        return Ok(());
    }
    let config = AgentConfig {
        data_dir: std::path::absolute(arguments.data_dir.context("no --data-dir was given")?)?,
        platform: arguments.platform.context("no --platform was given")?,
        join_token: arguments.join_token,
        server_binary: match arguments.server_binary {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?.with_file_name("craton-server"),
        },
        server_versions: arguments.server_versions.map(std::path::absolute).transpose()?,
        // Stays this very program when the file is replaced by a newer one.
        launcher: "/proc/self/exe".into(),
        listen_address: arguments.listen_address,
        ports: arguments.ports,
    };
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancelled = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(craton_agent::run(config, shutdown).await?)
}
