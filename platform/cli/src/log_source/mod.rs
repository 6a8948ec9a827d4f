//! Where a log's checkpoint and tiles (c2sp.org/tlog-tiles) are read from: a server, or an export in a folder.

mod folder;
mod http;

use std::io;

use craton_proof::{ENTRY_BUNDLE_BYTES_MAX, NOTE_BYTES_MAX, TILE_WIDTH, TileContent, TilePath};

pub(crate) use folder::{CHECKPOINT_FILE, FolderLog, VERIFIER_KEY_FILE};
pub(crate) use http::AccessArguments;

/// Reads the files of one log.
pub(crate) trait LogSource: Sync {
    /// The newest checkpoint, as it is.
    fn checkpoint(&self) -> Result<Vec<u8>, SourceError>;

    /// A tile or an entry bundle, as it is.
    fn tile(&self, path: &TilePath) -> Result<Vec<u8>, SourceError>;

    /// A file's name, for people.
    fn place(&self, file: &str) -> String;
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// It is not there.
    #[error("{place} is missing")]
    Missing {
        /// The file.
        place: String,
    },
    /// It is longer than anything of its kind.
    #[error("{place} is longer than {bytes_max} bytes")]
    Long {
        /// The file.
        place: String,
        /// The longest that it may be.
        bytes_max: usize,
    },
    /// The disk does not give it.
    #[error("{place} cannot be read")]
    Disk {
        /// The file.
        place: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nobody answered.
    #[error("{place} cannot be reached")]
    Unreachable {
        /// The URL.
        place: String,
        /// Why not.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server said no.
    #[error("{place}: the server answered with status {status}: {detail}")]
    Refused {
        /// The URL.
        place: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
}

impl SourceError {
    /// Whether the log itself is at fault, and not the way to it.
    pub(crate) const fn is_of_the_log(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Long { .. })
    }
}

/// The longest that a file may be.
fn bytes_max(path: Option<&TilePath>) -> usize {
    match path {
        None => NOTE_BYTES_MAX,
        Some(path) => match path.content() {
            TileContent::Hashes(_) => usize::from(path.width()) * 32,
            TileContent::Entries => ENTRY_BUNDLE_BYTES_MAX / usize::from(TILE_WIDTH) * usize::from(path.width()),
        },
    }
}
