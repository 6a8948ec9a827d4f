//! A node that dies soon after each start, again and again.

mod common;

use std::sync::Arc;

use common::{Folder, create, rows, session, tag};
use craton_log::testing::{Crash, Fault, FaultKind, MemoryDisk};
use craton_types::Value;

const LIVES: i64 = 12;
/// The files that an opening leaves as they are, its own, and the one that the log goes on in meanwhile.
const SEGMENTS_MAX: usize = 6;
const KILLED: Fault = Fault {
    call: 0,
    kind: FaultKind::Io,
    sticky: true,
};

fn segments(disk: &MemoryDisk) -> usize {
    let is_segment = |path: &&std::path::PathBuf| path.extension().is_some_and(|extension| extension == "wal");
    disk.paths().iter().filter(is_segment).count()
}

/// Each life writes, and ends long before its first flush. Its files of the write-ahead log do not pile up.
#[tokio::test]
async fn lives_that_end_before_their_first_flush_do_not_fill_the_disk() {
    let (folder, disk) = (Folder::new(), MemoryDisk::new());
    for life in 0..LIVES {
        let options = folder.options().disk(Arc::new(disk.clone()));
        let craton = options.open(folder.data()).expect("the node opens");
        assert!(
            segments(&disk) <= SEGMENTS_MAX,
            "{} after {life} lives",
            segments(&disk)
        );
        if life == 0 {
            create(&craton, "clinic").await;
        }
        let mut client = session(&craton, "clinic");
        if life == 0 {
            tag(&mut client, "CREATE TABLE visits (id bigint PRIMARY KEY)").await;
        }
        tag(&mut client, &format!("INSERT INTO visits VALUES ({life})")).await;
        let visits = rows(&mut client, "SELECT count(*) FROM visits").await;
        assert_eq!(visits, [[Value::Int(life + 1)]]);
        // Nothing that happens from here on reaches the disk.
        disk.set_fault(Some(KILLED));
        drop(client);
        drop(craton);
        disk.crash(Crash::Process);
    }
}
