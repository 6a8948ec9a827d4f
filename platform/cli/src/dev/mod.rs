//! `craton dev`: the whole world on this machine, as real processes.
//!
//! ```text
//! craton dev ── craton-platform
//!            ├─ craton-agent (node-1) ┄ craton-server …
//!            ├─ craton-agent (node-2) ┄ craton-server …
//!            └─ craton-agent (node-3) ┄ craton-server …
//! ```
//!
//! Solid lines are children: one that dies is started again, and all of them end with this process, however it ends.
//! Database servers outlive their agent by design; a stop in order ends them too.

mod directory;
mod process;
mod watch;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

use crate::api::{Api, JoinTokenCreated, Node};
use directory::{DataDirectory, Ports};
use process::{Process, Program};

pub(crate) use process::{AttachedArguments, run_attached};

/// How many agents there are.
const AGENTS: usize = 3;
/// How long each step of the start may take.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_PAUSE: Duration = Duration::from_millis(50);
/// A process that lived at least this long is started again at once and without end.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// Starts in a row of a process that does not live long.
const RESTARTS_MAX: u32 = 5;
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// How long a join token lives: until the agent that it was made for has started.
const JOIN_TOKEN_SECONDS: u32 = 600;

/// Run a control plane and three agents on this machine, until interrupted
#[derive(Args)]
#[command(after_help = "\
The same data directory brings everything back: people, clusters, data and ports.
Logs of the processes are in its folder logs.")]
pub(crate) struct DevArguments {
    /// Where everything lies [default: .craton-dev]
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "temporary")]
    data_dir: Option<PathBuf>,
    /// Use a new directory and remove it at the end
    #[arg(long)]
    temporary: bool,
    /// The port of API and console [default: that of the last time, else 8080, or a free one with --temporary]
    #[arg(long)]
    port: Option<u16>,
    /// When everything is ready, and when a process was replaced, write addresses, process numbers and paths to this
    /// file as JSON
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(crate) fn run(arguments: &DevArguments) -> anyhow::Result<ExitCode> {
    // One thread: the system ends the children when the thread that started them ends.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot start")?;
    runtime.block_on(run_world(arguments))
}

async fn run_world(arguments: &DevArguments) -> anyhow::Result<ExitCode> {
    let programs = Programs::find()?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // A terminal that is closed.
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut interrupted = std::pin::pin!(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    });
    let directory = match &arguments.data_dir {
        _ if arguments.temporary => DataDirectory::temporary()?,
        Some(path) => DataDirectory::open(path)?,
        None => DataDirectory::open(Path::new(".craton-dev"))?,
    };
    let ports = directory.ports(arguments.port)?;
    let mut world = World::new(programs, directory, ports, arguments.ready_file.clone());
    let result = tokio::select! {
        () = &mut interrupted => Ok(()),
        result = async {
            world.start().await?;
            world.keep().await
        } => result,
    };
    if result.is_ok() {
        say("stopping")?;
    }
    let stopped = world.stop().await;
    // The first failure is the cause.
    result.and(stopped)?;
    say("stopped")?;
    Ok(ExitCode::SUCCESS)
}

/// The programs of the world, which are installed beside this one.
struct Programs {
    craton: PathBuf,
    platform: PathBuf,
    agent: PathBuf,
    server: PathBuf,
}

impl Programs {
    fn find() -> anyhow::Result<Self> {
        let craton = std::env::current_exe().context("this program does not know where it is")?;
        let sibling = |name: &str| {
            let path = craton.with_file_name(name);
            if path.is_file() {
                Ok(path)
            } else {
                bail!(
                    "{} is missing; build it with cargo build --workspace --bins",
                    path.display()
                )
            }
        };
        Ok(Self {
            platform: sibling("craton-platform")?,
            agent: sibling("craton-agent")?,
            server: sibling("craton-server")?,
            craton,
        })
    }
}

/// The running world.
struct World {
    programs: Programs,
    directory: DataDirectory,
    ports: Ports,
    ready_file: Option<PathBuf>,
    processes: Vec<Process>,
}

impl World {
    fn new(programs: Programs, directory: DataDirectory, ports: Ports, ready_file: Option<PathBuf>) -> Self {
        Self {
            programs,
            directory,
            ports,
            ready_file,
            processes: Vec::new(),
        }
    }

    fn base_url(&self) -> String {
        format!("http://localhost:{}", self.ports.http)
    }

    /// Starts everything; it is ready to use afterwards.
    async fn start(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        say(&format!("starting in {}", self.directory.path().display()))?;
        self.launch(self.platform_program())?;
        let base_url = self.base_url();
        self.wait_for("the control plane is not ready", move || is_ready(&base_url))
            .await?;
        let api = self.operator_api()?;
        for number in 1..=AGENTS {
            let program = self.agent_program(number, &api).await?;
            self.launch(program)?;
        }
        let watched = api.clone();
        self.wait_for("not every agent has joined", move || {
            let nodes = watched.list::<Node>("/api/v1/fleet/nodes");
            nodes.is_ok_and(|nodes| nodes.value.iter().filter(|node| node.connected).count() >= AGENTS)
        })
        .await?;
        self.write_ready_file()?;
        self.announce(started.elapsed())?;
        tokio::spawn(watch::run(
            api,
            (1..=AGENTS).map(|n| (node_name(n), self.directory.node(n))).collect(),
        ));
        Ok(())
    }

    fn launch(&mut self, program: Program) -> anyhow::Result<()> {
        let process = Process::start(&self.programs.craton, program)?;
        say(&format!("{} runs as process {}", process.name(), process.id()))?;
        self.processes.push(process);
        Ok(())
    }

    /// Waits until a look succeeds. A process that ends before is the failure.
    async fn wait_for(
        &mut self,
        failure: &str,
        look: impl Fn() -> bool + Send + Sync + Clone + 'static,
    ) -> anyhow::Result<()> {
        let succeeded = async {
            loop {
                let look = look.clone();
                if tokio::task::spawn_blocking(look).await.unwrap_or(false) {
                    return;
                }
                sleep(START_PAUSE).await;
            }
        };
        tokio::select! {
            result = timeout(START_TIMEOUT, succeeded) => match result {
                Ok(()) => Ok(()),
                Err(_) => {
                    let logs: String = self.processes.iter().map(Process::last_words).collect();
                    bail!("{failure} after {} s\n{logs}", START_TIMEOUT.as_secs())
                }
            },
            (index, status) = process::first_end(&mut self.processes) => {
                let process = &self.processes[index];
                bail!("{} ended at its start: {status}\n{}", process.name(), process.last_words())
            }
        }
    }

    /// Starts again what dies, until that is of no use.
    async fn keep(&mut self) -> anyhow::Result<()> {
        loop {
            let (index, status) = process::first_end(&mut self.processes).await;
            let process = &mut self.processes[index];
            say(&format!("{} ended: {status}; it is started again", process.name()))?;
            if process.age() < SETTLED_AFTER {
                if process.restarts >= RESTARTS_MAX {
                    bail!(
                        "{} ended {} times in a row: {status}\n{}",
                        process.name(),
                        RESTARTS_MAX + 1,
                        process.last_words()
                    );
                }
                process.restarts += 1;
                sleep(RESTART_PAUSE).await;
            } else {
                process.restarts = 0;
            }
            process.start_again(&self.programs.craton)?;
            say(&format!("{} runs as process {}", process.name(), process.id()))?;
            self.write_ready_file()?;
        }
    }

    /// Ends agents, then databases, then the control plane.
    async fn stop(&mut self) -> anyhow::Result<()> {
        let mut agents = std::mem::take(&mut self.processes);
        let platforms: Vec<_> = agents.drain(..agents.len().min(1)).collect();
        process::stop_all(agents).await?;
        let stops = (1..=AGENTS)
            .map(|number| self.directory.node(number))
            .filter(|node| node.exists())
            .map(|node| process::stop_instances(&self.programs.agent, node));
        futures::future::try_join_all(stops).await?;
        process::stop_all(platforms).await
    }

    fn platform_program(&self) -> Program {
        let listen = |port: u16| format!("127.0.0.1:{port}").into();
        Program {
            name: "platform".to_owned(),
            path: self.programs.platform.clone(),
            arguments: vec![
                "--data-dir".into(),
                self.directory.platform().into(),
                "--listen".into(),
                listen(self.ports.http),
                "--agent-listen".into(),
                listen(self.ports.agent),
                "--metrics-listen".into(),
                listen(self.ports.metrics),
                "--development".into(),
            ],
            environment: vec![],
            log: self.directory.log("platform"),
        }
    }

    async fn agent_program(&self, number: usize, api: &Api) -> anyhow::Result<Program> {
        let data_dir = self.directory.node(number);
        let mut environment = vec![];
        if !data_dir.join("identity.json").exists() {
            let api = api.clone();
            let body = json!({ "zone": format!("zone-{number}"), "ttl_seconds": JOIN_TOKEN_SECONDS });
            let made =
                tokio::task::spawn_blocking(move || api.post::<JoinTokenCreated>("/api/v1/fleet/join-tokens", &body));
            let made = made
                .await?
                .with_context(|| format!("{} got no join token", node_name(number)))?;
            environment.push(("CRATON_JOIN_TOKEN", made.value.token.into()));
        }
        Ok(Program {
            name: node_name(number),
            path: self.programs.agent.clone(),
            arguments: vec![
                "--data-dir".into(),
                data_dir.into(),
                "--platform".into(),
                format!("wss://localhost:{}", self.ports.agent).into(),
                "--server-binary".into(),
                self.programs.server.clone().into(),
            ],
            environment,
            log: self.directory.log(&node_name(number)),
        })
    }

    fn operator_api(&self) -> anyhow::Result<Api> {
        let path = self.directory.operator_key();
        let key = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(Api::new(&self.base_url(), key.trim()))
    }

    fn write_ready_file(&self) -> anyhow::Result<()> {
        let Some(path) = &self.ready_file else { return Ok(()) };
        let process =
            |process: &Process| json!({ "name": process.name(), "process_id": process.id(), "log": process.log() });
        let agents = self.processes.iter().skip(1).enumerate().map(|(index, agent)| {
            let mut agent = process(agent);
            agent["data_dir"] = json!(self.directory.node(index + 1));
            agent
        });
        let content = json!({
            "base_url": self.base_url(),
            "operator_key_path": self.directory.operator_key(),
            "data_dir": self.directory.path(),
            "ports": self.ports,
            "platform": self.processes.first().map(process),
            "agents": agents.collect::<Vec<_>>(),
        });
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, format!("{content:#}\n"))
            .and_then(|()| std::fs::rename(&temporary, path))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    fn announce(&self, took: Duration) -> io::Result<()> {
        let url = self.base_url();
        let mut stdout = io::stdout().lock();
        writeln!(
            stdout,
            "
Craton is ready after {:.1} s: {url}

  1. Open {url} and sign up with a passkey.
  2. Create an organisation and a cluster; copy the psql line that the cluster's page shows.
  3. For the command line, make an API key in the console, then:  craton login --server {url}

Everything lies in {}, the operator's key in {}.
Ctrl-C stops it all, databases included.
",
            took.as_secs_f64(),
            self.directory.path().display(),
            self.directory.operator_key().display(),
        )?;
        stdout.flush()
    }
}

fn node_name(number: usize) -> String {
    format!("node-{number}")
}

fn is_ready(base_url: &str) -> bool {
    // The answer needs no key.
    Api::new(base_url, "").get_text("/ready").is_ok()
}

/// One line about one event.
fn say(event: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{} {event}", jiff::Zoned::now().strftime("%H:%M:%S"))?;
    stdout.flush()
}
