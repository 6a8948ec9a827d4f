//! A disk on which a sync takes very long: what waits is bounded, and who comes too late is told so at once.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::Folder;
use craton_engine::{Append, EngineError, StreamSequence, Wait};
use craton_log::testing::{Call, CallKind, MemoryDisk};
use parking_lot::{Condvar, Mutex};

/// More than may wait, and more than entries under way can take besides.
const APPENDS: usize = 30_000;
/// The bound that `ARCHITECTURE.md` names, and 1,024 commands for each of the entries that are under way.
const ACCEPTED_MAX: usize = 8_192 + 12 * 1_024;
const DEADLINE: Duration = Duration::from_secs(60);

/// Whether syncs wait.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set_closed(&self, closed: bool) {
        *self.closed.lock() = closed;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut closed = self.closed.lock();
        self.opened.wait_while_for(&mut closed, |closed| *closed, DEADLINE);
    }
}

#[test]
fn who_comes_too_late_is_refused_and_everybody_else_is_served_in_the_end() {
    let (folder, disk) = (Folder::new(), MemoryDisk::new());
    let craton = folder
        .options()
        .disk(Arc::new(disk.clone()))
        .open(folder.data())
        .expect("the node opens");
    let tenant = craton.open_tenant("clinic").wait().expect("a tenant");
    let gate = Arc::new(Gate::default());
    let (waited_at, wal) = (Arc::clone(&gate), folder.data().join("wal"));
    disk.set_hook(Some(Arc::new(move |call: &Call| {
        if call.kind == CallKind::Sync && call.path.starts_with(&wal) {
            waited_at.pass();
        }
    })));
    gate.set_closed(true);
    let appends: Vec<_> = (0..APPENDS)
        .map(|number| tenant.append(Append::new("readings", [format!("{number}")])))
        .collect();
    gate.set_closed(false);
    let (mut accepted, mut refused) = (0, 0);
    for append in appends {
        match append.wait() {
            Ok(_) => accepted += 1,
            Err(EngineError::Overloaded | EngineError::OverShare { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0 && accepted <= ACCEPTED_MAX, "{accepted} were accepted");
    let mut records = 0;
    while records < accepted {
        let from = StreamSequence::new(records as u64);
        let read = tenant.read_stream("readings", from, 1_000).expect("it reads");
        assert!(!read.is_empty(), "{records} of {accepted} are there");
        records += read.len();
    }
    assert_eq!(records, accepted);
    disk.set_hook(None);
}
