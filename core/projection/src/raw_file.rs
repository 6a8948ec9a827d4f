//! The file below the encryption, as a trait so that tests can make it fail.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file of bytes, written at positions. What is written is on disk only after [`Self::sync_data`].
pub trait RawFile: fmt::Debug + Send + Sync + 'static {
    /// The length in bytes.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out` with the bytes at `position`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before, or when the operating system refuses.
    fn read_exact_at(&self, out: &mut [u8], position: u64) -> io::Result<()>;

    /// Writes all bytes at `position`.
    ///
    /// # Errors
    /// When the operating system refuses; some of the bytes may then be written.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Returns once everything written before is on disk.
    ///
    /// # Errors
    /// When the operating system refuses; what was written since the last success may then be lost.
    fn sync_data(&self) -> io::Result<()>;
}

/// A file of the operating system, locked for as long as it is open.
#[derive(Debug)]
pub struct OsFile(File);

impl OsFile {
    /// Opens the file, creating it when there is none, and locks it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when somebody else has it open, or when the operating system refuses.
    pub fn open(path: &Path) -> io::Result<Self> {
        let existed = path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if !existed && let Some(parent) = path.parent() {
            // A path without a folder in it lies in the current one.
            let folder = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            File::open(folder)?.sync_all()?;
        }
        Ok(Self(file))
    }
}

impl RawFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, out: &mut [u8], position: u64) -> io::Result<()> {
        self.0.read_exact_at(out, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
