//! Puts the agent together.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use craton_agent_protocol::ObservedState;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    certificate::{self, CertificateError},
    config::AgentConfig,
    desired_store::DesiredStore,
    driver::{Driver as _, DriverError, Observation, Request, process::ProcessDriver},
    enrol::{self, EnrolError},
    executor::Executor,
    file::{self, FileError},
    identity::{IdentityError, IdentityStore},
    instance::InstanceDirectory,
    link::{Link, LinkHandle},
    time::monotonic_now,
    versions::Versions,
};

const ENROL_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(250),
    cap: Duration::from_secs(15),
};
/// How long a server may take to end before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(15);
/// Certificate answers that wait for the executor.
const CERTIFICATE_ANSWERS_MAX: usize = 64;

/// Why an agent cannot run. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another agent uses the data directory.
    #[error("another agent runs on {0}")]
    AlreadyRunning(PathBuf),
    /// The node has no identity and no token to get one.
    #[error("this node has not joined a fleet yet: give a --join-token")]
    JoinTokenMissing,
    /// The platform refused the node, or the connection can never work.
    #[error("this node cannot join: {0}")]
    Enrol(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The data directory cannot be used.
    #[error("the data directory cannot be used: {0}")]
    DataDirectory(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A server could not be stopped.
    #[error("a server could not be stopped: {0}")]
    Stop(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<FileError> for AgentError {
    fn from(error: FileError) -> Self {
        Self::DataDirectory(Box::new(error))
    }
}

impl From<IdentityError> for AgentError {
    fn from(error: IdentityError) -> Self {
        Self::DataDirectory(Box::new(error))
    }
}

impl From<CertificateError> for AgentError {
    fn from(error: CertificateError) -> Self {
        Self::DataDirectory(Box::new(error))
    }
}

impl From<DriverError> for AgentError {
    fn from(error: DriverError) -> Self {
        Self::Stop(Box::new(error))
    }
}

/// Runs an agent until the token is cancelled. The servers that it started go on.
///
/// # Errors
/// When the data directory is in use or cannot be used, or the platform refuses the node.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    let _lock = lock(&config.data_dir)?;
    let identity = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        identity = obtain_identity(&config) => Arc::new(identity?),
    };
    let node_id = identity.current().node_id;
    tracing::info!(%node_id, platform = %config.platform, "the agent runs");
    let desired = Arc::new(DesiredStore::load(&config.data_dir, node_id)?);
    let handle = Arc::new(LinkHandle::default());
    let wake = Arc::new(Notify::new());
    let generation = desired.current().map_or(0, |desired| desired.generation);
    let (observed_sender, observed) = watch::channel(ObservedState {
        generation,
        server_versions: vec![],
        instances: vec![],
    });
    let (certificate_sender, certificates) = mpsc::channel(CERTIFICATE_ANSWERS_MAX);
    let executor = Executor {
        config: config.clone(),
        desired: desired.clone(),
        driver: Arc::new(ProcessDriver {
            launcher: config.launcher,
        }),
        link: handle.clone(),
        observed: observed_sender,
        wake: wake.clone(),
        certificates,
        versions: Versions::default(),
    };
    let link = Link {
        platform: config.platform,
        identity,
        desired,
        handle,
        observed,
        certificates: certificate_sender,
        wake,
    };
    tokio::join!(executor.run(shutdown.clone()), link.run(shutdown));
    Ok(())
}

/// Ends every server on a data directory whose agent does not run.
///
/// # Errors
/// When an agent runs, or a server does not end even when it is killed.
pub async fn stop_instances(data_dir: &Path) -> Result<usize, AgentError> {
    let _lock = lock(data_dir)?;
    let driver = ProcessDriver {
        launcher: PathBuf::new(),
    };
    let mut stopped = 0;
    for id in InstanceDirectory::list(data_dir)? {
        let directory = InstanceDirectory::new(data_dir, &id);
        let mut deadline = monotonic_now() + STOP_GRACE;
        let mut request = Request::Terminate;
        if driver.observe(&directory).await?.is_running() {
            stopped += 1;
            driver.request(&directory, request).await?;
        }
        while driver.observe(&directory).await?.is_running() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if monotonic_now() > deadline {
                if request == Request::Kill {
                    return Err(AgentError::Stop(format!("the server of {id} does not end").into()));
                }
                request = Request::Kill;
                driver.request(&directory, request).await?;
                deadline = monotonic_now() + STOP_GRACE;
            }
        }
    }
    Ok(stopped)
}

impl Observation {
    fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

fn lock(data_dir: &Path) -> Result<File, AgentError> {
    file::make_directory(data_dir)?;
    let path = data_dir.join("agent.lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| FileError {
            action: "cannot open",
            path,
            source,
        })?;
    lock.try_lock()
        .map_err(|_| AgentError::AlreadyRunning(data_dir.to_owned()))?;
    Ok(lock)
}

async fn obtain_identity(config: &AgentConfig) -> Result<IdentityStore, AgentError> {
    let key_path = config.data_dir.join("enrolment.key");
    if let Some(identity) = IdentityStore::load(&config.data_dir)? {
        // Left over when the agent ended right after it had stored its identity.
        file::remove(&key_path)?;
        return Ok(identity);
    }
    let token = config.join_token.as_ref().ok_or(AgentError::JoinTokenMissing)?;
    let key_pem = enrolment_key(&key_path)?;
    let mut failures = 0;
    let identity = loop {
        match enrol::enrol(&config.platform, token, &key_pem).await {
            Ok(identity) => break identity,
            Err(error) if error.is_retryable() => {
                failures = u32::saturating_add(failures, 1);
                tracing::info!(%error, "the node has not joined yet and tries again");
                tokio::time::sleep(ENROL_BACKOFF.jittered(failures, rand::random())).await;
            }
            Err(error) => return Err(enrol_error(error)),
        }
    };
    let store = IdentityStore::create(&config.data_dir, identity)?;
    file::remove(&key_path)?;
    tracing::info!(node_id = %store.current().node_id, "the node has joined");
    Ok(store)
}

fn enrol_error(error: EnrolError) -> AgentError {
    AgentError::Enrol(Box::new(error))
}

/// The key that the node enrols with, kept until it has an identity: the platform recognises a repeated request of a
/// node whose answer was lost by it, and makes no second node.
fn enrolment_key(path: &Path) -> Result<String, AgentError> {
    if let Some(bytes) = file::read(path)? {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    let key_pem = certificate::generate_key_pem()?;
    file::write(path, key_pem.as_bytes())?;
    Ok(key_pem)
}
