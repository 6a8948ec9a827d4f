//! Seeds of clusters, each in a process of its own: what a runtime of Tokio does in which order also depends on what its
//! process did before, so only then a run is the same again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use craton_sim::{Fault, checker_names};
use parking_lot::Mutex;

/// What all processes told.
#[derive(Default)]
struct Told {
    runs: u64,
    hashes: BTreeMap<u64, String>,
    /// By kind and name, as they were told.
    counts: BTreeMap<String, u64>,
    failure: Option<String>,
}

/// How seeds are run.
pub(crate) struct Processes {
    pub(crate) members: u64,
    pub(crate) threads: usize,
    pub(crate) twice: bool,
    pub(crate) hashes: bool,
}

impl Processes {
    /// Runs seeds until one breaks a promise.
    pub(crate) fn run(&self, seeds: Range<u64>) -> io::Result<ExitCode> {
        let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
        let told = Mutex::new(Told::default());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    while !failed.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return;
                        }
                        if !self.run_one(seed, &told) {
                            failed.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        self.tell(&told.into_inner())
    }

    /// Runs a seed; whether all was well.
    fn run_one(&self, seed: u64, told: &Mutex<Told>) -> bool {
        let first = self.output(seed);
        let again = if self.twice { Some(self.output(seed)) } else { None };
        let mut told = told.lock();
        told.runs += 1;
        match (first, again) {
            (Ok(output), Some(Ok(again))) if hash_line(&output) != hash_line(&again) => {
                told.failure = Some(format!("seed {seed} does not leave the same trace twice"));
            }
            (Ok(output), Some(Ok(_)) | None) => {
                told.add(seed, &output);
                return true;
            }
            (Err(output), _) | (_, Some(Err(output))) => told.failure = Some(output),
        }
        false
    }

    /// What a process with one seed tells, when all was well and when not.
    fn output(&self, seed: u64) -> Result<String, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let output = Command::new(program)
            .args(["--members", &self.members.to_string(), "--seed", &seed.to_string()])
            .arg("--hashes")
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    fn tell(&self, told: &Told) -> io::Result<ExitCode> {
        let out = &mut io::stdout().lock();
        if self.hashes {
            for hash in told.hashes.values() {
                writeln!(out, "{hash}")?;
            }
        }
        writeln!(out, "{} runs of {} members", told.runs, self.members)?;
        for (name, count) in &told.counts {
            writeln!(out, "  {name}: {count}")?;
        }
        if let Some(failure) = &told.failure {
            writeln!(out, "{failure}")?;
            return Ok(ExitCode::FAILURE);
        }
        let faults = Fault::of(self.members).map(|fault| format!("fault {}", fault.name()));
        let checkers = checker_names(self.members)
            .into_iter()
            .map(|name| format!("checker {name}"));
        let is_unseen = |name: &String| told.counts.get(name).is_none_or(|count| *count == 0);
        let never_seen: Vec<String> = faults.chain(checkers).filter(is_unseen).collect();
        if told.runs >= crate::COVERING_RUNS && !never_seen.is_empty() {
            writeln!(out, "never seen in {} runs: {}", told.runs, never_seen.join(", "))?;
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Told {
    fn add(&mut self, seed: u64, output: &str) {
        self.hashes.insert(seed, hash_line(output).to_owned());
        for line in output.lines().filter_map(|line| line.strip_prefix("  ")) {
            if let Some((name, count)) = line.rsplit_once(": ")
                && let Ok(count) = count.parse::<u64>()
            {
                *self.counts.entry(name.to_owned()).or_default() += count;
            }
        }
    }
}

/// The seed and the hash of its trace.
fn hash_line(output: &str) -> &str {
    output.lines().next().unwrap_or_default()
}
