//! Every campaign in its short form, and the proof that each of them can fail.

use craton_faults::crash_points::{self, CrashPointOptions};
use craton_faults::{Campaign, Defect, Summary};

fn crash_points(count: u64, defect: Option<Defect>) -> Summary {
    let campaign = Campaign::new("crash-points", " --seed 1".to_owned());
    let options = CrashPointOptions {
        count,
        seed: 1,
        threads: 2,
        defect,
    };
    crash_points::run(&campaign, options);
    campaign.finish()
}

fn assert_clean(summary: &Summary) {
    assert_eq!(summary.violation_count, 0, "{:#?}", summary.violations);
}

/// A violation names its case, and repeating only that case finds it again.
fn assert_found(summary: &Summary) {
    assert!(summary.violation_count > 0, "the defect was not found: {summary:#?}");
    let first = &summary.violations[0];
    assert!(first.replay.ends_with(&first.case), "{first:?}");
}

#[test]
fn no_crash_loses_or_doubles_anything() {
    let summary = crash_points(1_200, None);
    assert_clean(&summary);
    assert!(summary.cases >= 1_200);
    for outcome in ["an entry under way was kept", "an entry under way was lost"] {
        assert!(summary.outcomes.contains_key(outcome), "{summary:#?}");
    }
}

#[test]
fn crashes_find_planted_defects() {
    for defect in [Defect::LyingDisk, Defect::EarlyAcknowledgement, Defect::EarlyPurge] {
        let summary = crash_points(1_200, Some(defect));
        assert_found(&summary);
        let case = summary.violations[0].case.clone();
        let campaign = Campaign::new("crash-points", String::new()).only(Some(case));
        let options = CrashPointOptions {
            count: 1_200,
            seed: 1,
            threads: 1,
            defect: Some(defect),
        };
        crash_points::run(&campaign, options);
        let again = campaign.finish();
        assert_eq!((again.cases, again.violation_count), (1, 1), "{defect:?}");
    }
}
