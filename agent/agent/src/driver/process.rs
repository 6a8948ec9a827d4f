//! Instances as operating-system processes in sessions of their own.
//!
//! The agent starts this same program as `craton-agent launch …`. The launcher leaves the agent's session, takes the
//! instance's lock, writes down its process number and start time, and then *becomes* the server (execve(2) keeps
//! number, start time and the locked file). So there is no moment in which a server runs without being on record, and
//! no two servers run on one directory, wherever an agent is killed.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use async_trait::async_trait;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, pidfd_open, pidfd_send_signal, setrlimit, setsid, waitpid,
};

use super::{Driver, DriverError, Launch, Observation, Request};
use crate::{
    file::{self, FileError},
    instance::InstanceDirectory,
    time::monotonic_now,
};

/// How long a launcher may take to become the server.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(10);
/// A server's log that is longer is put aside before the next start, so that two of these bound the disk it takes.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A process on record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct ProcessRecord {
    pid: u32,
    /// Clock ticks between the boot and the process's start (proc_pid_stat(5), field 22): tells apart two processes
    /// that had the same number.
    start_ticks: u64,
    /// Tells apart two boots.
    boot_id: String,
    certificate_sha256: String,
    server_version: Option<String>,
}

/// Runs instances as processes.
pub(crate) struct ProcessDriver {
    /// This program.
    pub(crate) launcher: PathBuf,
}

/// Why the launcher did not become the server.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Another process holds the instance.
    #[error("another process holds {0}")]
    Locked(PathBuf),
    /// The operating system refused.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The record could not be written.
    #[error("cannot write the process record: {0}")]
    Record(String),
}

/// Leaves the session, locks the instance, writes the record and becomes `program`. Returns only on failure.
pub fn launch(
    instance: &Path,
    certificate_sha256: &str,
    server_version: Option<&str>,
    program: &Path,
    arguments: &[OsString],
) -> LaunchError {
    match prepare_launch(instance, certificate_sha256, server_version) {
        Err(error) => error,
        Ok(_lock) => {
            let source = Command::new(program).args(arguments).exec();
            LaunchError::System {
                action: format!("start {}", program.display()),
                source,
            }
        }
    }
}

fn prepare_launch(
    instance: &Path,
    certificate_sha256: &str,
    server_version: Option<&str>,
) -> Result<File, LaunchError> {
    let system = |action: &str| {
        let action = action.to_owned();
        move |source: io::Error| LaunchError::System { action, source }
    };
    setsid().map_err(|error| system("start a session")(error.into()))?;
    let lock_path = instance.join("process.lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(system("open the lock"))?;
    lock.try_lock().map_err(|_| LaunchError::Locked(lock_path))?;
    // The lock must outlive this program and belong to the server.
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).map_err(|e| system("keep the lock")(e.into()))?;
    // A core dump would hold keys and rows.
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .map_err(|e| system("forbid core dumps")(e.into()))?;
    let pid = std::process::id();
    let stat = read_stat(pid).map_err(system("read /proc"))?;
    let record = ProcessRecord {
        pid,
        start_ticks: stat.map_or(0, |stat| stat.start_ticks),
        boot_id: boot_id().map_err(system("read the boot id"))?,
        certificate_sha256: certificate_sha256.to_owned(),
        server_version: server_version.map(str::to_owned),
    };
    file::write_json(&instance.join("process.json"), &record)
        .map_err(|e: FileError| LaunchError::Record(e.to_string()))?;
    Ok(lock)
}

struct Stat {
    state: char,
    start_ticks: u64,
}

/// Reads `/proc/<pid>/stat`; `None` when there is no such process.
fn read_stat(pid: u32) -> io::Result<Option<Stat>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => parse_stat(&text)
            .map(Some)
            .ok_or_else(|| io::Error::other("unexpected form of /proc/<pid>/stat")),
        // The process may end between opening and reading.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_ticks = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_ticks })
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

impl ProcessRecord {
    /// Whether the recorded process still runs. A zombie does not.
    fn is_alive(&self) -> io::Result<bool> {
        if boot_id()? != self.boot_id {
            return Ok(false);
        }
        Ok(read_stat(self.pid)?
            .is_some_and(|stat| stat.start_ticks == self.start_ticks && !matches!(stat.state, 'Z' | 'X')))
    }
}

/// Collects the status of an ended child; `None` when the process is no child of ours or has not ended.
fn reap(pid: u32) -> Option<String> {
    let pid = Pid::from_raw(pid.cast_signed())?;
    let (_, status) = waitpid(Some(pid), WaitOptions::NOHANG).ok()??;
    Some(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (_, Some(signal)) => format!("ended with signal {signal}"),
        _ => "ended".to_owned(),
    })
}

fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> DriverError {
    let action = action.into();
    move |source| DriverError::System { action, source }
}

fn load(instance: &InstanceDirectory) -> Result<Option<ProcessRecord>, DriverError> {
    Ok(file::read_json(&instance.process_record())?)
}

#[async_trait]
impl Driver for ProcessDriver {
    async fn observe(&self, instance: &InstanceDirectory) -> Result<Observation, DriverError> {
        let Some(record) = load(instance)? else {
            return Ok(Observation::Stopped {
                ended: None,
                server_version: None,
            });
        };
        let ended = reap(record.pid);
        if record.is_alive().map_err(system("look at the server process"))? {
            Ok(Observation::Running {
                pid: record.pid,
                certificate_sha256: record.certificate_sha256,
                server_version: record.server_version,
            })
        } else {
            Ok(Observation::Stopped {
                ended: Some(ended.unwrap_or_else(|| "ended".to_owned())),
                server_version: record.server_version,
            })
        }
    }

    async fn start(&self, instance: &InstanceDirectory, launch: &Launch) -> Result<(), DriverError> {
        rotate_log(instance)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(instance.log())
            .map_err(system("open the server's log"))?;
        let errors = log.try_clone().map_err(system("open the server's log"))?;
        let mut command = Command::new(&self.launcher);
        command
            .arg("launch")
            .arg("--instance")
            .arg(instance.path())
            .arg("--certificate-sha256")
            .arg(&launch.certificate_sha256);
        if let Some(version) = &launch.server_version {
            command.arg("--server-version").arg(version);
        }
        let mut child = command
            .arg("--")
            .arg(&launch.program)
            .args(&launch.arguments)
            .current_dir(instance.path())
            // A secret of the agent, which a server has no use for.
            .env_remove("CRATON_JOIN_TOKEN")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(system(format!("start {}", self.launcher.display())))?;
        let deadline = monotonic_now() + LAUNCH_TIMEOUT;
        loop {
            if load(instance)?.is_some_and(|record| record.pid == child.id()) {
                return Ok(());
            }
            if let Some(status) = child.try_wait().map_err(system("wait for the launcher"))? {
                return Err(DriverError::NotStarted(format!("{status}; {}", instance.log_tail(400))));
            }
            if monotonic_now() > deadline {
                return Err(DriverError::NotStarted(format!(
                    "no process record after {LAUNCH_TIMEOUT:?}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn request(&self, instance: &InstanceDirectory, request: Request) -> Result<(), DriverError> {
        let Some(record) = load(instance)? else { return Ok(()) };
        let Some(pid) = Pid::from_raw(record.pid.cast_signed()) else {
            return Ok(());
        };
        // The descriptor stays bound to one process, so the check below holds for the process that gets the signal.
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(system("open the server process")(error.into())),
        };
        if !record.is_alive().map_err(system("look at the server process"))? {
            return Ok(());
        }
        let signal = match request {
            Request::Terminate => Signal::TERM,
            Request::Kill => Signal::KILL,
            Request::Reload => Signal::HUP,
        };
        match pidfd_send_signal(process, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(system("signal the server process")(error.into())),
        }
    }

    async fn note_certificate(
        &self,
        instance: &InstanceDirectory,
        certificate_sha256: &str,
    ) -> Result<(), DriverError> {
        if let Some(record) = load(instance)? {
            let record = ProcessRecord {
                certificate_sha256: certificate_sha256.to_owned(),
                ..record
            };
            file::write_json(&instance.process_record(), &record)?;
        }
        Ok(())
    }
}

fn rotate_log(instance: &InstanceDirectory) -> Result<(), DriverError> {
    let log = instance.log();
    if fs::metadata(&log).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        fs::rename(&log, log.with_extension("log.1")).map_err(system("put the server's log aside"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_may_hold_parentheses_and_spaces() {
        let rest = "S 1 2 2 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1";
        for name in ["craton-server", "a b", "a) R 7 (b", "))"] {
            let stat = parse_stat(&format!("17 ({name}) {rest}")).unwrap();
            assert_eq!((stat.state, stat.start_ticks), ('S', 98_765), "{name}");
        }
        assert!(parse_stat("17 (x").is_none());
        assert!(parse_stat("17 (x) S 1 2").is_none());
    }

    #[test]
    fn a_process_is_alive_only_with_its_own_start_time_and_boot() {
        let pid = std::process::id();
        let start_ticks = read_stat(pid).unwrap().unwrap().start_ticks;
        let record = |pid, start_ticks, boot_id: &str| ProcessRecord {
            pid,
            start_ticks,
            boot_id: boot_id.into(),
            certificate_sha256: String::new(),
            server_version: None,
        };
        let boot = boot_id().unwrap();
        assert!(record(pid, start_ticks, &boot).is_alive().unwrap());
        assert!(!record(pid, start_ticks + 1, &boot).is_alive().unwrap());
        assert!(!record(pid, start_ticks, "another boot").is_alive().unwrap());
        assert!(!record(u32::MAX >> 1, start_ticks, &boot).is_alive().unwrap());
    }

    #[tokio::test]
    async fn without_a_record_nothing_runs() {
        let data_dir = tempfile::tempdir().unwrap();
        let id = craton_agent_protocol::InstanceId::parse("clu_01h455vb4pex5vsknk084sn02q.1").unwrap();
        let instance = InstanceDirectory::new(data_dir.path(), &id);
        let driver = ProcessDriver {
            launcher: "/proc/self/exe".into(),
        };
        assert_eq!(
            driver.observe(&instance).await.unwrap(),
            Observation::Stopped {
                ended: None,
                server_version: None,
            }
        );
        driver.request(&instance, Request::Kill).await.unwrap();
    }

    #[tokio::test]
    async fn a_launcher_that_fails_is_reported_with_what_it_wrote() {
        let data_dir = tempfile::tempdir().unwrap();
        let id = craton_agent_protocol::InstanceId::parse("clu_01h455vb4pex5vsknk084sn02q.1").unwrap();
        let instance = InstanceDirectory::new(data_dir.path(), &id);
        file::make_directory(instance.path()).unwrap();
        let driver = ProcessDriver {
            launcher: "/bin/false".into(),
        };
        let launch = Launch {
            program: "/bin/true".into(),
            arguments: vec![],
            certificate_sha256: String::new(),
            server_version: None,
        };
        assert!(matches!(
            driver.start(&instance, &launch).await,
            Err(DriverError::NotStarted(_))
        ));
    }
}
