//! Members whose disks are full: they lead no more, say so, and go on when there is room.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::time::{sleep, timeout};

use super::ClusterOptions;
use super::isolation::run as run_program;
use super::members::{Cluster, Storage};
use super::rounds::{Round, run};
use crate::campaign::Campaign;
use crate::server::process::Door;

/// Each member's file system, in memory. A round writes some tens of MiB to it.
const FILE_SYSTEM_BYTES: u64 = 3 * 1024 * 1024 * 1024;
/// A full file system has less than this left.
const LEFT_BYTES: u64 = 64 * 1024;
/// How often a file system is made full that grows meanwhile.
const RESIZE_TRIES_MAX: u32 = 50;
/// Rows that fill what the write-ahead log has reserved before the disk was full.
const BALLAST_BYTES: usize = 256 * 1024;
const BALLAST_SESSIONS: usize = 2;
const BALLAST_TIMEOUT: Duration = Duration::from_secs(15);
const BALLAST_PAUSE: Duration = Duration::from_millis(20);

/// Fills the disks of the leader, of a follower, and of so many members that no majority is left.
///
/// # Errors
/// As [`super::leader_kills`], and when file systems in memory cannot be mounted.
pub fn full_disks(campaign: &Campaign, options: &ClusterOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let next_id = Arc::new(AtomicI64::new(0));
    run(campaign, options, Storage::Own(FILE_SYSTEM_BYTES), &mut |round| {
        let ballast = Ballast::start(&runtime, round.cluster.doors()?, &next_id);
        let what = fill(round);
        ballast.stop();
        what
    })
}

fn fill(round: &mut Round<'_>) -> anyhow::Result<&'static str> {
    let members = round.cluster.members.len();
    let leader = round.cluster.leader()?;
    let (full, what) = match round.number % 3 {
        0 => (vec![leader], "the leader's disk was full"),
        1 => (vec![(leader + 1) % members], "a follower's disk was full"),
        _ => {
            let most = (0..=members / 2).map(|step| (leader + step) % members);
            (most.collect(), "most members' disks were full")
        }
    };
    for member in &full {
        resize(round.cluster, *member, Some(LEFT_BYTES))?;
    }
    for member in &full {
        round.cluster.wait_for("a member says that its disk is full", || {
            is_full(round.cluster, *member).then_some(())
        })?;
    }
    if full.len() <= (members - 1) / 2 {
        // The others have a majority, and one of them leads.
        round.cluster.wait_for("a leader with room", || {
            let leader = round.cluster.leader_among(&full)?;
            let view = round.cluster.view_of(leader)?;
            view["not_ready"].as_array()?.is_empty().then_some(())
        })?;
    }
    round.sleep_between(500, 2_000);
    for member in &full {
        resize(round.cluster, *member, None)?;
    }
    Ok(what)
}

/// Whether the member says so, and does not lead.
fn is_full(cluster: &Cluster, member: usize) -> bool {
    let Some(view) = cluster.view_of(member) else {
        return false;
    };
    let reasons = view["not_ready"].as_array();
    let says_so = reasons.is_some_and(|reasons| reasons.iter().any(|reason| reason["code"] == "disk_full"));
    says_so && view["role"] != "leader"
}

/// Leaves so many bytes on a member's file system, or all that it had at first.
fn resize(cluster: &Cluster, member: usize, left_bytes: Option<u64>) -> anyhow::Result<()> {
    let mount_point: PathBuf = cluster.member_directory(member).join("storage");
    let mut tries = 0;
    loop {
        let bytes = match left_bytes {
            None => FILE_SYSTEM_BYTES,
            Some(left_bytes) => {
                let usage = rustix::fs::statvfs(&mount_point)?;
                let used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize;
                used + left_bytes
            }
        };
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={bytes}")]).arg(&mount_point);
        tries += 1;
        match run_program(&mut mount) {
            // The member wrote more than was to be left, between the question and the change.
            Err(_) if left_bytes.is_some() && tries < RESIZE_TRIES_MAX => {}
            done => return done.with_context(|| format!("member {}", member + 1)),
        }
    }
}

/// Sessions that write much.
struct Ballast {
    stopping: Arc<AtomicBool>,
}

impl Ballast {
    fn start(runtime: &tokio::runtime::Runtime, doors: Vec<Door>, next_id: &Arc<AtomicI64>) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        for session in 0..BALLAST_SESSIONS {
            let (doors, next_id, stopping) = (doors.clone(), Arc::clone(next_id), Arc::clone(&stopping));
            runtime.spawn(async move {
                let mut attempt = session;
                while !stopping.load(Ordering::Relaxed) {
                    let writing = write(&doors[attempt % doors.len()], &next_id, &stopping);
                    // A member without a leader answers late, one that was refused is asked again.
                    let _ = timeout(BALLAST_TIMEOUT, writing).await;
                    sleep(BALLAST_PAUSE).await;
                    attempt += 1;
                }
            });
        }
        Self { stopping }
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Writes until a row is refused.
async fn write(door: &Door, next_id: &AtomicI64, stopping: &AtomicBool) -> Result<(), tokio_postgres::Error> {
    let client = door.open().await?;
    let insert = client.prepare("INSERT INTO ballast VALUES ($1, $2)").await?;
    let body = vec![7_u8; BALLAST_BYTES];
    while !stopping.load(Ordering::Relaxed) {
        let id = next_id.fetch_add(1, Ordering::Relaxed);
        client.execute(&insert, &[&id, &body]).await?;
    }
    Ok(())
}
