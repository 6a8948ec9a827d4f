//! Which calls fail, and how.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Linux's `EIO`.
pub(super) const EIO: i32 = 5;

/// What a call to the disk fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `EIO`. A write has written half; a sync has lost what was not durable, for good.
    Io,
    /// `ENOSPC`, as for [`FaultKind::Io`].
    NoSpace,
    /// A write writes half and says so; other calls are unharmed.
    ShortWrite,
    /// A write claims success and never reaches the medium; other calls are unharmed.
    LostWrite,
    /// A write goes to another place of its file and claims success; other calls are unharmed.
    MisdirectedWrite {
        /// How far behind the right place.
        distance_bytes: u64,
    },
    /// A read returns the bytes of another place of its file; other calls are unharmed.
    MisdirectedRead {
        /// How far behind the right place.
        distance_bytes: u64,
    },
}

impl FaultKind {
    /// The error of a call that fails as a whole or not at all.
    pub(super) fn whole_call(self) -> io::Result<()> {
        match self {
            Self::Io => Err(io::Error::from_raw_os_error(EIO)),
            Self::NoSpace => Err(io::ErrorKind::StorageFull.into()),
            Self::ShortWrite | Self::LostWrite | Self::MisdirectedWrite { .. } | Self::MisdirectedRead { .. } => Ok(()),
        }
    }
}

/// Which calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first call that fails, counted from zero since the fault was set.
    pub call: u64,
    /// How it fails.
    pub kind: FaultKind,
    /// Whether all later calls fail as well.
    pub sticky: bool,
}

impl Fault {
    pub(super) const fn strikes(&self, call: u64) -> bool {
        call == self.call || (self.sticky && call > self.call)
    }
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// [`super::super::Disk::create_dir`].
    CreateDir,
    /// [`super::super::Disk::create`].
    Create,
    /// [`super::super::Disk::open`].
    Open,
    /// [`super::super::Disk::rename`].
    Rename,
    /// [`super::super::Disk::remove`].
    Remove,
    /// [`super::super::Disk::list`].
    List,
    /// [`super::super::Disk::sync_dir`].
    SyncDir,
    /// [`super::super::Disk::exists`].
    Exists,
    /// [`super::super::Disk::lock`].
    Lock,
    /// [`super::super::DiskFile::read_at`].
    Read,
    /// [`super::super::DiskFile::write_at`].
    Write,
    /// [`super::super::DiskFile::sync_data`] or [`super::super::DiskFile::sync_all`].
    Sync,
    /// [`super::super::DiskFile::len`].
    Length,
    /// [`super::super::DiskFile::allocate`].
    Allocate,
    /// [`super::super::DiskFile::set_len`].
    SetLength,
}

impl CallKind {
    /// Whether the call changes what the disk holds or makes it durable.
    #[must_use]
    pub const fn is_change(self) -> bool {
        !matches!(
            self,
            Self::Open | Self::List | Self::Exists | Self::Lock | Self::Read | Self::Length
        )
    }
}

/// A call that is about to take effect.
#[derive(Clone, Debug)]
pub struct Call {
    /// Counted from zero since [`super::MemoryDisk::set_fault`], or since the disk was made.
    pub number: u64,
    /// What it does.
    pub kind: CallKind,
    /// The directory or file; a renamed file by its new name, an open one by the name it was opened with.
    pub path: PathBuf,
}

/// Is told of every call before it takes effect. It may wait, as a slow disk would, or fork the disk, to see what a
/// crash at that moment leaves.
pub type CallHook = Arc<dyn Fn(&Call) + Send + Sync>;
