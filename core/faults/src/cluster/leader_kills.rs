//! `kill -9` of whoever leads.

use super::ClusterOptions;
use super::members::Storage;
use super::rounds::{Round, run};
use crate::campaign::Campaign;

/// Kills the leader under load and starts it again, again and again.
///
/// # Errors
/// When the campaign cannot be run, as without a server's binary or outside [`super::run_isolated`].
pub fn leader_kills(campaign: &Campaign, options: &ClusterOptions) -> anyhow::Result<()> {
    run(campaign, options, Storage::Folder, &mut kill_leader)
}

fn kill_leader(round: &mut Round<'_>) -> anyhow::Result<&'static str> {
    let leader = round.cluster.leader()?;
    round.cluster.members[leader].kill()?;
    let what = if round.decisions.below(2) == 0 {
        // It comes back while the others still choose.
        round.sleep_between(0, 400);
        "the leader was killed and started again soon"
    } else {
        let another = round
            .cluster
            .wait_for("another leader", || round.cluster.leader_among(&[leader]))?;
        anyhow::ensure!(another != leader, "the killed member leads");
        round.sleep_between(0, 1_000);
        "the leader was killed and started again under another one"
    };
    round.cluster.members[leader].start()?;
    Ok(what)
}
