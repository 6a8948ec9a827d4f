//! What can go wrong, and what to do about it.

use std::io;

use craton_types::Offset;

/// Why a projection did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The file could not be read or written. After this the projection answers [`Self::Failed`] until it is reopened.
    #[error("the projection file cannot be read or written")]
    Io(#[source] io::Error),
    /// The file was written under another key.
    #[error("the projection file belongs to another key")]
    WrongKey,
    /// The file was written in a format that this version does not read.
    #[error("the projection file has format version {found}, this version reads {expected}")]
    Version {
        /// The version in the file.
        found: u8,
        /// The version this code reads and writes.
        expected: u8,
    },
    /// The file's content is not what was written.
    #[error("the projection file is damaged: {what}")]
    Damaged {
        /// What is wrong, and where.
        what: String,
    },
    /// An earlier operation failed in a way that makes the file's state unknown until it is reopened.
    #[error("the projection failed earlier and must be reopened")]
    Failed,
    /// The store refused an operation for a reason that no correct use of it gives.
    #[error("the projection store refused an operation")]
    Store(#[source] Box<redb::Error>),
    /// A read asks for versions that are not published yet.
    #[error("position {end} is ahead of {published}, where the snapshot ends")]
    Ahead {
        /// The exclusive end offset asked for.
        end: Offset,
        /// Where the snapshot ends.
        published: Offset,
    },
    /// Versions were applied, or an end published, out of the log's order.
    #[error("version {version} arrives after {newest} was reached")]
    OutOfOrder {
        /// The version or end offset refused.
        version: Offset,
        /// The newest version applied or end published before it.
        newest: Offset,
    },
    /// The rows in memory would take more than [`crate::ProjectionOptions::memory_bytes_max`]: flush first.
    #[error("{bytes} bytes of rows in memory are more than {bytes_max}")]
    MemoryFull {
        /// What memory would hold with the refused rows.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A flush was begun that is not committed. When it failed, the projection must be reopened.
    #[error("a flush is already under way")]
    FlushPending,
    /// A flush can only reach the position that is published, and nothing unpublished may be in memory.
    #[error("a flush to {end} was asked for while {published} is published and {newest} was reached")]
    FlushPosition {
        /// The end offset asked for.
        end: Offset,
        /// The published end offset.
        published: Offset,
        /// The end offset that the versions in memory reach.
        newest: Offset,
    },
}

impl ProjectionError {
    /// Whether deleting the file and replaying the log is the way out.
    #[must_use]
    pub const fn is_rebuildable(&self) -> bool {
        matches!(self, Self::Version { .. } | Self::Damaged { .. })
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }

    /// Sorts what the raw file and the encrypting backend report.
    #[must_use]
    pub fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::damaged(error.to_string()),
            _ => Self::Io(error),
        }
    }

    /// Sorts what redb reports; all its error types convert to [`redb::Error`].
    #[must_use]
    pub fn from_store(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(error) => Self::from_io(error),
            redb::Error::Corrupted(what) => Self::Damaged { what },
            redb::Error::PreviousIo | redb::Error::LockPoisoned(_) => Self::Failed,
            error => Self::Store(Box::new(error)),
        }
    }
}
