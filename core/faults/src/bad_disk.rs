//! A disk that says nothing: writes that never reach the medium, writes and reads of another place, rot while the node is
//! stopped and while it is scrubbed. And one that says that it is full.
//!
//! Whatever such a disk does, a node serves what was acknowledged, or an error. After a fault it goes on for a while and
//! stops as a clean stop does; a lone last write that never arrives cannot be told from one that was never made.

use std::sync::Arc;

use craton_log::testing::{Call, CallKind, Crash, Fault, FaultKind, MemoryDisk};
use parking_lot::Mutex;

use crate::campaign::{Campaign, Next};
use crate::history::History;
use crate::node::{Defect, NodeError, NodeOptions};
use crate::workload::Decisions;
use crate::writer::Writer;

const COMMAND_BYTES_MAX: u64 = 700;
const SEGMENT_BYTES: u64 = 8192;
/// Operations before the faults begin, so that there is something to lose.
const OPERATIONS_BEFORE: u64 = 30;
/// Operations after the last fault.
const OPERATIONS_AFTER: u64 = 12;
/// How far misdirected bytes go astray: to the next sector, and to the next page.
const DISTANCES_BYTES: [u64; 2] = [512, 4096];
/// The most bits that rot at once.
const BITS_MAX: u64 = 8;
/// A disk fills up at each multiple of this.
const CAPACITY_STEP_BYTES: u64 = 1024;

/// What the campaign is run with.
#[derive(Clone, Copy, Debug)]
pub struct BadDiskOptions {
    /// How many operations are made whose calls go wrong, and for how many the disk fills up.
    pub operations: u64,
    /// How often bits rot, each time on a stopped node and on a running one.
    pub rots: u64,
    /// Decides what is written and what rots.
    pub seed: u64,
    /// How many cases go on beside each other.
    pub threads: usize,
    /// A defect to find.
    pub defect: Option<Defect>,
}

/// Runs the campaign.
pub fn run(campaign: &Campaign, options: BadDiskOptions) {
    let world = match World::new(options) {
        Ok(world) => world,
        Err(what) => return campaign.case("0.run", || Err(what)),
    };
    let calls = world.calls.len() as u64;
    let capacities = world.grown_bytes / CAPACITY_STEP_BYTES + 1;
    campaign.for_each(options.threads, |number| {
        if let Some(&(call, kind)) = usize::try_from(number).ok().and_then(|number| world.calls.get(number)) {
            for (name, kind) in faults(kind) {
                campaign.case(&format!("{number}.{name}"), || world.go_wrong(call, kind));
            }
        } else if number < calls + options.rots {
            campaign.case(&format!("{number}.rot.stopped"), || world.rot_while_stopped(number));
            campaign.case(&format!("{number}.rot.scrubbed"), || world.rot_while_scrubbed(number));
        } else if number < calls + options.rots + capacities {
            let room = (number - calls - options.rots) * CAPACITY_STEP_BYTES;
            campaign.case(&format!("{number}.full"), || world.fill_up(room));
        } else {
            return Next::Nothing;
        }
        Next::More
    });
}

/// How a call of this kind goes wrong without a word.
fn faults(call_kind: CallKind) -> impl Iterator<Item = (String, FaultKind)> {
    let astray = DISTANCES_BYTES
        .into_iter()
        .filter_map(move |distance_bytes| match call_kind {
            CallKind::Write => Some((
                format!("write-astray.{distance_bytes}"),
                FaultKind::MisdirectedWrite { distance_bytes },
            )),
            CallKind::Read => Some((
                format!("read-astray.{distance_bytes}"),
                FaultKind::MisdirectedRead { distance_bytes },
            )),
            _ => None,
        });
    let lost = (call_kind == CallKind::Write).then(|| ("write-lost".to_owned(), FaultKind::LostWrite));
    astray.chain(lost)
}

/// A node that has written and stopped, and the calls that it makes when it goes on.
struct World {
    disk: MemoryDisk,
    writer: Writer,
    operations: u64,
    seed: u64,
    calls: Vec<(u64, CallKind)>,
    /// How much more the disk holds after the operations.
    grown_bytes: u64,
}

impl World {
    fn new(options: BadDiskOptions) -> Result<Self, String> {
        let node_options = NodeOptions {
            wal_segment_bytes: SEGMENT_BYTES,
            tenant_segment_bytes: SEGMENT_BYTES,
            defect: options.defect,
        };
        let disk = MemoryDisk::new();
        disk.set_syncs_lie(options.defect == Some(Defect::LyingDisk));
        let mut writer = Writer::new(node_options, options.seed, COMMAND_BYTES_MAX, History::default());
        live(&mut writer, &disk, 0, OPERATIONS_BEFORE)?;
        disk.crash(Crash::DropUnsynced);
        let (before, writer_before) = (disk.fork(), writer.fork());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&calls);
        disk.set_fault(None);
        disk.set_hook(Some(Arc::new(move |call: &Call| {
            if matches!(call.kind, CallKind::Write | CallKind::Read) {
                to.lock().push((call.number, call.kind));
            }
        })));
        live(&mut writer, &disk, 1, options.operations)?;
        disk.set_hook(None);
        let calls = std::mem::take(&mut *calls.lock());
        Ok(Self {
            grown_bytes: disk.used_bytes().saturating_sub(before.used_bytes()),
            disk: before,
            writer: writer_before,
            operations: options.operations,
            seed: options.seed,
            calls,
        })
    }

    /// One call goes wrong and nobody says so.
    fn go_wrong(&self, call: u64, kind: FaultKind) -> Result<&'static str, String> {
        let (disk, mut writer) = (self.disk.fork(), self.writer.fork());
        let sticky = false;
        disk.set_fault(Some(Fault { call, kind, sticky }));
        match self.go_on(&mut writer, &disk, call) {
            Ok(Ok(())) => {}
            Ok(Err(what)) if is_reading(&what) => return Ok("an error when reading"),
            Ok(Err(what)) => return Err(format!("served: {what}")),
            // It was noticed, and the node stopped before anybody was told anything more.
            Err(_) => return Ok("an error while running"),
        }
        disk.crash(Crash::DropUnsynced);
        served(&mut writer, &disk)
    }

    /// Opens, works until the call was made and for a while after, and stops.
    fn go_on(&self, writer: &mut Writer, disk: &MemoryDisk, call: u64) -> Result<Result<(), String>, NodeError> {
        if let Err(what) = writer.open(disk, 1)? {
            return Ok(Err(what));
        }
        let mut after = 0;
        for _ in 0..self.operations + OPERATIONS_AFTER {
            writer.step()?;
            after += u64::from(disk.calls() > call);
            if after >= OPERATIONS_AFTER {
                break;
            }
        }
        let checked = writer.check();
        writer.close()?;
        Ok(checked)
    }

    fn rot(&self, disk: &MemoryDisk, number: u64) {
        let mut decisions = Decisions::new(self.seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let bits = usize::try_from(1 + decisions.below(BITS_MAX)).expect("few");
        disk.rot(decisions.next(), bits);
    }

    fn rot_while_stopped(&self, number: u64) -> Result<&'static str, String> {
        let (disk, mut writer) = (self.disk.fork(), self.writer.fork());
        self.rot(&disk, number);
        served(&mut writer, &disk)
    }

    /// Bits rot under an open node. What its scrub calls whole is served.
    fn rot_while_scrubbed(&self, number: u64) -> Result<&'static str, String> {
        let (disk, mut writer) = (self.disk.fork(), self.writer.fork());
        let opened = writer.open(&disk, 1);
        opened.map_err(|error| format!("without any rot: {error}"))??;
        self.rot(&disk, number);
        let is_whole = writer.scrub();
        match (is_whole, writer.check()) {
            (_, Err(what)) if !is_reading(&what) => Err(format!("served: {what}")),
            (true, Err(what)) => Err(format!("the scrub called it whole: {what}")),
            (false, _) => Ok("found by the scrub"),
            (true, Ok(())) => Ok("what rotted was not in use"),
        }
    }

    /// The disk has so much room and no more, until the node was stopped.
    fn fill_up(&self, room: u64) -> Result<&'static str, String> {
        let (disk, mut writer) = (self.disk.fork(), self.writer.fork());
        disk.set_capacity_bytes(Some(disk.used_bytes() + room));
        let refused_before = writer.history.lock().refused();
        let mut run = || -> Result<Result<(), String>, NodeError> {
            if let Err(what) = writer.open(&disk, 1)? {
                return Ok(Err(what));
            }
            for _ in 0..self.operations {
                writer.step()?;
            }
            writer.close()?;
            Ok(Ok(()))
        };
        let ended = run();
        if let Ok(Err(what)) = &ended {
            return Err(format!("opened on a full disk: {what}"));
        }
        let refused = writer.history.lock().refused() > refused_before;
        disk.crash(Crash::DropUnsynced);
        disk.set_capacity_bytes(None);
        for salt in [2, 3] {
            let opened = writer.open(&disk, salt);
            let checked = opened.map_err(|error| format!("with room again: does not open: {error}"))?;
            checked.map_err(|what| format!("with room again: {what}"))?;
            let written = writer.propose_one();
            written.map_err(|error| format!("with room again: takes no entry: {error}"))?;
        }
        Ok(match (ended.is_err(), refused) {
            (true, _) => "a full disk stopped the node",
            (false, true) => "entries were refused",
            (false, false) => "there was room enough",
        })
    }
}

/// Opens a node twice: all that was acknowledged is there, or there is an error.
fn served(writer: &mut Writer, disk: &MemoryDisk) -> Result<&'static str, String> {
    for (salt, when) in [(2, "opened"), (3, "opened again")] {
        match writer.open(disk, salt) {
            Err(_) if salt == 2 => return Ok("an error when opening"),
            Err(error) => return Err(format!("does not open after it did: {error}")),
            Ok(Ok(())) => {}
            Ok(Err(what)) if is_reading(&what) => return Ok("an error when reading"),
            Ok(Err(what)) => return Err(format!("{when}: {what}")),
        }
        disk.crash(Crash::DropUnsynced);
    }
    Ok("mended, or nothing was harmed")
}

fn is_reading(what: &str) -> bool {
    what.starts_with("cannot read: ")
}

fn live(writer: &mut Writer, disk: &MemoryDisk, number: u64, operations: u64) -> Result<(), String> {
    let failed = |error: NodeError| format!("without any fault: {error}");
    writer.open(disk, number).map_err(failed)??;
    for _ in 0..operations {
        writer.step().map_err(failed)?;
    }
    writer.close().map_err(failed)
}
