//! An export: a log's checkpoint and tiles as files, at the paths that they have on a server.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use craton_proof::TilePath;

use super::{LogSource, SourceError, bytes_max};

/// The signed note that covers the export.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";
/// The key that the export's checkpoint was signed by, as whoever made the export knew it.
pub(crate) const VERIFIER_KEY_FILE: &str = "verifier-key";

/// A folder with an export.
pub(crate) struct FolderLog {
    folder: PathBuf,
}

impl FolderLog {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn read(&self, name: &str, bytes_max: usize) -> Result<Vec<u8>, SourceError> {
        let place = self.place(name);
        let read = || {
            let mut bytes = Vec::new();
            let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
            let file = File::open(self.folder.join(name))?;
            file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        match read() {
            Ok(bytes) if bytes.len() > bytes_max => Err(SourceError::Long { place, bytes_max }),
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SourceError::Missing { place }),
            Err(source) => Err(SourceError::Disk { place, source }),
        }
    }
}

impl LogSource for FolderLog {
    fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        self.read(CHECKPOINT_FILE, bytes_max(None))
    }

    fn tile(&self, path: &TilePath) -> Result<Vec<u8>, SourceError> {
        self.read(&path.to_string(), bytes_max(Some(path)))
    }

    fn place(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }
}
