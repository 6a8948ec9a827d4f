//! One member: its files, its process, and its administrative socket.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cluster::{CLUSTER, POLL, wait_for};

/// A member of the cluster, running or not.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) directory: PathBuf,
    pub(crate) peer_port: u16,
    pub(crate) sql_port: u16,
    process: Option<Child>,
}

/// An answer of the administrative socket.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Node {
    pub(crate) fn new(id: u64, directory: PathBuf, peer_port: u16, sql_port: u16) -> Self {
        Self {
            id,
            directory,
            peer_port,
            sql_port,
            process: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Starts a process of a build.
    pub(crate) fn spawn(&mut self, build: &Path) -> anyhow::Result<()> {
        let child = self.command(build, &self.data())?.spawn();
        self.process = Some(child.with_context(|| format!("cannot start {}", build.display()))?);
        Ok(())
    }

    fn command(&self, build: &Path, data: &Path) -> anyhow::Result<Command> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("server.log"))?;
        let mut command = Command::new(build);
        command
            .arg("--data-dir")
            .arg(data)
            .arg("--master-key")
            .arg(format!("file:{}", self.path("master.key").display()))
            .arg("--generate-master-key")
            .args(["--origin", "upgrade.craton.localhost", "--cluster-id", CLUSTER])
            .args(["--listen", &format!("127.0.0.1:{}", self.sql_port)])
            .args(["--https-listen", "127.0.0.1:0", "--node-id", &self.id.to_string()])
            .args(["--peer-listen", &format!("127.0.0.1:{}", self.peer_port)]);
        for (argument, file) in [
            ("--tls-cert", "../server.pem"),
            ("--tls-key", "../server.key"),
            ("--peer-cert", "peer.pem"),
            ("--peer-key", "peer.key"),
            ("--peer-ca", "../peer.ca"),
            ("--members", "../members.json"),
            ("--admin-socket", "admin.sock"),
        ] {
            command.arg(argument).arg(self.path(file));
        }
        if self.id == 1 {
            command.arg("--bootstrap");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(command)
    }

    /// Runs a process on a directory until it ends, or until something is in the log that was not there before.
    pub(crate) async fn run_until_log(&mut self, build: &Path, data: &Path, part: &str) -> anyhow::Result<()> {
        let known = self.log().len();
        let mut child = self.command(build, data)?.spawn()?;
        let seen = wait_for(part, || Ok(self.log()[known..].contains(part).then_some(()))).await;
        // It may have ended by itself.
        let _ = child.kill();
        child.wait()?;
        seen.with_context(|| self.log_end())
    }

    /// Asks the process to end, and waits until it did.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("no process")?;
        kill_process(Pid::from_child(process), Signal::TERM)?;
        let mut process = self.process.take().context("no process")?;
        let ended = wait_for("the end of a process", || Ok(process.try_wait()?)).await?;
        ensure!(
            ended.success(),
            "node {} ended with {ended}:\n{}",
            self.id,
            self.log_end()
        );
        Ok(())
    }

    /// How the process ended, if it did.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        match &mut self.process {
            Some(process) => Ok(process.try_wait()?),
            None => Ok(None),
        }
    }

    /// Waits until the process ended by itself, in failure.
    pub(crate) async fn wait_for_failure(&mut self) -> anyhow::Result<()> {
        let ended = loop {
            match self.ended()? {
                Some(status) => break status,
                None => tokio::time::sleep(POLL).await,
            }
        };
        self.process = None;
        match ended.success() {
            true => bail!("node {} ended in order", self.id),
            false => Ok(()),
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    /// The last lines of the log, for messages.
    pub(crate) fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// A request to the administrative socket. Fails while nobody listens.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Reply> {
        let mut stream = UnixStream::connect(self.path("admin.sock"))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: craton\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Reply {
            status: status.with_context(|| format!("no answer: {reply:?}"))?,
            text: reply.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned(),
        })
    }

    /// What `GET /v1/status` says, once there is an answer.
    pub(crate) fn status(&self) -> Option<Value> {
        let reply = self.admin("GET", "/v1/status", "").ok()?;
        serde_json::from_str(&reply.text).ok()
    }

    /// Whether it takes part with a vote and lets clients in.
    pub(crate) fn serves(&self, voters: usize) -> bool {
        let votes = self.status().is_some_and(|status| {
            let known = status["cluster"]["voters"].as_array().map_or(0, Vec::len);
            known == voters && status["cluster"]["not_ready"].as_array().is_some_and(Vec::is_empty)
        });
        votes && self.admin("GET", "/ready", "").is_ok_and(|reply| reply.status == 200)
    }

    /// The version of the formats that is written, for a build that says so.
    pub(crate) fn format(&self, which: &str) -> Option<u64> {
        self.status()?["format"][which].as_u64()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // One that ended by itself needs no killing.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Writes a file that only its owner reads.
pub(crate) fn write_private(path: &Path, content: &str) -> anyhow::Result<()> {
    let mut options = fs::File::options();
    options.create(true).write(true).truncate(true).mode(0o600);
    Ok(options.open(path)?.write_all(content.as_bytes())?)
}
