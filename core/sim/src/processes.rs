//! Seeds of clusters, each in a process of its own: what a runtime of Tokio does in which order also depends on what its
//! process did before.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use craton_sim::{Fault, Options, checker_names, smaller};
use parking_lot::Mutex;

use crate::tell;

/// A run that has not ended after so long hangs.
const RUN_TIME_MAX: Duration = Duration::from_secs(600);
/// How often it is looked at whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How a process tells how much time it simulated.
const SIMULATED: &str = "simulated milliseconds";

/// What all processes told.
#[derive(Default)]
struct Told {
    runs: u64,
    hashes: BTreeMap<u64, String>,
    /// By kind and name, as they were told.
    counts: BTreeMap<String, u64>,
    failure: Option<Failed>,
}

/// A seed that broke a promise.
struct Failed {
    seed: u64,
    /// What its process told.
    text: String,
    /// Whether one run of it shows that. One whose traces differ has nothing to be made smaller by.
    is_in_one_run: bool,
}

/// How seeds are run.
pub(crate) struct Processes {
    /// What all runs share.
    pub(crate) base: Options,
    /// The bug that is planted in each process.
    pub(crate) planted: Option<String>,
    pub(crate) as_is: bool,
    pub(crate) threads: usize,
    pub(crate) twice: bool,
    pub(crate) hashes: bool,
}

impl Processes {
    /// Runs seeds until one breaks a promise, and tells what they came to.
    #[expect(
        clippy::disallowed_methods,
        reason = "how long it took is for people, no run sees it"
    )]
    pub(crate) fn run(&self, seeds: Range<u64>) -> io::Result<ExitCode> {
        let started = Instant::now();
        let told = self.run_all(seeds);
        self.tell(&told, started.elapsed())
    }

    /// The first seed found that breaks a promise, with what its process told last; and how many seeds were run.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn find(&self, seeds: Range<u64>) -> (Option<(u64, String)>, u64) {
        let told = self.run_all(seeds);
        let last_words = |text: &str| {
            let mut lines = text.lines().rev();
            lines.find(|line| line.starts_with("seed ")).unwrap_or(text).to_owned()
        };
        (
            told.failure.map(|failed| (failed.seed, last_words(&failed.text))),
            told.runs,
        )
    }

    fn run_all(&self, seeds: Range<u64>) -> Told {
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
        told.into_inner()
    }

    fn options(&self, seed: u64) -> Options {
        Options {
            seed,
            ..self.base.clone()
        }
    }

    /// Runs a seed; whether all was well.
    fn run_one(&self, seed: u64, told: &Mutex<Told>) -> bool {
        let options = self.options(seed);
        let first = self.output(&options);
        let again = if self.twice { Some(self.output(&options)) } else { None };
        let mut told = told.lock();
        told.runs += 1;
        let (text, is_in_one_run) = match (first, again) {
            (Ok(output), Some(Ok(again))) if hash_line(&output) != hash_line(&again) => {
                (format!("seed {seed} does not leave the same trace twice"), false)
            }
            (Ok(output), Some(Ok(_)) | None) => {
                told.add(seed, &output);
                return true;
            }
            (Err(output), _) | (_, Some(Err(output))) => (output, true),
        };
        told.failure = Some(Failed {
            seed,
            text,
            is_in_one_run,
        });
        false
    }

    /// What a process with one seed tells, when all was well and when not.
    fn output(&self, options: &Options) -> Result<String, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(tell::arguments(options)).arg("--hashes");
        if let Some(bug) = &self.planted {
            command.args(["--planted", bug]);
        }
        let (is_well, text) = run_to_its_end(&mut command).map_err(|error| error.to_string())?;
        match is_well {
            Some(true) => Ok(text),
            Some(false) => Err(text),
            None => Err(format!(
                "seed {}: it does not end within {} s\nagain: craton-sim {}",
                options.seed,
                RUN_TIME_MAX.as_secs(),
                tell::arguments(options).join(" ")
            )),
        }
    }

    /// What the process of the smallest run tells that was found to break a promise as well.
    fn reduced(&self, seed: u64, text: String) -> String {
        let smallest = smaller(&self.options(seed), |candidate| self.output(candidate).is_err());
        self.output(&smallest).err().unwrap_or(text)
    }

    fn tell(&self, told: &Told, took: Duration) -> io::Result<ExitCode> {
        let out = &mut io::stdout().lock();
        let members = self.base.members;
        if self.hashes {
            for hash in told.hashes.values() {
                writeln!(out, "{hash}")?;
            }
        }
        let simulated_ms = told.counts.get(SIMULATED).copied().unwrap_or_default();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        writeln!(
            out,
            "{} runs of {members} members in {} s: {} s of simulated time ({} for each second)",
            told.runs,
            took.as_secs(),
            simulated_ms / 1_000,
            simulated_ms / took_ms,
        )?;
        for (name, count) in &told.counts {
            writeln!(out, "  {name}: {count}")?;
        }
        if let Some(failed) = &told.failure {
            let text = match failed.is_in_one_run && !self.as_is {
                true => self.reduced(failed.seed, failed.text.clone()),
                false => failed.text.clone(),
            };
            writeln!(out, "{text}")?;
            return Ok(ExitCode::FAILURE);
        }
        let faults = Fault::of(members).map(|fault| format!("fault {}", fault.name()));
        let checkers = checker_names(members).into_iter().map(|name| format!("checker {name}"));
        let is_unseen = |name: &String| told.counts.get(name).is_none_or(|count| *count == 0);
        let never_seen: Vec<String> = faults.chain(checkers).filter(is_unseen).collect();
        if told.runs >= crate::COVERING_RUNS && !never_seen.is_empty() {
            writeln!(out, "never seen in {} runs: {}", told.runs, never_seen.join(", "))?;
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a process told, and whether all was well; `None` when it hung, and was ended.
#[expect(
    clippy::disallowed_methods,
    reason = "a process that hangs knows nothing of time; no run sees it"
)]
fn run_to_its_end(command: &mut Command) -> io::Result<(Option<bool>, String)> {
    let started = Instant::now();
    let mut process = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = process.stdout.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).map(|_| text)
    });
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break Some(status.success());
        }
        if started.elapsed() > RUN_TIME_MAX {
            process.kill()?;
            process.wait()?;
            break None;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let text = reader.join().map_err(|_| io::Error::other("the reader is gone"))??;
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
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
