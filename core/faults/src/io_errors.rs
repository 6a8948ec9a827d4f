//! Every call that changes the disk fails, once or from then on, with `EIO`, with `ENOSPC` or as a short write.
//!
//! The operations are divided into lives of a node: it is opened, works and stops. Every life is run once without
//! faults, which lists its calls, and then again for each fault of each call, from a copy of the disk at its
//! beginning. When a fault ended the node, the process is started again on the same page cache, and a copy of the disk
//! also loses its power; both must hold what was acknowledged and nothing that was refused.

use std::sync::Arc;

use craton_log::testing::{Call, CallKind, Crash, Fault, FaultKind, MemoryDisk};
use parking_lot::Mutex;

use crate::campaign::{Campaign, Next};
use crate::history::History;
use crate::node::{Defect, NodeError, NodeOptions};
use crate::writer::Writer;

/// Operations of one life of the node.
const OPERATIONS_PER_LIFE: u64 = 50;
/// Operations after the fault struck; what it broke shows by then.
const OPERATIONS_AFTER: u64 = 12;
const COMMAND_BYTES_MAX: u64 = 700;
const SEGMENT_BYTES: u64 = 8192;

/// What the campaign is run with.
#[derive(Clone, Copy, Debug)]
pub struct IoErrorOptions {
    /// How many operations the run has.
    pub operations: u64,
    /// Decides what is written and what power cuts leave.
    pub seed: u64,
    /// How many cases go on beside each other.
    pub threads: usize,
    /// A defect to find.
    pub defect: Option<Defect>,
}

/// A life of the node: how it begins, and the calls it makes when nothing fails.
struct Life {
    disk: MemoryDisk,
    writer: Writer,
    calls: Vec<(u64, CallKind)>,
}

/// Runs the campaign.
pub fn run(campaign: &Campaign, options: IoErrorOptions) {
    let lives = match lives(options) {
        Ok(lives) => lives,
        Err(what) => return campaign.case("0.run", || Err(what)),
    };
    campaign.for_each(options.threads, |number| {
        let Some(life) = usize::try_from(number).ok().and_then(|number| lives.get(number)) else {
            return Next::Nothing;
        };
        for &(call, kind) in &life.calls {
            for (name, fault) in faults(call, kind) {
                campaign.case(&format!("{number}.{call}.{name}"), || life.check(fault));
            }
        }
        Next::More
    });
}

/// The faults that a call of this kind can have.
fn faults(call: u64, call_kind: CallKind) -> impl Iterator<Item = (String, Fault)> {
    let kinds = [
        ("io-error", FaultKind::Io),
        ("no-space", FaultKind::NoSpace),
        ("short-write", FaultKind::ShortWrite),
    ];
    let able = kinds
        .into_iter()
        .filter(move |(_, kind)| call_kind == CallKind::Write || *kind != FaultKind::ShortWrite);
    able.flat_map(move |(name, kind)| {
        [("once", false), ("sticky", true)].map(|(how_long, sticky)| {
            let fault = Fault { call, kind, sticky };
            (format!("{name}.{how_long}"), fault)
        })
    })
}

/// Runs all operations without a fault.
fn lives(options: IoErrorOptions) -> Result<Vec<Life>, String> {
    let node_options = NodeOptions {
        wal_segment_bytes: SEGMENT_BYTES,
        tenant_segment_bytes: SEGMENT_BYTES,
        defect: options.defect,
    };
    let disk = MemoryDisk::new();
    disk.set_syncs_lie(options.defect == Some(Defect::LyingDisk));
    let mut writer = Writer::new(node_options, options.seed, COMMAND_BYTES_MAX, History::default());
    let mut lives = Vec::new();
    for number in 0..options.operations.div_ceil(OPERATIONS_PER_LIFE) {
        settle(&mut writer, &disk, number)?;
        let (disk_before, writer_before) = (disk.fork(), writer.fork());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&calls);
        disk.set_fault(None);
        disk.set_hook(Some(Arc::new(move |call: &Call| {
            if call.kind.is_change() {
                to.lock().push((call.number, call.kind));
            }
        })));
        let operations = OPERATIONS_PER_LIFE.min(options.operations - number * OPERATIONS_PER_LIFE);
        live(&mut writer, &disk, number, operations)?;
        disk.set_hook(None);
        lives.push(Life {
            disk: disk_before,
            writer: writer_before,
            calls: std::mem::take(&mut *calls.lock()),
        });
    }
    Ok(lives)
}

/// Checks everything so far on a copy, so that the cases of the next life check only what is new.
fn settle(writer: &mut Writer, disk: &MemoryDisk, number: u64) -> Result<(), String> {
    let mut checker = writer.fork();
    let opened = checker.open(&disk.fork(), (1 << 36) + number);
    opened.map_err(|error| format!("without any fault: {error}"))??;
    checker.settle()?;
    *writer = checker.fork();
    Ok(())
}

fn live(writer: &mut Writer, disk: &MemoryDisk, number: u64, operations: u64) -> Result<(), String> {
    let failed = |error: NodeError| format!("without any fault: {error}");
    writer.open(disk, number).map_err(failed)??;
    for _ in 0..operations {
        writer.step().map_err(failed)?;
    }
    if number.is_multiple_of(2) {
        writer.close().map_err(failed)?;
    }
    Ok(())
}

impl Life {
    fn check(&self, fault: Fault) -> Result<&'static str, String> {
        let disk = self.disk.fork();
        let mut writer = self.writer.fork();
        disk.set_fault(Some(fault));
        let ended = run_until_error(&mut writer, &disk, fault)?;
        let refused = writer.history.lock().refused() > self.writer.history.lock().refused();
        if fault.sticky && ended.is_some() {
            // A supervisor starts the node again while the disk still fails.
            if let Ok(checked) = writer.open(&disk, 1 << 32) {
                checked.map_err(|what| format!("opened while the disk fails: {what}"))?;
            }
        }
        let cut = disk.fork();
        cut.crash(Crash::Torn { seed: fault.call });
        let mut after_cut = writer.fork();
        check_after(&mut after_cut, &cut, "after the power cut")?;
        disk.crash(Crash::Process);
        check_after(&mut writer, &disk, "after the restart")?;
        Ok(match (ended, refused) {
            (Some(NodeError::Wal(_)), _) => "the write-ahead log stopped the node",
            (Some(NodeError::Purge(_)), _) => "the write-ahead log could not forget",
            (Some(_), _) => "a tenant log stopped the node",
            (None, true) => "entries were refused",
            (None, false) => "nobody noticed and nothing was lost",
        })
    }
}

/// Runs the node on a failing disk until it ends; `None` when it does not.
fn run_until_error(writer: &mut Writer, disk: &MemoryDisk, fault: Fault) -> Result<Option<NodeError>, String> {
    match writer.open(disk, 1 << 33) {
        Ok(checked) => checked.map_err(|what| format!("opened with the fault: {what}"))?,
        Err(error) => return Ok(Some(error)),
    }
    let mut after = 0;
    while after < OPERATIONS_AFTER {
        if let Err(error) = writer.step() {
            let acknowledged = writer.history.lock().acknowledged();
            let goes_on = matches!(error, NodeError::Wal(_)) && writer.propose_one().is_ok();
            if goes_on && writer.history.lock().acknowledged() > acknowledged {
                return Err(format!("an entry was acknowledged after: {error}"));
            }
            return Ok(Some(error));
        }
        after += u64::from(disk.calls() > fault.call);
    }
    Ok(None)
}

/// The disk is well again: the node opens, keeps to its word, goes on, and is still right after a power cut.
fn check_after(writer: &mut Writer, disk: &MemoryDisk, when: &str) -> Result<(), String> {
    for salt in [1 << 34, 1 << 35] {
        let opened = writer.open(disk, salt);
        let checked = opened.map_err(|error| format!("{when}: does not open: {error}"))?;
        checked.map_err(|what| format!("{when}: {what}"))?;
        let acknowledged = writer.history.lock().acknowledged();
        let written = writer.propose_one();
        written.map_err(|error| format!("{when}: takes no entry: {error}"))?;
        if writer.history.lock().acknowledged() == acknowledged {
            return Err(format!("{when}: refuses an entry"));
        }
        disk.crash(Crash::DropUnsynced);
    }
    Ok(())
}
