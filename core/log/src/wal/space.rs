//! Space reserved ahead: the next segment's, so that a disk that fills up is known one whole segment before the log
//! needs it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::WalError;
use super::segment::Storage;
use crate::disk::DiskFile;

/// The reserved segment's file; a name that no segment has.
pub(super) const SPARE_NAME: &str = "spare";
/// How many zeros are written and synced at once. The log's own batches wait for the disk meanwhile, so it is no more
/// than a large one of them.
const ZEROS_BYTES: usize = 256 * 1024;

/// A file of zeros whose space is reserved.
pub(super) struct Spare {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) capacity: u64,
}

/// Reserves the next segment's space, without the log itself, so that a thread of its own can do it.
pub struct WalSpace {
    pub(super) storage: Arc<Storage>,
    pub(super) segment_bytes: u64,
}

impl WalSpace {
    /// Whether the next segment's space is reserved.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.storage.spare.lock().is_some()
    }

    /// Reserves the next segment's space if that is not done yet.
    ///
    /// # Errors
    /// [`WalError::NoSpace`] when the disk is full: the log can be appended to until its last segment is, and the
    /// call should be repeated. [`WalError::Io`] poisons the log.
    pub fn reserve(&self) -> Result<(), WalError> {
        self.storage.check_poison()?;
        if self.is_reserved() {
            return Ok(());
        }
        let reserved = self.storage.reserve(self.segment_bytes);
        let spare = self.storage.poison_unless_full(reserved)?;
        *self.storage.spare.lock() = Some(spare);
        Ok(())
    }
}

impl Storage {
    fn reserve(&self, capacity: u64) -> Result<Spare, WalError> {
        let path = self.dir.join(SPARE_NAME);
        let file = self.disk.create(&path).map_err(WalError::io("create", &path))?;
        let reserved = file
            .allocate(capacity)
            .map_err(WalError::io("allocate", &path))
            .and_then(|()| fill_with_zeros(&*file, capacity).map_err(WalError::io("write", &path)));
        reserved.inspect_err(|_| self.discard(&path))?;
        Ok(Spare { file, path, capacity })
    }

    /// Takes over what an earlier process reserved, so that the log opens on a full disk. A crash may have left the
    /// beginning of a segment in it; that is overwritten with zeros.
    pub(super) fn recover_spare(&self, segment_bytes: u64) -> Result<(), WalError> {
        let path = self.dir.join(SPARE_NAME);
        let file = match self.disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(WalError::io("open", &path)(error)),
        };
        let length = file.len().map_err(WalError::io("measure", &path))?;
        if length != segment_bytes || fill_with_zeros(&*file, length).is_err() {
            return self.disk.remove(&path).map_err(WalError::io("remove", &path));
        }
        *self.spare.lock() = Some(Spare {
            file,
            path,
            capacity: length,
        });
        Ok(())
    }
}

/// Writes a file's blocks and makes them durable, its length included. Blocks that are only allocated would cost every
/// sync of a batch a change of the file system's metadata, which takes as long as the batch itself.
fn fill_with_zeros(file: &dyn DiskFile, length: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut position = 0;
    while position < length {
        let count = usize::try_from(length - position).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
        file.write_all_at(&zeros[..count], position)?;
        file.sync_data()?;
        position += count as u64;
    }
    Ok(())
}
