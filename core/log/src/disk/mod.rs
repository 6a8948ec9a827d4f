//! The disk as the logs and views see it: positional reads and writes, and nothing that happens behind their back.
//!
//! What is durable is what was synced: a file's bytes and length by [`DiskFile::sync_data`], a created,
//! renamed or removed name by [`Disk::sync_dir`] on its directory.

#[cfg(feature = "testing")]
mod memory;
mod real;

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "testing")]
pub use memory::{Call, CallHook, CallKind, Crash, Fault, FaultKind, MemoryDisk, RottenBit, SECTOR_BYTES};
pub use real::RealDisk;

/// A place for directories and files.
pub trait Disk: Send + Sync {
    /// Creates a directory and its missing parents, durably. An existing directory is no error.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates a file for reading and writing; an existing one is emptied.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::NotFound`] when there is no such file.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file within a directory, replacing what had the new name.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names of the regular files of a directory, ascending.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names of a directory durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Whether there is a file or directory of this name.
    ///
    /// # Errors
    /// The system's.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Keeps everybody else from locking the same path, until what is returned is dropped or its process dies.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when somebody holds it, or the system's.
    fn lock(&self, path: &Path) -> io::Result<DiskLock>;

    /// Opens a file for reading and writing; a missing one is created, its name durably.
    ///
    /// # Errors
    /// The system's.
    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match self.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let file = self.create(path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new("")))?;
        Ok(file)
    }

    /// Removes a file if there is one.
    ///
    /// # Errors
    /// The system's.
    fn remove_if_exists(&self, path: &Path) -> io::Result<()> {
        match self.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// A held lock, see [`Disk::lock`].
pub type DiskLock = Box<dyn Any + Send + Sync>;

/// An open file. All methods take `&self`: positions are arguments, so readers and the writer share a handle.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `position`; zero means the end of the file.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes at least one byte of `bytes` at `position` and returns how many.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::StorageFull`] when the disk has no space.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize>;

    /// Makes the file's bytes and length durable (`fdatasync`).
    ///
    /// # Errors
    /// The system's. What was not durable before may be lost for good, whatever a later call returns.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the file's bytes and all its metadata durable (`fsync`).
    ///
    /// # Errors
    /// As for [`Self::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// The system's.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// The system's.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reserves space for the first `length` bytes; new ones read as zero.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::StorageFull`] when the disk has no space.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Reads exactly `buffer.len()` bytes at `position`.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::UnexpectedEof`] when the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let read = self.read_up_to(buffer, position)?;
        if read < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Reads until `buffer` is full or the file ends, and returns how many bytes were read.
    ///
    /// # Errors
    /// The system's.
    fn read_up_to(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], position + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Writes all of `bytes` at `position`.
    ///
    /// # Errors
    /// The system's; how much was written before it is unknown.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.write_at(&bytes[done..], position + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
