//! A small projection over the memory store: catching up, following, versions, damage, failures.

use std::path::Path;
use std::sync::Arc;

use craton_platform_kernel::testing::{MemoryEventStore, environment};
use craton_platform_kernel::{
    Actor, ActorKind, Environment, EventEnvelope, EventStore, NewEvent, Position, Projection, ProjectionError,
    StreamName, UserId, ViewBarrier,
};
use craton_platform_sqlite::rusqlite::{Connection, params};
use craton_platform_sqlite::{ReadModel, SqliteProjection, Views};
use tokio_util::sync::CancellationToken;

/// Counts events by type; an event of type `bad` does not fit.
struct Counts {
    version: u32,
}

impl Projection for Counts {
    type View = Connection;

    fn name(&self) -> &'static str {
        "counts"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn apply(&self, view: &Connection, event: &EventEnvelope) -> Result<(), ProjectionError> {
        let error = |source| ProjectionError {
            projection: "counts",
            position: event.position,
            source,
        };
        let upsert = "INSERT INTO counts VALUES (?1, 1) ON CONFLICT DO UPDATE SET count = count + 1";
        let outcome = view.execute(upsert, params![event.event.event_type]);
        outcome.map_err(|source| error(source.into()))?;
        if event.event.event_type == "bad" {
            return Err(error("bad".into()));
        }
        Ok(())
    }
}

impl SqliteProjection for Counts {
    fn schema(&self) -> &'static str {
        "CREATE TABLE counts (type TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT"
    }
}

fn open(directory: &Path, version: u32) -> ReadModel {
    ReadModel::open(directory, Arc::new(Counts { version })).expect("a read model")
}

async fn append(store: &dyn EventStore, environment: &Environment, types: &[&str]) -> Position {
    let events = types.iter().map(|event_type| NewEvent {
        id: environment.new_id(),
        event_type: (*event_type).to_owned(),
        version: 1,
        occurred_at: environment.now(),
        actor: Actor {
            kind: ActorKind::System,
            id: None,
            credential_id: None,
        },
        correlation_id: environment.new_id(),
        causation_id: None,
        data: serde_json::Value::Null,
    });
    let stream = StreamName::new(None, "thing", environment.new_id::<UserId>());
    store
        .append(&stream, 0, events.collect())
        .await
        .expect("an append")
        .receipt
        .position
}

async fn counts(model: &ReadModel) -> Vec<(String, u32)> {
    let query = |connection: &Connection| {
        let mut statement = connection.prepare("SELECT type, count FROM counts ORDER BY type")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    model.read(query).await.expect("a query")
}

fn expected(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn a_view_catches_up_and_goes_on_where_it_was() {
    let directory = tempfile::tempdir().expect("a folder");
    let (store, environment) = (MemoryEventStore::default(), environment());
    append(&store, &environment, &["a", "b", "a"]).await;
    let model = open(directory.path(), 1);
    model.catch_up(&store).await.expect("catches up");
    assert_eq!(counts(&model).await, expected(&[("a", 2), ("b", 1)]));
    drop(model);

    append(&store, &environment, &["b"]).await;
    let model = open(directory.path(), 1);
    assert_eq!(model.lag(*store.watch().borrow()), 1);
    model.catch_up(&store).await.expect("catches up");
    assert_eq!(counts(&model).await, expected(&[("a", 2), ("b", 2)]));
    assert_eq!(model.lag(*store.watch().borrow()), 0);
}

#[tokio::test]
async fn another_version_deleted_files_and_a_damaged_file_are_replayed() {
    let directory = tempfile::tempdir().expect("a folder");
    let (store, environment) = (MemoryEventStore::default(), environment());
    append(&store, &environment, &["a"]).await;
    let whole = expected(&[("a", 1)]);
    for (case, version) in [("new", 1), ("version", 2), ("damage", 2), ("deleted", 2)] {
        let path = directory.path().join("counts.sqlite");
        match case {
            "damage" => std::fs::write(&path, b"no database at all").expect("writes"),
            "deleted" => std::fs::remove_file(&path).expect("removes"),
            _ => {}
        }
        let model = open(directory.path(), version);
        assert_eq!(model.next_position(), 0, "{case}");
        model.catch_up(&store).await.expect(case);
        assert_eq!(counts(&model).await, whole, "{case}");
    }
}

#[tokio::test]
async fn a_view_of_another_log_is_replayed() {
    let directory = tempfile::tempdir().expect("a folder");
    let environment = environment();
    let first = MemoryEventStore::default();
    append(&first, &environment, &["a"]).await;
    append(&first, &environment, &["a"]).await;
    open(directory.path(), 1).catch_up(&first).await.expect("catches up");

    let second = MemoryEventStore::default();
    append(&second, &environment, &["b"]).await;
    let model = open(directory.path(), 1);
    model.catch_up(&second).await.expect("catches up");
    assert_eq!(counts(&model).await, expected(&[("b", 1)]));
}

#[tokio::test]
async fn the_runner_follows_and_the_barrier_waits_for_it() {
    let directory = tempfile::tempdir().expect("a folder");
    let (store, environment) = (Arc::new(MemoryEventStore::default()), environment());
    let model = open(directory.path(), 1);
    let stop = CancellationToken::new();
    let runner = tokio::spawn(model.clone().run(store.clone(), stop.clone()));
    let views = Views::new(vec![model.clone()]);
    for count in 1..=3 {
        let position = append(&*store, &environment, &["a"]).await;
        assert!(views.wait_for(position).await);
        assert_eq!(counts(&model).await, expected(&[("a", count)]));
    }
    stop.cancel();
    runner.await.expect("the runner stops");
}

#[tokio::test]
async fn an_event_that_does_not_fit_changes_nothing() {
    let directory = tempfile::tempdir().expect("a folder");
    let (store, environment) = (MemoryEventStore::default(), environment());
    append(&store, &environment, &["a"]).await;
    let model = open(directory.path(), 1);
    model.catch_up(&store).await.expect("catches up");
    append(&store, &environment, &["a", "bad"]).await;
    assert!(model.catch_up(&store).await.is_err());
    assert_eq!(counts(&model).await, expected(&[("a", 1)]));
    assert_eq!(model.next_position(), 1);
}

#[tokio::test]
async fn readers_cannot_write_and_wait_their_turn() {
    let directory = tempfile::tempdir().expect("a folder");
    let model = open(directory.path(), 1);
    let outcome = model
        .read(|connection| connection.execute("DELETE FROM counts", []))
        .await;
    assert!(outcome.is_err());
    let many = (0..craton_platform_sqlite::READERS_MAX * 4).map(|_| {
        let model = model.clone();
        tokio::spawn(async move { counts(&model).await })
    });
    for reader in many.collect::<Vec<_>>() {
        assert_eq!(reader.await.expect("a reader"), []);
    }
}
