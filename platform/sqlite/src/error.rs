//! What can go wrong with a read model.

use std::path::PathBuf;

use craton_platform_kernel::{ProjectionError, StoreError};

/// Why a read model could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ReadModelError {
    /// SQLite failed.
    #[error("the read model {name} failed")]
    Sqlite {
        /// The projection.
        name: &'static str,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A file could not be removed.
    #[error("cannot remove {path}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// An event did not fit.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// The event store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A read model that fails is trouble that passes: its file can be rebuilt.
impl From<ReadModelError> for StoreError {
    fn from(error: ReadModelError) -> Self {
        match error {
            ReadModelError::Store(error) => error,
            error => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                Self::Unavailable(format!("{error}{}", source.unwrap_or_default()))
            }
        }
    }
}
