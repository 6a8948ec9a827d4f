//! The agent's clocks, read in this one place.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch: what certificates are compared with.
#[expect(
    clippy::disallowed_methods,
    reason = "the agent is a shell: certificates expire by the wall clock"
)]
pub(crate) fn unix_now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The monotonic clock: what timeouts and backoffs are measured with.
#[expect(
    clippy::disallowed_methods,
    reason = "the agent is a shell: it measures its own timeouts"
)]
pub(crate) fn monotonic_now() -> Instant {
    Instant::now()
}
