//! The short form of the campaign that cuts a file system off from its device under a server's load.

use std::io::Write as _;

use craton_faults::Campaign;
use craton_faults::server::{ServerOptions, missing_privilege, power_cut};

/// Each of the three ways in which a file system is cut off, once.
const CUTS: u64 = 3;

#[test]
fn what_was_acknowledged_survives_cuts_of_the_file_system() {
    if let Some(why) = missing_privilege() {
        writeln!(std::io::stderr(), "skipped: {why}").expect("a place for messages");
        return;
    }
    let options = ServerOptions {
        cycles: CUTS,
        seed: 1,
        server: env!("CARGO_BIN_EXE_craton-server").into(),
        defect: None,
    };
    let campaign = Campaign::new("power-cut", String::new());
    power_cut(&campaign, &options).expect("the campaign runs");
    let summary = campaign.finish();
    assert_eq!((summary.violation_count, summary.cases), (0, CUTS + 1), "{summary:#?}");
}
