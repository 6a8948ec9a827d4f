//! A disk in memory that forgets what was not synced, tears what was being written, reorders, misdirects, rots, fills
//! up and fails on demand. The same calls and the same seeds give the same bytes.
//!
//! What it models and what it does not is written down in `docs/adr/0012-simulated-disk.md`.

mod coins;
mod content;
mod crash;
mod fault;
mod file;
mod inode;
mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, DiskLock};

pub use crash::Crash;
pub use fault::{Call, CallHook, CallKind, Fault, FaultKind};

use coins::Coins;
use content::Content;
use file::MemoryFile;
use inode::{Change, Inode};
use names::{NameChange, Names, PendingName};

/// The unit that a power cut persists or loses as a whole.
pub const SECTOR_BYTES: usize = 512;

/// See the module. A clone is the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

/// A bit that [`MemoryDisk::rot`] flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RottenBit {
    /// The file.
    pub path: PathBuf,
    /// The byte's position in it.
    pub position: u64,
    /// What was XORed to it.
    pub mask: u8,
}

#[derive(Clone, Default)]
struct State {
    /// Counts crashes; a handle from before a crash is dead.
    epoch: u64,
    calls: u64,
    fault: Option<Fault>,
    hook: Option<CallHook>,
    syncs_lie: bool,
    capacity_bytes: Option<u64>,
    /// Counts changes.
    order: u64,
    dirs: Arc<BTreeSet<PathBuf>>,
    inodes: Vec<Arc<Inode>>,
    names: Arc<Names>,
    durable_names: Arc<Names>,
    pending_names: Vec<PendingName>,
    locks: BTreeSet<PathBuf>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another disk with the same content, durable and not, without faults and hooks. Costs little: the bytes are
    /// shared until one of the two changes them.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.0.lock().clone();
        state.locks.clear();
        state.fault = None;
        state.hook = None;
        Self(Arc::new(Mutex::new(state)))
    }

    /// Stops everything and starts again: open files are dead, what was not synced is treated as `crash` says, and no
    /// fault is set any more.
    pub fn crash(&self, crash: Crash) {
        self.0.lock().crash(crash);
    }

    /// Makes calls fail; `None` stops that. Calls are counted from now.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.0.lock();
        state.calls = 0;
        state.fault = fault;
    }

    /// Sets who is told of every call.
    pub fn set_hook(&self, hook: Option<CallHook>) {
        self.0.lock().hook = hook;
    }

    /// Makes syncs claim success and do nothing, as a drive with a volatile cache that ignores flushes.
    pub fn set_syncs_lie(&self, lie: bool) {
        self.0.lock().syncs_lie = lie;
    }

    /// Limits the bytes of all files together; `None` for no limit.
    pub fn set_capacity_bytes(&self, capacity_bytes: Option<u64>) {
        self.0.lock().capacity_bytes = capacity_bytes;
    }

    /// The bytes of all files together, reserved ones included.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.0.lock().used_bytes()
    }

    /// How many calls were made since [`Self::set_fault`], or since the disk was made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// The paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// A file's bytes, synced or not.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        let inode = *state.names.get(path)?;
        Some(state.inodes[inode].current.to_vec())
    }

    /// Replaces a file's bytes durably, as an intruder would.
    pub fn tamper(&self, path: &Path, tamper: impl FnOnce(&mut Vec<u8>)) {
        self.change_durably(path, |content| {
            let mut bytes = content.to_vec();
            tamper(&mut bytes);
            *content = Content::from(&bytes[..]);
        });
    }

    /// XORs a byte of a file with `mask`, durably, as rot would.
    pub fn flip(&self, path: &Path, position: u64, mask: u8) {
        let position = usize::try_from(position).expect("files are in memory");
        self.change_durably(path, |content| {
            let mut byte = [0];
            assert_eq!(content.read(&mut byte, position), 1, "the byte to flip is in the file");
            content.write(position, &[byte[0] ^ mask]);
        });
    }

    /// Flips bits anywhere in files that are not empty, durably, and says which.
    pub fn rot(&self, seed: u64, bits: usize) -> Vec<RottenBit> {
        let mut coins = Coins::new(seed);
        let files: Vec<(PathBuf, usize)> = {
            let state = self.0.lock();
            let files = state.names.iter();
            let files = files.map(|(path, &inode)| (path.clone(), state.inodes[inode].current.len()));
            files.filter(|(_, length)| *length > 0).collect()
        };
        let total = files.iter().map(|(_, length)| length).sum();
        let mut rotten = Vec::new();
        for _ in 0..if total == 0 { 0 } else { bits } {
            let mut position = coins.below(total);
            let mask = 1 << coins.below(8);
            for (path, length) in &files {
                if position < *length {
                    let (path, position) = (path.clone(), position as u64);
                    self.flip(&path, position, mask);
                    rotten.push(RottenBit { path, position, mask });
                    break;
                }
                position -= length;
            }
        }
        rotten
    }

    /// Puts a file of another disk (or of an earlier copy of this one) in the place of `to`, durably.
    pub fn transplant(&self, source: &Self, from: &Path, to: &Path) {
        let content = {
            let source = source.0.lock();
            let inode = *source.names.get(from).expect("the file to transplant exists");
            source.inodes[inode].current.clone()
        };
        let state = &mut *self.0.lock();
        let mut inode = Inode::default();
        inode.put(content);
        state.inodes.push(Arc::new(inode));
        let inode = state.inodes.len() - 1;
        for names in [&mut state.names, &mut state.durable_names] {
            Arc::make_mut(names).insert(to.to_path_buf(), inode);
        }
    }

    /// Takes a file away, durably.
    pub fn unlink(&self, path: &Path) {
        let state = &mut *self.0.lock();
        for names in [&mut state.names, &mut state.durable_names] {
            Arc::make_mut(names).remove(path);
        }
    }

    fn change_durably(&self, path: &Path, change: impl FnOnce(&mut Content)) {
        let state = &mut *self.0.lock();
        let inode = *state.names.get(path).expect("the file to tamper with exists");
        let inode = Arc::make_mut(&mut state.inodes[inode]);
        let mut content = std::mem::take(&mut inode.current);
        change(&mut content);
        inode.put(content);
    }

    /// Counts a call, tells the hook, and says how it is to fail.
    fn enter(&self, kind: CallKind, path: &Path) -> Option<FaultKind> {
        let (number, fault, hook) = {
            let mut state = self.0.lock();
            let number = state.calls;
            state.calls += 1;
            (number, state.fault, state.hook.clone())
        };
        if let Some(hook) = hook {
            let path = path.to_path_buf();
            hook(&Call { number, kind, path });
        }
        fault.filter(|fault| fault.strikes(number)).map(|fault| fault.kind)
    }

    /// Counts a call that fails as a whole or not at all.
    fn check(&self, kind: CallKind, path: &Path) -> io::Result<()> {
        self.enter(kind, path).map_or(Ok(()), FaultKind::whole_call)
    }

    fn handle(&self, path: &Path, inode: usize, epoch: u64) -> Arc<dyn DiskFile> {
        Arc::new(MemoryFile {
            disk: self.clone(),
            path: path.to_path_buf(),
            inode,
            epoch,
        })
    }
}

impl State {
    fn change_name(&mut self, change: NameChange) {
        change.apply(Arc::make_mut(&mut self.names));
        self.order += 1;
        let order = self.order;
        self.pending_names.push(PendingName { order, change });
    }

    fn change_file(&mut self, inode: usize, change: Change) {
        self.order += 1;
        Arc::make_mut(&mut self.inodes[inode]).change(self.order, change);
    }

    fn used_bytes(&self) -> u64 {
        let lengths = self
            .names
            .values()
            .map(|&inode| self.inodes[inode].current.len() as u64);
        lengths.sum()
    }

    /// The length to which a file of `length` bytes may grow on its way to `wanted`.
    fn length_with_space(&self, length: usize, wanted: usize) -> usize {
        let Some(capacity_bytes) = self.capacity_bytes.filter(|_| wanted > length) else {
            return wanted;
        };
        let room = capacity_bytes.saturating_sub(self.used_bytes());
        let growth = ((wanted - length) as u64).min(room);
        length + usize::try_from(growth).expect("at most the growth that was wanted")
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check(CallKind::CreateDir, path)?;
        let state = &mut *self.0.lock();
        if !state.dirs.contains(path) {
            Arc::make_mut(&mut state.dirs).extend(path.ancestors().map(Path::to_path_buf));
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check(CallKind::Create, path)?;
        let state = &mut *self.0.lock();
        if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let existing = state.names.get(path).copied();
        let inode = match existing {
            Some(inode) => {
                state.change_file(inode, Change::Length(0));
                inode
            }
            None => {
                state.inodes.push(Arc::default());
                let inode = state.inodes.len() - 1;
                let path = path.to_path_buf();
                state.change_name(NameChange::Link { path, inode });
                inode
            }
        };
        Ok(self.handle(path, inode, state.epoch))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check(CallKind::Open, path)?;
        let state = &*self.0.lock();
        let &inode = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(path, inode, state.epoch))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(CallKind::Rename, to)?;
        let state = &mut *self.0.lock();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Rename {
            from: from.to_path_buf(),
            to: to.to_path_buf(),
        });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(CallKind::Remove, path)?;
        let state = &mut *self.0.lock();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Remove {
            path: path.to_path_buf(),
        });
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.check(CallKind::List, dir)?;
        let state = &*self.0.lock();
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(CallKind::SyncDir, dir)?;
        let state = &mut *self.0.lock();
        if state.syncs_lie {
            return Ok(());
        }
        for pending in std::mem::take(&mut state.pending_names) {
            if pending.change.dir() == Some(dir) {
                pending.change.apply(Arc::make_mut(&mut state.durable_names));
            } else {
                state.pending_names.push(pending);
            }
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.check(CallKind::Exists, path)?;
        let state = &*self.0.lock();
        Ok(state.names.contains_key(path) || state.dirs.contains(path))
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        self.check(CallKind::Lock, path)?;
        let state = &mut *self.0.lock();
        if !state.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock {
            disk: self.clone(),
            path: path.to_path_buf(),
            epoch: state.epoch,
        }))
    }
}

/// A path that nobody else can lock while it lives. A crash frees it.
struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
    epoch: u64,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let state = &mut *self.disk.0.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}
