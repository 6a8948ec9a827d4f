//! The operating system's files.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use super::{Disk, DiskFile, DiskLock};

/// The local file system. This is the one place of the crate that touches it. Files that it makes are their owner's alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// How many zeros are written at once where the file system cannot reserve space.
const ZEROS_BYTES: usize = 1024 * 1024;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.create_dir(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.sync_dir(parent),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // Names that are not UTF-8 are not ours.
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        File::open(dir)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.0.write_at(bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.write_zeros(length),
            Err(errno) => Err(errno.into()),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

impl RealFile {
    /// Reserves the bytes after the current end by writing them.
    fn write_zeros(&self, length: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS_BYTES];
        let mut position = self.len()?;
        while position < length {
            let count = usize::try_from(length - position).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
            self.write_all_at(&zeros[..count], position)?;
            position += count as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_created_written_renamed_listed_and_removed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let nested = dir.path().join("a/b");
        let disk = RealDisk;
        disk.create_dir(&nested).expect("created");
        disk.create_dir(&nested).expect("created again");
        let file = disk.create(&nested.join("two")).expect("created");
        file.allocate(10).expect("allocated");
        file.write_all_at(b"abc", 4).expect("written");
        file.sync_data().expect("synced");
        file.sync_all().expect("synced");
        let mut read = [1; 10];
        file.read_exact_at(&mut read, 0).expect("read");
        assert_eq!(&read, b"\0\0\0\0abc\0\0\0");
        assert_eq!(
            file.read_exact_at(&mut read, 1).map_err(|error| error.kind()),
            Err(io::ErrorKind::UnexpectedEof)
        );
        assert_eq!(file.read_up_to(&mut read, 7).ok(), Some(3));
        file.set_len(0).expect("cut");
        assert!(file.is_empty().expect("a length"));
        disk.rename(&nested.join("two"), &nested.join("one")).expect("renamed");
        disk.create(&nested.join("three")).expect("created");
        disk.sync_dir(&nested).expect("synced");
        assert_eq!(
            disk.list(&nested).ok(),
            Some(vec!["one".to_owned(), "three".to_owned()])
        );
        assert_eq!(
            disk.list(dir.path()).ok(),
            Some(Vec::new()),
            "directories are not listed"
        );
        assert_eq!(disk.exists(&nested.join("one")).ok(), Some(true));
        assert_eq!(disk.exists(&nested).ok(), Some(true), "a directory exists as well");
        disk.remove(&nested.join("one")).expect("removed");
        disk.remove_if_exists(&nested.join("one")).expect("it is gone");
        assert_eq!(disk.exists(&nested.join("one")).ok(), Some(false));
        disk.open_or_create(&nested.join("four"))
            .expect("created")
            .write_all_at(b"x", 0)
            .expect("written");
        let again = disk.open_or_create(&nested.join("four")).expect("opened");
        assert_eq!(again.len().ok(), Some(1));
        assert_eq!(
            disk.open(&nested.join("one")).err().map(|error| error.kind()),
            Some(io::ErrorKind::NotFound)
        );
    }

    #[test]
    fn a_path_is_locked_once_until_the_lock_is_dropped() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("LOCK");
        let held = RealDisk.lock(&path).expect("free");
        assert_eq!(
            RealDisk.lock(&path).err().map(|error| error.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
        drop(held);
        RealDisk.lock(&path).expect("free again");
    }

    #[test]
    fn space_is_reserved_by_writing_where_the_file_system_cannot() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(dir.path().join("zeros"))
            .expect("created");
        let file = RealFile(file);
        file.write_all_at(b"abc", 0).expect("written");
        let length = ZEROS_BYTES as u64 + 5;
        file.write_zeros(length).expect("reserved");
        assert_eq!(file.len().ok(), Some(length));
        let mut start = [1; 4];
        file.read_exact_at(&mut start, 0).expect("read");
        assert_eq!(&start, b"abc\0");
    }
}
