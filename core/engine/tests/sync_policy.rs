//! How many commands share one sync is the policy's to say.

mod common;

use std::time::Duration;

use common::{Folder, create};
use craton_engine::{Append, EngineError, SyncPolicy};

const COMMANDS: u64 = 20;

/// Commands handed over at once, and how many entries they became.
async fn entries_of(policy: SyncPolicy) -> u64 {
    let folder = Folder::new();
    let engine = folder
        .options()
        .sync_policy(policy)
        .open(folder.data())
        .expect("the node opens");
    let tenant = create(&engine, "main").await;
    tenant.append(Append::new("stream", ["first"])).await.expect("appended");
    let before = engine.status().log_use;
    let appends: Vec<_> = (0..COMMANDS)
        .map(|number| tenant.append(Append::new("stream", [number.to_string()])))
        .collect();
    for appended in appends {
        appended.await.expect("appended");
    }
    let after = engine.status().log_use;
    assert!(after.commands - before.commands >= COMMANDS);
    after.entries - before.entries
}

#[tokio::test]
async fn every_record_has_a_sync_of_its_own() {
    assert!(entries_of(SyncPolicy::EveryRecord).await >= COMMANDS);
}

#[tokio::test]
async fn a_group_shares_one() {
    let delay_max = Duration::from_millis(800);
    let entries = entries_of(SyncPolicy::Group { delay_max }).await;
    assert!(entries < COMMANDS / 2, "{entries} entries");
}

#[test]
fn a_delay_out_of_bounds_is_refused() {
    let folder = Folder::new();
    for delay_max in [Duration::ZERO, Duration::from_millis(1_001)] {
        let opened = folder
            .options()
            .sync_policy(SyncPolicy::Group { delay_max })
            .open(folder.data());
        assert!(matches!(opened, Err(EngineError::SyncPolicy { delay_max: found }) if found == delay_max));
    }
}
