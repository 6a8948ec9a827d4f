//! One fault after another while the sessions work, and the checks at the end.

use std::time::Duration;

use super::ClusterOptions;
use super::checks::check_everything;
use super::load::{Load, LoadOptions};
use super::members::{Cluster, Storage};
use crate::campaign::Campaign;
use crate::node::Defect;
use crate::workload::Decisions;

/// The last checks, and what goes wrong between two rounds.
const END: &str = "0.end";
/// The cluster is left alone for so long before each fault, in milliseconds.
const QUIET_MIN: u64 = 200;
const QUIET_MAX: u64 = 1_000;
/// So many answers after a fault show that it is over.
const ANSWERS_AFTER_FAULT: u64 = 100;

/// What a fault is made with.
pub(super) struct Round<'a> {
    pub(super) number: u64,
    pub(super) cluster: &'a mut Cluster,
    pub(super) decisions: Decisions,
}

impl Round<'_> {
    /// Sleeps for a while that the seed decides.
    pub(super) fn sleep_between(&mut self, min: u64, max: u64) {
        std::thread::sleep(Duration::from_millis(min + self.decisions.below(max - min)));
    }

    /// One of the members.
    pub(super) fn any_member(&mut self) -> usize {
        let members = self.cluster.members.len() as u64;
        usize::try_from(self.decisions.below(members)).expect("few members")
    }

    /// The leader half of the time, otherwise any member.
    pub(super) fn leader_or_any(&mut self) -> anyhow::Result<usize> {
        match self.decisions.below(2) {
            0 => self.cluster.leader(),
            _ => Ok(self.any_member()),
        }
    }
}

/// Makes one fault and undoes it; what it was.
pub(super) type MakeFault<'a> = &'a mut dyn FnMut(&mut Round<'_>) -> anyhow::Result<&'static str>;

/// Runs all rounds of a campaign.
pub(super) fn run(
    campaign: &Campaign,
    options: &ClusterOptions,
    storage: Storage,
    make_fault: MakeFault<'_>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut cluster = Cluster::start(options, storage)?;
    runtime.block_on(cluster.create_tables())?;
    let load_options = LoadOptions {
        sessions: options.sessions,
        seed: options.seed,
        stale_reads: options.defect == Some(Defect::StaleReads),
        early: options.defect == Some(Defect::EarlyAcknowledgement),
    };
    let mut load = Load::start(runtime.handle(), cluster.doors()?, &load_options);
    let mut is_whole = true;
    for number in 0..options.rounds {
        let case = format!("0.{number}");
        if !campaign.wants(&case) {
            continue;
        }
        load.shared.begin_round(number);
        let decisions = Decisions::new(options.seed ^ number.wrapping_mul(0xa076_1d64_78bd_642f));
        let mut round = Round {
            number,
            cluster: &mut cluster,
            decisions,
        };
        let ended = run_round(&mut round, &load, make_fault);
        is_whole = ended.is_ok();
        campaign.note(&case, ended.map_err(|error| format!("{error:#}")));
        if !is_whole {
            // There is nothing to go on with.
            break;
        }
    }
    let worked = runtime.block_on(load.stop());
    let record = std::mem::take(&mut *load.shared.record.lock());
    if is_whole {
        let checked = check_everything(campaign, options, &runtime, &mut cluster, &load, record, worked);
        if let Err(error) = checked {
            campaign.note(END, Err(format!("{error:#}")));
        }
    }
    Ok(())
}

fn run_round(round: &mut Round<'_>, load: &Load, make_fault: MakeFault<'_>) -> anyhow::Result<&'static str> {
    round.sleep_between(QUIET_MIN, QUIET_MAX);
    let what = make_fault(round)?;
    round.cluster.wait_until_whole()?;
    let answered = load.answered();
    round.cluster.wait_for("operations are answered after the fault", || {
        (load.answered() >= answered + ANSWERS_AFTER_FAULT).then_some(())
    })?;
    Ok(what)
}
