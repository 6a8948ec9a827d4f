//! What runs came to, for people.

use std::io::{self, Write};
use std::time::Duration;

use craton_sim::{Counts, Fault, Options, Report, Summary, checker_names, run, smaller};

/// Tells what all runs came to.
pub(crate) fn summary(
    out: &mut impl Write,
    summary: &Summary,
    members: u64,
    took: Duration,
    hashes: bool,
) -> io::Result<()> {
    if hashes {
        for (seed, hash) in &summary.hashes {
            writeln!(out, "{seed} {hash:016x}")?;
        }
    }
    let simulated = Duration::from_nanos(summary.simulated_ns);
    writeln!(
        out,
        "{} runs in {:.1} s: {} events, {} lives of a node, {:.0} s of simulated time ({:.0} for each second)",
        summary.runs,
        took.as_secs_f64(),
        summary.events,
        summary.lives,
        simulated.as_secs_f64(),
        simulated.as_secs_f64() / took.as_secs_f64().max(0.001),
    )?;
    writeln!(out, "{} of them ended by damage that the node noticed", summary.refused)?;
    let faults = Fault::of(members).map(Fault::name).collect();
    counts(out, "fault", faults, &summary.faults)?;
    counts(out, "checker", checker_names(members), &summary.facts)?;
    let totals = [
        ("events", summary.events),
        ("lives", summary.lives),
        ("simulated milliseconds", summary.simulated_ns / 1_000_000),
    ];
    for (name, total) in totals {
        writeln!(out, "  {name}: {total}")?;
    }
    let requests = summary.requests.iter().map(|(name, _)| name).collect();
    counts(out, "request", requests, &summary.requests)
}

/// The faults that never struck and the checkers that never had anything to compare.
pub(crate) fn never_seen(summary: &Summary, members: u64) -> Vec<&'static str> {
    let faults = Fault::of(members).map(Fault::name);
    let faults = faults.filter(|name| summary.faults.get(name) == 0);
    let checkers = checker_names(members)
        .into_iter()
        .filter(|name| summary.facts.get(name) == 0);
    faults.chain(checkers).collect()
}

fn counts(out: &mut impl Write, what: &str, names: Vec<&'static str>, counts: &Counts) -> io::Result<()> {
    for name in names {
        writeln!(out, "  {what} {name}: {}", counts.get(name))?;
    }
    Ok(())
}

/// Tells how a promise was broken, and the command that repeats it.
pub(crate) fn failure(out: &mut impl Write, options: &Options, report: &Report, is_reduced: bool) -> io::Result<()> {
    let (mut smallest, mut report) = (options.clone(), report.clone());
    if is_reduced {
        smallest = smaller(options, |candidate| run(candidate).ended.is_err());
        report = run(&smallest);
    }
    let Err(violation) = &report.ended else {
        return writeln!(out, "seed {} fails only now and then", options.seed);
    };
    for event in &report.recent {
        writeln!(out, "    {event}")?;
    }
    writeln!(out, "seed {}: {}: {}", smallest.seed, violation.checker, violation.what)?;
    writeln!(out, "again: craton-sim {}", arguments(&smallest).join(" "))
}

/// What the command that repeats a run is given.
pub(crate) fn arguments(options: &Options) -> Vec<String> {
    let mut arguments = vec!["--seed".to_owned(), options.seed.to_string(), "--as-is".to_owned()];
    if options.members > 1 {
        arguments.extend(["--members".to_owned(), options.members.to_string()]);
    }
    if !options.without.is_empty() {
        let names: Vec<&str> = options.without.iter().map(|fault| fault.name()).collect();
        arguments.extend(["--without".to_owned(), names.join(",")]);
    }
    if let Some(steps) = options.steps {
        arguments.extend(["--steps".to_owned(), steps.to_string()]);
    }
    arguments
}
