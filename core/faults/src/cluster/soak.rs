//! A steady load of records for a long time, while followers are killed and catch up by snapshots: no panic, bounded
//! memory, a quorum all the time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::ClusterOptions;
use super::members::{Cluster, Storage};
use super::outcome::{Failure, failure_of};
use super::samples::Samples;
use crate::campaign::Campaign;
use crate::server::process::Door;

const SAMPLE_PAUSE: Duration = Duration::from_secs(1);
/// Without an acknowledged write for longer than this, the quorum was lost.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// The load must come to at least so many percent of what was asked for.
const RATE_PERCENT_MIN: u64 = 95;
/// What a row takes on the disks of one member: in the log, in the view, and in the write-ahead log for a while.
const DISK_BYTES_PER_BYTE: u64 = 4;

/// What is written, and what must not be exceeded.
#[derive(Clone, Debug)]
pub struct SoakOptions {
    /// Members, sessions, seed and server; the rounds are the times that a follower is killed.
    pub cluster: ClusterOptions,
    /// How long.
    pub seconds: u64,
    /// How many rows a second.
    pub rows_per_second: u64,
    /// How many bytes of text each row has.
    pub row_bytes: usize,
    /// How many rows one COPY has, which is one record of the log.
    pub rows_per_copy: u32,
    /// How long a follower stays away; a minute of this load is more than the others keep for it.
    pub absence_seconds: u64,
    /// What a member's process may have in memory.
    pub memory_bytes_max: u64,
}

/// Writes steadily while followers come and go.
///
/// # Errors
/// As [`super::leader_kills`], and when the disk is too small for what is to be written.
pub fn soak(campaign: &Campaign, options: &SoakOptions) -> anyhow::Result<()> {
    check_disk(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut cluster = Cluster::start(&options.cluster, Storage::Folder)?;
    runtime.block_on(cluster.create_tables())?;
    let writers = Writers::start(&runtime, cluster.doors()?, options);
    let mut samples = Samples::new(options.cluster.members);
    let lasted = keep_up(campaign, options, &mut cluster, &writers, &mut samples);
    let (acknowledged, unknown) = runtime.block_on(writers.stop());
    samples.note_figures(campaign);
    campaign.figure("rows acknowledged", acknowledged);
    campaign.figure("rows with unknown outcome", unknown);
    match lasted {
        Ok(lasted) => {
            campaign.figure("seconds of load", lasted.as_secs());
            campaign.figure("rows a second", acknowledged / lasted.as_secs().max(1));
            campaign.note("0.rate", check_rate(options, acknowledged, lasted));
            campaign.note("0.memory", check_memory(options, &samples));
            let ended = check_end(&runtime, &mut cluster, acknowledged, unknown);
            campaign.note("0.end", ended.map_err(|error| format!("{error:#}")));
            campaign.figure(
                "snapshots that followers took in",
                cluster.count_in_logs("the snapshot is in"),
            );
        }
        Err(error) => campaign.note("0.quorum", Err(format!("{error:#}"))),
    }
    let panics = cluster.panics();
    let calm = panics.is_empty().then_some("no process panicked");
    campaign.note(
        "0.panics",
        calm.ok_or_else(|| format!("processes panicked: {panics:#?}")),
    );
    Ok(())
}

/// Refuses to begin what the disk cannot hold.
fn check_disk(options: &SoakOptions) -> anyhow::Result<()> {
    let temporary = std::env::temp_dir();
    let parent = options.cluster.directory.as_deref().and_then(Path::parent);
    let usage = rustix::fs::statvfs(parent.unwrap_or(&temporary))?;
    let free = usage.f_bavail * usage.f_frsize;
    let rows = options.seconds * options.rows_per_second;
    let needed = rows * options.row_bytes as u64 * DISK_BYTES_PER_BYTE * options.cluster.members as u64;
    ensure!(
        needed < free,
        "{rows} rows of {} bytes take about {} MiB on the disks of {} members, {} MiB are free: give fewer --seconds, or \
         a --directory elsewhere",
        options.row_bytes,
        needed >> 20,
        options.cluster.members,
        free >> 20
    );
    Ok(())
}

/// Samples every second and lets followers come and go until the time is over. How long that was.
#[expect(clippy::disallowed_methods, reason = "the load has a length")]
fn keep_up(
    campaign: &Campaign,
    options: &SoakOptions,
    cluster: &mut Cluster,
    writers: &Writers,
    samples: &mut Samples,
) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let length = Duration::from_secs(options.seconds);
    let rounds = u32::try_from(options.cluster.rounds)?;
    let pause = length / (rounds + 1);
    let absence = Duration::from_secs(options.absence_seconds);
    let mut absent: Option<(usize, Instant)> = None;
    let mut round = 0;
    let mut last = writers.acknowledged();
    let mut quiet = Duration::ZERO;
    while started.elapsed() < length || absent.is_some() {
        std::thread::sleep(SAMPLE_PAUSE);
        samples.take(cluster);
        let acknowledged = writers.acknowledged();
        // A machine that stood still as a whole counts as one sample.
        quiet = if acknowledged > last {
            Duration::ZERO
        } else {
            quiet + SAMPLE_PAUSE
        };
        last = acknowledged;
        ensure!(
            quiet < QUIET_MAX,
            "no write was acknowledged for {QUIET_MAX:?}\n{}",
            cluster.tell()
        );
        match absent {
            Some((follower, since)) if since.elapsed() >= absence => {
                cluster.members[follower].start()?;
                absent = None;
                campaign.note(&format!("0.{round}"), Ok("a follower was killed and came back"));
            }
            None if round < rounds && started.elapsed() >= pause * (round + 1) => {
                let leader = cluster.leader()?;
                let follower = (leader + 1) % cluster.members.len();
                cluster.members[follower].kill()?;
                absent = Some((follower, Instant::now()));
                round += 1;
            }
            _ => {}
        }
    }
    Ok(started.elapsed())
}

fn check_rate(options: &SoakOptions, acknowledged: u64, lasted: Duration) -> Result<&'static str, String> {
    let asked = options.rows_per_second * lasted.as_secs();
    match acknowledged * 100 >= asked * RATE_PERCENT_MIN {
        true => Ok("the rate was held"),
        false => Err(format!("{acknowledged} rows were acknowledged, {asked} were to be")),
    }
}

fn check_memory(options: &SoakOptions, samples: &Samples) -> Result<&'static str, String> {
    let most = samples.memory_bytes_max();
    match most <= options.memory_bytes_max {
        true => Ok("memory was bounded"),
        false => Err(format!(
            "a process had {most} bytes in memory, at most {} were allowed",
            options.memory_bytes_max
        )),
    }
}

fn check_end(
    runtime: &Runtime,
    cluster: &mut Cluster,
    acknowledged: u64,
    unknown: u64,
) -> anyhow::Result<&'static str> {
    cluster.wait_until_whole()?;
    for (member, door) in cluster.doors()?.into_iter().enumerate() {
        let count: i64 = runtime.block_on(async {
            let client = door.open().await.context("no session at the end")?;
            let row = client.query_one("SELECT count(*) FROM soak", &[]).await?;
            anyhow::Ok(row.get(0))
        })?;
        let count = u64::try_from(count)?;
        ensure!(
            (acknowledged..=acknowledged + unknown).contains(&count),
            "member {} has {count} rows, {acknowledged} were acknowledged and {unknown} are unknown",
            member + 1
        );
    }
    cluster.wait_until_logs_are_equal()?;
    cluster.stop_and_verify()?;
    Ok("every row is there, the logs were byte-identical and verified offline")
}

/// Sessions that copy rows in, at a steady rate together.
struct Writers {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    stopping: AtomicBool,
    next_id: AtomicI64,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    doors: Vec<Door>,
    /// How long one session has for one COPY.
    pause: Duration,
    row_bytes: usize,
    rows_per_copy: u32,
}

impl Writers {
    fn start(runtime: &Runtime, doors: Vec<Door>, options: &SoakOptions) -> Self {
        let sessions = options.cluster.sessions.max(1);
        let copies_per_second = options.rows_per_second as f64 / f64::from(options.rows_per_copy);
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            next_id: AtomicI64::new(0),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            doors,
            pause: Duration::from_secs_f64(sessions as f64 / copies_per_second),
            row_bytes: options.row_bytes,
            rows_per_copy: options.rows_per_copy,
        });
        let tasks = (0..sessions).map(|session| runtime.spawn(write(Arc::clone(&shared), session)));
        Self {
            tasks: tasks.collect(),
            shared,
        }
    }

    fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the sessions; how many rows were acknowledged, and of how many nobody knows.
    async fn stop(self) -> (u64, u64) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for task in self.tasks {
            // A task that panicked has left rows unacknowledged, which the rate shows.
            let _ = task.await;
        }
        (
            self.shared.acknowledged.load(Ordering::Relaxed),
            self.shared.unknown.load(Ordering::Relaxed),
        )
    }
}

async fn write(shared: Arc<Shared>, session: usize) {
    let mut attempt = session;
    let mut due = tokio::time::interval(shared.pause);
    while !shared.stopping.load(Ordering::Relaxed) {
        let door = &shared.doors[attempt % shared.doors.len()];
        if let Ok(client) = door.open().await {
            while !shared.stopping.load(Ordering::Relaxed) {
                // Late copies follow each other at once until the session is where it should be.
                due.tick().await;
                if copy(&shared, &client).await == Err(Failure::Unknown) {
                    break;
                }
            }
        }
        attempt += 1;
        sleep(Duration::from_millis(50)).await;
    }
}

/// Copies rows in.
async fn copy(shared: &Shared, client: &tokio_postgres::Client) -> Result<(), Failure> {
    use futures::SinkExt;
    let count = i64::from(shared.rows_per_copy);
    let first = shared.next_id.fetch_add(count, Ordering::Relaxed);
    let mut rows = String::new();
    for id in first..first + count {
        rows.push_str(&format!("{id}\t{id:0>width$}\n", width = shared.row_bytes));
    }
    let copied = async {
        let sink = client.copy_in("COPY soak FROM STDIN").await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(bytes::Bytes::from(rows)).await?;
        sink.finish().await
    };
    let answer = copied.await.map_err(|error| failure_of(&error));
    let count = u64::from(shared.rows_per_copy);
    match answer {
        Ok(_) => shared.acknowledged.fetch_add(count, Ordering::Relaxed),
        Err(Failure::Unknown) => shared.unknown.fetch_add(count, Ordering::Relaxed),
        Err(_) => 0,
    };
    answer.map(drop)
}
