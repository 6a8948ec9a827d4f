//! How long to wait before trying again.

use std::time::Duration;

/// An exponential backoff: `base`, twice that, four times that, up to `cap`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
}

impl Backoff {
    /// The longest wait after `failures` failures in a row; zero after none.
    pub(crate) fn ceiling(self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => self.base.saturating_mul(1 << doublings.min(20)).min(self.cap),
        }
    }

    /// Full jitter: a wait evenly spread between zero and the ceiling, so that a fleet whose platform returns does
    /// not come back in step. `random` is uniform over all of `u32`.
    pub(crate) fn jittered(self, failures: u32, random: u32) -> Duration {
        self.ceiling(failures).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_millis(500),
        cap: Duration::from_secs(30),
    };

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        for (failures, millis) in [
            (0, 0),
            (1, 500),
            (2, 1_000),
            (3, 2_000),
            (7, 30_000),
            (40, 30_000),
            (u32::MAX, 30_000),
        ] {
            assert_eq!(
                BACKOFF.ceiling(failures),
                Duration::from_millis(millis),
                "after {failures} failures"
            );
        }
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        assert_eq!(BACKOFF.jittered(3, 0), Duration::ZERO);
        assert_eq!(BACKOFF.jittered(3, u32::MAX), Duration::from_secs(2));
        assert_eq!(BACKOFF.jittered(0, u32::MAX), Duration::ZERO);
    }
}
