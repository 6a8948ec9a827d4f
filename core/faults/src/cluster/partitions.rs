//! Cuts between members: symmetric, one-way, partial and flapping.

use std::collections::BTreeSet;

use super::ClusterOptions;
use super::members::Storage;
use super::network::Cut;
use super::rounds::{Round, run};
use crate::campaign::Campaign;

/// How often a flapping network changes, at most.
const FLAPS_MAX: u64 = 12;

/// Cuts members off from each other for up to four seconds, each time in another way. Clients reach all of them.
///
/// # Errors
/// As [`super::leader_kills`], and when packets cannot be filtered.
pub fn partitions(campaign: &Campaign, options: &ClusterOptions) -> anyhow::Result<()> {
    run(campaign, options, Storage::Folder, &mut partition)
}

fn partition(round: &mut Round<'_>) -> anyhow::Result<&'static str> {
    let members = round.cluster.members.len();
    let first = round.leader_or_any()?;
    // The smaller part, without a majority.
    let size = 1 + usize::try_from(round.decisions.below((members as u64 - 1) / 2))?;
    let part: Vec<usize> = (0..size).map(|step| (first + step) % members).collect();
    let rest: Vec<usize> = (0..members).filter(|member| !part.contains(member)).collect();
    let outgoing = cuts(&part, &rest);
    let incoming = cuts(&rest, &part);
    let both: BTreeSet<Cut> = outgoing.union(&incoming).copied().collect();
    let (cut, what) = match round.number % 5 {
        0 => (both, "a minority was cut off"),
        1 => (outgoing, "nothing arrived from a minority"),
        2 => (incoming, "nothing arrived at a minority"),
        3 => {
            // One pair does not reach each other, and both reach everybody else.
            let (one, other) = (&part[..1], &rest[..1]);
            let pair = cuts(one, other).union(&cuts(other, one)).copied().collect();
            (pair, "two members did not reach each other")
        }
        _ => return flap(round, &both),
    };
    round.cluster.network.cut(&cut)?;
    round.sleep_between(500, 4_000);
    round.cluster.network.cut(&BTreeSet::new())?;
    Ok(what)
}

fn flap(round: &mut Round<'_>, cut: &BTreeSet<Cut>) -> anyhow::Result<&'static str> {
    for _ in 0..FLAPS_MAX / 2 + round.decisions.below(FLAPS_MAX / 2) {
        round.cluster.network.cut(cut)?;
        round.sleep_between(20, 500);
        round.cluster.network.cut(&BTreeSet::new())?;
        round.sleep_between(20, 500);
    }
    Ok("a minority was cut off again and again")
}

fn cuts(from: &[usize], to: &[usize]) -> BTreeSet<Cut> {
    let pairs = from.iter().flat_map(|from| to.iter().map(|to| (*from, *to)));
    pairs.collect()
}
