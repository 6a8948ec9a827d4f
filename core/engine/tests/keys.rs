//! Keys rotate while the node serves, and no key and nonce ever meet two plaintexts.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Folder, create, rows, session, sqlstate, tag};
use craton_crypto::{CHUNK_COMMITMENT_BYTES, FileMasterKey, SecretBytes};
use craton_engine::{Craton, EngineError, KeyringError, Wait};
use craton_log::{RealDisk, TenantLog, TenantLogOptions};
use craton_proof::{Receipt, VerifierKey};
use craton_types::{ActorId, KeyEpoch, Offset, Record, RecordKind, RotationReason, TenantId, Value};

const TABLE: &str = "CREATE TABLE people (id bigint PRIMARY KEY, name text)";

/// Every record of every tenant of a closed node.
fn records(folder: &Folder) -> Vec<Record> {
    let mut records = Vec::new();
    for directory in folder.tenants() {
        records.extend(records_of(&directory));
    }
    records
}

fn records_of(directory: &Path) -> Vec<Record> {
    let name = directory
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a tenant's id");
    let digits: String = name.chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&digits, 16).expect("an id").to_be_bytes();
    let options = TenantLogOptions::default();
    let log = TenantLog::open(Arc::new(RealDisk), &directory.join("log"), TenantId::new(id), options).expect("a log");
    let reader = log.reader();
    (0..reader.published().get())
        .map(|offset| {
            reader
                .read(Offset::new(offset))
                .expect("readable")
                .expect("below the end")
        })
        .collect()
}

/// What was sealed under each change key, told by the commitment that begins a chunk.
#[derive(Default)]
struct Chunks(HashMap<[u8; CHUNK_COMMITMENT_BYTES], Vec<u8>>);

impl Chunks {
    /// Adds a node's chunks; none may repeat a key for another plaintext.
    fn add(&mut self, folder: &Folder) {
        for record in records(folder) {
            if record.header.kind != RecordKind::Data {
                continue;
            }
            for chunk in &record.chunks {
                let commitment = *chunk.first_chunk().expect("a chunk begins with a commitment");
                let known = self.0.entry(commitment).or_insert_with(|| chunk.clone());
                assert_eq!(
                    known, chunk,
                    "record {} repeats a key for another plaintext",
                    record.header.offset
                );
            }
        }
    }
}

async fn insert(craton: &Craton, ids: std::ops::Range<i64>, name: &str) {
    let mut session = session(craton, "main");
    for id in ids {
        tag(&mut session, &format!("INSERT INTO people VALUES ({id}, '{name}')")).await;
    }
}

#[tokio::test]
async fn copies_of_a_directory_that_go_on_separately_share_no_key_for_two_plaintexts() {
    let mut chunks = Chunks::default();
    let folder = Folder::new();
    let craton = folder.open();
    create(&craton, "main").await;
    tag(&mut session(&craton, "main"), TABLE).await;
    let early = folder.copy();
    insert(&craton, 0..3, "the first goes on").await;
    // The copies are taken without closing, as a crash or a backup of a running machine would leave them.
    let copies = [early, folder.copy(), folder.copy()];
    insert(&craton, 100..103, "the first goes on").await;
    craton.close().expect("it closes");
    drop(craton);
    chunks.add(&folder);
    for (number, copy) in copies.into_iter().enumerate() {
        let mut current = copy;
        for cycle in 0..3 {
            let craton = current.open();
            insert(
                &craton,
                200 + 10 * cycle..203 + 10 * cycle,
                &format!("copy {number} goes on"),
            )
            .await;
            // Crash: the next cycle works on what is on the disk now.
            let next = current.copy();
            insert(
                &craton,
                300 + 10 * cycle..303 + 10 * cycle,
                &format!("copy {number} was left"),
            )
            .await;
            craton.close().expect("it closes");
            drop(craton);
            chunks.add(&current);
            current = next;
        }
    }
    assert!(chunks.0.len() > 100, "only {} chunks were compared", chunks.0.len());
}

#[tokio::test]
async fn the_first_opening_needs_no_epoch_and_every_later_one_that_writes_begins_one() {
    let folder = Folder::new();
    let craton = folder.open();
    let tenant = create(&craton, "main").await;
    tag(&mut session(&craton, "main"), TABLE).await;
    assert_eq!(tenant.key_epochs().expect("readable").len(), 1);
    drop((tenant, craton));
    // An opening that only reads leaves the log as it is.
    for _ in 0..2 {
        let craton = folder.open();
        rows(&mut session(&craton, "main"), "SELECT * FROM people").await;
        assert_eq!(
            craton
                .tenant("main")
                .expect("it exists")
                .key_epochs()
                .expect("readable")
                .len(),
            1
        );
    }
    let craton = folder.open();
    insert(&craton, 0..2, "x").await;
    let tenant = craton.tenant("main").expect("it exists");
    let epochs = tenant.key_epochs().expect("readable");
    let summary: Vec<_> = epochs
        .iter()
        .map(|epoch| (epoch.epoch, epoch.reason, epoch.active))
        .collect();
    assert_eq!(
        summary,
        [
            (KeyEpoch::ZERO, None, false),
            (KeyEpoch::new(1), Some(RotationReason::Opened), true)
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_rotates_under_load_and_everything_stays_readable_and_provable() {
    let folder = Folder::new();
    let craton = folder.open();
    let tenant = create(&craton, "main").await;
    tag(&mut session(&craton, "main"), TABLE).await;
    insert(&craton, 0..1, "before").await;
    let old_receipt = receipt(&craton, 0).await;

    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (1..=3)
        .map(|writer| {
            let (craton, done) = (craton.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut session = session(&craton, "main");
                let mut count = 0;
                while !done.load(Ordering::Acquire) || count == 0 {
                    let id = writer * 1_000_000 + count;
                    // `tag` panics on any error: rotation costs no client a statement.
                    tag(
                        &mut session,
                        &format!("INSERT INTO people VALUES ({id}, 'writer {writer}')"),
                    )
                    .await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut expected = vec![None];
    let mut master_keys = Vec::new();
    for round in 0..4_u8 {
        tenant.rotate_data_key(ActorId::NIL).await.expect("a new data key");
        tenant
            .rotate_key_encryption_key(ActorId::NIL)
            .await
            .expect("a new key-encryption key");
        let path = folder.path().join(format!("master.key.{round}"));
        let master = FileMasterKey::generate(&path, SecretBytes::new([round; 32])).expect("a key file");
        craton
            .rotate_master_key(Arc::new(master.clone()), ActorId::NIL)
            .await
            .expect("a new master key");
        master_keys.push(master);
        expected.extend([Some(RotationReason::DataKey), Some(RotationReason::KeyEncryptionKey)]);
    }
    done.store(true, Ordering::Release);
    let mut total = 1;
    for writer in writers {
        total += writer.await.expect("no statement failed");
    }
    let epochs = tenant.key_epochs().expect("readable");
    assert_eq!(epochs.iter().map(|epoch| epoch.reason).collect::<Vec<_>>(), expected);
    assert_eq!(
        epochs.last().map(|epoch| (epoch.data_key.get(), epoch.active)),
        Some((4, true))
    );
    let key: VerifierKey = tenant.log_key().parse().expect("a verifier key");
    drop((tenant, craton));

    let old = FileMasterKey::open(&folder.path().join("master.key")).expect("the first key");
    let refused = Craton::options().master_key(Arc::new(old)).open(folder.data());
    assert!(matches!(refused.err(), Some(EngineError::Keyring(error)) if matches!(*error, KeyringError::MasterKey(_))));
    let newest = Arc::new(master_keys.pop().expect("four keys"));
    let reopen = || {
        let options = Craton::options()
            .origin("test.craton.localhost")
            .master_key(newest.clone());
        options.open(folder.data()).expect("it opens under the newest key")
    };
    let craton = reopen();
    check_rows(&craton, total).await;
    for id in [0, 1_000_000, 2_000_000, 3_000_000] {
        Receipt::verify(receipt(&craton, id).await.as_bytes(), &key).expect("a receipt of any epoch verifies");
    }
    Receipt::verify(old_receipt.as_bytes(), &key).expect("a receipt from before verifies");
    insert(&craton, 1..2, "after").await;
    drop(craton);

    // A view that is lost is rebuilt from records of all epochs.
    for tenant in folder.tenants() {
        std::fs::remove_file(tenant.join("view.redb")).expect("a view");
    }
    let craton = reopen();
    check_rows(&craton, total + 1).await;
    let epochs = craton
        .tenant("main")
        .expect("it exists")
        .key_epochs()
        .expect("readable");
    assert_eq!(epochs.len(), expected.len() + 1);
}

async fn check_rows(craton: &Craton, total: i64) {
    let mut session = session(craton, "main");
    let answer = rows(&mut session, "SELECT count(*), count(name) FROM people").await;
    assert_eq!(answer[0], [Value::Int(total), Value::Int(total)]);
    let answer = rows(&mut session, "SELECT name FROM people WHERE id = 0").await;
    assert_eq!(answer[0], [Value::Text("before".to_owned())]);
}

async fn receipt(craton: &Craton, id: i64) -> String {
    let answer = rows(
        &mut session(craton, "main"),
        &format!("SELECT craton_receipt('people', {id})"),
    )
    .await;
    match answer[0].as_slice() {
        [Value::Text(receipt)] => receipt.clone(),
        other => panic!("a text, got {other:?}"),
    }
}

#[test]
fn a_crash_right_after_a_rotation_loses_no_key() {
    let folder = Folder::new();
    let craton = folder.open();
    let tenant = create(&craton, "main").wait();
    tag(&mut session(&craton, "main"), TABLE).wait();
    tenant.rotate_data_key(ActorId::NIL).wait().expect("a new data key");
    insert(&craton, 0..3, "under the new key").wait();
    tenant
        .rotate_key_encryption_key(ActorId::NIL)
        .wait()
        .expect("a new key");
    insert(&craton, 3..5, "under the newest epoch").wait();
    // As a crash would leave it: the logs and views of the new epochs may be in the write-ahead log only.
    let crashed = folder.copy();
    let reopened = crashed.open();
    let answer = rows(&mut session(&reopened, "main"), "SELECT count(name) FROM people").wait();
    assert_eq!(answer[0], [Value::Int(5)]);
    assert_eq!(
        reopened
            .tenant("main")
            .expect("it exists")
            .key_epochs()
            .expect("readable"),
        tenant.key_epochs().expect("readable")
    );
}

#[tokio::test]
async fn key_epochs_are_a_view_of_the_present_and_the_past_that_nobody_changes() {
    let folder = Folder::new();
    let craton = folder.open();
    let tenant = create(&craton, "main").await;
    let mut session = session(&craton, "main");
    tag(&mut session, TABLE).await;
    let rotation = tenant.rotate_data_key(ActorId::NIL).await.expect("a new data key");
    tag(&mut session, "INSERT INTO people VALUES (1, 'Ada')").await;
    let answer = rows(
        &mut session,
        "SELECT epoch, data_key, position, reason, active FROM craton_key_epochs",
    )
    .await;
    let text = |text: &str| Value::Text(text.to_owned());
    let position = Value::Int(rotation.offset.get().cast_signed());
    assert_eq!(
        answer,
        [
            vec![
                Value::Int(0),
                Value::Int(0),
                Value::Int(0),
                Value::Null,
                Value::Bool(false)
            ],
            vec![
                Value::Int(1),
                Value::Int(1),
                position,
                text("data key rotated"),
                Value::Bool(true)
            ],
        ]
    );
    let count = |sql: &'static str| (sql, 1);
    for (sql, expected) in [
        count("SELECT 1 FROM craton_key_epochs WHERE epoch = 1"),
        count("SELECT 1 FROM craton_key_epochs WHERE active AND started_at <= now()"),
        count("SELECT 1 FROM craton_key_epochs AS OF POSITION 0 WHERE active AND epoch = 0"),
        ("SELECT 1 FROM craton_key_epochs WHERE epoch > 1", 0),
        ("SELECT epoch FROM craton_key_epochs ORDER BY epoch DESC LIMIT 1", 1),
    ] {
        assert_eq!(rows(&mut session, sql).await.len(), expected, "{sql}");
    }
    for (sql, state) in [
        ("INSERT INTO craton_key_epochs (epoch) VALUES (9)", "42809"),
        ("DELETE FROM craton_key_epochs", "42809"),
        ("UPDATE craton_key_epochs SET active = false", "42809"),
        ("DROP TABLE craton_key_epochs", "42P01"),
        ("CREATE TABLE craton_key_epochs (id bigint PRIMARY KEY)", "42P07"),
    ] {
        assert_eq!(sqlstate(&mut session, sql).await, state, "{sql}");
    }
}
