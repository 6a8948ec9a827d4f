//! A disk in memory that forgets what was not synced, tears what was being written and fails on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

/// The unit that a power cut persists or loses as a whole.
pub const SECTOR_BYTES: usize = 512;
/// Linux's `EIO`.
const EIO: i32 = 5;

/// What is left of unsynced writes after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing.
    DropUnsynced,
    /// Each sector of each write by the toss of a coin, and a prefix of the changes to names.
    Torn {
        /// Decides the tosses: the same seed, the same disk.
        seed: u64,
    },
}

/// What a call to the disk fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `EIO`. A write has written half; a sync has lost what was not durable, for good.
    Io,
    /// `ENOSPC`, as for [`FaultKind::Io`].
    NoSpace,
    /// A write writes half and says so; other calls are unharmed.
    ShortWrite,
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

/// See the module. A clone is the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    /// Counts crashes; a handle from before a crash is dead.
    epoch: u64,
    calls: u64,
    fault: Option<Fault>,
    dirs: BTreeSet<PathBuf>,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
}

#[derive(Clone, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone)]
enum NameChange {
    Link { path: PathBuf, inode: usize },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Link { path, .. } | Self::Remove { path } => path.parent(),
            Self::Rename { to, .. } => to.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove { path } => {
                names.remove(path);
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write {
                position,
                bytes: written,
            } => {
                let end = position + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*position..end].copy_from_slice(written);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators), enough to toss coins.
struct Coins(u64);

impl Coins {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn toss(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another disk with the same content, durable and not.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().clone())))
    }

    /// Cuts the power and turns it on again: open files are dead, what was not synced is lost or torn, and
    /// no fault is set any more.
    pub fn crash(&self, crash: Crash) {
        let state = &mut *self.0.lock();
        state.epoch += 1;
        state.fault = None;
        let mut coins = match crash {
            Crash::DropUnsynced => None,
            Crash::Torn { seed } => Some(Coins(seed)),
        };
        for inode in &mut state.inodes {
            for change in std::mem::take(&mut inode.pending) {
                let Some(coins) = &mut coins else { break };
                match change {
                    Change::Length(_) if coins.toss() => change.apply(&mut inode.durable),
                    Change::Length(_) => {}
                    Change::Write { position, bytes } => persist_sectors(&mut inode.durable, position, &bytes, coins),
                }
            }
            inode.current = inode.durable.clone();
        }
        let pending = std::mem::take(&mut state.pending_names);
        if let Some(coins) = &mut coins {
            let kept = usize::try_from(coins.next() % (pending.len() as u64 + 1)).expect("at most the length");
            for change in &pending[..kept] {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
    }

    /// Makes calls fail; `None` stops that. Calls are counted from now.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.0.lock();
        state.calls = 0;
        state.fault = fault;
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
        Some(state.inodes[inode].current.clone())
    }

    /// Replaces a file's bytes durably, as rot or an intruder would.
    pub fn tamper(&self, path: &Path, tamper: impl FnOnce(&mut Vec<u8>)) {
        let state = &mut *self.0.lock();
        let inode = *state.names.get(path).expect("the file to tamper with exists");
        let inode = &mut state.inodes[inode];
        tamper(&mut inode.current);
        inode.durable = inode.current.clone();
        inode.pending.clear();
    }
}

fn persist_sectors(durable: &mut Vec<u8>, position: usize, bytes: &[u8], coins: &mut Coins) {
    let mut start = 0;
    while start < bytes.len() {
        let sector_left = SECTOR_BYTES - (position + start) % SECTOR_BYTES;
        let end = bytes.len().min(start + sector_left);
        if coins.toss() {
            Change::Write {
                position: position + start,
                bytes: bytes[start..end].to_vec(),
            }
            .apply(durable);
        }
        start = end;
    }
}

impl State {
    /// Counts a call and says how it is to fail.
    fn count(&mut self) -> Option<FaultKind> {
        let call = self.calls;
        self.calls += 1;
        let fault = self.fault?;
        (call == fault.call || (fault.sticky && call > fault.call)).then_some(fault.kind)
    }

    /// Counts a call that fails as a whole or not at all.
    fn check(&mut self) -> io::Result<()> {
        match self.count() {
            Some(FaultKind::Io) => Err(io_error()),
            Some(FaultKind::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            Some(FaultKind::ShortWrite) | None => Ok(()),
        }
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }
}

fn io_error() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

impl Disk for MemoryDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.check()?;
        state.dirs.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = &mut *self.0.lock();
        state.check()?;
        if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = match state.names.get(path) {
            Some(&inode) => {
                state.inodes[inode].change(Change::Length(0));
                inode
            }
            None => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.change_name(NameChange::Link {
                    path: path.to_path_buf(),
                    inode,
                });
                inode
            }
        };
        Ok(self.handle(inode, state.epoch))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = &mut *self.0.lock();
        state.check()?;
        let &inode = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(inode, state.epoch))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.check()?;
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
        let state = &mut *self.0.lock();
        state.check()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Remove {
            path: path.to_path_buf(),
        });
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = &mut *self.0.lock();
        state.check()?;
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let state = &mut *self.0.lock();
        state.check()?;
        for change in std::mem::take(&mut state.pending_names) {
            if change.dir() == Some(dir) {
                change.apply(&mut state.durable_names);
            } else {
                state.pending_names.push(change);
            }
        }
        Ok(())
    }
}

impl MemoryDisk {
    fn handle(&self, inode: usize, epoch: u64) -> Arc<dyn DiskFile> {
        Arc::new(MemoryFile {
            disk: self.clone(),
            inode,
            epoch,
        })
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    inode: usize,
    epoch: u64,
}

impl MemoryFile {
    fn with<T>(&self, call: impl FnOnce(&mut Inode, Option<FaultKind>) -> io::Result<T>) -> io::Result<T> {
        let state = &mut *self.disk.0.lock();
        if state.epoch != self.epoch {
            return Err(io::Error::other("the file was opened before the crash"));
        }
        let fault = state.count();
        call(&mut state.inodes[self.inode], fault)
    }

    fn with_unless_failed<T>(&self, call: impl FnOnce(&mut Inode) -> io::Result<T>) -> io::Result<T> {
        self.with(|inode, fault| match fault {
            Some(FaultKind::Io) => Err(io_error()),
            Some(FaultKind::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            Some(FaultKind::ShortWrite) | None => call(inode),
        })
    }
}

fn to_usize(value: u64) -> io::Result<usize> {
    usize::try_from(value).map_err(io::Error::other)
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with_unless_failed(|inode| {
            let available = inode.current.get(to_usize(position)?..).unwrap_or_default();
            let count = available.len().min(buffer.len());
            buffer[..count].copy_from_slice(&available[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.with(|inode, fault| {
            let position = to_usize(position)?;
            let half = bytes.len().div_ceil(2);
            let count = if fault.is_some() { half } else { bytes.len() };
            inode.change(Change::Write {
                position,
                bytes: bytes[..count].to_vec(),
            });
            match fault {
                Some(FaultKind::Io) => Err(io_error()),
                Some(FaultKind::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
                Some(FaultKind::ShortWrite) | None => Ok(count),
            }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|inode, fault| {
            let pending = std::mem::take(&mut inode.pending);
            match fault {
                // As Linux does: the pages are marked clean, so later reads see them, and no later sync
                // writes them (Rebello et al., Can Applications Recover from fsync Failures?, ATC 2020).
                Some(FaultKind::Io) => Err(io_error()),
                Some(FaultKind::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
                Some(FaultKind::ShortWrite) | None => {
                    for change in pending {
                        change.apply(&mut inode.durable);
                    }
                    Ok(())
                }
            }
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.with_unless_failed(|inode| Ok(inode.current.len() as u64))
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.with_unless_failed(|inode| {
            let length = to_usize(length)?;
            if length > inode.current.len() {
                inode.change(Change::Length(length));
            }
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with_unless_failed(|inode| {
            inode.change(Change::Length(to_usize(length)?));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with_file() -> (MemoryDisk, Arc<dyn DiskFile>) {
        let disk = MemoryDisk::new();
        disk.create_dir(Path::new("/d")).expect("created");
        let file = disk.create(Path::new("/d/f")).expect("created");
        (disk, file)
    }

    #[test]
    fn a_crash_drops_what_was_not_synced() {
        let (disk, file) = disk_with_file();
        file.write_all_at(b"synced", 0).expect("written");
        file.sync_data().expect("synced");
        file.write_all_at(b"lost", 0).expect("written");
        assert_eq!(disk.contents(Path::new("/d/f")).as_deref(), Some(&b"losted"[..]));

        let nameless = disk.fork();
        nameless.crash(Crash::DropUnsynced);
        assert_eq!(nameless.paths(), Vec::<PathBuf>::new(), "the name was not synced");

        disk.sync_dir(Path::new("/d")).expect("synced");
        disk.crash(Crash::DropUnsynced);
        assert_eq!(disk.contents(Path::new("/d/f")).as_deref(), Some(&b"synced"[..]));
        assert!(file.len().is_err(), "handles do not survive a crash");
    }

    #[test]
    fn a_torn_write_persists_some_sectors() {
        let (disk, file) = disk_with_file();
        disk.sync_dir(Path::new("/d")).expect("synced");
        file.write_all_at(&vec![7; 16 * SECTOR_BYTES], 0).expect("written");
        disk.crash(Crash::Torn { seed: 1 });
        let bytes = disk.contents(Path::new("/d/f")).expect("the file");
        let persisted = bytes.chunks(SECTOR_BYTES).filter(|sector| sector[0] == 7).count();
        assert!((1..16).contains(&persisted), "{persisted} of 16 sectors");
        assert!(
            bytes
                .chunks(SECTOR_BYTES)
                .all(|sector| sector.iter().all(|&byte| byte == sector[0]))
        );
    }

    #[test]
    fn a_failed_sync_loses_the_writes_for_good() {
        let (disk, file) = disk_with_file();
        disk.sync_dir(Path::new("/d")).expect("synced");
        file.write_all_at(b"abc", 0).expect("written");
        disk.set_fault(Some(Fault {
            call: 0,
            kind: FaultKind::Io,
            sticky: false,
        }));
        assert_eq!(file.sync_data().map_err(|error| error.raw_os_error()), Err(Some(EIO)));
        file.sync_data().expect("the second sync claims success");
        let mut read = [0; 3];
        file.read_exact_at(&mut read, 0).expect("still in the page cache");
        disk.crash(Crash::DropUnsynced);
        assert_eq!(disk.contents(Path::new("/d/f")).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn faults_strike_the_chosen_call() {
        let (disk, file) = disk_with_file();
        disk.set_fault(Some(Fault {
            call: 1,
            kind: FaultKind::ShortWrite,
            sticky: false,
        }));
        file.write_at(b"abcd", 0).expect("written");
        assert_eq!(file.write_at(b"abcd", 0).ok(), Some(2));
        assert_eq!(file.write_at(b"abcd", 0).ok(), Some(4));
        disk.set_fault(Some(Fault {
            call: 1,
            kind: FaultKind::NoSpace,
            sticky: true,
        }));
        file.len().expect("unharmed");
        for _ in 0..3 {
            assert_eq!(
                file.allocate(100).map_err(|error| error.kind()),
                Err(io::ErrorKind::StorageFull)
            );
        }
        assert_eq!(disk.calls(), 4);
    }
}
