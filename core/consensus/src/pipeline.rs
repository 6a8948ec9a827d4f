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
use craton_types::planted::{Bug, is_planted};
use craton_types::{LogIndex, Term};
use parking_lot::{Condvar, Mutex};

use crate::replicated::tag_proposal;
use crate::{Alone, CommittedEntry, ConsensusError};

/// The most entries that wait to be applied; the writer takes no next one then.
pub(crate) const COMMITTED_ENTRIES_MAX: usize = 3;
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
    /// What the writer took and could not write because the disk is full, in order.
    unwritten: VecDeque<WalEntry>,
    /// Whether places were given that will not be written.
    places_void: bool,
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

/// What one piece of the writer's work came to.
pub(crate) enum Written {
    /// It did something.
    Something,
    /// There is nothing to write, or no room to hand it over.
    Nothing,
    /// The disk is full; it is to be tried again after a while.
    DiskFull,
    /// The pipeline is closed and empty.
    Ended,
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

    pub(crate) fn append(&self, term: Term, payload: Vec<u8>) -> Result<(), ConsensusError> {
        let mut state = self.state.lock();
        self.progress.wait_while(&mut state, |state| !state.is_ready());
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
        state.waiting = Some(sealed);
        Ok(())
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
                Ok(Alone::Committed(entry.into()))
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
            payload: tag_proposal(payload),
        };
        let entries = std::slice::from_ref(&entry);
        let placement = wal.place(entries)?;
        drop(wal);
        let batch = placement.seal(entries, buffer);
        Ok(Sealed { entry, batch })
    }

    pub(crate) fn is_out_of_space(&self) -> bool {
        let state = self.state.lock();
        state.stalled || state.unreserved
    }

    pub(crate) fn next_committed(&self) -> Result<CommittedEntry, ConsensusError> {
        let mut state = self.state.lock();
        loop {
            if let Some(entry) = self.take_committed(&mut state)? {
                return Ok(entry);
            }
            self.applicable.wait(&mut state);
        }
    }

    /// Whether an entry can be appended without waiting.
    pub(crate) fn is_ready(&self) -> bool {
        self.state.lock().is_ready()
    }

    /// Waits until an entry can be appended without waiting, or the pipeline is closed.
    pub(crate) fn wait_until_ready(&self) {
        self.progress
            .wait_while(&mut self.state.lock(), |state| !state.is_ready());
    }

    /// Whether the next segment's space is still to be reserved.
    #[cfg(feature = "simulation")]
    pub(crate) fn wants_space(&self) -> bool {
        let state = self.state.lock();
        !state.closed && (state.unreserved || !self.space.is_reserved())
    }

    /// As [`Self::next_committed`], but never waits.
    #[cfg(feature = "simulation")]
    pub(crate) fn try_next_committed(&self) -> Result<Option<CommittedEntry>, ConsensusError> {
        self.take_committed(&mut self.state.lock())
    }

    fn take_committed(&self, state: &mut State) -> Result<Option<CommittedEntry>, ConsensusError> {
        if let Some(entry) = state.committed.pop_front() {
            if state.committed.len() + 1 == COMMITTED_ENTRIES_MAX {
                self.writable.notify_one();
            }
            return Ok(Some(entry));
        }
        match state.ended {
            true => Err(state.end_reason()),
            false => Ok(None),
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
        // The log is poisoned by a failure, which the writer reports.
        while self.reserve_space().is_ok() {
            let mut state = self.state.lock();
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

    /// Reserves the next segment's space if that is not done and the disk has it.
    pub(crate) fn reserve_space(&self) -> Result<(), WalError> {
        let reserved = self.space.reserve();
        let mut state = self.state.lock();
        match reserved {
            Ok(()) if state.unreserved => tracing::info!("the next segment of the write-ahead log is reserved again"),
            Ok(()) => {}
            Err(WalError::NoSpace { .. }) if state.unreserved => {}
            Err(error @ WalError::NoSpace { .. }) => {
                tracing::warn!(%error, "the next segment of the write-ahead log cannot be reserved");
                state.unreserved = true;
            }
            Err(error) => return Err(error),
        }
        state.unreserved &= !self.space.is_reserved();
        Ok(())
    }

    /// The writer thread: runs until the pipeline is closed and empty, or the log fails.
    pub(crate) fn run(&self) {
        loop {
            match self.write_next() {
                Ok(Written::Something) => {}
                Ok(Written::Nothing) => self.wait_for_work(),
                Ok(Written::DiskFull) => {
                    let mut state = self.state.lock();
                    if !state.closed {
                        self.progress.wait_for(&mut state, FULL_DISK_RETRY);
                    }
                }
                Ok(Written::Ended) | Err(_) => return,
            }
        }
    }

    /// Waits until [`Self::write_next`] has something to do.
    fn wait_for_work(&self) {
        let mut state = self.state.lock();
        while !state.has_work() {
            self.writable.wait(&mut state);
        }
    }

    /// One piece of the writer's work; it never waits for anything but the disk. After an error, and once it is said
    /// that the pipeline ended, nothing becomes durable any more.
    pub(crate) fn write_next(&self) -> Result<Written, Arc<WalError>> {
        if self.state.lock().ended {
            return Ok(Written::Ended);
        }
        let failure = match self.try_write_next() {
            Ok(Written::Ended) => None,
            Ok(written) => return Ok(written),
            Err(error) => Some(Arc::new(error)),
        };
        if failure.is_none() {
            // Nothing is lost without it; with it, later damage to the last batch is known to be damage.
            if let Err(error) = self.wal.lock().mark_synced() {
                tracing::warn!(%error, "the superblock could not say how far the write-ahead log is synced");
            }
        }
        let mut state = self.state.lock();
        state.failure = state.failure.take().or_else(|| failure.clone());
        state.closed = true;
        state.ended = true;
        drop(state);
        self.notify_everybody();
        failure.map_or(Ok(Written::Ended), Err)
    }

    fn try_write_next(&self) -> Result<Written, WalError> {
        let mut state = self.state.lock();
        if !state.has_work() {
            return Ok(Written::Nothing);
        }
        if state.stalled {
            // What was sealed meanwhile lost its place as well.
            let behind = state.waiting.take();
            state.unwritten.extend(behind.map(|sealed| sealed.entry));
            drop(state);
            return self.write_again();
        }
        let Some(sealed) = state.waiting.take() else {
            return Ok(Written::Ended);
        };
        state.writing = true;
        self.progress.notify_all();
        drop(state);
        match sealed.batch.write() {
            Ok(()) => {
                self.wal.lock().note_written(&sealed.batch);
                self.hand_over(sealed.entry, sealed.batch);
            }
            Err(WalError::NoSpace { .. }) if is_planted(Bug::AcknowledgeOnFullDisk) => {
                self.hand_over(sealed.entry, sealed.batch);
            }
            Err(WalError::NoSpace { .. }) => {
                tracing::warn!("the disk is full: the write-ahead log waits for space");
                let mut state = self.state.lock();
                state.stalled = true;
                state.places_void = true;
                state.unwritten.push_back(sealed.entry);
            }
            Err(error) => return Err(error),
        }
        Ok(Written::Something)
    }

    /// Takes note that an entry is durable, and hands it over.
    fn hand_over(&self, entry: WalEntry, batch: SealedBatch) {
        let mut state = self.state.lock();
        self.note_space_used();
        state.durable = entry.index;
        state.writing = false;
        state.committed.push_back(entry.into());
        state.keep_buffer(batch);
        self.progress.notify_all();
        self.applicable.notify_one();
    }

    /// The disk was full. Gives what could not be written new places, and writes the first of it. No entry is being
    /// encrypted meanwhile, since its place would be void.
    fn write_again(&self) -> Result<Written, WalError> {
        let mut state = self.state.lock();
        let entry = state.unwritten.pop_front().expect("a stall ends with the last entry");
        let places_void = std::mem::take(&mut state.places_void);
        drop(state);
        if places_void {
            self.wal.lock().take_back();
        }
        match self.place_and_write(&entry) {
            Ok(batch) => self.hand_over(entry, batch),
            Err(error @ WalError::NoSpace { .. }) => {
                let mut state = self.state.lock();
                state.places_void = true;
                state.unwritten.push_front(entry);
                return if state.closed {
                    Err(error)
                } else {
                    Ok(Written::DiskFull)
                };
            }
            Err(error) => return Err(error),
        }
        let mut state = self.state.lock();
        if state.unwritten.is_empty() {
            tracing::info!("there is space again: the write-ahead log goes on");
            state.stalled = false;
            self.progress.notify_all();
        }
        Ok(Written::Something)
    }

    fn place_and_write(&self, entry: &WalEntry) -> Result<SealedBatch, WalError> {
        let entries = std::slice::from_ref(entry);
        let placement = self.wal.lock().place(entries)?;
        let batch = placement.seal(entries, Vec::new());
        batch.write()?;
        self.wal.lock().note_written(&batch);
        Ok(batch)
    }
}

impl State {
    /// Whether an entry can be appended, or refused, at once.
    const fn is_ready(&self) -> bool {
        self.closed || !(self.placing || self.waiting.is_some() || self.stalled)
    }

    fn check_open(&self) -> Result<(), ConsensusError> {
        match (&self.failure, self.closed) {
            (None, false) => Ok(()),
            _ => Err(self.end_reason()),
        }
    }

    /// Whether the writer has something to do: an entry to write and room to hand it over, or to end.
    fn has_work(&self) -> bool {
        let has_room = self.committed.len() < COMMITTED_ENTRIES_MAX || self.closed;
        match (self.stalled, &self.waiting) {
            // What was taken already is at most two entries, so it needs no room.
            (true, _) => !self.placing,
            (false, Some(_)) => has_room,
            (false, None) => self.closed && !self.placing,
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
