//! Every campaign in its short form, and the proof that each of them can fail.

use craton_faults::bad_disk::{self, BadDiskOptions};
use craton_faults::crash_points::{self, CrashPointOptions};
use craton_faults::files::{self, FileOptions};
use craton_faults::flips::{self, FlipOptions};
use craton_faults::io_errors::{self, IoErrorOptions};
use craton_faults::{Campaign, Defect, Summary};

fn campaign(run: impl FnOnce(&Campaign)) -> Summary {
    let campaign = Campaign::new("campaign", String::new());
    run(&campaign);
    campaign.finish()
}

const fn crash_points(count: u64, defect: Option<Defect>) -> CrashPointOptions {
    CrashPointOptions {
        count,
        seed: 1,
        // On one thread the first run goes far enough to write.
        threads: 1,
        defect,
    }
}

const fn io_errors(defect: Option<Defect>) -> IoErrorOptions {
    IoErrorOptions {
        operations: 12,
        seed: 1,
        threads: 2,
        defect,
    }
}

const fn flips(defect: Option<Defect>) -> FlipOptions {
    FlipOptions {
        log_bytes: 6_000,
        // Of every header and body some bytes, whatever their lengths.
        every: 37,
        seed: 1,
        threads: 2,
        defect,
    }
}

const fn bad_disk(defect: Option<Defect>) -> BadDiskOptions {
    BadDiskOptions {
        operations: 6,
        rots: 25,
        seed: 1,
        threads: 2,
        defect,
    }
}

const fn files(defect: Option<Defect>) -> FileOptions {
    FileOptions {
        seed: 1,
        threads: 2,
        defect,
    }
}

/// No promise was broken, and the cases ended in all of these ways.
fn assert_clean(summary: &Summary, outcomes: &[&str]) {
    assert_eq!(summary.violation_count, 0, "{:#?}", summary.violations);
    for outcome in outcomes {
        assert!(summary.outcomes.contains_key(outcome), "{outcome}: {summary:#?}");
    }
}

fn assert_found(summary: &Summary) {
    assert!(summary.violation_count > 0, "the defect was not found: {summary:#?}");
    let first = &summary.violations[0];
    assert!(first.replay.ends_with(&first.case), "{first:?}");
}

#[test]
fn no_crash_loses_or_doubles_anything() {
    let summary = campaign(|campaign| crash_points::run(campaign, crash_points(1000, None)));
    assert!(summary.cases >= 1000);
    assert_clean(
        &summary,
        &["an entry under way was kept", "an entry under way was lost"],
    );
}

#[test]
fn crashes_find_planted_defects_and_each_is_found_again_alone() {
    for defect in [
        Defect::LyingDisk,
        Defect::EarlyAcknowledgement,
        Defect::EarlyPurge,
        Defect::SkippedCut,
    ] {
        let options = crash_points(1000, Some(defect));
        let summary = campaign(|campaign| crash_points::run(campaign, options));
        assert_found(&summary);
        let only = Campaign::new("crash-points", String::new()).only(Some(summary.violations[0].case.clone()));
        crash_points::run(&only, options);
        let again = only.finish();
        assert_eq!((again.cases, again.violation_count), (1, 1), "{defect:?}");
    }
}

#[test]
fn no_failing_call_loses_what_was_acknowledged_or_keeps_what_was_refused() {
    let summary = campaign(|campaign| io_errors::run(campaign, io_errors(None)));
    let outcomes = [
        "the write-ahead log stopped the node",
        "a tenant log stopped the node",
        "entries were refused",
        "nobody noticed and nothing was lost",
    ];
    assert_clean(&summary, &outcomes);
}

#[test]
fn failing_calls_find_an_early_acknowledgement() {
    let options = io_errors(Some(Defect::EarlyAcknowledgement));
    assert_found(&campaign(|campaign| io_errors::run(campaign, options)));
}

#[test]
fn every_flipped_byte_is_found_or_harms_nothing() {
    let summary = campaign(|campaign| flips::run(campaign, flips(None)));
    let outcomes = [
        "tenant log: found when opened",
        "tenant log: found when read",
        "tenant log: mended",
        "write-ahead log: set aside, and known to be incomplete",
    ];
    assert_clean(&summary, &outcomes);
}

#[test]
fn flips_find_a_log_that_serves_without_checking_or_says_nothing_of_damage() {
    for defect in [Defect::UncheckedReads, Defect::UnmarkedDamage] {
        let options = FlipOptions {
            every: 211,
            ..flips(Some(defect))
        };
        assert_found(&campaign(|campaign| flips::run(campaign, options)));
    }
}

#[test]
fn wrong_files_are_found_or_harm_nothing() {
    let summary = campaign(|campaign| files::run(campaign, files(None)));
    assert_clean(&summary, &["an error when opening", "mended, or nothing was missing"]);
}

#[test]
fn wrong_files_find_a_disk_that_lies_and_logs_that_nobody_compares() {
    for defect in [Defect::LyingDisk, Defect::IgnoredHeads] {
        assert_found(&campaign(|campaign| files::run(campaign, files(Some(defect)))));
    }
}

#[test]
fn what_a_bad_disk_does_is_found_or_harms_nothing() {
    let summary = campaign(|campaign| bad_disk::run(campaign, bad_disk(None)));
    let outcomes = [
        "an error when opening",
        "mended, or nothing was harmed",
        "found by the scrub",
        "a full disk stopped the node",
    ];
    assert_clean(&summary, &outcomes);
}

#[test]
fn a_bad_disk_that_lies_about_its_syncs_as_well_is_found() {
    let options = bad_disk(Some(Defect::LyingDisk));
    assert_found(&campaign(|campaign| bad_disk::run(campaign, options)));
}
