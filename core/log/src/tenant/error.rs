//! What can go wrong with a tenant's log.

use std::io;
use std::path::{Path, PathBuf};

use craton_types::{Hash, Offset};

/// Why a tenant's log does not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum TenantLogError {
    /// The disk failed. Unless it happened while reading, the log is poisoned.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The disk is full. The call may be repeated when there is space; nothing that was appended is lost.
    #[error("no space left for {}", path.display())]
    NoSpace {
        /// What there is no space for.
        path: PathBuf,
    },
    /// An earlier write or sync failed, so what the disk holds is unknown. Only opening the log again helps.
    #[error("the tenant log is poisoned by an earlier failure")]
    Poisoned,
    /// The stored log is damaged. It is left as it is.
    #[error("the tenant log is corrupt at record {offset}: {field} is wrong")]
    Corrupt {
        /// The first record known to be affected.
        offset: Offset,
        /// What is wrong: a field of the record or segment, or `missing` when records are not there.
        field: &'static str,
    },
    /// The record to append differs from the one that the log holds at this offset.
    #[error("record {offset} differs from the one in the log")]
    Diverged {
        /// The offset of both.
        offset: Offset,
    },
    /// The record to append leaves out others.
    #[error("record {offset} does not follow, the log's next record is {next}")]
    Gap {
        /// The record's offset.
        offset: Offset,
        /// The offset that the next record must have.
        next: Offset,
    },
    /// The record to append is not chained to the last record.
    #[error("record {offset} names {found} as the hash before it, the log's last hash is {expected}")]
    WrongLink {
        /// The record's offset.
        offset: Offset,
        /// The log's last hash.
        expected: Hash,
        /// The record's `previous_hash`.
        found: Hash,
    },
    /// The record to append is not one that this log can hold.
    #[error("record {offset} cannot be stored: {field} is not valid")]
    Invalid {
        /// The record's offset.
        offset: Offset,
        /// The header field that does not fit the log or the body.
        field: &'static str,
    },
    /// A record that is said to belong into the log is not the one that was written there.
    #[error("record {offset} of another copy has hash {found}, the one that belongs here has {expected}")]
    NotProven {
        /// Its offset.
        offset: Offset,
        /// The hash of the record that was written.
        expected: Hash,
        /// The hash of the one that was offered.
        found: Hash,
    },
    /// A hash was asked for that the published log does not determine.
    #[error("subtree {index} of level {level} reaches beyond the log's {size} records")]
    BeyondEnd {
        /// The subtree's level.
        level: u8,
        /// Its index.
        index: u64,
        /// How many records are published.
        size: u64,
    },
}

impl TenantLogError {
    /// For `map_err`: names the operation, and tells a full disk from a failing one.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }

    pub(super) const fn corrupt(offset: u64, field: &'static str) -> Self {
        Self::Corrupt {
            offset: Offset::new(offset),
            field,
        }
    }
}
