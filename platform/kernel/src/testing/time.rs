//! A clock that stands still and randomness that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::{Clock, Environment, Random};

/// A clock that moves when told.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// Starts at a time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves forward.
    pub fn advance(&self, by: SignedDuration) {
        *self.0.lock() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

/// Reproducible bytes that never repeat: hashes of a counter.
#[derive(Debug, Default)]
pub struct CountingRandom(AtomicU64);

impl Random for CountingRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let block = Sha256::digest(self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

/// An environment at 2026-01-01.
#[must_use]
pub fn environment() -> Environment {
    environment_at(Arc::new(ManualClock::new(
        "2026-01-01T00:00:00Z".parse().expect("a time"),
    )))
}

/// An environment with a clock that the test moves.
#[must_use]
pub fn environment_at(clock: Arc<ManualClock>) -> Environment {
    Environment::new(clock, Arc::new(CountingRandom::default()))
}
