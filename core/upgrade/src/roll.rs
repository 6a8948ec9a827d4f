//! The story: up, down and up again, one member at a time, then over to the newer format version, after which there is no way
//! back.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use craton_types::FormatVersion;

use crate::cluster::{Cluster, wait_for};
use crate::load::{Load, check_rows};

/// How it is done.
#[derive(Clone, Copy, Debug)]
pub struct RollOptions {
    /// How many clients write meanwhile.
    pub writers: u32,
}

impl Default for RollOptions {
    fn default() -> Self {
        Self { writers: 4 }
    }
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Rows that were acknowledged, and are on every member.
    pub rows: u64,
    /// How often a write was tried again.
    pub retried: u64,
    /// The longest time from the first attempt of a write to its acknowledgement.
    pub slowest: Duration,
    /// How often a member was moved to another build.
    pub moves: u32,
    /// The version of the formats before and after, where the newer build says so.
    pub formats: Option<(u64, u64)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rows,
            retried,
            slowest,
            moves,
            formats,
        } = self;
        write!(
            f,
            "{moves} moves of a member, {rows} writes acknowledged, 0 lost, 0 failed, {retried} attempts repeated, the slowest \
             write took {slowest:.1?}"
        )?;
        match formats {
            Some((before, after)) => write!(f, "; format version {before} before and {after} after"),
            None => Ok(()),
        }
    }
}

/// The members.
const MEMBERS: u64 = 3;

/// Moves a cluster from one build to another while clients write.
///
/// # Errors
/// When a write fails for longer than the window, a row is lost or twice, a member does not come back, or a build that is too
/// old is not refused.
pub async fn roll(from: &Path, to: &Path, options: RollOptions) -> anyhow::Result<Report> {
    let mut cluster = Cluster::prepare(MEMBERS)?;
    cluster.start(from).await?;
    let before = cluster.nodes[0].format("active");
    // A build that knows no versions writes the first one and does not say so.
    let unraised = before.unwrap_or(u64::from(FormatVersion::FIRST.get()));
    let mut load = Load::start(&cluster, options.writers).await?;
    let mut moves = 0;

    cluster.move_to(2, to).await?;
    let newest = cluster.nodes[2].format("newest");
    let is_raised_later = newest > before;
    if is_raised_later {
        let refused = cluster.nodes[2].admin("POST", "/v1/finalize", "")?;
        ensure!(
            refused.status >= 400,
            "an old build does not know the version: {refused:?}"
        );
    }
    for build in [to, from, to] {
        cluster.move_all_to(build).await?;
        moves += 3;
        load.check()?;
        for node in &cluster.nodes {
            let active = node.format("active");
            ensure!(
                active.is_none_or(|active| active == unraised),
                "nobody has decided on a newer version, and node {} writes {active:?}",
                node.id
            );
        }
    }
    if is_raised_later {
        let kept = cluster.nodes[2].directory.join("data-before");
        moves += refuse_old_builds(&mut cluster, from, to, &kept, before).await?;
    }
    load.check()?;
    cluster.wait_until_all_serve().await?;
    let written = load.finish().await?;
    let mut rows = 0;
    for place in 0..cluster.nodes.len() {
        rows = check_rows(&cluster, place, &written).await?;
    }
    let after = cluster.nodes[0].format("active");
    Ok(Report {
        rows,
        retried: written.iter().map(|written| written.retried).sum(),
        slowest: written.iter().map(|written| written.slowest).max().unwrap_or_default(),
        moves: moves + 1,
        formats: after.map(|after| (unraised, after)),
    })
}

/// Goes over to the newer version and makes sure that no build before it takes part any more, wherever it is tried.
async fn refuse_old_builds(
    cluster: &mut Cluster,
    from: &Path,
    to: &Path,
    kept: &Path,
    before: Option<u64>,
) -> anyhow::Result<u32> {
    // A copy of a directory from before the change: the old build opens it, and the other members refuse it.
    cluster.nodes[2].stop().await?;
    copy_directory(&cluster.nodes[2].data(), kept)?;
    cluster.nodes[2].spawn(to)?;
    cluster.wait_until_all_serve().await?;

    let reply = cluster.nodes[0].admin("POST", "/v1/finalize", "")?;
    ensure!(reply.status == 200, "every build knows the version: {reply:?}");
    wait_for("every member to write the newer version", || {
        let is_so = |active: Option<u64>| active > before;
        Ok(cluster
            .nodes
            .iter()
            .all(|node| is_so(node.format("active")))
            .then_some(()))
    })
    .await?;
    if before.is_none() {
        // A build that knows no versions looks for none.
        return Ok(1);
    }
    cluster.nodes[2].stop().await?;
    let needed = "is needed, and the build of this node knows versions";
    cluster.nodes[2].run_until_log(from, kept, needed).await?;
    cluster.nodes[2].spawn(from)?;
    cluster.nodes[2].wait_for_failure().await?;
    ensure!(
        cluster.nodes[2].log_end().contains(needed),
        "{}",
        cluster.nodes[2].log_end()
    );
    cluster.nodes[2].spawn(to)?;
    cluster.wait_until_all_serve().await?;
    // One that would join.
    let mut stranger = cluster.node(MEMBERS + 1)?;
    stranger.spawn(from)?;
    stranger.wait_for_failure().await?;
    ensure!(stranger.log_end().contains(needed), "{}", stranger.log_end());
    Ok(2)
}

fn copy_directory(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()? {
            kind if kind.is_dir() => copy_directory(&entry.path(), &target)?,
            kind if kind.is_file() => {
                fs::copy(entry.path(), target)?;
            }
            _ => {}
        }
    }
    Ok(())
}
