//! `craton-sim`: runs seeds of the simulator and says what they came to.
//!
//! Exit code 0: no promise was broken, or every planted bug was found; 1: otherwise, with the command that repeats it; 2: bad
//! usage.

mod processes;
mod tell;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use craton_sim::{Fault, Options, campaign};

/// In so many runs every fault strikes, and every checker has something to compare.
pub(crate) const COVERING_RUNS: u64 = 200;

#[derive(Parser)]
#[command(about = "The real engine under simulated disk, time and crashes")]
struct Cli {
    /// Runs this seed only
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds to run
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many members the cluster has; 1 for a lone node
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=7))]
    members: u64,
    /// Faults to leave out of what a seed decides, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    without: Vec<Fault>,
    /// How many steps the safety phase has
    #[arg(long)]
    steps: Option<u64>,
    /// Tells every event on standard error
    #[arg(long)]
    trace: bool,
    /// Runs each seed twice and compares the traces
    #[arg(long)]
    twice: bool,
    /// Prints the hash of each seed's trace
    #[arg(long)]
    hashes: bool,
    /// Does not make a failing run smaller
    #[arg(long)]
    as_is: bool,
    /// Plants this bug, or `all` of them one after another, and looks for a seed that finds it; with --seed, runs that seed
    /// with the bug
    #[cfg(feature = "planted-bugs")]
    #[arg(long)]
    planted: Option<String>,
    /// How many threads run seeds
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn fault(name: &str) -> Result<Fault, String> {
    let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    Fault::by_name(name).ok_or_else(|| format!("it is none of {}", names.join(", ")))
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it took is for people, no run sees it"
)]
fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    // A panic in a run is a broken promise, and told as one.
    if !cli.trace {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let seeds = match cli.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => cli.first..cli.first.saturating_add(cli.seeds),
    };
    let base = Options {
        seed: seeds.start,
        members: cli.members,
        without: cli.without.clone(),
        steps: cli.steps,
        print: cli.trace,
    };
    #[cfg(feature = "planted-bugs")]
    if let Some(name) = &cli.planted {
        if cli.seed.is_none() {
            return planted::find(name, seeds, &base, cli.threads);
        }
        planted::plant_named(name)?;
    }
    if cli.members > 1 && cli.seed.is_none() {
        let processes = processes::Processes {
            base,
            planted: None,
            as_is: cli.as_is,
            threads: cli.threads,
            twice: cli.twice,
            hashes: cli.hashes,
        };
        return Ok(processes.run(seeds)?);
    }
    let started = std::time::Instant::now();
    let summary = campaign(seeds, &base, cli.twice, cli.threads);
    let out = &mut io::stdout().lock();
    tell::summary(out, &summary, cli.members, started.elapsed(), cli.hashes)?;
    for (options, report) in &summary.failures {
        let is_reduced = !cli.as_is && !cli.trace && cli.members == 1;
        tell::failure(out, options, report, is_reduced)?;
    }
    let never_seen = tell::never_seen(&summary, cli.members);
    let is_covered = never_seen.is_empty() || summary.runs < COVERING_RUNS;
    if !is_covered {
        writeln!(out, "never seen in {} runs: {}", summary.runs, never_seen.join(", "))?;
    }
    Ok(match summary.failures.is_empty() && is_covered {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[cfg(feature = "planted-bugs")]
mod planted {
    //! Planted bugs, each to be found.

    use std::io::Write as _;
    use std::ops::Range;
    use std::process::ExitCode;

    use craton_sim::{Bug, Options, campaign, plant};

    use crate::processes::Processes;

    /// Plants a bug in this process.
    pub(super) fn plant_named(name: &str) -> anyhow::Result<()> {
        plant(Some(named(name)?));
        Ok(())
    }

    fn named(name: &str) -> anyhow::Result<Bug> {
        Bug::by_name(name).ok_or_else(|| anyhow::anyhow!("no bug is named {name:?}"))
    }

    /// Plants one bug, or all that a node of this kind can have, one after another; whether each was found.
    pub(super) fn find(name: &str, seeds: Range<u64>, base: &Options, threads: usize) -> anyhow::Result<ExitCode> {
        let is_cluster = base.members > 1;
        let bugs = match name {
            "all" => Bug::ALL
                .iter()
                .copied()
                .filter(|bug| bug.is_of_cluster() == is_cluster)
                .collect(),
            name => vec![named(name)?],
        };
        let mut code = ExitCode::SUCCESS;
        for bug in bugs {
            let (found, runs) = match is_cluster {
                true => in_processes(bug, seeds.clone(), base, threads),
                false => in_this_process(bug, seeds.clone(), base, threads),
            };
            let out = &mut std::io::stdout().lock();
            let name = bug.name();
            match found {
                Some(what) => {
                    let what: String = what.chars().take(200).collect();
                    writeln!(out, "{name}: found after {runs} runs: {what}")?;
                }
                None => {
                    writeln!(out, "{name}: NOT found in {runs} runs")?;
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }

    fn in_this_process(bug: Bug, seeds: Range<u64>, base: &Options, threads: usize) -> (Option<String>, u64) {
        plant(Some(bug));
        let summary = campaign(seeds, base, false, threads);
        plant(None);
        let found = summary.failures.first().map(|(options, report)| {
            let found = report.ended.as_ref().err();
            let (checker, what) = found.map_or(("", ""), |found| (found.checker, found.what.as_str()));
            format!("seed {}: {checker}: {what}", options.seed)
        });
        (found, summary.runs)
    }

    fn in_processes(bug: Bug, seeds: Range<u64>, base: &Options, threads: usize) -> (Option<String>, u64) {
        let processes = Processes {
            base: base.clone(),
            planted: Some(bug.name().to_owned()),
            as_is: true,
            threads,
            twice: false,
            hashes: false,
        };
        let (found, runs) = processes.find(seeds);
        (found.map(|(_, text)| text), runs)
    }
}
