//! What the engine does most: single-row records, reads of new and old rows, scans, and flushes.

use std::hint::black_box;
use std::sync::Arc;

use craton_crypto::SecretBytes;
use craton_log::{Disk as _, RealDisk};
use craton_projection::{Applied, Direction, KeyRange, Projection, ProjectionOptions, RowVersion};
use craton_types::{Hash, LogIndex, Offset, PrimaryKey, Row, TableId, Value};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const TABLE: TableId = TableId::FIRST_USER;
const ROWS: u64 = 20_000;

/// A projection on a file of its own, and the offset of its next record.
struct Fixture {
    projection: Projection,
    end: u64,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("projection");
        let options = ProjectionOptions {
            memory_bytes_max: usize::MAX,
            ..ProjectionOptions::default()
        };
        let file = RealDisk.open_or_create(&path).expect("the file is ours");
        let projection = Projection::open(file, &SecretBytes::new([1; 32]), options).expect("the file opens");
        Self {
            projection,
            end: 0,
            _folder: folder,
        }
    }

    /// With every row in the file, in two versions.
    fn flushed() -> Self {
        let mut fixture = Self::new();
        for _ in 0..2 {
            (0..ROWS).for_each(|number| fixture.write(number));
            fixture.flush();
        }
        fixture
    }

    /// One record that writes one row of about 200 bytes.
    fn write(&mut self, number: u64) {
        let row: Row = vec![
            Value::Int(number.cast_signed()),
            Value::Text("x".repeat(180)),
            Value::Null,
        ];
        let version = Offset::new(self.end);
        let row = RowVersion {
            version,
            table: TABLE,
            key: key(number),
            row: Some(Arc::new(row)),
        };
        self.projection.apply(vec![row]).expect("the version is the next");
        self.end += 1;
        self.projection.publish(Offset::new(self.end)).expect("the end grows");
    }

    fn flush(&self) {
        let applied = Applied {
            log_index: LogIndex::ZERO,
            end: Offset::new(self.end),
            hash: Hash::ZERO,
        };
        self.projection.flush(applied, b"state").expect("the disk works");
    }
}

fn key(number: u64) -> PrimaryKey {
    PrimaryKey::encode([&Value::Int(number.cast_signed())]).expect("an integer is a key")
}

/// Visits all rows in an order that is not theirs.
fn scattered(step: u64) -> u64 {
    step.wrapping_mul(7_919) % ROWS
}

fn writes(criterion: &mut Criterion) {
    let mut fixture = Fixture::new();
    let mut step = 0;
    criterion.bench_function("write one row and publish", |bencher| {
        bencher.iter(|| {
            step += 1;
            fixture.write(scattered(step));
            if fixture.projection.memory_bytes() > 128 * 1024 * 1024 {
                fixture.flush();
            }
        });
    });
    let mut group = criterion.benchmark_group("flush");
    group.sample_size(10).throughput(Throughput::Elements(ROWS));
    for (name, existing) in [("new rows", false), ("changed rows", true)] {
        let prepare = || {
            let mut fixture = if existing { Fixture::flushed() } else { Fixture::new() };
            (0..ROWS).for_each(|number| fixture.write(number));
            fixture
        };
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(prepare, |fixture| fixture.flush(), BatchSize::PerIteration);
        });
    }
}

fn reads(criterion: &mut Criterion) {
    let fixture = Fixture::flushed();
    let snapshot = fixture.projection.snapshot();
    let mut step = 0;
    for (name, end) in [
        ("get from the file", snapshot.end()),
        ("get an older version", Offset::new(ROWS)),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                step += 1;
                black_box(snapshot.get(TABLE, &key(scattered(step)), end).expect("a row is read"));
            });
        });
    }
    let mut memory = Fixture::new();
    (0..ROWS).for_each(|number| memory.write(number));
    criterion.bench_function("take a snapshot and get from memory", |bencher| {
        bencher.iter(|| {
            step += 1;
            let snapshot = memory.projection.snapshot();
            black_box(
                snapshot
                    .get(TABLE, &key(scattered(step)), snapshot.end())
                    .expect("a row is read"),
            );
        });
    });
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(20).throughput(Throughput::Elements(ROWS));
    for (name, fixture) in [("file", &fixture), ("memory", &memory)] {
        let snapshot = fixture.projection.snapshot();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let scan = snapshot.scan(TABLE, KeyRange::all(), Direction::Forward, snapshot.end());
                scan.expect("a scan begins")
                    .map(|row| black_box(row.expect("a row is read")))
                    .for_each(drop);
            });
        });
    }
}

criterion_group!(benches, writes, reads);
criterion_main!(benches);
