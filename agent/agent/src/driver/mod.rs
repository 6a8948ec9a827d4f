//! How instances are run. The process driver is the one there is.

pub(crate) mod process;

use async_trait::async_trait;

use crate::{file::FileError, instance::InstanceDirectory};

/// What a driver sees of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// Nothing runs. `ended` tells how the last process ended, if one did and it is known.
    Stopped {
        /// Such as "ended with signal 9".
        ended: Option<String>,
        /// The installed version that the last process was started from; `None` for the agent's own choice.
        server_version: Option<String>,
    },
    /// A process runs.
    Running {
        /// The operating system's number for it.
        pid: u32,
        /// Digest of the certificates that it was started or last reloaded with.
        certificate_sha256: String,
        /// The installed version that it was started from; `None` for the agent's own choice.
        server_version: Option<String>,
    },
}

/// What a running instance can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Finish and end.
    Terminate,
    /// End at once.
    Kill,
    /// Read certificate and token key again.
    Reload,
}

/// Why a driver could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operating system refused.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The process ended before it was the server.
    #[error("the server process did not come up: {0}")]
    NotStarted(String),
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) program: std::path::PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<std::ffi::OsString>,
    /// Digest of the certificates that it will read.
    pub(crate) certificate_sha256: String,
    /// The installed version that the program is; `None` for the agent's own choice.
    pub(crate) server_version: Option<String>,
}

/// Runs instances. What it starts must go on when the agent ends, and be found again by the next agent.
#[async_trait]
pub(crate) trait Driver: Send + Sync {
    /// Looks.
    async fn observe(&self, instance: &InstanceDirectory) -> Result<Observation, DriverError>;

    /// Starts a process and returns when it is certain to be found by [`Driver::observe`].
    async fn start(&self, instance: &InstanceDirectory, launch: &Launch) -> Result<(), DriverError>;

    /// Tells a running process something; nothing happens when none runs.
    async fn request(&self, instance: &InstanceDirectory, request: Request) -> Result<(), DriverError>;

    /// Notes that the running process now serves another certificate.
    async fn note_certificate(&self, instance: &InstanceDirectory, certificate_sha256: &str)
    -> Result<(), DriverError>;
}
