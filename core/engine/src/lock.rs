//! One process per data directory.

use std::fs::File;
use std::path::Path;

use crate::EngineError;

/// Holds the directory until dropped; the operating system lets go when the process dies.
#[derive(Debug)]
pub(crate) struct DirectoryLock(#[expect(dead_code, reason = "held, not read")] File);

impl DirectoryLock {
    /// Locks `directory`.
    pub(crate) fn acquire(directory: &Path) -> Result<Self, EngineError> {
        let path = directory.join("LOCK");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| EngineError::Io {
                path: path.clone(),
                source,
            })?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            EngineError::DirectoryInUse {
                directory: directory.to_owned(),
            }
        })?;
        Ok(Self(file))
    }
}
