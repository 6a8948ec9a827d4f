//! The simulated disk of a node: a disk in memory that goes wrong as the seed says, and whose every call is in the trace.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_log::testing::{CallKind, Crash, Fault as Strike, FaultKind, MemoryDisk};
use craton_log::{Disk, DiskFile, DiskLock};
use parking_lot::Mutex;

use crate::clock::SimulatedClock;
use crate::dice::{Dice, fnv, fnv_empty};
use crate::fault::{Counts, Fault};
use crate::swarm::Swarm;
use crate::trace::Trace;

/// A misdirected read is at most so many sectors away.
const DISTANCE_SECTORS_MAX: u64 = 16;
/// How long a slow call takes at most.
const SLOW_NS_MAX: u64 = 2_000_000_000;
/// How often a full disk is waited for before somebody makes space.
const WAITS_MAX: u32 = 5;

/// See the module. A clone is the same disk.
#[derive(Clone)]
pub(crate) struct SimulatedDisk {
    memory: MemoryDisk,
    state: Arc<Mutex<State>>,
}

struct State {
    dice: Dice,
    swarm: Swarm,
    trace: Trace,
    clock: SimulatedClock,
    /// Whether anything goes wrong now.
    armed: bool,
    /// So many calls from now the machine dies.
    dies_in: Option<u64>,
    is_dead: bool,
    waits: u32,
    /// How long slow calls took since anybody asked.
    stalled_ns: u64,
    counts: Counts,
    written: Written,
}

/// Where files were last written to.
#[derive(Default)]
struct Written {
    /// Counts files.
    files: u64,
    names: BTreeMap<PathBuf, u64>,
    /// The last two positions of each file, the later one last.
    positions: BTreeMap<u64, [u64; 2]>,
}

impl Written {
    fn create(&mut self, path: &Path) -> u64 {
        self.files += 1;
        self.names.insert(path.to_path_buf(), self.files);
        self.files
    }

    fn open(&mut self, path: &Path) -> u64 {
        match self.names.get(path) {
            Some(file) => *file,
            None => self.create(path),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        if let Some(file) = self.names.remove(from) {
            self.names.insert(to.to_path_buf(), file);
        }
    }

    fn note(&mut self, file: u64, position: u64) {
        let last = self.positions.entry(file).or_default();
        *last = [last[1], position];
    }

    /// The last write but one; what is before it was synced before something else was.
    fn settled_bytes(&self, path: &Path) -> u64 {
        let file = self.names.get(path);
        let positions = file.and_then(|file| self.positions.get(file));
        positions.map_or(0, |[settled, last]| *settled.min(last))
    }
}

impl SimulatedDisk {
    pub(crate) fn new(seed: u64, swarm: &Swarm, trace: &Trace, clock: &SimulatedClock) -> Self {
        Self {
            memory: MemoryDisk::new(),
            state: Arc::new(Mutex::new(State {
                dice: Dice::new(seed, "disk"),
                swarm: swarm.clone(),
                trace: trace.clone(),
                clock: clock.clone(),
                armed: false,
                dies_in: None,
                is_dead: false,
                waits: 0,
                stalled_ns: 0,
                counts: Counts::default(),
                written: Written::default(),
            })),
        }
    }

    /// A disk with the same bytes on which nothing goes wrong.
    pub(crate) fn fork(&self) -> MemoryDisk {
        self.memory.fork()
    }

    /// Lets things go wrong, or not; whether they could before.
    pub(crate) fn set_armed(&self, armed: bool) -> bool {
        std::mem::replace(&mut self.state.lock().armed, armed)
    }

    /// Lets the machine die within one of the next calls.
    pub(crate) fn die_in(&self, calls: u64) {
        self.state.lock().dies_in = Some(calls);
    }

    /// The machine does not die any more, unless it is dead already.
    pub(crate) fn live_on(&self) {
        self.state.lock().dies_in = None;
    }

    /// Whether the machine died within a call. Every later call fails, until the crash.
    pub(crate) fn is_dead(&self) -> bool {
        self.state.lock().is_dead
    }

    pub(crate) fn crash(&self, crash: Crash) {
        let mut state = self.state.lock();
        state.dies_in = None;
        state.is_dead = false;
        drop(state);
        self.memory.crash(crash);
    }

    /// Leaves so many bytes of space.
    pub(crate) fn fill_up(&self, space_bytes: u64) {
        let used = self.memory.used_bytes();
        self.memory.set_capacity_bytes(Some(used + space_bytes));
    }

    pub(crate) fn make_space(&self) {
        self.memory.set_capacity_bytes(None);
        self.state.lock().waits = 0;
    }

    /// What happens while the node waits for space: time passes, and in the end somebody makes some.
    pub(crate) fn wait_for_space(&self) {
        let mut state = self.state.lock();
        state.clock.advance(100_000_000);
        state.waits += 1;
        state.trace.note("waits for space");
        let is_enough = state.waits >= WAITS_MAX;
        drop(state);
        if is_enough {
            self.make_space();
        }
    }

    /// Flips a bit of a stored file. The last batches of the write-ahead log are spared: one node alone cannot tell damage
    /// to the last one from a batch that a power cut has torn.
    pub(crate) fn rot(&self) {
        let paths = self.memory.paths();
        let is_wal = |path: &&PathBuf| path.parent().is_some_and(|dir| dir.ends_with("wal"));
        let newest = paths
            .iter()
            .filter(is_wal)
            .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
            .max();
        let may_rot = |path: &&PathBuf| !path.ends_with("spare");
        let paths: Vec<&PathBuf> = paths.iter().filter(may_rot).collect();
        let mut state = self.state.lock();
        if paths.is_empty() {
            return;
        }
        let path = *state.dice.pick(&paths);
        let (position, mask) = (state.dice.next(), 1 << state.dice.below(8));
        state.trace.note(format_args!("rot of {}", path.display()));
        state.counts.add(Fault::Rot.name(), 1);
        let length = match Some(path) == newest {
            true => state.written.settled_bytes(path),
            false => self.memory.contents(path).map_or(0, |bytes| bytes.len() as u64),
        };
        drop(state);
        if length > 0 {
            self.memory.flip(path, position % length, mask);
        }
    }

    /// How long slow calls took since this was last asked.
    pub(crate) fn take_stalled_ns(&self) -> u64 {
        std::mem::take(&mut self.state.lock().stalled_ns)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state.lock().counts.clone()
    }

    /// Notes a call and lets the disk in memory do it as the seed says. `count` tells the bytes that were meant.
    fn call<T>(
        &self,
        kind: CallKind,
        path: &Path,
        detail: impl fmt::Display,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let dies = {
            let mut state = self.state.lock();
            if state.is_dead {
                return Err(io::Error::other("the machine is dead"));
            }
            let fault = state.draw(kind, path);
            state
                .trace
                .note(format_args!("{kind:?} {} {detail} {fault:?}", name(path)));
            let dies = state.dies_in == Some(0);
            state.dies_in = state.dies_in.map(|calls| calls.saturating_sub(1));
            if dies {
                state.is_dead = true;
                state.counts.add(Fault::CrashInCall.name(), 1);
                // The call itself has taken effect or not.
                if state.dice.below(2) == 0 {
                    return Err(io::Error::other("the machine dies"));
                }
            }
            self.memory.set_fault(fault.map(|kind| Strike {
                call: 0,
                kind,
                sticky: false,
            }));
            dies
        };
        // A sync that the machine does not survive has synced nothing that anybody could rely on.
        if dies && kind == CallKind::Sync {
            return Err(io::Error::other("the machine dies"));
        }
        let result = call();
        self.memory.set_fault(None);
        if dies {
            return Err(io::Error::other("the machine dies"));
        }
        result
    }

    fn file(&self, path: &Path, number: u64, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile {
            disk: self.clone(),
            path: path.to_path_buf(),
            number,
            file,
        })
    }
}

impl State {
    /// What goes wrong with a call.
    fn draw(&mut self, kind: CallKind, path: &Path) -> Option<FaultKind> {
        if !self.armed {
            return None;
        }
        if self.strikes(Fault::SlowDisk) {
            let nanoseconds = self.dice.below(SLOW_NS_MAX);
            self.clock.advance(nanoseconds);
            self.stalled_ns += nanoseconds;
        }
        // A sync is what matters most, and is called least.
        let chances = if kind == CallKind::Sync { 8 } else { 1 };
        if (0..chances).any(|_| self.strikes(Fault::IoError)) {
            return Some(FaultKind::Io);
        }
        let takes_space = matches!(kind, CallKind::Write | CallKind::Allocate | CallKind::Create);
        if takes_space && self.strikes(Fault::NoSpace) {
            return Some(FaultKind::NoSpace);
        }
        match kind {
            CallKind::Write if self.strikes(Fault::ShortWrite) => Some(FaultKind::ShortWrite),
            // A member cannot tell a last entry of its write-ahead log that is missing from one that it never had.
            CallKind::Write if is_of_tenant(path) && self.strikes(Fault::MisdirectedWrite) => {
                let distance_bytes = 512 * self.dice.between(1, DISTANCE_SECTORS_MAX);
                Some(FaultKind::MisdirectedWrite { distance_bytes })
            }
            CallKind::Read if self.strikes(Fault::MisdirectedRead) => {
                let distance_bytes = 512 * self.dice.between(1, DISTANCE_SECTORS_MAX);
                Some(FaultKind::MisdirectedRead { distance_bytes })
            }
            _ => None,
        }
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        let rate = self.swarm.rate(fault);
        let strikes = rate > 0 && self.dice.strikes(rate);
        if strikes {
            self.counts.add(fault.name(), 1);
        }
        strikes
    }
}

/// The last two parts of a path.
fn name(path: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{}/{}", path.parent().map(name).unwrap_or_default(), name(path))
}

/// Whether a file is one of a tenant's.
fn is_of_tenant(path: &Path) -> bool {
    path.components().any(|component| component.as_os_str() == "tenants")
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(CallKind::CreateDir, path, 0, || self.memory.create_dir(path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.call(CallKind::Create, path, 0, || self.memory.create(path))?;
        let number = self.state.lock().written.create(path);
        Ok(self.file(path, number, file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.call(CallKind::Open, path, 0, || self.memory.open(path))?;
        let number = self.state.lock().written.open(path);
        Ok(self.file(path, number, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(CallKind::Rename, to, 0, || self.memory.rename(from, to))?;
        self.state.lock().written.rename(from, to);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(CallKind::Remove, path, 0, || self.memory.remove(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call(CallKind::List, dir, 0, || self.memory.list(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(CallKind::SyncDir, dir, 0, || self.memory.sync_dir(dir))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.call(CallKind::Exists, path, 0, || self.memory.exists(path))
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        self.call(CallKind::Lock, path, 0, || self.memory.lock(path))
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    path: PathBuf,
    number: u64,
    file: Arc<dyn DiskFile>,
}

impl SimulatedFile {
    fn call<T>(
        &self,
        kind: CallKind,
        detail: impl fmt::Display,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.disk.call(kind, &self.path, detail, call)
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.call(CallKind::Read, position, || self.file.read_at(buffer, position))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let (hash, length) = (fnv(fnv_empty(), bytes), bytes.len());
        let detail = format_args!("{length} bytes at {position}: {hash:x}");
        self.disk.state.lock().written.note(self.number, position);
        self.call(CallKind::Write, detail, || self.file.write_at(bytes, position))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(CallKind::Sync, 0, || self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.call(CallKind::Sync, 1, || self.file.sync_all())
    }

    fn len(&self) -> io::Result<u64> {
        self.call(CallKind::Length, 0, || self.file.len())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.call(CallKind::Allocate, length, || self.file.allocate(length))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.call(CallKind::SetLength, length, || self.file.set_len(length))
    }
}
