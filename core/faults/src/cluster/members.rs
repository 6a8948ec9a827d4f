//! The members of one cluster: real servers, each in its own network namespace, and what is asked of all of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use craton_crypto::sha256;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::ClusterOptions;
use super::certificates::{CLUSTER_ID, PeerAuthority};
use super::isolation::run;
use super::network::{HTTPS_PORT, Network, PEER_PORT, SQL_PORT, socket};
use crate::server::process::{DATABASE, Door, Server};
use crate::server::{log_directory, segments, verify_log_of};

/// How long a cluster may take to be whole again on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);
/// One look counts as so much of the deadline at most.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// What members log: their own words, and of consensus only what it says itself.
const LOG_FILTER: &str = "info,openraft=off";

/// Where the members' data directories are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// In the folder for temporary files.
    Folder,
    /// Each on a file system of its own in memory, of so many bytes.
    Own(u64),
}

/// A cluster of real servers.
pub(super) struct Cluster {
    pub(super) network: Network,
    pub(super) members: Vec<Server>,
    directory: PathBuf,
    /// Removes the directory, unless it is the caller's.
    _temporary: Option<TempDir>,
}

impl Cluster {
    /// Starts a cluster with a database and a user, and waits until every member serves.
    pub(super) fn start(options: &ClusterOptions, storage: Storage) -> anyhow::Result<Self> {
        let (binary, count) = (&options.server, options.members);
        ensure!((1..=9).contains(&count), "{count} members: 1 to 9 are possible");
        let temporary = match &options.directory {
            Some(directory) => {
                fs::create_dir(directory).with_context(|| format!("cannot make {}", directory.display()))?;
                None
            }
            None => Some(tempfile::tempdir()?),
        };
        let directory = options.directory.as_deref();
        let directory = directory.unwrap_or_else(|| temporary.as_ref().expect("the caller has none").path());
        let mut cluster = Self {
            network: Network::new(count)?,
            members: Vec::new(),
            directory: std::path::absolute(directory)?,
            _temporary: temporary,
        };
        let authority = PeerAuthority::new()?;
        for member in 0..count {
            cluster.prepare(binary, member, count, &authority, storage)?;
        }
        for member in &mut cluster.members {
            member.spawn()?;
        }
        for member in &mut cluster.members {
            member.wait_until_it_listens()?;
        }
        cluster.wait_until_whole()?;
        cluster.members[0].prepare()?;
        Ok(cluster)
    }

    fn prepare(
        &mut self,
        binary: &Path,
        member: usize,
        count: usize,
        authority: &PeerAuthority,
        storage: Storage,
    ) -> anyhow::Result<()> {
        let (directory, node_id) = (self.member_directory(member), member + 1);
        let storage_directory = directory.join("storage");
        fs::create_dir_all(&storage_directory)?;
        if let Storage::Own(bytes) = storage {
            let mut mount = std::process::Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"]);
            run(mount.arg(&storage_directory))?;
        }
        authority.issue(&directory, node_id)?;
        let listed: Vec<Value> = (0..count)
            .map(|member| {
                json!({
                    "node_id": member + 1,
                    "peer_address": socket(member, PEER_PORT),
                })
            })
            .collect();
        let list = json!({"generation": 1, "members": listed}).to_string();
        fs::write(directory.join("members.json"), list)?;
        let mut server = Server::new(binary, &directory, storage_directory.join("data"))?;
        let file = |name: &str| directory.join(name).display().to_string();
        for (name, value) in [
            ("--cluster-id", CLUSTER_ID.to_owned()),
            ("--node-id", node_id.to_string()),
            ("--listen", socket(member, SQL_PORT).to_string()),
            ("--https-listen", socket(member, HTTPS_PORT).to_string()),
            ("--peer-listen", socket(member, PEER_PORT).to_string()),
            ("--peer-cert", file("peer.crt")),
            ("--peer-key", file("peer.key")),
            ("--peer-ca", file("peer.ca")),
            ("--members", file("members.json")),
        ] {
            server.add_arguments([name.to_owned(), value]);
        }
        if member == 0 {
            server.add_arguments(["--bootstrap".to_owned()]);
        }
        self.members.push(server);
        self.set_surroundings(member, &[], &[]);
        Ok(())
    }

    /// Says what the member's next process is started by, inside its network, and with which variables.
    pub(super) fn set_surroundings(&mut self, member: usize, programs: &[String], variables: &[String]) {
        let mut launcher = self.network.launcher(member);
        launcher.extend_from_slice(programs);
        launcher.extend(["env".to_owned(), format!("RUST_LOG={LOG_FILTER}")]);
        launcher.extend_from_slice(variables);
        self.members[member].set_launcher(launcher);
    }

    /// Certificates, keys and the log of a member; its storage is below.
    pub(super) fn member_directory(&self, member: usize) -> PathBuf {
        self.directory.join(format!("member-{}", member + 1))
    }

    /// How clients connect to each member.
    pub(super) fn doors(&self) -> anyhow::Result<Vec<Door>> {
        let numbered = self.members.iter().enumerate();
        numbered
            .map(|(member, server)| server.door(socket(member, SQL_PORT)))
            .collect()
    }

    /// The cluster as a member sees it; `None` while it does not answer.
    pub(super) fn view_of(&self, member: usize) -> Option<Value> {
        let mut status = self.members[member].status().ok()?;
        Some(status["cluster"].take())
    }

    /// The member that leads by its own account in the newest term, if there is one. Members in `unreachable` are not asked.
    pub(super) fn leader_among(&self, unreachable: &[usize]) -> Option<usize> {
        let asked = (0..self.members.len()).filter(|member| !unreachable.contains(member));
        let views = asked.filter_map(|member| Some((member, self.view_of(member)?)));
        let leaders = views.filter(|(_, view)| view["role"] == "leader");
        let newest = leaders.max_by_key(|(_, view)| view["term"].as_u64());
        newest.map(|(member, _)| member)
    }

    /// The member that leads.
    pub(super) fn leader(&self) -> anyhow::Result<usize> {
        self.wait_for("a leader", || self.leader_among(&[]))
    }

    /// Waits until every member votes, serves, and follows the same leader.
    pub(super) fn wait_until_whole(&self) -> anyhow::Result<()> {
        let all = self.members.len();
        let is_whole = |view: &Value| {
            let voters = view["voters"].as_array().map_or(0, Vec::len);
            voters == all && view["not_ready"].as_array().is_some_and(Vec::is_empty)
        };
        self.wait_for("every member serves", || {
            let views: Vec<Value> = (0..all).map_while(|member| self.view_of(member)).collect();
            let one_leader = views.windows(2).all(|pair| pair[0]["leader"] == pair[1]["leader"]);
            (views.len() == all && one_leader && views.iter().all(is_whole)).then_some(())
        })
    }

    /// Polls until there is an answer; with what every member says of itself when none comes.
    #[expect(clippy::disallowed_methods, reason = "a deadline")]
    pub(super) fn wait_for<T>(&self, what: &str, mut poll: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let mut waited = Duration::ZERO;
        while waited < DEADLINE {
            let looked = Instant::now();
            if let Some(answer) = poll() {
                return Ok(answer);
            }
            std::thread::sleep(POLL);
            // A machine that stood still as a whole shows nothing about the cluster.
            waited += looked.elapsed().min(LOOK_MAX);
        }
        bail!("waited {DEADLINE:?} in vain for: {what}\n{}", self.tell());
    }

    /// What each member says of itself, and the end of its log.
    pub(super) fn tell(&self) -> String {
        let members = self.members.iter().enumerate().map(|(member, server)| {
            let view = self.view_of(member).unwrap_or_default();
            format!("member {}: {view}\n{}\n", member + 1, server.log_end())
        });
        members.collect()
    }

    /// Waits until the database's log is the same on every member, byte for byte. How many bytes it has.
    pub(super) fn wait_until_logs_are_equal(&self) -> anyhow::Result<u64> {
        let log_key = self.members[0].log_key()?;
        let directories = self.members.iter().map(|member| log_directory(member, &log_key));
        let directories: Vec<PathBuf> = directories.collect::<anyhow::Result<_>>()?;
        let lengths = || directories.iter().map(|directory| lengths_of(directory).ok());
        let equal = self.wait_for("the logs of all members are byte-identical", || {
            // Reading them all is slow; files of different lengths need not be read.
            let first = lengths().next().flatten()?;
            if lengths().any(|lengths| lengths.as_ref() != Some(&first)) {
                return None;
            }
            let hashes: Option<Vec<_>> = directories.iter().map(|directory| hashes_of(directory).ok()).collect();
            let hashes = hashes?;
            hashes.windows(2).all(|pair| pair[0] == pair[1]).then_some(first)
        })?;
        Ok(equal.values().sum())
    }

    /// Ends every member in order and verifies its log from the files alone.
    pub(super) fn stop_and_verify(&mut self) -> anyhow::Result<()> {
        let log_key = self.members[0].log_key()?;
        // The first one to end has a last checkpoint made while there is a majority, and the others apply it.
        let (first, others) = self.members.split_first_mut().context("a member")?;
        first.stop()?;
        for member in others.iter() {
            member.signal(Signal::TERM)?;
        }
        for member in others {
            member.wait_for_end()?;
        }
        for (number, member) in (1..).zip(&self.members) {
            verify_log_of(member, &log_key).with_context(|| format!("member {number}"))?;
        }
        Ok(())
    }

    /// Lines of the members' logs that no fault explains.
    pub(super) fn panics(&self) -> Vec<String> {
        let logs = self.members.iter().map(Server::log);
        let lines = logs.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>());
        lines.filter(|line| line.contains("panicked")).take(5).collect()
    }

    /// How many lines of the members' logs have this text.
    pub(super) fn count_in_logs(&self, text: &str) -> u64 {
        let logs = self.members.iter().map(Server::log);
        logs.map(|log| log.matches(text).count() as u64).sum()
    }

    /// Makes the load's tables.
    pub(super) async fn create_tables(&self) -> anyhow::Result<()> {
        let client = self.doors()?[0].open().await?;
        let tables = "CREATE TABLE register (key int8 PRIMARY KEY, value int8 NOT NULL);
             CREATE TABLE entry (id int8 PRIMARY KEY, session int4 NOT NULL);
             CREATE TABLE counter (session int4 PRIMARY KEY, value int8 NOT NULL);
             CREATE TABLE ballast (id int8 PRIMARY KEY, body bytea NOT NULL);
             CREATE TABLE soak (id int8 PRIMARY KEY, body text NOT NULL)";
        for table in tables.split(';') {
            let made = client.batch_execute(table).await;
            made.with_context(|| format!("{DATABASE}: {table}"))?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // A process that stands still ends as well.
            let _ = member.kill();
        }
        for member in 0..self.members.len() {
            let storage = self.member_directory(member).join("storage");
            let mut unmount = std::process::Command::new("umount");
            // Only storage of its own is mounted.
            let _ = run(unmount.arg(storage));
        }
    }
}

fn lengths_of(directory: &Path) -> anyhow::Result<BTreeMap<PathBuf, u64>> {
    let sized = segments(directory)?.into_iter().map(|path| {
        let bytes = fs::metadata(&path)?.len();
        Ok((path.file_name().context("a name")?.into(), bytes))
    });
    sized.collect()
}

fn hashes_of(directory: &Path) -> anyhow::Result<BTreeMap<PathBuf, craton_types::Hash>> {
    let hashed = segments(directory)?.into_iter().map(|path| {
        let hash = sha256(&[&fs::read(&path)?]);
        Ok((path.file_name().context("a name")?.into(), hash))
    });
    hashed.collect()
}
