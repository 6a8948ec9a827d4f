//! Simulated time and randomness of a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use craton_crypto::{MasterKeyError, MasterKeyProvider, SecretBytes, WrappingKey};
use craton_engine::{Clock, Random};
use craton_types::Timestamp;
use parking_lot::Mutex;

use crate::dice::Dice;

/// When every run begins: 2027-01-15.
const START_NS: u64 = 1_800_000_000_000_000_000;

/// A clock that goes on only when it is told to, and may be set.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedClock(Arc<AtomicU64>);

impl SimulatedClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START_NS)))
    }

    pub(crate) fn advance(&self, nanoseconds: u64) {
        self.0.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// How much time has passed since the beginning.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed) - START_NS
    }

    pub(crate) fn set_back(&self, nanoseconds: u64) {
        let earlier = self.0.load(Ordering::Relaxed).saturating_sub(nanoseconds);
        self.0.store(earlier.max(START_NS), Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp::new(self.0.load(Ordering::Relaxed))
    }
}

/// Randomness of a node that is the same at every run.
pub(crate) struct SimulatedRandom(Mutex<Dice>);

impl SimulatedRandom {
    /// Randomness of one life of a node.
    pub(crate) fn new(seed: u64, life: u64) -> Self {
        Self(Mutex::new(Dice::new(seed ^ life.rotate_left(32), "random")))
    }
}

impl Random for SimulatedRandom {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill(bytes);
    }
}

/// A master key in memory.
#[derive(Debug)]
pub(crate) struct SimulatedMasterKey(WrappingKey);

impl SimulatedMasterKey {
    pub(crate) fn new() -> Self {
        Self(WrappingKey::new(&SecretBytes::new([42; 32])))
    }
}

impl MasterKeyProvider for SimulatedMasterKey {
    fn wrap(&self, key: &SecretBytes, context: &[u8], nonce: [u8; 12]) -> Result<Vec<u8>, MasterKeyError> {
        Ok(self.0.wrap(key, context, nonce))
    }

    fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Result<SecretBytes, MasterKeyError> {
        Ok(self.0.unwrap(wrapped, context)?)
    }

    fn name(&self) -> String {
        "simulated key".to_owned()
    }
}
