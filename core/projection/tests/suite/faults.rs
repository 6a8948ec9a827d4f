//! A disk that fails or loses power at any operation leaves the state before or after a flush, never a mix.

use std::sync::Arc;

use craton_projection::{Direction, KeyRange, Projection, ProjectionError, ProjectionOptions, RowVersion};
use craton_types::Offset;

use crate::disk::{Disk, Random};
use crate::reference::Model;
use crate::rows::{KEY, TABLE, applied, delete, key, put, state};

const OLD_END: u64 = 3;
const NEW_END: u64 = 6;

fn open(disk: &Disk) -> Result<Projection, ProjectionError> {
    Projection::open(Arc::new(disk.clone()), &KEY, ProjectionOptions::default())
}

/// Records `from` to `to`, each writing every row that its number divides, and deleting a few.
fn records(from: u64, to: u64) -> Vec<RowVersion> {
    (from..to)
        .flat_map(|version| {
            let numbers = (0..400).filter(move |number| number % (version + 1) == 0);
            numbers.map(move |number| {
                let number = i64::try_from(number).expect("a small number");
                if number % 7 == 6 {
                    delete(version, number)
                } else {
                    put(version, number, format!("{number} at {version}").repeat(6))
                }
            })
        })
        .collect()
}

fn advance(projection: &Projection, model: &mut Model, from: u64, to: u64) {
    let rows = records(from, to);
    model.apply(&rows);
    projection.apply(rows).expect("rows in order are taken");
    projection.publish(Offset::new(to)).expect("the end grows");
}

/// A disk after a first flush that was closed, and what a projection on it knows.
fn flushed_disk() -> (Disk, Model) {
    let disk = Disk::default();
    let mut model = Model::default();
    let projection = open(&disk).expect("an empty file opens");
    advance(&projection, &mut model, 0, OLD_END);
    projection
        .flush(applied(OLD_END), &state(OLD_END))
        .expect("the disk works");
    drop(projection);
    (disk, model)
}

/// Opens what a fault left and compares all of it with the model at the position that it reports.
fn check_old_or_new(disk: &Disk, model: &Model, what: &str) -> u64 {
    let projection = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let reached = projection
        .applied()
        .unwrap_or_else(|| panic!("{what}: the first flush is lost"));
    let end = reached.end.get();
    assert!(end == OLD_END || end == NEW_END, "{what}: reached {end}");
    assert_eq!(reached, applied(end), "{what}");
    assert_eq!(
        projection.state().expect("the state is read"),
        Some(state(end)),
        "{what}"
    );
    let mut expected = model.clone();
    expected.cut(Offset::new(end));
    expected.check(&projection.snapshot(), Offset::new(end));
    expected.check(&projection.snapshot(), Offset::new(OLD_END - 1));
    end
}

#[test]
fn a_power_cut_at_any_operation_of_a_flush_leaves_the_old_or_the_new_state() {
    let (flushed, before) = flushed_disk();
    let mut ends = std::collections::BTreeSet::new();
    let mut failing = 0;
    loop {
        let disk = Disk::holding(flushed.bytes());
        let mut model = before.clone();
        let projection = open(&disk).expect("the file opens");
        advance(&projection, &mut model, OLD_END, NEW_END);
        disk.fail_from(disk.operations() + failing);
        let result = projection.flush(applied(NEW_END), &state(NEW_END));
        drop(projection);
        for seed in 0..6 {
            let cut = disk.after_power_cut(&mut Random(seed + 1_000 * failing as u64));
            let end = check_old_or_new(&cut, &model, &format!("operation {failing} fails, seed {seed}"));
            assert!(result.is_err() || end == NEW_END, "a flush that succeeded is on disk");
            ends.insert(end);
        }
        check_old_or_new(
            &disk.after_kill(),
            &model,
            &format!("operation {failing} fails, killed"),
        );
        failing += 1;
        if result.is_ok() {
            break;
        }
        assert!(
            matches!(result, Err(ProjectionError::Io(_))),
            "operation {failing}: {result:?}"
        );
    }
    assert!(failing > 5, "a flush takes more than {failing} operations");
    assert_eq!(ends.len(), 2, "cuts were seen before and after the point of no return");
}

#[test]
fn a_failed_flush_keeps_its_error_and_the_next_one_asks_for_a_reopening() {
    let (disk, mut model) = flushed_disk();
    let projection = open(&disk).expect("the file opens");
    advance(&projection, &mut model, OLD_END, NEW_END);
    disk.fail_from(disk.operations());
    let error = projection
        .flush(applied(NEW_END), &state(NEW_END))
        .expect_err("the disk fails");
    assert!(matches!(error, ProjectionError::Io(_)));
    assert_eq!(projection.applied(), Some(applied(OLD_END)));
    assert!(matches!(
        projection.freeze(applied(NEW_END)),
        Err(ProjectionError::FlushPending)
    ));
    // What is in memory can still be read.
    let row = projection
        .snapshot()
        .get(TABLE, &key(0), Offset::new(NEW_END))
        .expect("memory needs no disk");
    assert_eq!(row.map(|row| row.version), Some(Offset::new(NEW_END - 1)));
}

#[test]
fn every_damaged_page_is_an_error_and_never_a_wrong_row() {
    let (disk, model) = flushed_disk();
    let intact = disk.bytes();
    let snapshot_rows = |disk: &Disk| -> Result<Vec<_>, ProjectionError> {
        let projection = open(disk)?;
        projection.state()?;
        let scan = projection
            .snapshot()
            .scan(TABLE, KeyRange::all(), Direction::Forward, Offset::new(2))?;
        scan.collect()
    };
    let expected = model.scan(TABLE, &KeyRange::all(), Direction::Forward, Offset::new(2));
    let mut noticed = 0;
    for position in (0..intact.len()).step_by(1_021) {
        let mut bytes = intact.clone();
        bytes[position] ^= 0x40;
        match snapshot_rows(&Disk::holding(bytes)) {
            // The byte belongs to a page that nothing refers to.
            Ok(rows) => assert_eq!(rows, expected, "byte {position}"),
            Err(error) => {
                assert!(error.is_rebuildable(), "byte {position}: {error:?}");
                noticed += 1;
            }
        }
    }
    assert!(noticed > 10, "only {noticed} flipped bytes met a page in use");
}

#[test]
fn zeroed_and_cut_files_are_errors_that_ask_for_a_rebuild() {
    let (disk, _) = flushed_disk();
    let intact = disk.bytes();
    let read_all = |disk: &Disk| -> Result<usize, ProjectionError> {
        let projection = open(disk)?;
        let scan = projection
            .snapshot()
            .scan(TABLE, KeyRange::all(), Direction::Forward, Offset::new(OLD_END))?;
        scan.map(|row| row.map(|_| 1)).sum()
    };
    let rows = read_all(&disk).expect("the file is intact");
    for from in (0..intact.len()).step_by(4_112) {
        let mut zeroed = intact.clone();
        let to = (from + 4_112).min(zeroed.len());
        zeroed[from..to].fill(0);
        match read_all(&Disk::holding(zeroed)) {
            Ok(found) => assert_eq!(found, rows, "zeros from {from}"),
            Err(error) => assert!(error.is_rebuildable(), "zeros from {from}: {error:?}"),
        }
        if from > 0 {
            let error = read_all(&Disk::holding(intact[..from].to_vec())).expect_err("a part of the file is missing");
            assert!(error.is_rebuildable(), "cut at {from}: {error:?}");
        }
    }
}

#[test]
fn a_file_that_was_never_created_to_the_end_is_rebuildable() {
    let disk = Disk::default();
    drop(open(&disk).expect("an empty file opens"));
    let operations = disk.operations();
    for failing in 0..operations {
        let disk = Disk::default();
        disk.fail_from(failing);
        let _ = open(&disk);
        for seed in 0..4 {
            match open(&disk.after_power_cut(&mut Random(seed))) {
                Ok(projection) => assert_eq!(projection.applied(), None),
                Err(error) => assert!(error.is_rebuildable(), "operation {failing}: {error:?}"),
            }
        }
    }
}
