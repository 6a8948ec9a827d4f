//! What can go wrong, and what to do about it.

use craton_projection::ProjectionError;

/// Why a state tree did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file under the tree failed.
    #[error("the state tree's file failed")]
    Store(#[source] ProjectionError),
    /// The tree's content is not what was written.
    #[error("the state tree is damaged: {what}")]
    Damaged {
        /// What is wrong, and where.
        what: String,
    },
    /// A version does not follow the newest one.
    #[error("version {size} does not follow version {newest}")]
    OutOfOrder {
        /// The version.
        size: u64,
        /// The newest version.
        newest: u64,
    },
}

impl StateError {
    /// Whether deleting the file and replaying the log is the way out.
    #[must_use]
    pub const fn is_rebuildable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_rebuildable(),
            Self::Damaged { .. } => true,
            Self::OutOfOrder { .. } => false,
        }
    }

    pub(crate) fn store(error: impl Into<redb::Error>) -> Self {
        Self::Store(ProjectionError::from_store(error))
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}
