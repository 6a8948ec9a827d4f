//! A full disk: the node turns read-only, finishes what it began when there is space again, and loses nothing.
//!
//! New commands are refused as soon as the write-ahead log cannot reserve its next segment, or anything that was
//! committed waits for space. Committed commands are in the write-ahead log, so the applier and the flusher can wait.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use craton_log::DiskFile;
use parking_lot::{Condvar, Mutex};

use crate::EngineError;

/// How long is waited before a full disk is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// What is done instead of waiting for space.
#[cfg(feature = "simulation")]
pub(crate) type SpaceWait = Arc<dyn Fn() + Send + Sync>;

/// What is known about the space on the disk.
#[derive(Default)]
pub(crate) struct DiskSpace {
    /// Whether the write-ahead log has no space for its next segment.
    log_is_full: AtomicBool,
    /// Whether committed work waits for space.
    work_waits: AtomicBool,
    /// Whether work may wait: only once the node is open, and until it closes.
    may_wait: Mutex<bool>,
    changed: Condvar,
    #[cfg(feature = "simulation")]
    instead: Mutex<Option<SpaceWait>>,
}

impl fmt::Debug for DiskSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskSpace")
            .field("read_only_reason", &self.read_only_reason())
            .finish_non_exhaustive()
    }
}

impl DiskSpace {
    /// Lets work wait for space from now on, or lets it fail.
    pub(crate) fn set_may_wait(&self, may_wait: bool) {
        *self.may_wait.lock() = may_wait;
        self.changed.notify_all();
    }

    pub(crate) fn note_log(&self, is_full: bool) {
        self.log_is_full.store(is_full, Ordering::Release);
    }

    /// Whether committed work waits for space.
    pub(crate) fn work_waits(&self) -> bool {
        self.work_waits.load(Ordering::Acquire)
    }

    /// Refuses new commands while the disk is full.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        match self.read_only_reason() {
            Some(_) => Err(EngineError::DiskFull),
            None => Ok(()),
        }
    }

    /// Why nothing new can be written, if so.
    pub(crate) fn read_only_reason(&self) -> Option<&'static str> {
        if self.log_is_full.load(Ordering::Acquire) {
            Some("the disk is full: the write-ahead log cannot reserve its next segment")
        } else if self.work_waits() {
            Some("the disk is full: committed changes wait for space")
        } else {
            None
        }
    }

    /// Tries until it succeeds or fails for another reason than a full disk.
    pub(crate) fn retry<T, E: fmt::Display>(
        &self,
        is_full: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut waited = false;
        loop {
            let result = attempt();
            let error = match result {
                Err(error) if is_full(&error) => error,
                result => {
                    if waited {
                        self.work_waits.store(false, Ordering::Release);
                        tracing::info!("there is space again");
                    }
                    return result;
                }
            };
            let mut may_wait = self.may_wait.lock();
            if !*may_wait {
                return Err(error);
            }
            if !waited {
                tracing::warn!(%error, "the disk is full: the node is read-only until there is space");
                waited = true;
            }
            self.work_waits.store(true, Ordering::Release);
            #[cfg(feature = "simulation")]
            if let Some(instead) = self.instead.lock().clone() {
                drop(may_wait);
                instead();
                continue;
            }
            self.changed.wait_for(&mut may_wait, RETRY);
        }
    }

    /// What to do instead of waiting.
    #[cfg(feature = "simulation")]
    pub(crate) fn set_instead(&self, instead: SpaceWait) {
        *self.instead.lock() = Some(instead);
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A view's file whose writes wait while the disk is full. A failed write would leave the view unusable until it is
/// opened again.
pub(crate) struct PatientFile {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) space: Arc<DiskSpace>,
}

impl DiskFile for PatientFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.space.retry(is_full, || self.file.write_at(bytes, position))
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.space.retry(is_full, || self.file.allocate(length))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.space.retry(is_full, || self.file.set_len(bytes))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn work_waits_for_space_only_while_the_node_is_open() {
        let space = Arc::new(DiskSpace::default());
        let failed = space.retry(is_full, || Err::<(), _>(full()));
        assert!(failed.is_err_and(|error| is_full(&error)), "while opening it fails");
        assert!(space.check().is_ok());

        space.set_may_wait(true);
        let mut attempts = 0;
        let waited = space.retry(is_full, || {
            attempts += 1;
            if attempts == 1 {
                return Err(full());
            }
            assert!(matches!(space.check(), Err(EngineError::DiskFull)));
            Ok(attempts)
        });
        assert_eq!(waited.ok(), Some(2));
        assert!(space.check().is_ok());
        let other = space.retry(is_full, || Err::<(), _>(io::Error::other("broken")));
        assert!(other.is_err());

        let closing = Arc::clone(&space);
        let result = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| space.retry(is_full, || Err::<(), _>(full())));
            while space.check().is_ok() {
                std::thread::yield_now();
            }
            closing.set_may_wait(false);
            waiting.join().expect("it ends")
        });
        assert!(result.is_err());
    }

    #[test]
    fn a_log_without_space_for_its_next_segment_refuses_commands() {
        let space = DiskSpace::default();
        space.note_log(true);
        assert!(matches!(space.check(), Err(EngineError::DiskFull)));
        space.note_log(false);
        assert!(space.check().is_ok());
    }
}
