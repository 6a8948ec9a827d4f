//! Committed entries on their way from consensus to whoever applies them: a bounded queue between an asynchronous and a
//! blocking side.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::{CommittedEntry, ConsensusError};

/// The most entries that wait to be applied.
const ENTRIES_MAX: usize = 64;
/// The most bytes that wait, unless a single entry has more.
const BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    /// Signalled for the thread that applies.
    filled: Condvar,
    /// Signalled for consensus.
    emptied: Notify,
}

#[derive(Default)]
struct State {
    entries: VecDeque<CommittedEntry>,
    bytes: usize,
    closed: bool,
}

impl State {
    fn has_room(&self, bytes: usize) -> bool {
        self.entries.is_empty() || (self.entries.len() < ENTRIES_MAX && self.bytes + bytes <= BYTES_MAX)
    }

    fn take(&mut self) -> Option<CommittedEntry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.payload.len();
        Some(entry)
    }
}

impl Inbox {
    /// Adds an entry; waits for room. Whether it was taken: not when the inbox is closed.
    pub(super) async fn push(&self, entry: CommittedEntry) -> bool {
        loop {
            // Asked for before looking, so that no signal is missed.
            let emptied = self.emptied.notified();
            {
                let mut state = self.state.lock();
                if state.closed {
                    return false;
                }
                if state.has_room(entry.payload.len()) {
                    state.bytes += entry.payload.len();
                    state.entries.push_back(entry);
                    self.filled.notify_one();
                    return true;
                }
            }
            emptied.await;
        }
    }

    /// Takes the oldest entry; waits for one.
    pub(super) fn pop(&self) -> Result<CommittedEntry, ConsensusError> {
        let mut state = self.state.lock();
        loop {
            if let Some(entry) = self.take(&mut state)? {
                return Ok(entry);
            }
            self.filled.wait(&mut state);
        }
    }

    /// Takes the oldest entry if there is one.
    #[cfg(feature = "simulation")]
    pub(super) fn try_pop(&self) -> Result<Option<CommittedEntry>, ConsensusError> {
        self.take(&mut self.state.lock())
    }

    fn take(&self, state: &mut State) -> Result<Option<CommittedEntry>, ConsensusError> {
        match state.take() {
            Some(entry) => {
                self.emptied.notify_one();
                Ok(Some(entry))
            }
            None if state.closed => Err(ConsensusError::Closed),
            None => Ok(None),
        }
    }

    /// Takes no more entries. Those that are in it can still be taken.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
        self.emptied.notify_one();
    }
}
