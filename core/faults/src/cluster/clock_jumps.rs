//! Clocks that jump: the wall clock of running members, and all clocks between two starts.
//!
//! The wall clock (`CLOCK_REALTIME`) of a member is moved while it runs, by libfaketime, which its process loads first.
//! Clocks that count (`CLOCK_MONOTONIC`, `CLOCK_BOOTTIME`) cannot jump under a running process; a member that is started
//! again finds itself in a time namespace with other offsets, so that they went forward or back since it ran last.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::ClusterOptions;
use super::members::Storage;
use super::rounds::{Round, run};
use crate::campaign::Campaign;

/// Where Debian and others put the library.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];
/// The file in a member's directory that says how far its wall clock is off.
const OFFSET_FILE: &str = "clock-offset";
/// The wall clock is off by at most so many seconds either way: 30 days.
const WALL_SECONDS_MAX: u64 = 30 * 86_400;
/// A start finds the counting clocks forward by up to so many seconds of the machine's.
const COUNTING_SECONDS_MAX: u64 = 100 * 86_400;

/// Moves the members' clocks.
///
/// # Errors
/// As [`super::leader_kills`], and without libfaketime or time namespaces.
pub fn clock_jumps(campaign: &Campaign, options: &ClusterOptions) -> anyhow::Result<()> {
    let library = LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists());
    let library = library.context("libfaketime is missing (Debian package faketime)")?;
    check_time_namespaces()?;
    // The library keeps shared memory there for each process, and leaves that of killed ones behind.
    super::isolation::run(Command::new("mount").args(["-t", "tmpfs", "none", "/dev/shm"]))?;
    let mut is_prepared = vec![false; options.members];
    run(campaign, options, Storage::Folder, &mut |round| {
        jump(round, &library, &mut is_prepared)
    })
}

fn jump(round: &mut Round<'_>, library: &Path, is_prepared: &mut [bool]) -> anyhow::Result<&'static str> {
    let member = round.leader_or_any()?;
    if !is_prepared[member] || round.decisions.below(2) == 0 {
        is_prepared[member] = true;
        restart(round, member, library)?;
        return Ok("a member was started again with other clocks");
    }
    set_wall_clock(round, member)?;
    // The library looks at the file once a second.
    round.sleep_between(1_000, 3_000);
    Ok("the wall clock of a running member jumped")
}

fn restart(round: &mut Round<'_>, member: usize, library: &Path) -> anyhow::Result<()> {
    set_wall_clock(round, member)?;
    let offset = |decisions: &mut crate::workload::Decisions| decisions.below(COUNTING_SECONDS_MAX).to_string();
    let programs = [
        "unshare".to_owned(),
        "--time".to_owned(),
        format!("--monotonic={}", offset(&mut round.decisions)),
        format!("--boottime={}", offset(&mut round.decisions)),
    ];
    let file = round.cluster.member_directory(member).join(OFFSET_FILE);
    let variables = [
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
        "FAKETIME_CACHE_DURATION=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "NO_FAKE_STAT=1".to_owned(),
    ];
    round.cluster.set_surroundings(member, &programs, &variables);
    round.cluster.members[member].kill()?;
    round.sleep_between(0, 1_000);
    round.cluster.members[member].start()
}

/// Says how far a member's wall clock is off from now on.
fn set_wall_clock(round: &mut Round<'_>, member: usize) -> anyhow::Result<()> {
    let seconds = round.decisions.below(WALL_SECONDS_MAX);
    let sign = if round.decisions.below(2) == 0 { '-' } else { '+' };
    let directory = round.cluster.member_directory(member);
    let new = directory.join("clock-offset.new");
    fs::write(&new, format!("{sign}{seconds}\n"))?;
    Ok(fs::rename(new, directory.join(OFFSET_FILE))?)
}

/// Whether a program that `unshare` starts in its own place has other clocks (Linux 6.1 and newer).
fn check_time_namespaces() -> anyhow::Result<()> {
    let uptime = |command: &mut Command| -> anyhow::Result<f64> {
        let output = command.output().context("cannot run unshare (util-linux)")?;
        let text = String::from_utf8(output.stdout)?;
        let seconds = text.split_whitespace().next();
        Ok(seconds.context("the kernel has no time namespaces")?.parse()?)
    };
    let mut moved = Command::new("unshare");
    moved.args(["--time", "--boottime=1000000", "cat", "/proc/uptime"]);
    let ahead = uptime(&mut moved)? - uptime(Command::new("cat").arg("/proc/uptime"))?;
    ensure!(ahead > 900_000.0, "time namespaces have no effect here");
    Ok(())
}
