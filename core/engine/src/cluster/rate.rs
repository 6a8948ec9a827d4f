//! How fast records go to a member that catches up, so that it does not take the disk and the network from the clients.

use std::time::Duration;

use tokio::time::Instant;

/// How many bytes of records a second are sent to members that catch up, unless another rate is set.
pub const TRANSFER_BYTES_PER_SECOND_DEFAULT: u64 = 64 * 1024 * 1024;
/// The lowest rate: an answer must come before it is given up.
pub(crate) const TRANSFER_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// A rate, and when it allows the next answer. All members that catch up share it.
#[derive(Debug)]
pub(super) struct TransferRate {
    /// Zero for no limit.
    bytes_per_second: u64,
    free_at: Option<Instant>,
}

impl TransferRate {
    pub(super) const fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            free_at: None,
        }
    }

    /// The most bytes in one answer: what takes a quarter of a second, and at most `bytes_max`.
    pub(super) fn answer_bytes_max(&self, bytes_max: u64) -> u64 {
        match self.bytes_per_second {
            0 => bytes_max,
            rate => bytes_max.min((rate / 4).max(1)),
        }
    }

    /// Counts an answer in; how long it must wait before it is sent.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let start = self.free_at.map_or(now, |free_at| free_at.max(now));
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let time = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.free_at = start.checked_add(time);
        start - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_to_the_rate_whoever_they_are_for() {
        let mut rate = TransferRate::new(1_000);
        let started = Instant::now();
        let mut now = started;
        let mut sent = 0;
        for _ in 0..40 {
            now += rate.take(250, now);
            sent += 250;
            let elapsed = now - started;
            assert!(sent <= 250 + elapsed.as_millis(), "{sent} bytes after {elapsed:?}");
        }
        assert_eq!(now - started, Duration::from_millis(9_750), "and they use it up");
        // Nothing is saved up while nobody asks.
        now += Duration::from_secs(60);
        assert_eq!(rate.take(250, now), Duration::ZERO);
        assert_eq!(rate.take(250, now), Duration::from_millis(250));
        assert_eq!(rate.take(250, now), Duration::from_millis(500), "two members share it");
    }

    #[test]
    fn zero_is_no_limit() {
        let mut rate = TransferRate::new(0);
        assert_eq!(rate.answer_bytes_max(4_096), 4_096);
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(rate.take(u64::MAX, now), Duration::ZERO);
        }
    }

    #[test]
    fn an_answer_takes_a_quarter_of_a_second_at_most() {
        let rate = TransferRate::new(1_000);
        assert_eq!(rate.answer_bytes_max(4_096), 250);
        assert_eq!(rate.answer_bytes_max(100), 100);
    }
}
