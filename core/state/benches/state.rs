//! Rows a second and bytes a row when a tree over a million rows is advanced by batches of several sizes.
//!
//! Each line is one batch size: rows changed at random places, the mean of several batches after one that is not
//! counted. Times are of the processor, so that other work on the machine does not count.
//! `cargo bench -p craton-state`; the number of rows may be given as an argument.

#![expect(clippy::print_stdout, reason = "the figures are its output")]

use std::time::Duration;

use craton_crypto::{SecretBytes, StateBlindingKey, StateKey};
use craton_log::{Disk as _, RealDisk};
use craton_state::{Position, RowState, StateKeys, StateOptions, StateTree};
use craton_types::{Hash, Offset, PrimaryKey, TableId, Value};

const ROWS_DEFAULT: u64 = 1_000_000;
const ROWS_MEASURED: u64 = 300_000;

struct Bench {
    folder: tempfile::TempDir,
    tree: StateTree,
    rows: u64,
    size: u64,
}

impl Bench {
    fn new(rows: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keys = StateKeys {
            state: StateKey::new(SecretBytes::new([1; 32])),
            blinding: StateBlindingKey::new(&SecretBytes::new([2; 32])),
            store: SecretBytes::new([3; 32]),
        };
        let path = folder.path().join("state.redb");
        let file = RealDisk.open_or_create(&path).expect("the file is ours");
        let tree = StateTree::open(file, keys, StateOptions::default()).expect("an empty tree");
        let size = 0;
        Self {
            folder,
            tree,
            rows,
            size,
        }
    }

    fn advance(&mut self, ids: impl Iterator<Item = u64>) -> Duration {
        let rows: Vec<RowState> = ids
            .map(|id| {
                self.size += 1;
                RowState {
                    table: TableId::FIRST_USER,
                    key: PrimaryKey::encode([&Value::Int(i64::try_from(id).expect("small"))]).expect("a key"),
                    position: Some(Position {
                        offset: Offset::new(self.size),
                        chunk_index: 1,
                    }),
                }
            })
            .collect();
        let start = processor_time();
        self.tree
            .advance(self.size, Hash::ZERO, &rows, &[])
            .expect("the next version");
        processor_time() - start
    }

    fn file_bytes(&self) -> u64 {
        let file = std::fs::metadata(self.folder.path().join("state.redb"));
        file.expect("the file").len()
    }

    fn run(&mut self, name: &str, rows: u64, batch: u64, mut next: impl FnMut() -> u64) {
        let ids = |next: &mut dyn FnMut() -> u64| (0..batch).map(|_| next()).collect::<Vec<_>>().into_iter();
        self.advance(ids(&mut next));
        let batches = (rows / batch).clamp(3, 30);
        let before = self.file_bytes();
        let time: Duration = (0..batches).map(|_| self.advance(ids(&mut next))).sum();
        let count = (batches * batch) as f64;
        let grown = self.file_bytes() - before;
        println!(
            "{name:<10} {batch:>7} rows a batch  {:>9.0} rows/s  {:>6.2} us a row  {:>6.1} ms a batch  {:>5.0} bytes a row on disk",
            count / time.as_secs_f64(),
            time.as_secs_f64() * 1e6 / count,
            time.as_secs_f64() * 1e3 / batches as f64,
            grown as f64 / count,
        );
    }
}

/// What this process has used of the processors, to 10 ms.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("a number of ticks");
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

fn main() {
    let rows = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(ROWS_DEFAULT);
    let mut bench = Bench::new(rows);
    let mut time = Duration::ZERO;
    for start in (0..rows).step_by(50_000) {
        time += bench.advance(start..rows.min(start + 50_000));
    }
    println!(
        "built {rows} rows in {:.1} s, {} MiB",
        time.as_secs_f64(),
        bench.file_bytes() >> 20
    );
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % rows
    };
    for batch in [1, 1_000, 10_000, 100_000] {
        bench.run("updates", ROWS_MEASURED, batch, &mut random);
    }
    let mut inserted = bench.rows;
    for batch in [1_000, 10_000, 100_000] {
        bench.run("inserts", ROWS_MEASURED, batch, || {
            inserted += 1;
            inserted
        });
    }
}
