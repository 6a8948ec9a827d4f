//! The short forms of the campaigns with clusters of real servers, each in namespaces of its own.

use craton_faults::cluster::{self, ClusterOptions};
use craton_faults::{Campaign, Defect, Summary};

const SESSIONS: usize = 24;

/// Runs a campaign in this process if it has namespaces of its own; otherwise runs the test of this name again in a
/// process that has.
fn isolated(test: &str, story: impl FnOnce()) {
    if cluster::is_isolated() {
        story();
        return;
    }
    let program = std::env::current_exe().expect("this test's program");
    let ended = cluster::run_isolated(&program, [test, "--exact", "--nocapture"]);
    let status = ended.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(status.success(), "{test}: {status}");
}

/// Runs in which a defect must be found.
const DEFECT_RUNS_MAX: usize = 5;

fn run(
    rounds: u64,
    members: usize,
    defect: Option<Defect>,
    run: fn(&Campaign, &ClusterOptions) -> anyhow::Result<()>,
) -> Summary {
    let options = ClusterOptions {
        rounds,
        members,
        sessions: SESSIONS,
        seed: 1,
        server: env!("CARGO_BIN_EXE_craton-server").into(),
        directory: None,
        defect,
    };
    let campaign = Campaign::new("campaign", String::new());
    run(&campaign, &options).expect("the campaign runs");
    campaign.finish()
}

/// No promise was broken, and every check was made.
fn assert_clean(summary: &Summary) {
    assert_eq!(summary.violation_count, 0, "{summary:#?}");
    for outcome in [
        "a history was linearizable",
        "all rows of a member were as acknowledged",
        "the logs of all members were byte-identical",
        "the logs of all members verified offline",
    ] {
        assert!(summary.outcomes.contains_key(outcome), "{outcome}: {summary:#?}");
    }
}

#[test]
fn what_was_acknowledged_survives_kills_of_the_leader() {
    isolated("what_was_acknowledged_survives_kills_of_the_leader", || {
        assert_clean(&run(3, 3, None, cluster::leader_kills));
    });
}

#[test]
fn what_was_acknowledged_survives_a_kill_of_the_leader_of_five() {
    isolated("what_was_acknowledged_survives_a_kill_of_the_leader_of_five", || {
        assert_clean(&run(1, 5, None, cluster::leader_kills));
    });
}

#[test]
fn reads_are_linearizable_while_members_are_cut_off() {
    isolated("reads_are_linearizable_while_members_are_cut_off", || {
        assert_clean(&run(5, 3, None, cluster::partitions));
    });
}

#[test]
fn reads_are_linearizable_while_members_stand_still() {
    isolated("reads_are_linearizable_while_members_stand_still", || {
        assert_clean(&run(3, 3, None, cluster::pauses));
    });
}

#[test]
fn clocks_that_jump_lose_nothing() {
    isolated("clocks_that_jump_lose_nothing", || {
        assert_clean(&run(4, 3, None, cluster::clock_jumps));
    });
}

#[test]
fn members_with_full_disks_say_so_and_come_back() {
    isolated("members_with_full_disks_say_so_and_come_back", || {
        assert_clean(&run(3, 3, None, cluster::full_disks));
    });
}

/// What a defect does depends on what falls together; it is found in one of a few runs.
fn assert_found(defect: Defect, what: &str) {
    let found = (0..DEFECT_RUNS_MAX).any(|_| {
        let summary = run(2, 3, Some(defect), cluster::leader_kills);
        summary.violations.iter().any(|violation| violation.what.contains(what))
    });
    assert!(found, "no run of {DEFECT_RUNS_MAX} found {defect:?}");
}

#[test]
fn sessions_that_take_old_rows_for_the_newest_are_found() {
    isolated("sessions_that_take_old_rows_for_the_newest_are_found", || {
        assert_found(Defect::StaleReads, "not linearizable");
    });
}

#[test]
fn sessions_that_believe_in_rows_too_early_are_found() {
    isolated("sessions_that_believe_in_rows_too_early_are_found", || {
        assert_found(Defect::EarlyAcknowledgement, "are missing");
    });
}
