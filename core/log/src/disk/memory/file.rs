//! Open files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::fault::{CallKind, FaultKind};
use super::inode::Change;
use super::{DiskFile, MemoryDisk, State};

pub(super) struct MemoryFile {
    pub(super) disk: MemoryDisk,
    /// The name it was opened with.
    pub(super) path: PathBuf,
    pub(super) inode: usize,
    pub(super) epoch: u64,
}

impl MemoryFile {
    fn with<T>(
        &self,
        kind: CallKind,
        call: impl FnOnce(&mut State, Option<FaultKind>) -> io::Result<T>,
    ) -> io::Result<T> {
        let fault = self.disk.enter(kind, &self.path);
        let state = &mut *self.disk.0.lock();
        if state.epoch != self.epoch {
            return Err(io::Error::other("the file was opened before the crash"));
        }
        call(state, fault)
    }

    fn resize(&self, state: &mut State, length: usize) -> io::Result<()> {
        let current = state.inodes[self.inode].current.len();
        if state.length_with_space(current, length) < length {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.change_file(self.inode, Change::Length(length));
        Ok(())
    }
}

fn to_usize(value: u64) -> io::Result<usize> {
    usize::try_from(value).map_err(io::Error::other)
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(CallKind::Read, |state, fault| {
            let position = match fault {
                Some(FaultKind::MisdirectedRead { distance_bytes }) => position.saturating_add(distance_bytes),
                Some(fault) => fault.whole_call().map(|()| position)?,
                None => position,
            };
            Ok(state.inodes[self.inode].current.read(buffer, to_usize(position)?))
        })
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.with(CallKind::Write, |state, fault| {
            let mut position = to_usize(position)?;
            let mut count = bytes.len();
            match fault {
                Some(FaultKind::LostWrite) => return Ok(count),
                Some(FaultKind::MisdirectedWrite { distance_bytes }) => position += to_usize(distance_bytes)?,
                Some(FaultKind::Io | FaultKind::NoSpace | FaultKind::ShortWrite) => count = count.div_ceil(2),
                Some(FaultKind::MisdirectedRead { .. }) | None => {}
            }
            let length = state.inodes[self.inode].current.len();
            let end = state.length_with_space(length, position + count);
            if end < position + count {
                count = end.saturating_sub(position);
                if count == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            let bytes = Arc::from(&bytes[..count]);
            state.change_file(self.inode, Change::Write { position, bytes });
            fault.map_or(Ok(()), FaultKind::whole_call).map(|()| count)
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(CallKind::Sync, |state, fault| {
            let failed = fault.map_or(Ok(()), FaultKind::whole_call);
            if failed.is_ok() && state.syncs_lie {
                return Ok(());
            }
            let inode = Arc::make_mut(&mut state.inodes[self.inode]);
            match failed {
                Ok(()) => inode.sync(),
                Err(_) => inode.lose_pending(),
            }
            failed
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.with(CallKind::Length, |state, fault| {
            fault.map_or(Ok(()), FaultKind::whole_call)?;
            Ok(state.inodes[self.inode].current.len() as u64)
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.with(CallKind::Allocate, |state, fault| {
            fault.map_or(Ok(()), FaultKind::whole_call)?;
            let length = to_usize(length)?;
            if length > state.inodes[self.inode].current.len() {
                self.resize(state, length)?;
            }
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(CallKind::SetLength, |state, fault| {
            fault.map_or(Ok(()), FaultKind::whole_call)?;
            self.resize(state, to_usize(length)?)
        })
    }
}
