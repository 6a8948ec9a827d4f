//! A bug that is planted is found. The long form plants every bug: `make sim-bugs`.
#![cfg(feature = "planted-bugs")]

use craton_sim::{Bug, Options, campaign, plant};

#[test]
fn planted_bugs_are_found_and_nothing_is_without_them() {
    for bug in [
        Bug::AcknowledgeBeforeSync,
        Bug::SkipDirectorySync,
        Bug::CheckpointOfAnotherTree,
    ] {
        plant(Some(bug));
        let summary = campaign(0..20, &Options::default(), false, 2);
        plant(None);
        assert!(!summary.failures.is_empty(), "{} was not found", bug.name());
        let (options, _) = &summary.failures[0];
        let healthy = campaign(options.seed..options.seed + 1, &Options::default(), false, 1);
        assert!(
            healthy.failures.is_empty(),
            "seed {} fails without the bug",
            options.seed
        );
    }
}
