//! Many seeds, on several threads, and what they came to together.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::fault::Counts;
use crate::runner::{Options, Report, run};
use crate::world::{Ending, Violation};

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many runs there were.
    pub runs: u64,
    /// How many things happened in them.
    pub events: u64,
    /// How often a node was opened.
    pub lives: u64,
    /// How much time passed in them, in nanoseconds.
    pub simulated_ns: u64,
    /// How many runs ended because the node said that its files are damaged.
    pub refused: u64,
    /// How often each fault struck.
    pub faults: Counts,
    /// How many facts each checker has compared.
    pub facts: Counts,
    /// How many requests of each kind were done.
    pub requests: Counts,
    /// Each seed and the hash of its trace, ascending.
    pub hashes: Vec<(u64, u64)>,
    /// Runs that broke a promise. No run is begun after the first.
    pub failures: Vec<(Options, Report)>,
}

/// Runs seeds until one breaks a promise. With `twice`, each is run again and must leave the same trace.
#[must_use]
pub fn campaign(seeds: Range<u64>, base: &Options, twice: bool, threads: usize) -> Summary {
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let options = Options { seed, ..base.clone() };
                    let report = run_checked(&options, twice);
                    if report.ended.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    summary.lock().add(options, report);
                }
            });
        }
    });
    let mut summary = summary.into_inner();
    summary.hashes.sort_unstable();
    summary
}

fn run_checked(options: &Options, twice: bool) -> Report {
    let mut report = run(options);
    if twice && report.ended.is_ok() {
        let again = run(options);
        if again.trace_hash != report.trace_hash {
            report.ended = Err(Violation {
                checker: "same-seed-same-trace",
                what: format!("{:016x} and {:016x}", report.trace_hash, again.trace_hash),
            });
        }
    }
    report
}

impl Summary {
    fn add(&mut self, options: Options, report: Report) {
        self.runs += 1;
        self.events += report.events;
        self.lives += report.lives;
        self.simulated_ns += report.simulated_ns;
        self.faults.merge(&report.faults);
        self.facts.merge(&report.facts);
        self.requests.merge(&report.requests);
        self.refused += u64::from(report.ended == Ok(Ending::RefusedDamage));
        self.hashes.push((options.seed, report.trace_hash));
        if report.ended.is_err() {
            self.failures.push((options, report));
        }
    }
}
