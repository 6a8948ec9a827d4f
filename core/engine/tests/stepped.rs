//! A node without threads: its steps complete what its clients wait for, the same way at every run.
#![cfg(feature = "simulation")]

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use common::Folder;
use craton_engine::{
    ActorId, Append, Clock, Craton, EngineError, Random, Response, Session, Steps, StreamSequence, Tenant, Value,
};
use craton_log::TenantLogOptions;
use craton_log::testing::{Crash, MemoryDisk};
use craton_types::Timestamp;

const DIRECTORY: &str = "/craton-in-memory/data";

/// Time and randomness that are the same at every run.
#[derive(Default)]
struct Counted(AtomicU64);

impl Clock for Counted {
    fn now(&self) -> Timestamp {
        Timestamp::new(1_800_000_000_000_000_000 + self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }
}

impl Random for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            chunk.copy_from_slice(&craton_crypto::sha256(&[&number]).as_bytes()[..chunk.len()]);
        }
    }
}

fn open(folder: &Folder, disk: &MemoryDisk) -> (Craton, Steps) {
    let log_options = TenantLogOptions {
        segment_bytes: 16 * 1024,
    };
    folder
        .options()
        .disk(Arc::new(disk.clone()))
        .clock(Arc::new(Counted::default()))
        .random(Arc::new(Counted::default()))
        .segments(64 * 1024, log_options)
        .open_stepped(DIRECTORY)
        .expect("the node opens")
}

/// Steps until the future completes.
fn run<T>(steps: &mut Steps, future: impl Future<Output = T>) -> T {
    let mut future: Pin<Box<dyn Future<Output = T> + '_>> = Box::pin(future);
    for number in 0..10_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        let worked = [
            steps.propose(number % 2 == 0),
            steps.write(),
            steps.apply(),
            steps.write_back(),
            steps.reserve(),
        ];
        if !worked.contains(&true) {
            steps.flush();
            steps.checkpoint();
            steps.scrub();
        }
    }
    panic!("the steps complete nothing");
}

async fn insert(session: &mut Session, id: i64) -> Result<Response, EngineError> {
    let insert = "INSERT INTO visits VALUES ($1, 'seen')";
    Ok(session.sql(insert, &[Value::Int(id)]).await.expect("inserted"))
}

async fn story(clinic: &Tenant) {
    let mut session = clinic.session(ActorId::NIL);
    let create = "CREATE TABLE visits (id bigint PRIMARY KEY, what text)";
    session.sql(create, &[]).await.expect("created");
    for id in 0..40 {
        insert(&mut session, id).await.expect("inserted");
        clinic
            .append(Append::new("events", [vec![7; 500]]))
            .await
            .expect("appended");
    }
    let last = clinic.read_stream("events", StreamSequence::ZERO, 1).expect("read")[0]
        .header
        .offset;
    clinic.receipt(last, &|_| true).await.expect("a receipt");
}

fn count(clinic: &Tenant) -> usize {
    clinic
        .read_stream("events", StreamSequence::ZERO, 1_000)
        .expect("read")
        .len()
}

#[test]
fn steps_complete_what_clients_wait_for_and_a_crash_loses_nothing_of_it() {
    let (folder, disk) = (Folder::new(), MemoryDisk::new());
    let (craton, mut steps) = open(&folder, &disk);
    let clinic = run(&mut steps, craton.open_tenant("clinic")).expect("created");
    run(&mut steps, story(&clinic));
    // Nothing is flushed when the node is dropped: it is gone as after a crash.
    drop((clinic, craton, steps));
    disk.crash(Crash::DropUnsynced);

    let (craton, mut steps) = open(&folder, &disk);
    let clinic = craton.tenant("clinic").expect("it was acknowledged");
    assert_eq!(count(&clinic), 40);
    run(&mut steps, clinic.append(Append::new("events", [b"later"]))).expect("appended");
    let waits = clinic.append(Append::new("events", [b"handed over"]));
    steps.close().expect("closed");
    drop((waits, clinic, craton));
    disk.crash(Crash::DropUnsynced);

    let (craton, _steps) = open(&folder, &disk);
    assert_eq!(count(&craton.tenant("clinic").expect("there")), 42);
}

#[test]
fn the_same_steps_leave_the_same_disk() {
    let folder = Folder::new();
    let bytes = || {
        let disk = MemoryDisk::new();
        let (craton, mut steps) = open(&folder, &disk);
        let clinic = run(&mut steps, craton.open_tenant("clinic")).expect("created");
        run(&mut steps, story(&clinic));
        let digest = |path: &std::path::PathBuf| craton_crypto::sha256(&[&disk.contents(path).expect("there")]);
        let files: Vec<_> = disk.paths().iter().map(|path| (path.clone(), digest(path))).collect();
        (disk.calls(), files)
    };
    assert_eq!(bytes(), bytes());
}
