//! The monotonic clock, read in this one place. The wall clock is the kernel's `Environment`.

use std::time::Instant;

#[expect(
    clippy::disallowed_methods,
    reason = "the fleet's shell measures silence of nodes and timeouts"
)]
pub(crate) fn monotonic_now() -> Instant {
    Instant::now()
}
