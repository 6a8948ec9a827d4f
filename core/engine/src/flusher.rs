//! The flusher: brings logs and views to the disk in the background, then lets the write-ahead log forget.
//!
//! Nothing waits for it. What it has not flushed yet is in the write-ahead log and is applied again after a
//! crash; so its rhythm bounds recovery time and memory, not durability.

use std::sync::Arc;
use std::time::Duration;

use craton_consensus::Consensus;
use craton_types::LogIndex;
use craton_types::planted::{Bug, is_planted};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::EngineError;
use crate::applier::chain;
use crate::health::Health;
use crate::tenants::Tenants;
use crate::traces::Traces;

/// How often tenants are looked at.
const PERIOD: Duration = Duration::from_millis(500);
/// How long the applier waits between two looks at a view whose memory is full.
const BACKPRESSURE_WAIT: Duration = Duration::from_millis(2);
/// A tenant with fewer bytes of unflushed rows waits for [`PERIODS_MAX`].
const UNFLUSHED_BYTES_TARGET: usize = 16 * 1024 * 1024;
/// A tenant with fewer unflushed records waits likewise. They are what a restart applies again, and it should be quick.
const UNFLUSHED_RECORDS_TARGET: u64 = 100_000;
/// After this many periods a tenant is flushed however little it wrote.
const PERIODS_MAX: u32 = 10;

/// Wakes the background threads, to work early or because the node closes.
#[derive(Default)]
pub(crate) struct Closing {
    state: Mutex<Wakes>,
    changed: Condvar,
}

#[derive(Default)]
struct Wakes {
    closed: bool,
    flush: bool,
    /// Who waits until everything that is applied now is on disk and the write-ahead log forgot it.
    waiting: Vec<FlushReply>,
}

/// Where the end of a flush is told.
type FlushReply = oneshot::Sender<Result<(), EngineError>>;

impl Closing {
    /// Waits for the given time; whether the node closes.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| !state.closed, time);
        state.closed
    }

    /// Waits for the given time or until a flush is asked for; whether the node closes.
    fn wait_for_flush(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.closed && !state.flush {
            self.changed.wait_for(&mut state, time);
        }
        state.flush = false;
        state.closed
    }

    /// Asks for a flush of everything. The receiver gets the answer, or nothing when the node closes.
    pub(crate) fn flush(&self) -> oneshot::Receiver<Result<(), EngineError>> {
        let (reply, flushed) = oneshot::channel();
        let mut state = self.state.lock();
        if !state.closed {
            state.waiting.push(reply);
            state.flush = true;
        }
        drop(state);
        self.changed.notify_all();
        flushed
    }

    /// Asks for a flush now, and waits a moment for it; whether the node closes.
    pub(crate) fn ask_for_flush(&self) -> bool {
        self.state.lock().flush = true;
        self.changed.notify_all();
        self.wait(BACKPRESSURE_WAIT)
    }

    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.changed.notify_all();
    }
}

/// What the flusher thread works with.
pub(crate) struct Flusher {
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) health: Arc<Health>,
    pub(crate) closing: Arc<Closing>,
    pub(crate) traces: Traces,
}

impl Flusher {
    /// Runs until the node closes; the last flush is [`Flusher::flush_all`]'s.
    pub(crate) fn run(&self) {
        let mut periods = 0;
        while !self.closing.wait_for_flush(PERIOD) {
            if !self.look(&mut periods) {
                return;
            }
        }
    }

    /// Flushes what is due, `periods` after everything was; whether to go on.
    pub(crate) fn look(&self, periods: &mut u32) -> bool {
        *periods += 1;
        self.health.space.note_log(self.consensus.is_out_of_space());
        let waiting = std::mem::take(&mut self.closing.state.lock().waiting);
        let everything = *periods >= PERIODS_MAX || !waiting.is_empty() || self.traces.is_removing();
        if everything {
            *periods = 0;
        }
        let flushed = self.flush(everything).and_then(|()| match everything {
            true => self.traces.look(&self.tenants),
            false => Ok(()),
        });
        match flushed {
            Ok(()) => {
                for reply in waiting {
                    // Whoever asked may have gone; then nobody needs the answer.
                    let _ = reply.send(Ok(()));
                }
                true
            }
            Err(error) => {
                self.health.stop(format!("a flush failed: {}", chain(&error)));
                self.consensus.close();
                false
            }
        }
    }

    /// Flushes every tenant, whatever it holds.
    pub(crate) fn flush_all(&self) -> Result<(), EngineError> {
        self.flush(true)
    }

    fn flush(&self, everything: bool) -> Result<(), EngineError> {
        // Entries up to here are applied; a tenant that is clean afterwards has nothing of them to lose.
        let mut flushed = self.tenants.applied_index();
        for writer in self.tenants.writers() {
            let (tenant, unflushed_records) = {
                let writer = writer.lock();
                (Arc::clone(&writer.tenant), writer.unflushed_records())
            };
            let due = everything
                || unflushed_records >= UNFLUSHED_RECORDS_TARGET
                || tenant.projection.memory_bytes() >= UNFLUSHED_BYTES_TARGET;
            let persisted = if due {
                flush_tenant(&writer)?
            } else {
                writer.lock().persisted_index()
            };
            if !is_planted(Bug::PurgeBeforeFlush) {
                flushed = flushed.min(persisted);
            }
        }
        Ok(self.consensus.purge(flushed, &|| self.tenants.flushed_heads())?)
    }
}

/// Flushes one tenant. The writer is locked only to set things aside, not while the disk works.
fn flush_tenant(writer: &Mutex<crate::tenant_writer::TenantWriter>) -> Result<LogIndex, EngineError> {
    let mut locked = writer.lock();
    let flush = match locked.begin_flush() {
        Ok(Some(flush)) => flush,
        Ok(None) => return Ok(locked.persisted_index()),
        // Nothing was set aside; the next period tries again.
        Err(error) if error.is_out_of_space() => return Ok(locked.persisted_index()),
        Err(error) => return Err(error),
    };
    drop(locked);
    let index = flush.finish()?;
    let mut locked = writer.lock();
    locked.note_flushed(index);
    Ok(locked.persisted_index())
}
