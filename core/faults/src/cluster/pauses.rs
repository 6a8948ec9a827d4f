//! `SIGSTOP` and `SIGCONT`: members that stand still and go on as if nothing had happened.

use rustix::process::Signal;

use super::ClusterOptions;
use super::members::Storage;
use super::rounds::{Round, run};
use crate::campaign::Campaign;

/// Stops members for up to four seconds: the leader, any one, or so many that no majority is left.
///
/// # Errors
/// As [`super::leader_kills`].
pub fn pauses(campaign: &Campaign, options: &ClusterOptions) -> anyhow::Result<()> {
    run(campaign, options, Storage::Folder, &mut pause)
}

fn pause(round: &mut Round<'_>) -> anyhow::Result<&'static str> {
    let members = round.cluster.members.len();
    let first = round.leader_or_any()?;
    let (count, what) = match round.number % 3 {
        0 => (members / 2 + 1, "most members stood still"),
        _ => (1, "one member stood still"),
    };
    let paused: Vec<usize> = (0..count).map(|step| (first + step) % members).collect();
    for member in &paused {
        round.cluster.members[*member].signal(Signal::STOP)?;
    }
    round.sleep_between(200, 4_000);
    // One after another: those that go on first may find that they are without a majority.
    for member in &paused {
        round.cluster.members[*member].signal(Signal::CONT)?;
        round.sleep_between(0, 300);
    }
    Ok(what)
}
