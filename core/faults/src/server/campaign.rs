//! The load, the two ways to end the server in the middle of it, and the checks after each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use craton_proof::{LogVerifyOptions, SegmentSource, VerifierKey, verify_log};
use parking_lot::Mutex;

use super::file_system::FileSystem;
use super::process::Server;
use crate::campaign::Campaign;
use crate::node::Defect;
use crate::workload::Decisions;

/// Sessions that insert at the same time, so that the end meets shared batches.
const SESSIONS: usize = 8;
/// The server is ended after this long at the latest; the first ends come while sessions begin.
const LOAD_MILLISECONDS_MAX: u64 = 300;
const LOAD_MILLISECONDS_MIN: u64 = 20;

/// What the campaigns with real servers are run with.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How often the server is ended.
    pub cycles: u64,
    /// Decides when.
    pub seed: u64,
    /// The server's binary.
    pub server: PathBuf,
    /// A defect to find: [`Defect::EarlyAcknowledgement`].
    pub defect: Option<Defect>,
}

/// Kills the server under load, again and again.
///
/// # Errors
/// When the campaign itself fails, as without a server's binary.
pub fn kill_nine(campaign: &Campaign, options: &ServerOptions) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let server = Server::new(&options.server, directory.path(), directory.path().join("data"))?;
    let mut load = Load::new(server, options);
    load.run(campaign, options.cycles, "a killed process", |server, _| server.kill())
}

/// Cuts an ext4 file system off from its device under load, again and again.
///
/// # Errors
/// As for [`kill_nine`], and when file systems cannot be made and mounted, see [`super::missing_privilege`].
pub fn power_cut(campaign: &Campaign, options: &ServerOptions) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut file_system = FileSystem::create_default(directory.path())?;
    let data_dir = file_system.mount_point.join("data");
    let server = Server::new(&options.server, directory.path(), data_dir)?;
    let mut load = Load::new(server, options);
    load.run(campaign, options.cycles, "a file system cut off", |server, cycle| {
        file_system.shut_down(cycle % 3)?;
        server.kill()?;
        file_system.unmount()?;
        file_system.mount()
    })
}

/// Ends the server and brings its data directory back.
type End<'a> = &'a mut dyn FnMut(&mut Server, u64) -> anyhow::Result<()>;

/// Sessions that insert rows and remember what was acknowledged.
struct Load {
    server: Server,
    decisions: Decisions,
    /// Whether rows count as acknowledged before the server was asked.
    early: bool,
    next_id: Arc<AtomicI64>,
    acknowledged: Arc<Mutex<BTreeSet<i64>>>,
    /// Rows whose fate an earlier check has settled: there, or not there.
    settled: BTreeMap<i64, bool>,
}

impl Load {
    fn new(server: Server, options: &ServerOptions) -> Self {
        Self {
            server,
            decisions: Decisions::new(options.seed),
            early: options.defect == Some(Defect::EarlyAcknowledgement),
            next_id: Arc::default(),
            acknowledged: Arc::default(),
            settled: BTreeMap::new(),
        }
    }

    fn run(
        &mut self,
        campaign: &Campaign,
        cycles: u64,
        outcome: &'static str,
        mut end: impl FnMut(&mut Server, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        self.server.start()?;
        self.server.prepare()?;
        runtime.block_on(async {
            let client = self.server.connect().await?;
            client
                .batch_execute("CREATE TABLE entry (id int8 PRIMARY KEY, session int4 NOT NULL)")
                .await?;
            anyhow::Ok(())
        })?;
        for cycle in 0..cycles {
            let mut failed = None;
            campaign.case(&format!("0.{cycle}"), || {
                match runtime.block_on(self.cycle(cycle, &mut end)) {
                    Ok(Ok(())) => Ok(outcome),
                    Ok(Err(what)) => Err(what),
                    Err(error) => {
                        let what = format!("{error:#}");
                        failed = Some(error);
                        Err(what)
                    }
                }
            });
            if failed.is_some() {
                // The server does not serve any more: that was told as a violation, and there is nothing to go on with.
                return Ok(());
            }
        }
        campaign.case("0.log", || self.verify_log().map_err(|error| format!("{error:#}")));
        Ok(())
    }

    /// Writes, ends the server, starts it and compares: `Ok(Err(what))` when a promise was broken.
    async fn cycle(&mut self, cycle: u64, end: End<'_>) -> anyhow::Result<Result<(), String>> {
        let mut sessions = Vec::new();
        for session in 0..SESSIONS {
            let client = self.server.connect().await.context("no session")?;
            let (next_id, acknowledged) = (Arc::clone(&self.next_id), Arc::clone(&self.acknowledged));
            let early = self.early;
            sessions.push(tokio::spawn(async move {
                let session = i32::try_from(session).expect("few sessions");
                loop {
                    let id = next_id.fetch_add(1, Ordering::Relaxed);
                    if early {
                        acknowledged.lock().insert(id);
                    }
                    let inserted = client
                        .execute("INSERT INTO entry VALUES ($1, $2)", &[&id, &session])
                        .await;
                    if inserted.is_err() {
                        return;
                    }
                    acknowledged.lock().insert(id);
                }
            }));
        }
        let span = LOAD_MILLISECONDS_MAX - LOAD_MILLISECONDS_MIN;
        let wait = LOAD_MILLISECONDS_MIN + self.decisions.below(span);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        end(&mut self.server, cycle)?;
        for session in sessions {
            session.await?;
        }
        self.server.start().context("after the end")?;
        self.check().await
    }

    async fn check(&mut self) -> anyhow::Result<Result<(), String>> {
        let client = self.server.connect().await.context("no session after the end")?;
        let rows = client.query("SELECT id FROM entry ORDER BY id", &[]).await?;
        let rows: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        if !rows.is_sorted_by(|one, next| one < next) {
            return Ok(Err("a row is there twice".to_owned()));
        }
        let acknowledged = self.acknowledged.lock().clone();
        let missing: Vec<_> = acknowledged
            .iter()
            .filter(|id| rows.binary_search(id).is_err())
            .take(5)
            .collect();
        if !missing.is_empty() {
            return Ok(Err(format!(
                "acknowledged rows are missing, the first of them: {missing:?}"
            )));
        }
        // What an earlier start served or did not serve stays so.
        for id in 0..self.next_id.load(Ordering::Relaxed) {
            let is_there = rows.binary_search(&id).is_ok();
            let was_there = *self.settled.entry(id).or_insert(is_there);
            if is_there != was_there {
                return Ok(Err(format!("row {id} was there: {was_there}, is there: {is_there}")));
            }
        }
        Ok(Ok(()))
    }

    /// Verifies the database's log from its files alone, with the server stopped.
    fn verify_log(&mut self) -> anyhow::Result<&'static str> {
        let key = self.server.log_key()?;
        self.server.stop()?;
        verify_log_of(&self.server, &key)?;
        Ok("the log verified offline")
    }
}

/// Verifies the database's log of a stopped server from its files alone.
pub(crate) fn verify_log_of(server: &Server, log_key: &str) -> anyhow::Result<()> {
    let key: VerifierKey = log_key.parse()?;
    let segments = segments(&log_directory(server, log_key)?)?;
    ensure!(!segments.is_empty(), "no segments of the log");
    let sources: Vec<_> = segments
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            std::fs::File::open(path).map(|reader| SegmentSource { name, reader })
        })
        .collect::<Result<_, _>>()?;
    let options = LogVerifyOptions {
        key: Some(key),
        ..LogVerifyOptions::default()
    };
    let verified = verify_log(sources, &options);
    verified.map_err(|fault| anyhow::anyhow!("the log does not verify: {fault}"))?;
    Ok(())
}

/// Where the segments of the log with this verifier key are.
pub(crate) fn log_directory(server: &Server, log_key: &str) -> anyhow::Result<PathBuf> {
    let key: VerifierKey = log_key.parse()?;
    let tenant = key.name().as_str().rsplit('/').next().context("a tenant")?.to_owned();
    Ok(server.data_dir().join("tenants").join(tenant).join("log"))
}

/// The segment files of a log, in their order.
pub(crate) fn segments(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<PathBuf> = paths.collect::<Result<_, _>>()?;
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "segment");
    let mut segments: Vec<PathBuf> = paths.into_iter().filter(is_segment).collect();
    segments.sort();
    Ok(segments)
}
