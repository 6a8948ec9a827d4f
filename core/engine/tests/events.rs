//! Event streams: appended, read back, and still there after every kind of stop.

mod common;

use std::sync::Arc;

use common::{Folder, create};
use craton_engine::{Append, Database, Engine, EngineError, ExpectedSequence, Refusal};
use craton_log::testing::{Crash, MemoryDisk};
use craton_proof::{Receipt, VerifierKey};
use craton_types::{ActorId, CorrelationId, IdempotencyId, Offset, StreamSequence};

fn append(stream: &str, expected: ExpectedSequence, event: &str) -> Append {
    Append {
        stream: stream.to_owned(),
        expected,
        events: vec![event.as_bytes().to_vec()],
        actor: ActorId::new([1; 16]),
        correlation_id: CorrelationId::NIL,
        idempotency_id: IdempotencyId::NIL,
    }
}

fn stream_texts(database: &Database, stream: &str) -> Vec<String> {
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
        page.records
            .iter()
            .map(|record| record.stream.as_str())
            .collect::<Vec<_>>(),
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
        let recovered = reopened.database("main").expect("the database is in the log");
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
        .database("main")
        .expect("databases are rebuilt from the system tenant's log");
    assert_eq!(database.end(), head);
    assert_eq!(stream_texts(&database, "a").len(), 50);
    database
        .append(append("a", ExpectedSequence::Exactly(50), "50"))
        .await
        .expect("the stream goes on");
    assert!(engine.user("main_app").is_some());
}

#[tokio::test]
async fn an_event_has_a_receipt_that_verifies_offline() {
    let folder = Folder::new();
    let engine = folder.open();
    let database = create(&engine, "main").await;
    let events = ["shown", "kept"].map(|event| event.as_bytes().to_vec()).to_vec();
    let two = Append {
        events,
        ..append("a", ExpectedSequence::Any, "")
    };
    let commit = database.append(two).await.expect("appended");
    let receipt = database
        .receipt(commit.offset, &|event| event == b"shown")
        .await
        .expect("a receipt");
    let key: VerifierKey = database.log_key().parse().expect("a verifier key");
    let verified = Receipt::verify(receipt.as_bytes(), &key).expect("it verifies");
    assert_eq!(verified.record_hash, commit.record_hash);
    assert_eq!(verified.summary.stream.as_deref(), Some("a"));
    let disclosed: Vec<_> = verified.changes.into_iter().map(|change| change.change).collect();
    assert_eq!(disclosed, [craton_types::Change::Event(b"shown".to_vec())]);
}

#[tokio::test]
async fn one_process_holds_a_data_directory() {
    let folder = Folder::new();
    let _engine = folder.open();
    assert!(matches!(
        Engine::open(folder.options()),
        Err(EngineError::DirectoryInUse { .. })
    ));
}

#[tokio::test]
async fn databases_are_created_once_and_reserved_names_are_refused() {
    let folder = Folder::new();
    let engine = folder.open();
    create(&engine, "main").await;
    let name = |text| craton_types::DatabaseName::parse(text).expect("a name");
    assert!(
        !engine
            .create_database(&name("main"), ActorId::NIL)
            .await
            .expect("it exists")
    );
    assert!(matches!(
        engine.create_database(&name("system"), ActorId::NIL).await,
        Err(EngineError::DatabaseReserved { .. })
    ));
    assert!(!engine.drop_user("nobody", ActorId::NIL).await.expect("nothing to drop"));
    assert!(engine.drop_user("main_app", ActorId::NIL).await.expect("dropped"));
    assert!(engine.user("main_app").is_none());
}

#[tokio::test]
async fn a_power_cut_loses_no_acknowledged_event_even_when_views_are_ahead_of_the_logs() {
    let folder = Folder::new();
    let disk = MemoryDisk::new();
    let open = |disk: &MemoryDisk| {
        let mut options = folder.options();
        options.disk = Arc::new(disk.clone());
        Engine::open(options).expect("the node opens")
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
        let database = engine.database("main").expect("the database");
        assert_eq!(stream_texts(&database, "a"), acknowledged);
    }
}
