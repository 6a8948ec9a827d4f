//! Stories: what writers, readers and flushes see of each other, and every limit at its edge.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use craton_crypto::SecretBytes;
use craton_log::{Disk as _, DiskFile, RealDisk};
use craton_projection::{Direction, KeyRange, Projection, ProjectionError, ProjectionOptions};
use craton_types::{Offset, Value};

use crate::rows::{KEY, TABLE, applied, delete, key, put, row, state};

fn file(path: &std::path::Path) -> Arc<dyn DiskFile> {
    RealDisk.open_or_create(path).expect("the file is ours")
}

fn open(path: &std::path::Path) -> Projection {
    Projection::open(file(path), &KEY, ProjectionOptions::default()).expect("the file opens")
}

fn text(projection: &Projection, number: i64, end: u64) -> Option<String> {
    let row = projection
        .snapshot()
        .get(TABLE, &key(number), Offset::new(end))
        .expect("a row is read")?;
    match &row.row[0] {
        Value::Text(text) => Some(text.clone()),
        other => panic!("{other:?} is no text"),
    }
}

fn record(projection: &Projection, end: u64, rows: Vec<craton_projection::RowVersion>) {
    projection.apply(rows).expect("rows in order are taken");
    projection.publish(Offset::new(end)).expect("the end grows");
}

#[test]
fn the_past_stays_as_it_was_through_update_delete_reinsert_and_flush() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("projection");
    let projection = open(&path);
    let expected = [None, Some("first"), Some("second"), None, None, Some("again")];
    let check = |projection: &Projection, reached: u64| {
        for (end, text_then) in (0..=reached).zip(expected) {
            assert_eq!(text(projection, 1, end).as_deref(), text_then, "at {end} of {reached}");
        }
    };
    let steps = [
        vec![put(0, 1, "first")],
        vec![put(1, 1, "second")],
        vec![delete(2, 1)],
        vec![],
        vec![put(4, 1, "again")],
    ];
    for (end, rows) in (1..).zip(steps) {
        record(&projection, end, rows);
        check(&projection, end);
        // The deleting version and the one after it reach the file in different flushes.
        if end != 2 {
            projection.flush(applied(end), &state(end)).expect("the disk works");
            check(&projection, end);
        }
    }
    drop(projection);
    let projection = open(&path);
    assert_eq!(projection.applied(), Some(applied(5)));
    check(&projection, 5);
    let history: Vec<_> = projection
        .snapshot()
        .history(TABLE, &key(1))
        .expect("a history begins")
        .map(Result::unwrap)
        .collect();
    let versions: Vec<_> = history
        .iter()
        .map(|entry| (entry.version.get(), entry.row.is_some()))
        .collect();
    assert_eq!(versions, [(4, true), (2, false), (1, true), (0, true)]);
}

#[test]
fn what_was_not_flushed_is_gone_after_a_restart_and_can_be_applied_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("projection");
    let projection = open(&path);
    assert_eq!(
        (projection.applied(), projection.state().expect("readable")),
        (None, None)
    );
    record(&projection, 1, vec![put(0, 1, "kept")]);
    projection.flush(applied(1), &state(1)).expect("the disk works");
    record(&projection, 2, vec![put(1, 1, "lost")]);
    drop(projection);
    let projection = open(&path);
    assert_eq!(projection.end(), Offset::new(1));
    assert_eq!(projection.state().expect("readable"), Some(state(1)));
    assert_eq!(text(&projection, 1, 1).as_deref(), Some("kept"));
    record(&projection, 2, vec![put(1, 1, "again")]);
    assert_eq!(text(&projection, 1, 2).as_deref(), Some("again"));
}

#[test]
fn a_snapshot_keeps_its_position_while_rows_are_written_flushed_and_published() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let projection = open(&folder.path().join("projection"));
    record(&projection, 1, (0..1_000).map(|number| put(0, number, "old")).collect());
    let snapshots = [projection.snapshot(), {
        projection.flush(applied(1), &state(1)).expect("the disk works");
        projection.snapshot()
    }];
    let scans = snapshots.clone().map(|snapshot| {
        snapshot
            .scan(TABLE, KeyRange::all(), Direction::Backward, Offset::new(1))
            .expect("a scan begins")
    });
    for end in 2..6 {
        record(
            &projection,
            end,
            (0..1_000)
                .map(|number| put(end - 1, number, format!("new {end}")))
                .collect(),
        );
        projection.flush(applied(end), &state(end)).expect("the disk works");
    }
    for (snapshot, scan) in snapshots.iter().zip(scans) {
        assert_eq!(snapshot.end(), Offset::new(1));
        let rows: Vec<_> = scan.map(|row| row.expect("a row is read")).collect();
        assert_eq!(rows.len(), 1_000);
        assert!(rows.iter().all(|(_, versioned)| versioned.row == row("old")));
        assert_eq!(snapshot.history(TABLE, &key(5)).expect("a history begins").count(), 1);
    }
    assert_eq!(
        projection
            .snapshot()
            .history(TABLE, &key(5))
            .expect("a history begins")
            .count(),
        5
    );
}

#[test]
fn writers_read_what_they_applied_and_snapshots_only_what_is_published() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let projection = open(&folder.path().join("projection"));
    projection
        .apply(vec![put(0, 1, "applied")])
        .expect("rows in order are taken");
    let applied_row = projection.get(TABLE, &key(1), Offset::new(1)).expect("a row is read");
    assert_eq!(applied_row.map(|versioned| versioned.row), Some(row("applied")));
    let snapshot = projection.snapshot();
    assert_eq!(snapshot.get(TABLE, &key(1), Offset::ZERO).expect("a row is read"), None);
    let ahead = snapshot
        .get(TABLE, &key(1), Offset::new(1))
        .expect_err("not published yet");
    assert!(matches!(ahead, ProjectionError::Ahead { .. }));
    projection.publish(Offset::new(1)).expect("the end grows");
    assert_eq!(snapshot.end(), Offset::ZERO);
    assert!(
        projection
            .snapshot()
            .get(TABLE, &key(1), Offset::new(1))
            .expect("a row is read")
            .is_some()
    );
}

#[test]
fn rows_out_of_order_and_misplaced_flushes_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let projection = open(&folder.path().join("projection"));
    record(&projection, 3, vec![put(2, 1, "third")]);
    for rows in [vec![put(2, 1, "late")], vec![put(4, 1, "x"), put(3, 1, "back")]] {
        let error = projection.apply(rows).expect_err("not in log order");
        assert!(matches!(error, ProjectionError::OutOfOrder { .. }), "{error:?}");
    }
    assert_eq!(text(&projection, 1, 3).as_deref(), Some("third"));
    // Two batches may carry rows of one record, as long as it is not published.
    projection.apply(vec![put(3, 1, "a")]).expect("in order");
    projection
        .apply(vec![put(3, 1, "b"), put(3, 2, "c")])
        .expect("the same record");
    assert!(matches!(
        projection.publish(Offset::new(3)),
        Err(ProjectionError::OutOfOrder { .. })
    ));
    assert!(matches!(
        projection.freeze(applied(3)),
        Err(ProjectionError::FlushPosition { .. })
    ));
    assert!(matches!(
        projection.freeze(applied(4)),
        Err(ProjectionError::FlushPosition { .. })
    ));
    projection.publish(Offset::new(4)).expect("the end grows");
    assert_eq!(text(&projection, 1, 4).as_deref(), Some("b"));
    assert!(matches!(
        projection.publish(Offset::new(3)),
        Err(ProjectionError::OutOfOrder { .. })
    ));
    let flush = projection.freeze(applied(4)).expect("everything is published");
    assert!(matches!(
        projection.freeze(applied(4)),
        Err(ProjectionError::FlushPending)
    ));
    flush.commit(&state(4)).expect("the disk works");
    projection
        .flush(applied(4), &state(4))
        .expect("nothing new is a flush too");
}

#[test]
fn memory_is_refused_one_byte_past_its_limit_and_free_after_a_flush() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let probe = open(&folder.path().join("probe"));
    record(&probe, 1, vec![put(0, 1, "x".repeat(1_000))]);
    let row_bytes = probe.memory_bytes();
    assert!(row_bytes > 1_000);
    let options = ProjectionOptions {
        memory_bytes_max: 2 * row_bytes,
        ..ProjectionOptions::default()
    };
    let projection = Projection::open(file(&folder.path().join("projection")), &KEY, options).expect("the file opens");
    record(&projection, 1, vec![put(0, 1, "x".repeat(1_000))]);
    let error = projection
        .apply(vec![put(1, 1, "x".repeat(1_001))])
        .expect_err("one byte too many");
    assert!(
        matches!(error, ProjectionError::MemoryFull { bytes, bytes_max } if bytes == bytes_max + 1),
        "{error:?}"
    );
    record(&projection, 2, vec![put(1, 1, "x".repeat(1_000))]);
    assert!(projection.apply(vec![put(2, 1, "")]).is_err());
    // A frozen layer still counts, a written one does not.
    let flush = projection.freeze(applied(2)).expect("everything is published");
    assert!(projection.apply(vec![put(2, 1, "")]).is_err());
    flush.commit(&state(2)).expect("the disk works");
    assert_eq!(projection.memory_bytes(), 0);
    projection.apply(vec![put(2, 1, "")]).expect("there is room again");
}

#[test]
fn another_key_is_refused_and_the_content_is_not_on_disk_in_plain() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("projection");
    let projection = open(&path);
    record(&projection, 1, vec![put(0, 1, "a very private diagnosis")]);
    projection
        .flush(applied(1), b"a private kernel state")
        .expect("the disk works");
    drop(projection);
    let bytes = std::fs::read(&path).expect("the file is there");
    for plain in [&b"private"[..], b"current", b"history", b"redb"] {
        assert!(
            !bytes.windows(plain.len()).any(|window| window == plain),
            "{plain:?} is in the file"
        );
    }
    let error = Projection::open(file(&path), &SecretBytes::new([4; 32]), ProjectionOptions::default())
        .expect_err("the key is another");
    assert!(matches!(error, ProjectionError::WrongKey) && !error.is_rebuildable());
    assert_eq!(text(&open(&path), 1, 1).as_deref(), Some("a very private diagnosis"));
}

#[test]
fn empty_ranges_and_unknown_tables_have_no_rows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let projection = open(&folder.path().join("projection"));
    record(&projection, 1, vec![put(0, 1, "one")]);
    projection.flush(applied(1), &state(1)).expect("the disk works");
    record(&projection, 2, vec![put(1, 2, "two")]);
    let snapshot = projection.snapshot();
    let count = |table, range| {
        let scan = snapshot
            .scan(table, range, Direction::Forward, Offset::new(2))
            .expect("a scan begins");
        scan.map(|row| row.expect("a row is read")).collect::<Vec<_>>().len()
    };
    let backwards = KeyRange {
        start: vec![9],
        end: Some(vec![1]),
    };
    let nothing = KeyRange {
        start: vec![3],
        end: Some(vec![3]),
    };
    assert_eq!(count(TABLE, KeyRange::all()), 2);
    assert_eq!(
        (
            count(TABLE, backwards),
            count(TABLE, nothing),
            count(TABLE.next(), KeyRange::all())
        ),
        (0, 0, 0)
    );
}

/// One thread moves money between rows, one flushes, two read: no reader ever sees a sum that no record left.
#[test]
fn readers_see_whole_records_while_a_writer_writes_and_a_flusher_flushes() {
    const ACCOUNTS: i64 = 300;
    const RECORDS: u64 = 1_500;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let projection = open(&folder.path().join("projection"));
    let balance = |version, number, amount: i64| {
        let mut row = put(version, number, "");
        row.row = Some(Arc::new(vec![Value::Int(amount)]));
        row
    };
    record(
        &projection,
        1,
        (0..ACCOUNTS).map(|number| balance(0, number, 100)).collect(),
    );
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (flushes, flush_requests) = std::sync::mpsc::sync_channel(1);
        scope.spawn(|| {
            let mut balances = vec![100; usize::try_from(ACCOUNTS).expect("a small number")];
            for version in 1..RECORDS {
                let from = usize::try_from(version * 31 % 300).expect("a small number");
                let to = usize::try_from(version * 17 % 300).expect("a small number");
                balances[from] -= 7;
                balances[to] += 7;
                let rows = [from, to]
                    .map(|index| balance(version, i64::try_from(index).expect("a small number"), balances[index]));
                record(&projection, version + 1, rows.into());
                if version % 100 == 0
                    && let Ok(flush) = projection.freeze(applied(version + 1))
                {
                    flushes.send((flush, version + 1)).expect("the flusher waits");
                }
            }
            drop(flushes);
        });
        let flusher = scope.spawn(move || {
            let mut committed = 0;
            for (flush, end) in flush_requests {
                flush.commit(&state(end)).expect("the disk works");
                committed += 1;
            }
            committed
        });
        let readers: Vec<_> = [Direction::Forward, Direction::Backward]
            .into_iter()
            .map(|direction| {
                let (projection, done) = (&projection, &done);
                scope.spawn(move || {
                    let mut reads = 0;
                    while !done.load(Ordering::Acquire) || reads == 0 {
                        let snapshot = projection.snapshot();
                        let end = Offset::new(snapshot.end().get().saturating_sub(reads % 50).max(1));
                        let scan = snapshot
                            .scan(TABLE, KeyRange::all(), direction, end)
                            .expect("a scan begins");
                        let mut sum = 0;
                        for (_, versioned) in scan.map(|row| row.expect("a row is read")) {
                            let Value::Int(amount) = versioned.row[0] else {
                                panic!("an amount is an integer")
                            };
                            sum += amount;
                        }
                        assert_eq!(sum, ACCOUNTS * 100, "at {end}");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        assert!(flusher.join().expect("the flusher ends") > 0);
        done.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().expect("a reader ends") > 0);
        }
    });
    assert_eq!(projection.end(), Offset::new(RECORDS));
}

#[test]
fn a_row_of_many_pages_comes_back_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("projection");
    let projection = open(&path);
    let long: String = (0..400_000u32)
        .map(|number| char::from(b'a' + u8::try_from(number % 23).unwrap()))
        .collect();
    record(&projection, 1, vec![put(0, 1, "short"), put(0, 2, long.clone())]);
    projection.flush(applied(1), &state(1)).expect("the disk works");
    record(&projection, 2, vec![put(1, 2, "short"), put(1, 1, long.clone())]);
    projection
        .flush(applied(2), &vec![7; 3_000_000])
        .expect("the disk works");
    drop(projection);
    let projection = open(&path);
    assert_eq!(text(&projection, 2, 1).as_deref(), Some(long.as_str()));
    assert_eq!(text(&projection, 1, 2).as_deref(), Some(long.as_str()));
    assert_eq!(text(&projection, 2, 2).as_deref(), Some("short"));
    assert_eq!(projection.state().expect("readable"), Some(vec![7; 3_000_000]));
}
