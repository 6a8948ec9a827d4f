//! A real agent as a process of its own, on a directory of its own.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::world::{LOOKS_MAX, PAUSE};

/// An agent and its directory.
pub(crate) struct Node {
    directory: TempDir,
    child: Option<Child>,
    address: SocketAddr,
    server: PathBuf,
}

impl Node {
    /// Starts an agent that joins with a token and runs `server`.
    pub(crate) fn start(address: SocketAddr, token: &str, server: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut node = Self {
            directory,
            child: None,
            address,
            server: server.to_owned(),
        };
        node.spawn(Some(token));
        node
    }

    /// Starts the agent again, without a token.
    pub(crate) fn start_again(&mut self) {
        self.spawn(None);
    }

    /// Starts the agent again, with a token.
    pub(crate) fn start_with(&mut self, token: &str) {
        self.spawn(Some(token));
    }

    fn spawn(&mut self, token: Option<&str>) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("agent.log"))
            .expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_craton-agent"));
        command
            .arg("--data-dir")
            .arg(self.path("agent"))
            .arg("--platform")
            .arg(format!("wss://localhost:{}", self.address.port()))
            .arg("--server-binary")
            .arg(&self.server)
            .arg("--server-versions")
            .arg(self.path("versions"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(token) = token {
            command.env("CRATON_JOIN_TOKEN", token);
        }
        self.child = Some(command.spawn().expect("the agent's program"));
    }

    /// A path in the node's directory; the agent's own is `agent`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Installs a program as a version of the server, in the place of the one that was there.
    pub(crate) fn install(&self, version: &str, program: &Path) {
        let directory = self.path("versions").join(version);
        fs::create_dir_all(&directory).expect("a directory");
        std::os::unix::fs::symlink(program, directory.join("new")).expect("a link");
        fs::rename(directory.join("new"), directory.join("craton-server")).expect("a name");
    }

    /// What the agent wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// Ends the agent with a signal.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut child = self.child.take().expect("the agent runs");
        send(child.id(), signal);
        child.wait().expect("the agent ends")
    }

    /// Ends the agent and its server at once, as a machine that loses its power.
    pub(crate) fn lose_power(&mut self) {
        self.end(Signal::KILL);
        if let Some(pid) = self.server_pid().filter(|pid| runs(*pid)) {
            send(pid, Signal::KILL);
        }
    }

    /// Waits until the agent ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the agent runs");
        let mut status = None;
        until("the agent ends", || {
            status = child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// The directory of the only instance.
    pub(crate) fn instance(&self) -> Option<PathBuf> {
        let instances = fs::read_dir(self.path("agent/instances")).ok()?;
        Some(instances.filter_map(Result::ok).next()?.path())
    }

    /// The process number on record for the only instance.
    pub(crate) fn server_pid(&self) -> Option<u32> {
        let instance = self.instance()?;
        let record = fs::read(instance.join("process.json")).ok()?;
        let record: serde_json::Value = serde_json::from_slice(&record).ok()?;
        record["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }
}

impl Drop for Node {
    #[expect(clippy::print_stderr, reason = "a failed test shows what the processes wrote")]
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let stopped = Command::new(env!("CARGO_BIN_EXE_craton-agent"))
            .args(["stop-instances", "--data-dir"])
            .arg(self.path("agent"))
            .stderr(Stdio::null())
            .status();
        if std::thread::panicking() {
            eprintln!("the agent wrote:\n{}", self.log());
            for entry in fs::read_dir(self.path("agent/instances"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let log = fs::read_to_string(entry.path().join("server.log")).unwrap_or_default();
                eprintln!("the server of {:?} wrote:\n{log}", entry.file_name());
            }
        } else {
            assert!(stopped.is_ok_and(|status| status.success()), "servers are left behind");
        }
    }
}

/// Sends a signal to a process that this test knows.
pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process number");
    kill_process(pid, signal).expect("the process runs");
}

/// Whether a process runs; a zombie does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Polls until a condition holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if condition() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("waited too long: {what}");
}

/// The real database server: the one named by `CRATON_SERVER_BINARY`, the one beside the agent, or else one that is
/// built now.
pub(crate) fn server_binary() -> PathBuf {
    match std::env::var_os("CRATON_SERVER_BINARY") {
        Some(path) => path.into(),
        None => program("craton-server", "craton-server"),
    }
}

/// The server as the build before would be: it knows every version of the formats but the newest one.
pub(crate) fn previous_server_binary() -> PathBuf {
    program("craton-upgrade", "craton-server-previous")
}

/// A program of the workspace: the one beside the agent, or else one that is built now.
fn program(package: &str, name: &str) -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_craton-agent")).with_file_name(name);
    if !beside.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", package, "--bin", name])
            .status()
            .expect("cargo runs");
        assert!(built.success(), "{name} does not build");
    }
    beside
}
