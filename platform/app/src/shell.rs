//! The machine's clock and random numbers, for the pure parts to take as arguments.

use std::sync::Arc;

use craton_platform_kernel::{Clock, Environment, Random};
use jiff::Timestamp;

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// The environment of production.
#[must_use]
pub fn system_environment() -> Environment {
    Environment::new(Arc::new(SystemClock), Arc::new(SystemRandom))
}
