//! Children that end with their parent, and their logs.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// How long a process may take to end before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// How long the databases of one agent may take to end.
const STOP_INSTANCES_GRACE: Duration = Duration::from_secs(60);
/// How much of a log is shown when its process failed.
const LAST_WORDS_BYTES: u64 = 4096;
const LAST_WORDS_LINES: usize = 15;

/// What to run.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// Added to the environment; what others must not see belongs here.
    pub(super) environment: Vec<(&'static str, OsString)>,
    /// Where its output goes.
    pub(super) log: PathBuf,
}

/// A running program.
pub(super) struct Process {
    program: Program,
    child: Child,
    process_id: u32,
    started: Instant,
    /// Starts since it last lived long.
    pub(super) restarts: u32,
}

impl Process {
    /// Starts a program with a new log; the log of the last time is put aside. `craton` is this program.
    pub(super) fn start(craton: &Path, program: Program) -> anyhow::Result<Self> {
        if program.log.exists() {
            fs::rename(&program.log, program.log.with_extension("log.1"))
                .with_context(|| format!("{} cannot be put aside", program.log.display()))?;
        }
        let (child, process_id) = spawn(craton, &program)?;
        Ok(Self {
            program,
            child,
            process_id,
            started: Instant::now(),
            restarts: 0,
        })
    }

    /// Starts the program again after it has ended.
    pub(super) fn start_again(&mut self, craton: &Path) -> anyhow::Result<()> {
        (self.child, self.process_id) = spawn(craton, &self.program)?;
        self.started = Instant::now();
        Ok(())
    }

    pub(super) fn name(&self) -> &str {
        &self.program.name
    }

    pub(super) fn id(&self) -> u32 {
        self.process_id
    }

    pub(super) fn log(&self) -> &Path {
        &self.program.log
    }

    /// How long it has run.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The end of its log with a headline.
    pub(super) fn last_words(&self) -> String {
        let log = self.log();
        match tail(log) {
            Ok(lines) => format!("--- the end of {}\n{lines}", log.display()),
            Err(error) => format!("--- {} cannot be read: {error}\n", log.display()),
        }
    }
}

fn spawn(craton: &Path, program: &Program) -> anyhow::Result<(Child, u32)> {
    let unusable = || format!("{} cannot be written", program.log.display());
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&program.log)
        .with_context(unusable)?;
    let errors = log.try_clone().with_context(unusable)?;
    let child = Command::new(craton)
        .arg("attached")
        .arg("--parent")
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(&program.path)
        .args(&program.arguments)
        .envs(program.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // Ctrl-C on the terminal goes to this process alone, which then stops the others in order.
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} cannot be started", program.path.display()))?;
    let process_id = child.id().context("a process that was just started has a number")?;
    Ok((child, process_id))
}

/// Waits until one of several processes has ended; for ever when there are none.
pub(super) async fn first_end(processes: &mut [Process]) -> (usize, ExitStatus) {
    if processes.is_empty() {
        return std::future::pending().await;
    }
    let ends = processes.iter_mut().map(|process| {
        Box::pin(async {
            loop {
                // It fails only for a process that is not ours.
                if let Ok(status) = process.child.wait().await {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    });
    let (status, index, _) = futures::future::select_all(ends).await;
    (index, status)
}

/// Asks processes to end, and ends those that take too long.
pub(super) async fn stop_all(processes: Vec<Process>) -> anyhow::Result<()> {
    let stops = processes.into_iter().map(|mut process| async move {
        let Some(pid) = process.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else {
            return Ok(());
        };
        match kill_process(pid, Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => bail!("{} cannot be told to end: {error}", process.name()),
        }
        match timeout(STOP_GRACE, process.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            // One that handles the signal never ends by it: this one was still starting, and had nothing to bring in order.
            Ok(Ok(status)) if status.signal() == Some(Signal::TERM.as_raw()) => Ok(()),
            Ok(Ok(status)) => bail!(
                "{} did not end in order: {status}\n{}",
                process.name(),
                process.last_words()
            ),
            Ok(Err(error)) => bail!("{} cannot be waited for: {error}", process.name()),
            Err(_) => {
                process.child.kill().await?;
                bail!(
                    "{} did not end within {} s and was killed\n{}",
                    process.name(),
                    STOP_GRACE.as_secs(),
                    process.last_words()
                )
            }
        }
    });
    // All of them are stopped, even when one fails.
    futures::future::join_all(stops).await.into_iter().collect()
}

/// Ends the databases on an agent's directory, which go on without their agent.
pub(super) async fn stop_instances(agent: &Path, data_dir: PathBuf) -> anyhow::Result<()> {
    let run = Command::new(agent)
        .arg("stop-instances")
        .arg("--data-dir")
        .arg(&data_dir)
        .process_group(0)
        .kill_on_drop(true)
        .output();
    let failed = || format!("the databases in {} could not be stopped", data_dir.display());
    let output = timeout(STOP_INSTANCES_GRACE, run)
        .await
        .with_context(failed)?
        .with_context(failed)?;
    if !output.status.success() {
        bail!("{}: {}", failed(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LAST_WORDS_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LAST_WORDS_LINES);
    Ok(lines[first..].iter().map(|line| format!("{line}\n")).collect())
}

/// Become a program that ends with its parent. `craton dev` calls this by itself.
#[derive(Args)]
pub(crate) struct AttachedArguments {
    #[arg(long)]
    parent: u32,
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// Returns only on failure.
pub(crate) fn run_attached(arguments: &AttachedArguments) -> anyhow::Result<ExitCode> {
    // Kept over execve(2), see PR_SET_PDEATHSIG in prctl(2).
    set_parent_process_death_signal(Some(Signal::TERM)).context("the parent's end cannot be watched")?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
    if parent != Some(arguments.parent) {
        bail!("the parent has ended already");
    }
    let (program, rest) = arguments.program.split_first().context("no program was given")?;
    let error = std::process::Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("{} cannot be started", Path::new(program).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_bounded_in_lines_and_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let lines: String = (1..=40).map(|number| format!("line {number}\n")).collect();
        fs::write(&path, &lines).expect("written");
        let shown = tail(&path).expect("readable");
        assert!(
            shown.starts_with("line 26\n") && shown.ends_with("line 40\n"),
            "{shown}"
        );
        fs::write(&path, "x".repeat(10_000)).expect("written");
        assert_eq!(tail(&path).expect("readable").len() as u64, LAST_WORDS_BYTES + 1);
    }
}
