//! Event streams: appended, read back, and still there after every kind of stop.

mod common;

use std::sync::Arc;

use common::{Folder, create};
use craton_engine::{Append, EngineError, ExpectedSequence, Refusal, Tenant, Wait};
use craton_log::testing::{Crash, MemoryDisk};
use craton_proof::{Receipt, VerifierKey};
use craton_types::{ActorId, IdempotencyId, Offset, StreamSequence};

fn append(stream: &str, expected: ExpectedSequence, event: &str) -> Append {
    Append {
        expected,
        actor: ActorId::new([1; 16]),
        ..Append::new(stream, [event])
    }
}

fn stream_texts(database: &Tenant, stream: &str) -> Vec<String> {
    let records = database
        .read_stream(stream, StreamSequence::ZERO, 1_000)
        .expect("the stream reads");
    records
        .into_iter()
        .flat_map(|record| record.events)
        .map(|event| String::from_utf8(event).expect("text"))
        .collect()
}

#[tokio::test]
async fn appended_events_are_read_back_in_order_and_by_stream() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    for (stream, event) in [("a", "1"), ("b", "2"), ("a", "3")] {
        database
            .append(append(stream, ExpectedSequence::Any, event))
            .await
            .expect("appended");
    }
    assert_eq!(stream_texts(&database, "a"), ["1", "3"]);
    assert_eq!(stream_texts(&database, "b"), ["2"]);
    let page = database.read_events(Offset::ZERO, 2).expect("the log reads");
    assert_eq!(
        page.records.iter().map(|record| &*record.stream).collect::<Vec<_>>(),
        ["a", "b"]
    );
    let rest = database.read_events(page.next, 10).expect("the log reads");
    assert_eq!(rest.records.len(), 1);
}

#[tokio::test]
async fn an_append_at_the_wrong_place_is_refused_with_what_is_there() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    database
        .append(append("a", ExpectedSequence::Exactly(0), "1"))
        .await
        .expect("appended");
    let refused = database.append(append("a", ExpectedSequence::Exactly(0), "2")).await;
    let Err(EngineError::Refused(Refusal::StreamMoved {
        expected: 0, actual: 1, ..
    })) = refused
    else {
        panic!("expected a refusal, got {refused:?}");
    };
}

#[tokio::test]
async fn a_retry_with_the_same_id_gives_the_first_attempts_commit() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    let once = Append {
        idempotency_id: IdempotencyId::new([9; 16]),
        ..append("a", ExpectedSequence::Any, "1")
    };
    let first = database.append(once.clone()).await.expect("appended");
    let second = database.append(once).await.expect("recognised");
    assert_eq!(first, second);
    assert_eq!(stream_texts(&database, "a"), ["1"]);
}

#[tokio::test]
async fn acknowledged_events_survive_a_copy_taken_at_any_moment() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    let mut expected = Vec::new();
    for round in 0..5 {
        for number in 0..20 {
            let event = format!("{round}.{number}");
            database
                .append(append("a", ExpectedSequence::Any, &event))
                .await
                .expect("appended");
            expected.push(event);
        }
        let copy = folder.copy();
        let reopened = copy.open();
        let recovered = reopened.tenant("main").expect("the database is in the log");
        assert_eq!(stream_texts(&recovered, "a"), expected, "after round {round}");
    }
}

#[tokio::test]
async fn a_closed_node_reopens_where_it_was_and_a_lost_view_is_rebuilt() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    for number in 0..50 {
        database
            .append(append("a", ExpectedSequence::Exactly(number), &number.to_string()))
            .await
            .expect("appended");
    }
    let head = database.end();
    engine.close().expect("closed");
    drop((database, engine));
    for tenant in folder.tenants() {
        std::fs::remove_file(tenant.join("view.redb")).expect("the view is there");
    }
    let engine = folder.open();
    let database = engine
        .tenant("main")
        .expect("databases are rebuilt from the system tenant's log");
    assert_eq!(database.end(), head);
    assert_eq!(stream_texts(&database, "a").len(), 50);
    database
        .append(append("a", ExpectedSequence::Exactly(50), "50"))
        .await
        .expect("the stream goes on");
    assert!(engine.user("main_app").is_some());
}

/// The first record of a stream names it, the others do not: both have receipts.
#[tokio::test]
async fn an_event_has_a_receipt_that_verifies_offline() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    let key: VerifierKey = database.log_key().parse().expect("a verifier key");
    for (name, chunk_index) in [(Some("a"), 1), (None, 0)] {
        let commit = database
            .append(Append::new("a", ["shown", "kept"]))
            .await
            .expect("appended");
        let receipt = database
            .receipt(commit.offset, &|event| event == b"shown")
            .await
            .expect("a receipt");
        let verified = Receipt::verify(receipt.as_bytes(), &key).expect("it verifies");
        assert_eq!(verified.record_hash, commit.record_hash);
        assert_eq!(verified.summary.stream.as_deref(), name);
        assert_eq!(verified.header.stream.get(), 1);
        let [disclosed] = verified.changes.as_slice() else {
            panic!("one change is disclosed: {verified:?}");
        };
        assert_eq!(disclosed.chunk_index, chunk_index);
        assert_eq!(disclosed.change, craton_types::Change::Event(b"shown".to_vec()));
    }
}

/// Streams of one record, of a whole block of the index and of more, in memory, in the view's file, and rebuilt.
#[tokio::test]
async fn streams_of_every_length_are_read_from_any_place() {
    let folder = Folder::new();
    let lengths = [("one", 1), ("block", 256), ("longer", 700)];
    let check = |database: &Tenant| {
        for (stream, length) in lengths {
            for from in [0, 1, 255, 256, 511, length - 1, length, length + 1] {
                let records = database
                    .read_stream(stream, StreamSequence::new(from), 300)
                    .expect("it reads");
                let read: Vec<_> = records.iter().map(|record| record.events[0].clone()).collect();
                let expected: Vec<_> = (from..length.min(from + 300))
                    .map(|number| number.to_string().into_bytes())
                    .collect();
                assert_eq!(read, expected, "{stream} from {from}");
                assert!(records.iter().all(|record| &*record.stream == stream));
            }
        }
        assert!(
            database
                .read_stream("none", StreamSequence::ZERO, 1)
                .expect("it reads")
                .is_empty()
        );
    };
    let engine = folder.open();
    let database = create(&engine, "main").await;
    let mut waiting = Vec::new();
    for number in 0..700 {
        for (stream, _) in lengths.iter().filter(|(_, length)| number < *length) {
            waiting.push(database.append(append(stream, ExpectedSequence::Exactly(number), &number.to_string())));
        }
    }
    for append in waiting {
        append.await.expect("appended");
    }
    check(&database);
    engine.close().expect("closed");
    drop((database, engine));
    let engine = folder.open();
    check(&engine.tenant("main").expect("the tenant"));
    engine.close().expect("closed");
    drop(engine);
    for tenant in folder.tenants() {
        std::fs::remove_file(tenant.join("view.redb")).expect("the view is there");
    }
    let engine = folder.open();
    let database = engine.tenant("main").expect("the tenant");
    check(&database);
    let next = append("longer", ExpectedSequence::Exactly(700), "700");
    assert_eq!(
        database.append(next).await.expect("it goes on").stream_sequence.get(),
        700
    );
}

#[tokio::test]
async fn one_process_holds_a_data_directory() {
    let folder = Folder::new();
    let _engine = folder.open();
    assert!(matches!(
        folder.options().open(folder.data()),
        Err(EngineError::DirectoryInUse { .. })
    ));
}

#[tokio::test]
async fn tenants_are_created_once_and_reserved_names_are_refused() {
    let folder = Folder::new();
    let engine = folder.open();
    let main = create(&engine, "main").await;
    let again = engine.open_tenant("main").await.expect("it exists");
    assert_eq!(again.log_key(), main.log_key());
    assert!(matches!(
        engine.open_tenant("system").await,
        Err(EngineError::DatabaseReserved { .. })
    ));
    assert!(matches!(
        engine.open_tenant("Not a name").await,
        Err(EngineError::DatabaseName(_))
    ));
    assert_eq!(engine.tenants(), ["main"]);
    assert!(!engine.drop_user("nobody", ActorId::NIL).await.expect("nothing to drop"));
    assert!(engine.drop_user("main_app", ActorId::NIL).await.expect("dropped"));
    assert!(engine.user("main_app").is_none());
}

/// Appends from several threads while one subscriber began before the first append and another in the middle; both see
/// every record in the log's order, once, and then the end.
#[test]
fn a_subscription_catches_up_and_follows_each_record_once() {
    const THREADS: usize = 4;
    const APPENDS: usize = 150;
    let folder = Folder::new();
    let engine = folder.open();
    let tenant = engine.open_tenant("main").wait().expect("a tenant");
    let follow = |from: Offset| {
        let mut subscription = tenant.subscribe(from);
        std::thread::spawn(move || {
            let mut seen = Vec::new();
            while let Some(record) = subscription.next().wait().expect("the log reads") {
                assert!(subscription.position() > record.header.offset);
                seen.push((record.header.offset, record.stream, record.events));
            }
            seen
        })
    };
    let early = follow(Offset::ZERO);
    let append_all = || {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let tenant = &tenant;
                scope.spawn(move || {
                    for number in 0..APPENDS {
                        let append = append(&format!("s{thread}"), ExpectedSequence::Any, &number.to_string());
                        tenant.append(append).wait().expect("appended");
                    }
                });
            }
        });
    };
    append_all();
    let late = follow(Offset::ZERO);
    append_all();
    tenant
        .checkpoint()
        .wait()
        .expect("a checkpoint, which subscribers skip");
    let all = tenant.read_events(Offset::ZERO, 10_000).expect("the log reads").records;
    engine.close().expect("closed");
    let expected: Vec<_> = all
        .into_iter()
        .map(|record| (record.header.offset, record.stream, record.events))
        .collect();
    assert_eq!(expected.len(), 2 * THREADS * APPENDS);
    assert_eq!(early.join().expect("no panic"), expected);
    assert_eq!(late.join().expect("no panic"), expected);
}

#[test]
fn a_program_opens_a_folder_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("ledger");
    let open = || craton_engine::Craton::open(&directory).expect("it opens");
    let craton = open();
    let tenant = craton.open_tenant("main").wait().expect("a tenant");
    tenant.append(Append::new("a", ["kept"])).wait().expect("appended");
    drop((tenant, craton));
    let key = folder.path().join("ledger.master.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().expect("a key file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(stream_texts(&open().tenant("main").expect("the tenant"), "a"), ["kept"]);
    std::fs::remove_file(&key).expect("the key is there");
    assert!(matches!(
        craton_engine::Craton::open(&directory),
        Err(EngineError::MasterKey(_))
    ));
    assert!(!key.exists(), "a new key would open nothing");
}

#[tokio::test]
async fn a_power_cut_loses_no_acknowledged_event_even_when_views_are_ahead_of_the_logs() {
    let folder = Folder::new();
    let disk = MemoryDisk::new();
    let open = |disk: &MemoryDisk| {
        let options = folder.options().disk(Arc::new(disk.clone()));
        options.open(folder.data()).expect("the node opens")
    };
    let engine = open(&disk);
    let database = create(&engine, "main").await;
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        let event = number.to_string();
        database
            .append(append("a", ExpectedSequence::Any, &event))
            .await
            .expect("appended");
        acknowledged.push(event);
    }
    let cuts = [
        Crash::DropUnsynced,
        Crash::Torn { seed: 1 },
        Crash::Reordered { seed: 2 },
    ];
    let left = cuts.map(|crash| {
        let left = disk.fork();
        left.crash(crash);
        left
    });
    // Closing flushes the views, which are not on the simulated disk.
    drop(database);
    engine.close().expect("closed");
    drop(engine);
    for disk in left {
        let engine = open(&disk);
        let database = engine.tenant("main").expect("the database");
        assert_eq!(stream_texts(&database, "a"), acknowledged);
    }
}
