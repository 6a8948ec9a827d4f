//! Crashes at every boundary between two calls to the disk, with every way in which unsynced writes may be lost.
//!
//! A run opens a node, writes, flushes, stops and opens it again, several times. Before each call that follows a
//! change the disk is copied, and each copy crashes in several ways. After each crash the node is opened, checked, cut
//! off, opened again, checked, written to, torn, opened and checked. Crashes while a node recovers are among them, as
//! opening is a part of each run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use craton_log::testing::{Call, Crash, MemoryDisk};
use parking_lot::Mutex;

use crate::campaign::{Campaign, Next};
use crate::history::History;
use crate::node::{Defect, NodeOptions};
use crate::writer::Writer;

/// How often a run opens its node.
const LIVES: u64 = 3;
/// Steps between two openings.
const STEPS: u64 = 14;
/// The longest command's random part.
const COMMAND_BYTES_MAX: u64 = 700;
/// Small, so that runs cross many boundaries between segments.
const SEGMENT_BYTES: u64 = 4096;
/// Entries written to a node after it recovered.
const ENTRIES_AFTER: usize = 2;

/// What the campaign is run with.
#[derive(Clone, Copy, Debug)]
pub struct CrashPointOptions {
    /// Runs go on until there were this many crashes.
    pub count: u64,
    /// Decides what is written and what crashes leave.
    pub seed: u64,
    /// How many runs go on beside each other.
    pub threads: usize,
    /// A defect to find.
    pub defect: Option<Defect>,
}

/// The disk between two calls, and what clients had been told then.
struct Image {
    call: u64,
    disk: MemoryDisk,
    history: History,
}

/// Runs the campaign.
pub fn run(campaign: &Campaign, options: CrashPointOptions) {
    campaign.for_each(options.threads, |run| {
        if campaign.cases() >= options.count {
            return Next::Nothing;
        }
        let run = Run::new(options, run);
        match run.images() {
            Ok(images) => run.crash_all(campaign, options.count, &images),
            Err(what) => campaign.case(&format!("{}.run", run.number), || Err(what)),
        }
        Next::More
    });
}

struct Run {
    number: u64,
    seed: u64,
    node_options: NodeOptions,
    lies: bool,
}

impl Run {
    fn new(options: CrashPointOptions, number: u64) -> Self {
        Self {
            number,
            seed: options.seed.wrapping_mul(0x1_0000).wrapping_add(number),
            node_options: NodeOptions {
                wal_segment_bytes: SEGMENT_BYTES,
                tenant_segment_bytes: SEGMENT_BYTES,
                defect: options.defect,
            },
            lies: options.defect == Some(Defect::LyingDisk),
        }
    }

    /// Runs the node without a crash and copies the disk after each change.
    fn images(&self) -> Result<Vec<Image>, String> {
        let disk = MemoryDisk::new();
        disk.set_syncs_lie(self.lies);
        let mut writer = self.writer(History::default());
        let images = Arc::new(Mutex::new(Vec::new()));
        let changed = AtomicBool::new(false);
        let (of, history, to) = (disk.clone(), Arc::clone(&writer.history), Arc::clone(&images));
        disk.set_hook(Some(Arc::new(move |call: &Call| {
            if changed.swap(call.kind.is_change(), Ordering::Relaxed) {
                to.lock().push(Image {
                    call: call.number,
                    disk: of.fork(),
                    history: history.lock().clone(),
                });
            }
        })));
        let failed = |error| format!("without any fault: {error}");
        for life in 0..LIVES {
            writer.open(&disk, life).map_err(failed)??;
            for _ in 0..STEPS {
                writer.step().map_err(failed)?;
            }
            // The others stop without a word.
            if life % 2 == 0 {
                writer.close().map_err(failed)?;
            }
        }
        disk.set_hook(None);
        Ok(std::mem::take(&mut *images.lock()))
    }

    fn writer(&self, history: History) -> Writer {
        Writer::new(self.node_options, self.seed, COMMAND_BYTES_MAX, history)
    }

    fn crash_all(&self, campaign: &Campaign, count: u64, images: &[Image]) {
        for image in images {
            let seed = self.seed ^ image.call.wrapping_mul(0xd6e8_feb8_6659_fd93);
            let crashes = [
                ("drop", Crash::DropUnsynced),
                ("torn-a", Crash::Torn { seed }),
                ("torn-b", Crash::Torn { seed: !seed }),
                ("reordered", Crash::Reordered { seed }),
                ("in-order", Crash::InOrder { seed }),
                ("process", Crash::Process),
            ];
            for (number, (name, crash)) in (1..).zip(crashes) {
                if campaign.cases() >= count {
                    return;
                }
                let case = format!("{}.{}.{name}", self.number, image.call);
                let salt = image.call * 64 + number * 8;
                campaign.case(&case, || self.check(image, crash, seed, salt));
            }
        }
    }

    /// Opens what a crash left, three times, with further crashes between.
    fn check(&self, image: &Image, crash: Crash, seed: u64, salt: u64) -> Result<&'static str, String> {
        let disk = image.disk.fork();
        disk.crash(crash);
        let unknown_before = image.history.unknown();
        let mut writer = self.writer(image.history.clone());
        let reopen = |writer: &mut Writer, time: u64, when: &str| match writer.open(&disk, salt + time) {
            Ok(checked) => checked.map_err(|what| format!("{when}: {what}")),
            Err(error) => Err(format!("{when}: does not open: {error}")),
        };
        reopen(&mut writer, 1, "after the crash")?;
        let kept = image.history.acknowledged() < writer.history.lock().acknowledged();
        disk.crash(Crash::DropUnsynced);
        reopen(&mut writer, 2, "after recovering and another power cut")?;
        for _ in 0..ENTRIES_AFTER {
            let written = writer.propose_one();
            written.map_err(|error| format!("after recovering: {error}"))?;
        }
        disk.crash(Crash::Torn { seed });
        reopen(&mut writer, 3, "after going on and another power cut")?;
        Ok(match (unknown_before, kept) {
            (0, _) => "nothing was under way",
            (_, true) => "an entry under way was kept",
            (_, false) => "an entry under way was lost",
        })
    }
}
