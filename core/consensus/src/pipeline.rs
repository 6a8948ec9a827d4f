//! The way of an entry to the disk: placed and encrypted by the thread that appends it, written and synced by one
//! writer thread, handed over to whoever applies it.
//!
//! The writer works on one batch while the next one waits behind it; the hand-over is bounded as well. A full disk
//! stalls the writer: it gives what it holds new places until there is space again. A second thread reserves the next
//! segment's space, so that a disk that fills up is known before anything stalls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use craton_log::{SealedBatch, Wal, WalEntry, WalError, WalSpace};
use craton_types::{LogIndex, Term};
use parking_lot::{Condvar, Mutex};

use crate::{Alone, CommittedEntry, ConsensusError};

/// The most entries that wait to be applied; the writer waits when there are more.
pub(crate) const COMMITTED_ENTRIES_MAX: usize = 2;
/// How long the writer waits before it tries a full disk again.
const FULL_DISK_RETRY: Duration = Duration::from_millis(100);
/// A buffer longer than this is not kept for the next batch.
const BUFFER_BYTES_KEPT: usize = 8 * 1024 * 1024;
/// Buffers in use at once: one written, one waiting.
const BUFFERS_KEPT: usize = 2;

/// What the appending threads, the writer and the applying thread share.
pub(crate) struct Pipeline {
    pub(crate) wal: Mutex<Wal>,
    state: Mutex<State>,
    /// Signalled for threads that append, that wait for entries to become durable, and for the writer while it stalls.
    progress: Condvar,
    /// Signalled for the writer: there is something to write, or room to hand it over.
    writable: Condvar,
    /// Signalled for the thread that applies.
    applicable: Condvar,
    space: WalSpace,
    /// Signalled when the reserved space was used.
    space_used: Condvar,
}

#[derive(Default)]
struct State {
    /// Whether a thread is placing and encrypting an entry.
    placing: bool,
    /// The entry that waits for the writer.
    waiting: Option<Sealed>,
    /// Whether the writer has an entry that is not handed over yet.
    writing: bool,
    /// Whether the writer tries a full disk again; nothing is placed meanwhile.
    stalled: bool,
    /// Whether the next segment's space could not be reserved.
    unreserved: bool,
    durable: LogIndex,
    committed: VecDeque<CommittedEntry>,
    closed: bool,
    /// Whether the writer ended: nothing becomes durable any more.
    ended: bool,
    failure: Option<Arc<WalError>>,
    buffers: Vec<Vec<u8>>,
}

/// An entry and its encrypted form.
struct Sealed {
    entry: WalEntry,
    batch: SealedBatch,
}

impl Pipeline {
    pub(crate) fn new(wal: Wal) -> Self {
        let state = State {
            durable: wal.last_index().unwrap_or(LogIndex::ZERO),
            ..State::default()
        };
        Self {
            space: wal.space(),
            wal: Mutex::new(wal),
            state: Mutex::new(state),
            progress: Condvar::new(),
            writable: Condvar::new(),
            applicable: Condvar::new(),
            space_used: Condvar::new(),
        }
    }

    pub(crate) fn append(&self, term: Term, payload: Vec<u8>) -> Result<LogIndex, ConsensusError> {
        let mut state = self.state.lock();
        while !state.closed && (state.placing || state.waiting.is_some() || state.stalled) {
            self.progress.wait(&mut state);
        }
        state.check_open()?;
        state.placing = true;
        let buffer = state.buffers.pop().unwrap_or_default();
        drop(state);

        let sealed = self.seal(term, payload, buffer);
        let mut state = self.state.lock();
        state.placing = false;
        self.progress.notify_all();
        self.writable.notify_one();
        let sealed = sealed?;
        let index = sealed.entry.index;
        state.waiting = Some(sealed);
        Ok(index)
    }

    /// Writes an entry on the calling thread when nothing else is under way and everything up to `applied`, the last
    /// entry, was handed over.
    pub(crate) fn commit_alone(
        &self,
        term: Term,
        payload: Vec<u8>,
        applied: LogIndex,
    ) -> Result<Alone, ConsensusError> {
        let mut state = self.state.lock();
        state.check_open()?;
        let is_busy = state.placing || state.waiting.is_some() || state.writing || state.stalled;
        if is_busy || state.durable != applied {
            return Ok(Alone::Busy(payload));
        }
        state.placing = true;
        let buffer = state.buffers.pop().unwrap_or_default();
        drop(state);

        let written = self.seal(term, payload, buffer).and_then(|sealed| {
            match sealed.batch.write() {
                Ok(()) => self.wal.lock().note_written(&sealed.batch),
                Err(error) => {
                    if matches!(error, WalError::NoSpace { .. }) {
                        self.wal.lock().take_back();
                    }
                    return Err(error);
                }
            }
            Ok(sealed)
        });
        let mut state = self.state.lock();
        state.placing = false;
        self.progress.notify_all();
        match written {
            Ok(Sealed { entry, batch }) => {
                self.note_space_used();
                state.durable = entry.index;
                state.keep_buffer(batch);
                if state.closed {
                    self.writable.notify_one();
                }
                Ok(Alone::Committed(CommittedEntry {
                    index: entry.index,
                    term: entry.term,
                    payload: entry.payload,
                }))
            }
            Err(error @ WalError::NoSpace { .. }) => Err(error.into()),
            Err(error) => {
                let failure = Arc::new(error);
                state.failure = Some(Arc::clone(&failure));
                state.closed = true;
                self.writable.notify_one();
                self.applicable.notify_all();
                Err(ConsensusError::Wal(failure))
            }
        }
    }

    /// Has the next segment's space reserved when the last one was used.
    fn note_space_used(&self) {
        if !self.space.is_reserved() {
            self.space_used.notify_all();
        }
    }

    /// Gives an entry the next index and place, and encrypts it. Only one thread is here at a time.
    fn seal(&self, term: Term, payload: Vec<u8>, buffer: Vec<u8>) -> Result<Sealed, WalError> {
        let mut wal = self.wal.lock();
        let entry = WalEntry {
            index: wal.next_index(),
            term,
            payload,
        };
        let entries = std::slice::from_ref(&entry);
        let placement = wal.place(entries)?;
        drop(wal);
        let batch = placement.seal(entries, buffer);
        Ok(Sealed { entry, batch })
    }

    pub(crate) fn wait_durable(&self, index: LogIndex) -> Result<(), ConsensusError> {
        let mut state = self.state.lock();
        while state.durable < index {
            if state.ended {
                return Err(state.end_reason());
            }
            self.progress.wait(&mut state);
        }
        Ok(())
    }

    pub(crate) fn is_out_of_space(&self) -> bool {
        let state = self.state.lock();
        state.stalled || state.unreserved
    }

    pub(crate) fn next_committed(&self) -> Result<CommittedEntry, ConsensusError> {
        let mut state = self.state.lock();
        loop {
            if let Some(entry) = state.committed.pop_front() {
                if state.committed.len() + 1 == COMMITTED_ENTRIES_MAX {
                    self.writable.notify_one();
                }
                return Ok(entry);
            }
            if state.ended {
                return Err(state.end_reason());
            }
            self.applicable.wait(&mut state);
        }
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.notify_everybody();
    }

    fn notify_everybody(&self) {
        self.progress.notify_all();
        self.writable.notify_all();
        self.applicable.notify_all();
        self.space_used.notify_all();
    }

    /// The thread that keeps the next segment's space reserved: runs until the pipeline is closed or the log fails.
    pub(crate) fn keep_space_reserved(&self) {
        loop {
            let reserved = self.space.reserve();
            let mut state = self.state.lock();
            match reserved {
                Ok(()) if state.unreserved => {
                    tracing::info!("the next segment of the write-ahead log is reserved again")
                }
                Ok(()) => {}
                Err(WalError::NoSpace { .. }) if state.unreserved => {}
                Err(error @ WalError::NoSpace { .. }) => {
                    tracing::warn!(%error, "the next segment of the write-ahead log cannot be reserved");
                    state.unreserved = true;
                }
                // The log is poisoned by it, which the writer reports.
                Err(_) => return,
            }
            state.unreserved &= !self.space.is_reserved();
            while !state.closed && !state.unreserved && self.space.is_reserved() {
                self.space_used.wait(&mut state);
            }
            if state.unreserved && !state.closed {
                self.space_used.wait_for(&mut state, FULL_DISK_RETRY);
            }
            if state.closed {
                return;
            }
        }
    }

    /// The writer thread: runs until the pipeline is closed and empty, or the log fails.
    pub(crate) fn run(&self) {
        let failure = loop {
            let Some(sealed) = self.next_waiting() else { break None };
            let written = match sealed.batch.write() {
                Ok(()) => {
                    self.note_durable(sealed);
                    continue;
                }
                Err(WalError::NoSpace { .. }) => self.write_again(sealed),
                Err(error) => Err(error),
            };
            match written {
                Ok(()) => {}
                Err(error) => break Some(Arc::new(error)),
            }
        };
        if failure.is_none() {
            // Nothing is lost without it; with it, later damage to the last batch is known to be damage.
            if let Err(error) = self.wal.lock().mark_synced() {
                tracing::warn!(%error, "the superblock could not say how far the write-ahead log is synced");
            }
        }
        let mut state = self.state.lock();
        state.failure = state.failure.take().or(failure);
        state.closed = true;
        state.ended = true;
        drop(state);
        self.notify_everybody();
    }

    /// The next entry to write; `None` when the pipeline is closed and empty.
    fn next_waiting(&self) -> Option<Sealed> {
        let mut state = self.state.lock();
        loop {
            if let Some(sealed) = state.waiting.take() {
                state.writing = true;
                self.progress.notify_all();
                return Some(sealed);
            }
            if state.closed && !state.placing {
                return None;
            }
            self.writable.wait(&mut state);
        }
    }

    /// Takes note that an entry is durable, and hands it over.
    fn note_durable(&self, sealed: Sealed) {
        self.wal.lock().note_written(&sealed.batch);
        self.hand_over(sealed);
    }

    /// Hands a durable entry over; waits while too many were handed over.
    fn hand_over(&self, sealed: Sealed) {
        let Sealed { entry, batch } = sealed;
        let mut state = self.state.lock();
        self.note_space_used();
        state.durable = entry.index;
        self.progress.notify_all();
        while state.committed.len() >= COMMITTED_ENTRIES_MAX && !state.closed {
            self.writable.wait(&mut state);
        }
        state.writing = false;
        state.committed.push_back(CommittedEntry {
            index: entry.index,
            term: entry.term,
            payload: entry.payload,
        });
        self.applicable.notify_one();
        state.keep_buffer(batch);
    }

    /// The disk was full. Gives this entry and the one behind it new places until they are written. An entry that
    /// is being encrypted meanwhile is waited for, since its place is void as well.
    fn write_again(&self, sealed: Sealed) -> Result<(), WalError> {
        let mut state = self.state.lock();
        state.stalled = true;
        while state.placing {
            self.progress.wait(&mut state);
        }
        let behind = state.waiting.take();
        drop(state);
        tracing::warn!("the disk is full: the write-ahead log waits for space");
        self.wal.lock().take_back();
        let mut written = Vec::with_capacity(2);
        for Sealed { entry, .. } in std::iter::once(sealed).chain(behind) {
            let batch = self.write_when_possible(&entry)?;
            self.wal.lock().note_written(&batch);
            written.push(Sealed { entry, batch });
        }
        tracing::info!("there is space again: the write-ahead log goes on");
        self.state.lock().stalled = false;
        self.progress.notify_all();
        written.into_iter().for_each(|sealed| self.hand_over(sealed));
        Ok(())
    }

    fn write_when_possible(&self, entry: &WalEntry) -> Result<SealedBatch, WalError> {
        loop {
            let error = match self.place_and_write(entry) {
                Err(error @ WalError::NoSpace { .. }) => error,
                result => return result,
            };
            let mut state = self.state.lock();
            if state.closed {
                return Err(error);
            }
            self.progress.wait_for(&mut state, FULL_DISK_RETRY);
        }
    }

    fn place_and_write(&self, entry: &WalEntry) -> Result<SealedBatch, WalError> {
        let entries = std::slice::from_ref(entry);
        let placement = self.wal.lock().place(entries)?;
        let batch = placement.seal(entries, Vec::new());
        batch.write().inspect_err(|_| self.wal.lock().take_back())?;
        Ok(batch)
    }
}

impl State {
    fn check_open(&self) -> Result<(), ConsensusError> {
        match (&self.failure, self.closed) {
            (None, false) => Ok(()),
            _ => Err(self.end_reason()),
        }
    }

    /// Keeps a batch's buffer for another one.
    fn keep_buffer(&mut self, batch: SealedBatch) {
        let buffer = batch.into_buffer();
        if buffer.capacity() <= BUFFER_BYTES_KEPT && self.buffers.len() < BUFFERS_KEPT {
            self.buffers.push(buffer);
        }
    }

    fn end_reason(&self) -> ConsensusError {
        match &self.failure {
            Some(failure) => ConsensusError::Wal(Arc::clone(failure)),
            None => ConsensusError::Closed,
        }
    }
}
