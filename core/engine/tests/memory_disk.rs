//! A whole node on a disk in memory: nothing of it is in the file system, and a power cut takes nothing acknowledged.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Folder, create, rows, session, tag};
use craton_engine::{Append, Craton, EngineError, StreamSequence};
use craton_log::testing::{Crash, MemoryDisk};
use craton_types::Value;

const DIRECTORY: &str = "/craton-in-memory/data";

fn open(folder: &Folder, disk: &MemoryDisk) -> Result<Craton, EngineError> {
    folder.options().disk(Arc::new(disk.clone())).open(DIRECTORY)
}

/// Asserts that a copy of the disk opens after a power cut, with `count` rows and events.
async fn check_after_power_cut(folder: &Folder, disk: &MemoryDisk, count: i64) {
    for crash in [
        Crash::DropUnsynced,
        Crash::Torn { seed: 1 },
        Crash::Reordered { seed: 2 },
    ] {
        let copy = disk.fork();
        copy.crash(crash);
        let craton = open(folder, &copy).unwrap_or_else(|error| panic!("{crash:?}: {error}"));
        let mut client = session(&craton, "clinic");
        let visits = rows(&mut client, "SELECT count(*) FROM visits").await;
        assert_eq!(visits, [[Value::Int(count)]], "{crash:?}");
        let clinic = craton.tenant("clinic").expect("it was acknowledged");
        let events = clinic.read_stream("events", StreamSequence::ZERO, 1_000).expect("read");
        assert_eq!(events.len() as i64, count, "{crash:?}");
    }
}

#[tokio::test]
async fn a_node_lives_on_the_disk_that_it_is_given() {
    let (folder, disk) = (Folder::new(), MemoryDisk::new());
    let craton = open(&folder, &disk).expect("the node opens");
    assert!(
        matches!(open(&folder, &disk), Err(EngineError::DirectoryInUse { .. })),
        "one node at a time"
    );
    let clinic = create(&craton, "clinic").await;
    let mut client = session(&craton, "clinic");
    tag(&mut client, "CREATE TABLE visits (id bigint PRIMARY KEY)").await;
    for id in 0..20 {
        tag(&mut client, &format!("INSERT INTO visits VALUES ({id})")).await;
        clinic.append(Append::new("events", [b"seen"])).await.expect("appended");
    }
    check_after_power_cut(&folder, &disk, 20).await;
    // The state tree and the view are brought to the disk as well.
    let last = clinic.read_stream("events", StreamSequence::ZERO, 1).expect("read")[0]
        .header
        .offset;
    clinic.receipt(last, &|_| true).await.expect("a receipt");
    drop((client, clinic));
    craton.close().expect("closed");
    drop(craton);
    check_after_power_cut(&folder, &disk, 20).await;

    let names: Vec<_> = disk
        .paths()
        .iter()
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect();
    for name in ["view.redb", "state.redb", "log_mark"] {
        assert!(
            names.iter().any(|found| found == name),
            "{name} is missing in {names:?}"
        );
    }
    assert!(!Path::new("/craton-in-memory").exists());
}
