//! Counting cases, keeping violations, telling how far a campaign is.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

/// The most violations that are kept; more are only counted.
const VIOLATIONS_KEPT_MAX: usize = 20;

/// A promise that was broken.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    /// Which case of the campaign.
    pub case: String,
    /// What was seen.
    pub what: String,
    /// The command that repeats it.
    pub replay: String,
}

/// What a campaign came to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The subcommand.
    pub campaign: &'static str,
    /// How many cases were checked.
    pub cases: u64,
    /// How many cases ended in which way.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// How many promises were broken.
    pub violation_count: u64,
    /// The first of them.
    pub violations: Vec<Violation>,
    /// What else was counted and measured.
    pub figures: BTreeMap<&'static str, u64>,
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    More,
    Nothing,
}

/// Called with the number of cases so far, now and then.
pub type Progress = Box<dyn Fn(u64) + Send + Sync>;

/// A campaign under way. Shared by its threads.
pub struct Campaign {
    name: &'static str,
    /// The part of the replaying command between the subcommand and the case.
    replay_arguments: String,
    /// The only case to run, if there is one.
    only: Option<String>,
    progress_every: u64,
    progress: Option<Progress>,
    cases: AtomicU64,
    violation_count: AtomicU64,
    outcomes: Mutex<BTreeMap<&'static str, u64>>,
    violations: Mutex<Vec<Violation>>,
    figures: Mutex<BTreeMap<&'static str, u64>>,
}

impl Campaign {
    /// A campaign without cases so far. `replay_arguments` are the parameters that a case's meaning depends on.
    #[must_use]
    pub fn new(name: &'static str, replay_arguments: String) -> Self {
        Self {
            name,
            replay_arguments,
            only: None,
            progress_every: u64::MAX,
            progress: None,
            cases: AtomicU64::new(0),
            violation_count: AtomicU64::new(0),
            outcomes: Mutex::default(),
            violations: Mutex::default(),
            figures: Mutex::default(),
        }
    }

    /// Runs one case only.
    #[must_use]
    pub fn only(mut self, case: Option<String>) -> Self {
        self.only = case;
        self
    }

    /// Tells `progress` about every so many cases.
    #[must_use]
    pub fn report_every(mut self, cases: u64, progress: Progress) -> Self {
        self.progress_every = cases.max(1);
        self.progress = Some(progress);
        self
    }

    /// Whether a case is to be run. Its name begins with the number of its group and a dot.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == case)
    }

    /// How many cases were run.
    pub(crate) fn cases(&self) -> u64 {
        self.cases.load(Ordering::Relaxed)
    }

    /// Runs a case, unless another one is wanted. It answers with how it ended, or with the promise that was broken;
    /// a panic is a broken promise, too.
    pub(crate) fn case(&self, name: &str, run: impl FnOnce() -> Result<&'static str, String>) {
        if !self.wants(name) {
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("panicked: {}", text.unwrap_or("without a text")))
        });
        self.note(name, result);
    }

    /// Tells what was counted or measured.
    pub(crate) fn figure(&self, what: &'static str, value: u64) {
        self.figures.lock().insert(what, value);
    }

    /// Counts a case that was run: how it ended, or the promise that was broken.
    pub(crate) fn note(&self, name: &str, result: Result<&'static str, String>) {
        match result {
            Ok(outcome) => *self.outcomes.lock().entry(outcome).or_default() += 1,
            Err(what) => self.note_violation(name, what),
        }
        let cases = self.cases.fetch_add(1, Ordering::Relaxed) + 1;
        if cases.is_multiple_of(self.progress_every)
            && let Some(progress) = &self.progress
        {
            progress(cases);
        }
    }

    fn note_violation(&self, case: &str, what: String) {
        self.violation_count.fetch_add(1, Ordering::Relaxed);
        let mut violations = self.violations.lock();
        if violations.len() < VIOLATIONS_KEPT_MAX {
            violations.push(Violation {
                case: case.to_owned(),
                what,
                replay: format!("craton-faults {}{} --case {case}", self.name, self.replay_arguments),
            });
        }
    }

    /// Runs `work` with the numbers from zero on `threads` threads, until it says that there is nothing more to do, or
    /// with the only number that is wanted.
    pub(crate) fn for_each(&self, threads: usize, work: impl Fn(u64) -> Next + Sync) {
        let group = self
            .only
            .as_deref()
            .and_then(|only| only.split('.').next()?.parse().ok());
        if let Some(group) = group {
            work(group);
            return;
        }
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| while work(next.fetch_add(1, Ordering::Relaxed)) == Next::More {});
            }
        });
    }

    /// What it came to.
    #[must_use]
    pub fn finish(self) -> Summary {
        Summary {
            campaign: self.name,
            cases: self.cases.into_inner(),
            outcomes: self.outcomes.into_inner(),
            violation_count: self.violation_count.into_inner(),
            violations: self.violations.into_inner(),
            figures: self.figures.into_inner(),
        }
    }
}
