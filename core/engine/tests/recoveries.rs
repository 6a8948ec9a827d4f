//! What a node mends by itself can be read back as `craton_recoveries`.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{Folder, create, rows, session, tag};
use craton_engine::{Craton, EngineError, Value};
use craton_log::testing::{Crash, MemoryDisk};

const COLUMNS: &str = "scope, area, file, reason, action";

/// The recoveries as text, once there are as many as expected.
async fn recoveries(engine: &Craton, expected: usize) -> Vec<Vec<String>> {
    let mut sql = session(engine, "main");
    for _ in 0..2_000 {
        let found = rows(
            &mut sql,
            &format!("SELECT {COLUMNS} FROM craton_recoveries ORDER BY time"),
        )
        .await;
        if found.len() >= expected {
            let text = |value: Value| match value {
                Value::Text(text) => text,
                other => panic!("{other:?}"),
            };
            return found
                .into_iter()
                .map(|row| row.into_iter().map(text).collect())
                .collect();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {expected} recoveries");
}

async fn prepare(engine: &Craton) {
    create(engine, "main").await;
    let mut sql = session(engine, "main");
    tag(&mut sql, "CREATE TABLE notes (id int PRIMARY KEY, text text)").await;
    tag(&mut sql, "INSERT INTO notes VALUES (1, 'early')").await;
}

#[tokio::test]
async fn a_rebuilt_view_is_recorded_once_in_its_database() {
    let folder = Folder::new();
    let engine = folder.open();
    prepare(&engine).await;
    let is_system = |path: &PathBuf| path.ends_with("00000000-0000-0000-0000-000000000001");
    let tenant = folder
        .tenants()
        .into_iter()
        .find(|path| !is_system(path))
        .expect("the tenant");
    create(&engine, "other").await;
    engine.close().expect("closed");
    drop(engine);
    std::fs::remove_file(tenant.join("view.redb")).expect("removed");

    for _ in 0..2 {
        let engine = folder.open();
        let found = recoveries(&engine, 1).await;
        assert_eq!(found, [["database", "view", "view.redb", "it was missing", "rebuilt"]]);
        let mut sql = session(&engine, "other");
        assert_eq!(rows(&mut sql, "SELECT * FROM craton_recoveries").await.len(), 0);
        engine.close().expect("closed");
    }
}

#[tokio::test]
async fn what_concerns_all_databases_is_shown_to_each() {
    let folder = Folder::new();
    let disk = MemoryDisk::new();
    let open = |disk: &MemoryDisk| {
        folder
            .options()
            .disk(Arc::new(disk.clone()))
            .open(folder.data())
            .expect("opens")
    };
    let engine = open(&disk);
    prepare(&engine).await;
    engine.close().expect("closed");
    drop(engine);
    // One copy of the superblock is damaged, and a write was torn behind the last record.
    let wal = folder.data().join("wal");
    disk.flip(&wal.join("superblock"), 4096 + 30, 1);
    let newest = newest_segment(&disk, &wal);
    disk.tamper(&newest, |bytes| *bytes.last_mut().expect("reserved space") = 7);
    let engine = open(&disk);
    let mut found = recoveries(&engine, 2).await;
    found.sort();
    assert_eq!(found[0][..2], ["node", "superblock"]);
    assert_eq!(found[0][3..], ["a damaged copy", "rewritten"]);
    assert_eq!(found[1][..2], ["node", "write_ahead_log"]);
    assert_eq!(found[1][4], "set_aside");
}

/// No record names the hash of the last one, so what the chain says cannot be put back; the write-ahead log still has it.
#[tokio::test]
async fn the_last_records_of_a_log_come_again_from_the_write_ahead_log() {
    let folder = Folder::new();
    let disk = MemoryDisk::new();
    let open = |disk: &MemoryDisk| folder.options().disk(Arc::new(disk.clone())).open(folder.data());
    let engine = open(&disk).expect("opens");
    prepare(&engine).await;
    engine.close().expect("closed");
    drop(engine);
    let is_log = |path: &PathBuf| {
        let path = path.display().to_string();
        path.ends_with("/log/00000000000000000000.segment") && !path.contains("00000000-0000-0000-0000-000000000001")
    };
    let log = disk.paths().into_iter().find(is_log).expect("the log");
    let whole = disk.contents(&log).expect("the log");
    let last = whole.windows(4).rposition(|bytes| bytes == b"CRTR").expect("a record");
    for cut in [false, true] {
        let disk = disk.fork();
        disk.tamper(&log, |bytes| match cut {
            true => bytes.truncate(last),
            false => bytes[last + 40] ^= 1,
        });
        let engine = open(&disk).expect("opens");
        assert!(disk.contents(&log).expect("the log").starts_with(&whole));
        let mut sql = session(&engine, "main");
        let notes = rows(&mut sql, "SELECT text FROM notes").await;
        assert_eq!(notes, [[Value::Text("early".to_owned())]]);
        let found = recoveries(&engine, 1).await;
        let is_set_aside = |found: &Vec<String>| found[1] == "log" && found[4] == "set_aside";
        assert_eq!(found.iter().any(is_set_aside), !cut, "{found:?}");
        engine.close().expect("closed");
    }
}

fn newest_segment(disk: &MemoryDisk, wal: &Path) -> PathBuf {
    let segments = disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with(wal) && path.extension().is_some_and(|extension| extension == "wal"));
    segments.max().expect("segments")
}

#[tokio::test]
async fn a_write_ahead_log_that_was_rolled_back_is_refused() {
    let folder = Folder::new();
    let disk = MemoryDisk::new();
    let open = |disk: &MemoryDisk| folder.options().disk(Arc::new(disk.clone())).open(folder.data());
    let engine = open(&disk).expect("opens");
    prepare(&engine).await;
    engine.close().expect("closed");
    drop(engine);
    let older = disk.fork();
    let engine = open(&disk).expect("opens");
    let mut sql = session(&engine, "main");
    tag(&mut sql, "INSERT INTO notes VALUES (2, 'late')").await;
    drop(sql);
    engine.close().expect("closed");
    drop(engine);
    // The tenants' directories are those of now, the write-ahead log that of before.
    let wal = folder.data().join("wal");
    for path in disk.paths().into_iter().filter(|path| path.starts_with(&wal)) {
        disk.unlink(&path);
    }
    for path in older.paths().into_iter().filter(|path| path.starts_with(&wal)) {
        disk.transplant(&older, &path, &path);
    }
    disk.crash(Crash::Process);
    assert!(matches!(open(&disk), Err(EngineError::WriteAheadLogRolledBack { .. })));
}

#[tokio::test]
async fn copies_of_keys_that_were_lost_are_made_again_and_recorded() {
    let folder = Folder::new();
    let disk = MemoryDisk::new();
    let open = || {
        let options = folder.options().disk(Arc::new(disk.clone()));
        options.open(folder.data()).expect("opens")
    };
    let engine = open();
    prepare(&engine).await;
    let mut sql = session(&engine, "main");
    let people = "CREATE TABLE people (id int PRIMARY KEY, name text) WITH (subject = 'id', erasable = 'name')";
    tag(&mut sql, people).await;
    tag(&mut sql, "INSERT INTO people VALUES (1, 'Ada')").await;
    drop(sql);
    engine.close().expect("closed");
    drop(engine);
    let subjects = disk.paths().into_iter().find(|path| path.ends_with("subjects.a.keys"));
    disk.unlink(&subjects.expect("the subject keys are on the disk"));
    disk.flip(&folder.data().join("keyring.copy"), 40, 1);

    for _ in 0..2 {
        let engine = open();
        let mut found = recoveries(&engine, 2).await;
        found.sort();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0][..3], ["database", "subject_keys", "subjects.a.keys"]);
        assert_eq!(found[1][..3], ["node", "keyring", "keyring.copy"]);
        assert!(found.iter().all(|row| row[4] == "rewritten"), "{found:?}");
        let mut sql = session(&engine, "main");
        let names = rows(&mut sql, "SELECT name FROM people").await;
        assert_eq!(names, [[Value::Text("Ada".to_owned())]]);
        drop(sql);
        engine.close().expect("closed");
    }
}
