//! What every store promises, as tests that run on each implementation.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;

use crate::{
    Actor, ActorKind, AppendError, CredentialUse, Environment, EventStore, NewEvent, OrgId, Position, RecordHash,
    RefusedCheckpoint, SecretHash, SessionRecord, SessionStore, StreamName, UserId, WitnessStore, WitnessedCheckpoint,
};

fn event(environment: &Environment, number: u64) -> NewEvent {
    NewEvent {
        id: environment.new_id(),
        event_type: "thing.happened".to_owned(),
        version: 1,
        occurred_at: environment.now(),
        actor: Actor {
            kind: ActorKind::System,
            id: None,
            credential_id: None,
        },
        correlation_id: environment.new_id(),
        causation_id: None,
        data: json!({ "number": number, "text": "ä\u{0}\"" }),
    }
}

/// Checks an event store. The store may hold other streams already; the environment must not repeat itself.
///
/// # Panics
/// When the store breaks a promise.
pub async fn event_store_contract(store: &dyn EventStore, environment: &Environment) {
    let org: OrgId = environment.new_id();
    let first = StreamName::new(Some(org), "thing", environment.new_id::<UserId>());
    let second = StreamName::new(None, "thing", environment.new_id::<UserId>());
    let start = *store.watch().borrow();
    assert_eq!(store.read_stream(&first).await.expect("an empty stream"), []);

    // Positions rise, sequences count records, and the events of one append share both.
    let events = [
        vec![event(environment, 0), event(environment, 1)],
        vec![event(environment, 2)],
    ];
    let other = event(environment, 3);
    let a = store.append(&first, 0, events[0].clone()).await.expect("first append");
    let b = store
        .append(&second, 0, vec![other.clone()])
        .await
        .expect("another stream");
    let c = store.append(&first, 1, events[1].clone()).await.expect("second append");
    assert!(a.receipt.position >= start && a.receipt.position < b.receipt.position);
    assert!(b.receipt.position < c.receipt.position);
    assert_eq!((a.sequence, b.sequence, c.sequence), (0, 0, 1));
    assert_ne!(a.receipt.record_hash, RecordHash([0; 32]));
    assert_ne!(a.receipt.record_hash, c.receipt.record_hash);

    // A stream reads back exactly, in order.
    let read = store.read_stream(&first).await.expect("a stream");
    let places: Vec<_> = read
        .iter()
        .map(|envelope| (envelope.sequence, envelope.index))
        .collect();
    assert_eq!(places, [(0, 0), (0, 1), (1, 0)]);
    assert!(read.iter().map(|envelope| &envelope.event).eq(events.iter().flatten()));
    assert_eq!(read[2].receipt(), c.receipt);
    assert_eq!(read[0].org(), Some(org));

    // A stale writer loses, whichever way it is stale, and leaves nothing behind.
    for expected in [0, 1, 3] {
        let outcome = store.append(&first, expected, vec![event(environment, 9)]).await;
        assert!(
            matches!(outcome, Err(AppendError::VersionConflict { .. })),
            "{expected}: {outcome:?}"
        );
    }
    assert_eq!(store.read_stream(&first).await.expect("a stream").len(), 3);

    // The whole log reads in order, in pages of whole records.
    let mut from: Position = start;
    let mut seen = Vec::new();
    loop {
        let page = store.read_all(from, 1).await.expect("a page");
        let Some(last) = page.last() else { break };
        assert!(page.iter().all(|envelope| envelope.position == last.position));
        from = last.position + 1;
        seen.extend(page);
    }
    let ours: Vec<_> = seen
        .iter()
        .filter(|envelope| [&first, &second].contains(&&envelope.stream))
        .collect();
    let numbers: Vec<_> = ours
        .iter()
        .map(|envelope| envelope.event.data["number"].as_u64())
        .collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(3), Some(2)]);

    // A watcher hears of an append.
    let mut watch = store.watch();
    let before = *watch.borrow_and_update();
    assert!(before > c.receipt.position);
    let d = store
        .append(&second, 1, vec![event(environment, 4)])
        .await
        .expect("an append");
    let heard = tokio::time::timeout(
        Duration::from_secs(10),
        watch.wait_for(|head| *head > d.receipt.position),
    )
    .await;
    assert!(heard.is_ok_and(|outcome| outcome.is_ok()), "the watcher heard nothing");
}

/// Checks a session store.
///
/// # Panics
/// When the store breaks a promise.
pub async fn session_store_contract(store: &dyn SessionStore, environment: &Environment) {
    let (alice, bob): (UserId, UserId) = (environment.new_id(), environment.new_id());
    let now = environment.now();
    let session = |user_id: UserId, hours: i64| SessionRecord {
        id: environment.new_id(),
        user_id,
        token_hash: SecretHash::new(environment.random_bytes()),
        created_at: now + SignedDuration::from_hours(hours),
        last_seen_at: now + SignedDuration::from_hours(hours),
        expires_at: now + SignedDuration::from_hours(hours + 10),
        user_agent: "Bob's 'browser'".to_owned(),
    };
    let sessions = [session(alice, 0), session(alice, 1), session(bob, 2)];
    for session in &sessions {
        store.insert(session.clone()).await.expect("insert");
    }
    let find = async |index: usize| store.find(&sessions[index].token_hash).await.expect("find");
    assert_eq!(find(0).await.as_ref(), Some(&sessions[0]));
    assert_eq!(store.find(&SecretHash::new([7; 32])).await.expect("find"), None);
    assert_eq!(
        store.list(alice).await.expect("list"),
        [sessions[1].clone(), sessions[0].clone()]
    );

    let seen_at = now + SignedDuration::from_hours(3);
    store.touch(&sessions[0].token_hash, seen_at).await.expect("touch");
    assert_eq!(find(0).await.map(|session| session.last_seen_at), Some(seen_at));

    // Another user's session cannot be removed; one's own is gone at once.
    assert!(!store.remove(alice, sessions[2].id).await.expect("remove"));
    assert!(find(2).await.is_some());
    assert!(store.remove(bob, sessions[2].id).await.expect("remove"));
    assert_eq!(find(2).await, None);
    assert!(!store.remove(bob, sessions[2].id).await.expect("remove"));

    // Session 0 was seen at three hours, session 1 at one hour.
    let idle_since = now + SignedDuration::from_hours(2);
    store.remove_expired(seen_at, idle_since).await.expect("remove");
    assert_eq!(store.list(alice).await.expect("list").len(), 1);
    store
        .remove_expired(now + SignedDuration::from_hours(10), now)
        .await
        .expect("remove");
    assert_eq!(store.list(alice).await.expect("list"), []);
}

/// Checks a store of credential uses.
///
/// # Panics
/// When the store breaks a promise.
pub async fn credential_use_contract(store: &dyn CredentialUse, environment: &Environment) {
    let now = environment.now();
    assert_eq!(store.last_used("key_a").await.expect("read"), None);
    store.record_use("key_a", now).await.expect("write");
    store
        .record_use("key_a", now + SignedDuration::from_secs(1))
        .await
        .expect("write");
    assert_eq!(
        store.last_used("key_a").await.expect("read"),
        Some(now + SignedDuration::from_secs(1))
    );
    assert_eq!(store.last_used("key_b").await.expect("read"), None);
}

/// Checks a witness's store for a log that it does not know: it ends with a checkpoint of 7 records.
///
/// # Panics
/// When the store breaks the contract.
pub async fn witness_store_contract(store: &dyn WitnessStore, environment: &Environment, origin: &str) {
    let checkpoint = |size: u64, root: u8| WitnessedCheckpoint {
        size,
        root: [root; 32],
        witnessed_at: environment.now(),
    };
    let latest = async || store.latest(origin).await.expect("latest");
    let replace = async |old: Option<&WitnessedCheckpoint>, new: &WitnessedCheckpoint| {
        store.replace(origin, old, new).await.expect("replace")
    };
    assert_eq!(latest().await, None);
    let (three, five, seven) = (checkpoint(3, 1), checkpoint(5, 2), checkpoint(7, 3));
    assert!(!replace(Some(&three), &five).await, "nothing is stored yet");
    assert!(replace(None, &three).await);
    assert!(!replace(None, &five).await, "something is stored");
    assert_eq!(latest().await, Some(three));
    // Of two that start from the same checkpoint one comes too late; so does one that read another root.
    assert!(replace(Some(&three), &five).await);
    assert!(!replace(Some(&three), &seven).await);
    assert!(!replace(Some(&checkpoint(5, 9)), &seven).await);
    assert_eq!(latest().await, Some(five));
    assert!(replace(Some(&five), &seven).await);
    assert!(replace(Some(&seven), &seven).await, "the same again");
    assert_eq!(store.latest("log.example/other").await.expect("latest"), None);

    assert_eq!(store.refused(origin).await.expect("refused"), None);
    for size in [4, 9] {
        let refused = RefusedCheckpoint {
            reason: "other_root".to_owned(),
            size,
            note: "a note".to_owned(),
            refused_at: environment.now(),
        };
        store.record_refused(origin, &refused).await.expect("recorded");
        assert_eq!(store.refused(origin).await.expect("refused"), Some(refused));
    }
    assert_eq!(latest().await, Some(seven));
}
