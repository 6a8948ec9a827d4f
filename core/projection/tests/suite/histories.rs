//! Random histories against a map of versions: any order of writes, flushes and restarts answers alike.

use std::sync::Arc;

use craton_projection::{Direction, Flush, KeyRange, Projection, ProjectionOptions, RowVersion};
use craton_types::{Offset, PrimaryKey, TableId, Value};
use proptest::prelude::*;

use crate::disk::Disk;
use crate::reference::Model;
use crate::rows::{KEY, applied, key, row, state};

#[derive(Clone, Debug)]
enum Step {
    /// A record that writes or deletes these rows: (table, key, whether it exists afterwards).
    Record(Vec<(u32, i64, bool)>),
    /// A record without rows.
    Checkpoint,
    /// Sets memory aside; a later step writes it.
    Freeze,
    /// Writes what was set aside, or everything.
    Flush,
    /// Closes and opens, after a flush or without one.
    Reopen { flush_first: bool, killed: bool },
    /// Compares a snapshot, at its end and at an earlier position.
    Read { back: u64, start: i64, end: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let record = proptest::collection::vec((0u32..3, 0i64..24, proptest::bool::weighted(0.75)), 1..8);
    prop_oneof![
        12 => record.prop_map(Step::Record),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Freeze),
        3 => Just(Step::Flush),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(flush_first, killed)| Step::Reopen { flush_first, killed }),
        4 => (0u64..12, 0i64..24, 0i64..24).prop_map(|(back, start, end)| Step::Read { back, start, end }),
    ]
}

/// A projection beside its model.
struct Pair {
    disk: Disk,
    projection: Projection,
    frozen: Option<(Flush, u64)>,
    model: Model,
    end: u64,
}

impl Pair {
    fn new() -> Self {
        let disk = Disk::default();
        let projection = open(&disk);
        Self {
            disk,
            projection,
            frozen: None,
            model: Model::default(),
            end: 0,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Record(rows) => {
                let rows: Vec<_> = rows.into_iter().map(|row| self.version(row)).collect();
                self.model.apply(&rows);
                let before = self.projection.snapshot();
                self.projection.apply(rows).expect("rows in order are taken");
                assert_eq!(
                    self.projection.end(),
                    before.end(),
                    "nothing is visible before it is published"
                );
                self.publish();
            }
            Step::Checkpoint => self.publish(),
            Step::Freeze if self.frozen.is_none() => {
                let flush = self
                    .projection
                    .freeze(applied(self.end))
                    .expect("no flush is under way");
                self.frozen = Some((flush, self.end));
            }
            Step::Freeze => {}
            Step::Flush => self.flush(),
            Step::Reopen { flush_first, killed } => self.reopen(flush_first, killed),
            Step::Read { back, start, end } => self.read(self.end.saturating_sub(back), start, end),
        }
    }

    fn version(&self, (table, number, exists): (u32, i64, bool)) -> RowVersion {
        RowVersion {
            version: Offset::new(self.end),
            table: TableId::new(u32::MAX - table),
            key: key(number),
            row: exists.then(|| row(format!("{number} at {}", self.end))),
        }
    }

    fn publish(&mut self) {
        self.end += 1;
        self.projection.publish(Offset::new(self.end)).expect("the end grows");
    }

    fn flush(&mut self) {
        let (flush, end) = self.frozen.take().unwrap_or_else(|| {
            (
                self.projection
                    .freeze(applied(self.end))
                    .expect("no flush is under way"),
                self.end,
            )
        });
        flush.commit(&state(end)).expect("the disk works");
        assert_eq!(self.projection.applied(), Some(applied(end)));
    }

    fn reopen(&mut self, flush_first: bool, killed: bool) {
        if flush_first {
            self.flush();
        }
        self.frozen = None;
        let disk = if killed {
            self.disk.after_kill()
        } else {
            self.disk.clone()
        };
        let durable = self.projection.applied();
        self.projection = open(&Disk::default());
        self.disk = disk;
        self.projection = open(&self.disk);
        assert_eq!(self.projection.applied(), durable);
        let kept = durable.map_or(0, |applied| applied.end.get());
        let saved = self.projection.state().expect("the state is read");
        assert_eq!(saved, durable.map(|_| state(kept)));
        self.end = kept;
        self.model.cut(Offset::new(kept));
    }

    fn read(&self, end: u64, from: i64, to: i64) {
        let snapshot = self.projection.snapshot();
        let end = Offset::new(end);
        self.model.check(&snapshot, end);
        let range = KeyRange {
            start: key(from).as_bytes().to_vec(),
            end: Some(key(to).as_bytes().to_vec()),
        };
        for table in self.model.tables() {
            for direction in [Direction::Forward, Direction::Backward] {
                let scan = snapshot
                    .scan(table, range.clone(), direction, end)
                    .expect("a scan begins");
                let rows: Vec<_> = scan.map(|row| row.expect("a row is read")).collect();
                assert_eq!(rows, self.model.scan(table, &range, direction, end));
            }
        }
    }
}

fn open(disk: &Disk) -> Projection {
    Projection::open(Arc::new(disk.clone()), &KEY, ProjectionOptions::default()).expect("the file opens")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_projection_answers_like_a_map_of_versions(steps in proptest::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.run(step);
        }
        pair.model.check_all(&pair.projection);
        pair.flush();
        if pair.frozen.is_none() && pair.projection.applied() != Some(applied(pair.end)) {
            pair.flush();
        }
        pair.model.check_all(&pair.projection);
    }
}

#[test]
fn scans_cross_chunks_and_layers_in_both_directions() {
    // Around the 256 keys that a scan copies at a time, and well above.
    for count in [0, 1, 255, 256, 257, 512, 1_500] {
        let mut pair = Pair::new();
        for third in 0..3 {
            let rows: Vec<_> = (0..count)
                .filter(|number| (number * 7) % 3 == third)
                .map(|number| pair.version((0, number, number % 5 != 0 || third == 0)))
                .collect();
            pair.model.apply(&rows);
            pair.projection.apply(rows).expect("rows in order are taken");
            pair.publish();
            match third {
                0 => pair.flush(),
                1 => pair.run(Step::Freeze),
                _ => {}
            }
        }
        pair.model.check(&pair.projection.snapshot(), Offset::new(pair.end));
        pair.model.check(&pair.projection.snapshot(), Offset::new(1));
    }
}

#[test]
fn keys_of_any_bytes_keep_their_order_and_their_table() {
    let mut pair = Pair::new();
    let keys: Vec<_> = [
        &[][..],
        &[0],
        &[0, 0],
        &[0, 255],
        &[1],
        &[255],
        &[255, 255, 255],
        &[255; 2_048],
    ]
    .into_iter()
    .map(|bytes| PrimaryKey::from_bytes(bytes.to_vec()))
    .collect();
    for table in [0, 1, 16, u32::MAX - 1, u32::MAX] {
        let rows: Vec<_> = keys
            .iter()
            .map(|key| RowVersion {
                version: Offset::new(pair.end),
                table: TableId::new(table),
                key: key.clone(),
                row: Some(Arc::new(vec![Value::Int(i64::from(table))])),
            })
            .collect();
        pair.model.apply(&rows);
        pair.projection.apply(rows).expect("rows in order are taken");
        pair.publish();
    }
    pair.model.check_all(&pair.projection);
    pair.flush();
    pair.model.check_all(&pair.projection);
}
