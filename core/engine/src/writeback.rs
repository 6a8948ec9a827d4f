//! Brings the tenants' logs to the disk in small steps, soon after they were written.
//!
//! A disk that is told to sync tens of megabytes at once keeps the write-ahead log's syncs waiting meanwhile, and
//! clients with them. When most of it is there already, a flush or the end of a segment has little left to sync.
//! Nothing relies on these steps.

use std::collections::VecDeque;
use std::sync::Arc;

use craton_log::{TenantLogError, Writeback};
use parking_lot::{Condvar, Mutex};

use crate::health::Health;

/// The most steps that wait. When there are more tenants at once than that, their flushes sync what is left.
const WAITING_MAX: usize = 64;

/// Steps that wait for the writeback thread.
pub(crate) struct WritebackQueue {
    state: Mutex<State>,
    wanted: Condvar,
    health: Arc<Health>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Writeback>,
    closed: bool,
}

impl WritebackQueue {
    pub(crate) fn new(health: Arc<Health>) -> Self {
        Self {
            state: Mutex::default(),
            wanted: Condvar::new(),
            health,
        }
    }

    /// Hands a step over; it is left out when too many wait.
    pub(crate) fn push(&self, writeback: Writeback) {
        let mut state = self.state.lock();
        if state.waiting.len() < WAITING_MAX && !state.closed {
            state.waiting.push_back(writeback);
            self.wanted.notify_one();
        }
    }

    /// The writeback thread: runs until the node closes or a log fails.
    pub(crate) fn run(&self) {
        while let Some(writeback) = self.next() {
            if !self.run_step(writeback) {
                return;
            }
        }
    }

    /// Runs a step; whether to go on.
    fn run_step(&self, writeback: Writeback) -> bool {
        match writeback.run() {
            Ok(()) => true,
            // Another thread's failure, which that one reports.
            Err(TenantLogError::Poisoned) => false,
            Err(error) => {
                self.health.stop(format!("a log could not be synced: {error}"));
                false
            }
        }
    }

    /// Runs the next step if one waits; whether one did.
    #[cfg(feature = "simulation")]
    pub(crate) fn step(&self) -> bool {
        let next = self.state.lock().waiting.pop_front();
        next.is_some_and(|writeback| self.run_step(writeback))
    }

    fn next(&self) -> Option<Writeback> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() && !state.closed {
            self.wanted.wait(&mut state);
        }
        // What is left when the node closes, the last flush syncs.
        if state.closed { None } else { state.waiting.pop_front() }
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wanted.notify_all();
    }
}
