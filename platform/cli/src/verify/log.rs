//! `craton verify log`.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, bail};
use craton_proof::{
    LogAssembly, LogSummary, LogVerifyError, LogVerifyOptions, SegmentDigest, SegmentSource, digest_segment, verify_log,
};
use craton_verifier::json;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Outcome, Verdict};

/// Verifies a log and words the result. What was verified is given back for its checkpoint to be remembered.
pub(super) fn verify(
    folder: &Path,
    options: &LogVerifyOptions,
    threads: Option<NonZero<usize>>,
) -> anyhow::Result<(Outcome, Option<LogSummary>)> {
    let names = segment_names(folder)?;
    let threads = threads
        .map_or_else(thread::available_parallelism, Ok)
        .unwrap_or(NonZero::<usize>::MIN);
    let outcome = match verify_quickly(folder, &names, options, threads) {
        Ok(Some(summary)) => Ok(summary),
        // Something is wrong, and the careful pass says what.
        Ok(None) => verify_log(sources(folder, &names), options),
        Err(error) => Err(error),
    };
    let error = match outcome {
        Ok(summary) => {
            let outcome = Outcome {
                verdict: Verdict::Verified,
                text: format!("The log verifies.\n\n{summary}"),
                json: json::log(&summary),
            };
            return Ok((outcome, Some(summary)));
        }
        Err(LogVerifyError::Read { file, source, .. }) => {
            return Err(source).with_context(|| format!("{} cannot be read", folder.join(file).display()));
        }
        Err(error) => error,
    };
    let mut text = "The log does NOT verify.\n\n".to_owned();
    if let LogVerifyError::Fault(fault) = &error {
        let rows = [
            (json::part(fault.part), fault.offset.to_string()),
            ("field", fault.field.to_owned()),
            ("file", folder.join(&fault.file).display().to_string()),
            ("byte", fault.position.to_string()),
            ("finding", fault.finding.to_string()),
        ];
        rows.iter()
            .for_each(|(name, value)| text += &format!("  {name:<15} {value}\n"));
    } else {
        text += &format!("  {error}\n");
    }
    let verdict = if error.contradicts_pinned() {
        Verdict::Contradicts
    } else {
        Verdict::Refused
    };
    let outcome = Outcome {
        verdict,
        text,
        json: json::log_error(&error),
    };
    Ok((outcome, None))
}

/// Verifies the segments at the same time, as many as there are threads, and joins them in their order. `None` when
/// something is wrong.
fn verify_quickly(
    folder: &Path,
    names: &[String],
    options: &LogVerifyOptions,
    threads: NonZero<usize>,
) -> Result<Option<LogSummary>, LogVerifyError> {
    let mut assembly = LogAssembly::new(options)?;
    let progress = progress(folder, names);
    let progress = &progress;
    let joined: Result<bool, LogVerifyError> = thread::scope(|scope| {
        let mut waiting = sources(folder, names);
        let mut running: VecDeque<thread::ScopedJoinHandle<'_, Digested>> = VecDeque::new();
        let mut left = names.len();
        loop {
            while running.len() < threads.get()
                && let Some(segment) = waiting.next()
            {
                running.push_back(scope.spawn(move || {
                    digest_segment(SegmentSource {
                        name: segment.name,
                        reader: progress.wrap_read(segment.reader),
                    })
                }));
            }
            let Some(next) = running.pop_front() else {
                return Ok(true);
            };
            left -= 1;
            let digest = next.join().expect("a verification does not panic")?;
            if !digest.is_some_and(|digest| assembly.push(&digest, left == 0)) {
                return Ok(false);
            }
        }
    });
    progress.finish_and_clear();
    if joined? { assembly.finish().map(Some) } else { Ok(None) }
}

type Digested = Result<Option<SegmentDigest>, LogVerifyError>;

/// Shown on a terminal, and nowhere else.
fn progress(folder: &Path, names: &[String]) -> ProgressBar {
    let lengths = names
        .iter()
        .map(|name| folder.join(name).metadata().map_or(0, |file| file.len()));
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left");
    ProgressBar::new(lengths.sum()).with_style(style.expect("a template"))
}

/// The names of the folder's segment files, in their order.
fn segment_names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let unreadable = || format!("{} cannot be read", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.extension() == Some(OsStr::new("segment"))
            && let Some(name) = path.file_name().and_then(OsStr::to_str)
        {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        bail!(
            "{} holds no *.segment files, so it is no tenant's log",
            folder.display()
        );
    }
    names.sort_unstable();
    Ok(names)
}

fn sources<'a>(folder: &'a Path, names: &'a [String]) -> impl Iterator<Item = SegmentSource<LazyFile>> + use<'a> {
    names.iter().map(|name| SegmentSource {
        reader: LazyFile::Closed(folder.join(name)),
        name: name.clone(),
    })
}

/// A file that is opened when it is first read.
enum LazyFile {
    Closed(PathBuf),
    Open(File),
}

impl Read for LazyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Self::Closed(path) = self {
            *self = Self::Open(File::open(path)?);
        }
        match self {
            Self::Open(file) => file.read(buffer),
            Self::Closed(_) => unreachable!("opened above"),
        }
    }
}
