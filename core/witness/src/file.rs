//! The witnesses of a node from a file: read at its start, read again on request.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use craton_engine::Craton;

use crate::{Cosigning, CosigningStatus, HttpTransport, POLICY_BYTES_MAX, Policy, PolicyError};

/// Why the file with the witnesses is not usable.
#[derive(Debug, thiserror::Error)]
pub enum WitnessFileError {
    /// It cannot be read.
    #[error("witness file {}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// It does not say who the witnesses are.
    #[error("witness file {}: {source}", path.display())]
    Policy {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PolicyError,
    },
    /// The operating system gives no thread to ask them on.
    #[error("the witnesses cannot be asked: {0}")]
    Threads(#[source] io::Error),
}

/// The file and who is asked because of it.
pub struct FileCosigning {
    path: PathBuf,
    cosigning: Cosigning,
}

impl FileCosigning {
    /// Reads the file and begins to ask the witnesses that it names, over HTTP. `user_agent` is how the node names itself.
    ///
    /// # Errors
    /// When the file is not usable.
    pub fn start(path: PathBuf, engine: Craton, user_agent: &str) -> Result<Self, WitnessFileError> {
        let policy = read(&path)?;
        let transport = Arc::new(HttpTransport::new(user_agent));
        let cosigning = Cosigning::start(engine, transport, policy).map_err(WitnessFileError::Threads)?;
        Ok(Self { path, cosigning })
    }

    /// Reads the file again; on an error the old witnesses stay.
    ///
    /// # Errors
    /// When the file is not usable.
    pub fn reload(&self) -> Result<(), WitnessFileError> {
        self.cosigning.set_policy(read(&self.path)?);
        Ok(())
    }

    /// What has become of the requests.
    #[must_use]
    pub fn status(&self) -> CosigningStatus {
        self.cosigning.status()
    }

    /// Whether there is anybody to ask.
    #[must_use]
    pub fn is_any(&self) -> bool {
        !self.cosigning.policy().witnesses().is_empty()
    }

    /// Asks nobody any more.
    pub fn stop(&self) {
        self.cosigning.stop();
    }
}

fn read(path: &PathBuf) -> Result<Policy, WitnessFileError> {
    let file_error = |source| WitnessFileError::File {
        path: path.clone(),
        source,
    };
    let mut json = Vec::new();
    let file = File::open(path).map_err(file_error)?;
    // One byte more than is allowed is enough to see that it is too long.
    file.take(POLICY_BYTES_MAX as u64 + 1)
        .read_to_end(&mut json)
        .map_err(file_error)?;
    Policy::parse(&json).map_err(|source| WitnessFileError::Policy {
        path: path.clone(),
        source,
    })
}
