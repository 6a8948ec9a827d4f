//! A disk that fills up under a running node: it turns read-only, says so, and goes on by itself.

mod common;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::{Folder, create, rows, session, sqlstate, tag};
use craton_engine::{Append, Craton, EngineError, Tenant};
use craton_log::testing::MemoryDisk;
use craton_types::StreamSequence;
use tokio::task::JoinHandle;

const EVENT_BYTES: usize = 256 * 1024;
/// What is left on the disk when the story begins.
const SPACE_BYTES: u64 = 4 * 1024 * 1024;

/// Asks until it is so, for a minute at most.
async fn poll(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}

fn event(number: u64) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(EVENT_BYTES, b'x');
    bytes
}

fn append(tenant: &Tenant, number: u64) -> JoinHandle<Result<u64, EngineError>> {
    let appended = tenant.append(Append::new("stream", [event(number)]));
    tokio::spawn(async move { appended.await.map(|_| number) })
}

/// Appends until the node is read-only. Some appends are under way then.
async fn fill(engine: &Craton, tenant: &Tenant) -> Vec<JoinHandle<Result<u64, EngineError>>> {
    let mut appends = Vec::new();
    while engine.read_only_reason().is_none() {
        assert!(appends.len() < 2_000, "the disk never filled up");
        appends.push(append(tenant, appends.len() as u64));
        // One after another, as long as they are answered.
        for _ in 0..500 {
            if appends.last().expect("one").is_finished() || engine.read_only_reason().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    appends
}

/// What was acknowledged, in order. Everything else was refused for want of space.
async fn acknowledged(appends: Vec<JoinHandle<Result<u64, EngineError>>>) -> Vec<u64> {
    let mut numbers = Vec::new();
    for appended in appends {
        match appended.await.expect("no panic") {
            Ok(number) => numbers.push(number),
            Err(error) => assert!(
                matches!(error, EngineError::DiskFull) && error.is_retryable(),
                "{error:?}"
            ),
        }
    }
    numbers
}

fn numbers(tenant: &Tenant) -> Vec<u64> {
    let records = tenant
        .read_stream("stream", StreamSequence::ZERO, 10_000)
        .expect("the stream reads");
    records
        .iter()
        .flat_map(|record| &record.events)
        .map(|event| u64::from_be_bytes(*event.first_chunk().expect("a number")))
        .collect()
}

/// The whole story. `free` makes space.
async fn turns_read_only_and_goes_on(engine: &Craton, free: impl FnOnce()) -> Vec<u64> {
    let tenant = engine.tenant("main").expect("the tenant");
    let mut sql = session(engine, "main");
    let appends = fill(engine, &tenant).await;

    let refused = tenant.append(Append::new("stream", ["late"])).await;
    assert!(matches!(refused, Err(EngineError::DiskFull)), "{refused:?}");
    assert_eq!(
        sqlstate(&mut sql, "INSERT INTO notes VALUES (2, 'late')").await,
        "53100"
    );
    assert_eq!(rows(&mut sql, "SELECT id FROM notes").await.len(), 1, "reads go on");
    assert_eq!(engine.stop_reason(), None);
    assert!(
        engine
            .status()
            .read_only_reason
            .is_some_and(|reason| reason.contains("the disk is full"))
    );

    free();
    poll("there is space again", || engine.read_only_reason().is_none()).await;
    assert_eq!(
        tag(&mut sql, "INSERT INTO notes VALUES (2, 'late')").await,
        "INSERT 0 1"
    );
    let acknowledged = acknowledged(appends).await;
    assert_eq!(numbers(&tenant), acknowledged, "nothing half-done, nothing twice");
    assert!(!acknowledged.is_empty());
    acknowledged
}

async fn prepare(engine: &Craton) {
    create(engine, "main").await;
    let mut sql = session(engine, "main");
    tag(&mut sql, "CREATE TABLE notes (id int PRIMARY KEY, text text)").await;
    tag(&mut sql, "INSERT INTO notes VALUES (1, 'early')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_logs_find_no_space_is_read_only_until_they_do() {
    let folder = Folder::new();
    let disk = MemoryDisk::new();
    let engine = folder
        .options()
        .disk(Arc::new(disk.clone()))
        .open(folder.data())
        .expect("the node opens");
    prepare(&engine).await;
    disk.set_capacity_bytes(Some(disk.used_bytes() + SPACE_BYTES));
    let acknowledged = turns_read_only_and_goes_on(&engine, || disk.set_capacity_bytes(None)).await;
    engine.close().expect("closed");
    drop(engine);

    let engine = folder
        .options()
        .disk(Arc::new(disk))
        .open(folder.data())
        .expect("the node opens");
    assert_eq!(numbers(&engine.tenant("main").expect("the tenant")), acknowledged);
}

/// While the disk is full a node can be closed, and opened again with what is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_closes_on_a_full_disk_and_has_everything_when_it_opens() {
    let folder = Folder::new();
    let disk = MemoryDisk::new();
    let engine = folder
        .options()
        .disk(Arc::new(disk.clone()))
        .open(folder.data())
        .expect("the node opens");
    prepare(&engine).await;
    disk.set_capacity_bytes(Some(disk.used_bytes() + SPACE_BYTES));
    let appends = fill(&engine, &engine.tenant("main").expect("the tenant")).await;
    // What cannot be flushed is in the write-ahead log.
    let closing = engine.clone();
    let _ = tokio::task::spawn_blocking(move || closing.close())
        .await
        .expect("it closes");
    let mut acknowledged = Vec::new();
    for appended in appends {
        acknowledged.extend(appended.await.expect("no panic").ok());
    }
    drop(engine);
    disk.set_capacity_bytes(None);
    let engine = folder
        .options()
        .disk(Arc::new(disk))
        .open(folder.data())
        .expect("the node opens");
    let found = numbers(&engine.tenant("main").expect("the tenant"));
    assert!(
        acknowledged.iter().all(|number| found.contains(number)),
        "{acknowledged:?} in {found:?}"
    );
}

/// A file system of its own; removed at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` without the privilege to mount.
    fn mount(mebibytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(folder.path())
            .output()
            .ok()?
            .status;
        status.success().then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Writes until nothing fits, and frees [`SPACE_BYTES`].
fn leave_space(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).expect("created");
    let mut length = 0;
    while let Ok(count) = file.write(&[0; 65_536]) {
        length += count as u64;
    }
    file.set_len(length - SPACE_BYTES).expect("cut");
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_a_file_system_that_fills_up_is_read_only_until_there_is_space() {
    let Some(small) = SmallDisk::mount(80) else {
        eprintln!("skipped: mounting a tmpfs needs a privilege that is not there");
        return;
    };
    let folder = Folder::new();
    let data = small.path().join("data");
    let engine = folder.options().open(&data).expect("the node opens");
    prepare(&engine).await;
    // Nearly all of the space is somebody else's.
    let ballast = small.path().join("ballast");
    leave_space(&ballast);
    let acknowledged = turns_read_only_and_goes_on(&engine, || {
        std::fs::remove_file(&ballast).expect("removed");
    })
    .await;
    engine.close().expect("closed");
    drop(engine);
    let engine = folder.options().open(&data).expect("the node opens");
    assert_eq!(numbers(&engine.tenant("main").expect("the tenant")), acknowledged);
}
