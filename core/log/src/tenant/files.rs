//! The files of a tenant's log and how new ones come to be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_types::{Offset, segment_file_name};

use super::TenantLogError;
use crate::disk::{Disk, DiskFile};

const SEGMENT_SUFFIX: &str = ".segment";
const TMP_SUFFIX: &str = ".tmp";

/// Names and opens the files of one log's directory.
#[derive(Clone)]
pub(super) struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

/// A file and the name it is reported by.
#[derive(Clone)]
pub(super) struct NamedFile {
    file: Arc<dyn DiskFile>,
    path: Arc<Path>,
}

impl Files {
    pub(super) fn create_dir(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, TenantLogError> {
        disk.create_dir(dir).map_err(TenantLogError::io("create", dir))?;
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
        })
    }

    /// All names, while the log is in use.
    pub(super) fn names(&self) -> Result<Vec<String>, TenantLogError> {
        self.disk.list(&self.dir).map_err(TenantLogError::io("list", &self.dir))
    }

    /// All names, when the log is opened. Files that never got their final name are removed: nothing refers to them.
    pub(super) fn list(&self) -> Result<Vec<String>, TenantLogError> {
        let (unfinished, names): (Vec<_>, Vec<_>) =
            self.names()?.into_iter().partition(|name| name.ends_with(TMP_SUFFIX));
        for name in unfinished {
            let path = self.dir.join(name);
            self.disk.remove(&path).map_err(TenantLogError::io("remove", &path))?;
        }
        Ok(names)
    }

    pub(super) fn open(&self, name: &str) -> Result<NamedFile, TenantLogError> {
        let path = self.dir.join(name);
        let file = self.disk.open(&path).map_err(TenantLogError::io("open", &path))?;
        Ok(NamedFile {
            file,
            path: path.into(),
        })
    }

    /// Creates an empty file whose name is durable.
    pub(super) fn create(&self, name: &str) -> Result<NamedFile, TenantLogError> {
        let path = self.dir.join(name);
        let file = self.disk.create(&path).map_err(TenantLogError::io("create", &path))?;
        self.sync_dir()?;
        Ok(NamedFile {
            file,
            path: path.into(),
        })
    }

    /// Creates or replaces a file so that it is there as a whole or not at all.
    pub(super) fn create_whole(&self, name: &str, bytes: &[u8]) -> Result<NamedFile, TenantLogError> {
        let tmp_path = self.dir.join(format!("{name}{TMP_SUFFIX}"));
        let path = self.dir.join(name);
        let file = self
            .disk
            .create(&tmp_path)
            .map_err(TenantLogError::io("create", &tmp_path))?;
        file.write_all_at(bytes, 0)
            .map_err(TenantLogError::io("write", &tmp_path))?;
        file.sync_all().map_err(TenantLogError::io("sync", &tmp_path))?;
        self.disk
            .rename(&tmp_path, &path)
            .map_err(TenantLogError::io("rename", &tmp_path))?;
        self.sync_dir()?;
        Ok(NamedFile {
            file,
            path: path.into(),
        })
    }

    fn sync_dir(&self) -> Result<(), TenantLogError> {
        self.disk
            .sync_dir(&self.dir)
            .map_err(TenantLogError::io("sync", &self.dir))
    }
}

impl NamedFile {
    pub(super) fn length(&self) -> Result<u64, TenantLogError> {
        self.file.len().map_err(TenantLogError::io("measure", &self.path))
    }

    /// Reads until the buffer is full or the file ends, and returns how many bytes were read.
    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> Result<usize, TenantLogError> {
        self.file
            .read_up_to(buffer, position)
            .map_err(TenantLogError::io("read", &self.path))
    }

    /// Fills the buffer; `false` when the file ends before.
    pub(super) fn fill(&self, buffer: &mut [u8], position: u64) -> Result<bool, TenantLogError> {
        Ok(self.read(buffer, position)? == buffer.len())
    }

    pub(super) fn write(&self, bytes: &[u8], position: u64) -> Result<(), TenantLogError> {
        self.file
            .write_all_at(bytes, position)
            .map_err(TenantLogError::io("write", &self.path))
    }

    /// # Errors
    /// Whatever the reason, what was not durable before may be lost: a full disk is no exception.
    pub(super) fn sync(&self) -> Result<(), TenantLogError> {
        self.file.sync_data().map_err(|source| TenantLogError::Io {
            operation: "sync",
            path: self.path.to_path_buf(),
            source,
        })
    }

    pub(super) fn cut(&self, length: u64) -> Result<(), TenantLogError> {
        self.file
            .set_len(length)
            .map_err(TenantLogError::io("cut", &self.path))?;
        self.sync()
    }
}

pub(super) fn segment_name(first: u64) -> String {
    segment_file_name(Offset::new(first))
}

pub(super) fn index_name(first: u64) -> String {
    format!("{first:020}.index")
}

pub(super) fn hashes_name(level: usize) -> String {
    format!("level-{level}.hashes")
}

/// The first offset that a segment's name says.
pub(super) fn parse_segment_name(name: &str) -> Option<u64> {
    let first = name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok()?;
    (name == segment_name(first)).then_some(first)
}
