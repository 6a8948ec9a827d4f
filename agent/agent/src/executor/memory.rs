//! What the executor remembers of an instance between two looks. Losing it is harmless. Sans-IO: time is an argument.

use std::time::{Duration, Instant};

use craton_agent_protocol::{ContentHash, ERROR_BYTES_MAX};

use crate::{admin::ServerStatus, backoff::Backoff, plan::ProcessCondition};

const START_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(30),
};
/// A server that ran this long starts again without a wait when it ends.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// A server that takes longer to come up, or to end, is looked at as rarely as the others.
const TRANSITION_MAX: Duration = Duration::from_secs(10);
/// A server that answered and is silent for less is taken as it was: a busy machine is no event.
const SILENCE_GRACE: Duration = Duration::from_secs(5);
/// A server that is silent for longer is reported as an error. It is not killed: recovery of a large log takes long.
const SILENCE_REPORTED_AFTER: Duration = Duration::from_secs(20);

/// What is remembered of one instance.
#[derive(Default)]
pub(super) struct Memory {
    /// Ends that nobody asked for.
    pub(super) restarts: u32,
    /// Of those, how many in a row.
    failures: u32,
    /// Since when a process runs, as far as was seen.
    runs_since: Option<Instant>,
    /// Since when it does not answer.
    silent_since: Option<Instant>,
    /// The last answer of the process that runs.
    pub(super) status: Option<ServerStatus>,
    next_start_at: Option<Instant>,
    /// The version that was wanted at the last look.
    wanted_version: Option<String>,
    pub(super) stop_asked_at: Option<Instant>,
    /// When the certificate for clients was asked for, and on which link.
    pub(super) certificate_asked: Option<(Instant, u64)>,
    /// When the certificate for other members was asked for, and on which link.
    pub(super) peer_certificate_asked: Option<(Instant, u64)>,
    pub(super) applied: Option<ContentHash>,
    pub(super) error: Option<String>,
}

impl Memory {
    /// Notes that a process was seen. Returns whether it is news.
    pub(super) fn note_running(&mut self, now: Instant) -> bool {
        let is_news = self.runs_since.is_none();
        self.runs_since.get_or_insert(now);
        is_news
    }

    /// Notes that a process was started.
    pub(super) fn note_start(&mut self, now: Instant) {
        self.runs_since = Some(now);
        self.silent_since = None;
        self.stop_asked_at = None;
    }

    /// Notes that a process could not be started.
    pub(super) fn note_failed_start(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.next_start_at = Some(now + START_BACKOFF.ceiling(self.failures));
    }

    /// Notes that no process was seen. Returns the wait before the next start when one ended that nobody had asked to
    /// end for good.
    pub(super) fn note_stopped(&mut self, now: Instant) -> Option<Duration> {
        let ran_for = now.saturating_duration_since(self.runs_since.take()?);
        let was_poisoned = self.status.take().is_some_and(|status| status.poisoned);
        self.silent_since = None;
        if self.stop_asked_at.take().is_some() && !was_poisoned {
            return None;
        }
        self.failures = if ran_for >= STABLE_AFTER {
            1
        } else {
            self.failures.saturating_add(1)
        };
        self.restarts = self.restarts.saturating_add(1);
        // The first failure after a stable run costs no wait.
        let wait = START_BACKOFF.ceiling(self.failures - 1);
        self.next_start_at = Some(now + wait);
        Some(wait)
    }

    /// Notes an answer of the running process. Returns what it means, and whether it is the first one.
    pub(super) fn note_answer(&mut self, status: ServerStatus) -> (ProcessCondition, bool) {
        let is_first = self.status.is_none();
        self.silent_since = None;
        let condition = if status.poisoned {
            self.error = Some("a disk operation failed; the server refuses work and is started again".to_owned());
            ProcessCondition::Poisoned
        } else {
            if is_first {
                self.error = None;
            }
            ProcessCondition::Answering
        };
        self.status = Some(status);
        (condition, is_first)
    }

    /// Notes that the running process gave no answer.
    pub(super) fn note_silence(&mut self, now: Instant, reason: &str) -> ProcessCondition {
        let silent_for = now.saturating_duration_since(*self.silent_since.get_or_insert(now));
        if self.status.is_some() && silent_for < SILENCE_GRACE {
            return ProcessCondition::Answering;
        }
        self.status = None;
        if silent_for >= SILENCE_REPORTED_AFTER {
            self.fail(format!("the server runs and does not answer: {reason}"));
        }
        ProcessCondition::Silent
    }

    /// Notes which version is wanted. Another one starts without a wait: that the last one failed says nothing of it.
    pub(super) fn note_wanted_version(&mut self, version: Option<&str>) {
        if self.wanted_version.as_deref() != version {
            self.wanted_version = version.map(str::to_owned);
            self.failures = 0;
            self.next_start_at = None;
        }
    }

    /// Notes that a certificate request was answered.
    pub(super) fn note_certificate_answer(&mut self, is_peer: bool) {
        if is_peer {
            self.peer_certificate_asked = None;
        } else {
            self.certificate_asked = None;
        }
    }

    /// Whether a process may be started now.
    pub(super) fn is_start_allowed(&self, now: Instant) -> bool {
        self.next_start_at.is_none_or(|at| now >= at)
    }

    /// Whether a process was started a moment ago and has not answered yet, or was asked to end and has not.
    pub(super) fn is_in_transition(&self, now: Instant) -> bool {
        let is_young = |since| now.saturating_duration_since(since) < TRANSITION_MAX;
        let is_starting = self.status.is_none() && self.runs_since.is_some_and(is_young);
        is_starting || self.stop_asked_at.is_some_and(is_young)
    }

    /// Sets the error that is reported.
    pub(super) fn fail(&mut self, mut error: String) {
        if error.len() > ERROR_BYTES_MAX {
            error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
        }
        self.error = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(poisoned: bool) -> ServerStatus {
        ServerStatus {
            version: "0".into(),
            databases: vec![],
            poisoned,
            cluster: None,
            format: None,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_server_that_keeps_ending_waits_longer_each_time_and_a_stable_one_does_not() {
        let mut now = monotonic();
        let mut memory = Memory::default();
        assert_eq!(memory.note_stopped(now), None, "nothing ran");
        for millis in [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            memory.note_start(now);
            now += seconds(1);
            let wait = Duration::from_millis(millis);
            assert_eq!(memory.note_stopped(now), Some(wait));
            assert_eq!(memory.note_stopped(now), None, "an end is counted once");
            assert_eq!(memory.is_start_allowed(now), wait.is_zero());
            now += wait;
            assert!(memory.is_start_allowed(now));
        }
        assert_eq!(memory.restarts, 9);
        memory.note_start(now);
        assert_eq!(memory.note_stopped(now + STABLE_AFTER), Some(Duration::ZERO));
    }

    #[test]
    fn another_version_does_not_wait_for_the_failures_of_the_last_one() {
        let now = monotonic();
        let mut memory = Memory::default();
        memory.note_wanted_version(Some("broken"));
        for _ in 0..3 {
            memory.note_start(now);
            memory.note_stopped(now);
        }
        memory.note_wanted_version(Some("broken"));
        assert!(!memory.is_start_allowed(now));
        memory.note_wanted_version(Some("0.1.0"));
        assert!(memory.is_start_allowed(now));
        memory.note_start(now);
        assert_eq!(memory.note_stopped(now), Some(Duration::ZERO));
    }

    #[test]
    fn a_stop_that_was_asked_for_is_no_failure_unless_the_server_was_poisoned() {
        let now = monotonic();
        for (poisoned, restarts) in [(false, 0), (true, 1)] {
            let mut memory = Memory::default();
            memory.note_start(now);
            memory.note_answer(status(poisoned));
            memory.stop_asked_at = Some(now);
            memory.note_stopped(now + seconds(1));
            assert_eq!(memory.restarts, restarts, "poisoned: {poisoned}");
        }
    }

    #[test]
    fn a_short_silence_of_a_server_that_answered_is_no_event() {
        let now = monotonic();
        let mut memory = Memory::default();
        memory.note_start(now);
        assert_eq!(
            memory.note_silence(now, "refused"),
            ProcessCondition::Silent,
            "it never answered"
        );
        assert!(memory.is_in_transition(now) && !memory.is_in_transition(now + TRANSITION_MAX));
        assert_eq!(memory.note_answer(status(false)), (ProcessCondition::Answering, true));
        assert_eq!(memory.note_answer(status(false)), (ProcessCondition::Answering, false));
        assert_eq!(memory.note_silence(now, "slow"), ProcessCondition::Answering);
        assert_eq!(
            memory.note_silence(now + seconds(4), "slow"),
            ProcessCondition::Answering
        );
        assert_eq!(memory.note_silence(now + seconds(5), "slow"), ProcessCondition::Silent);
        assert_eq!(memory.error, None);
        memory.note_silence(now + seconds(20), "slow");
        assert!(
            memory.error.as_ref().is_some_and(|error| error.ends_with("slow")),
            "{:?}",
            memory.error
        );
        memory.note_answer(status(false));
        assert_eq!(memory.error, None);
        assert!(!memory.is_in_transition(now));
        memory.stop_asked_at = Some(now);
        assert!(memory.is_in_transition(now) && !memory.is_in_transition(now + TRANSITION_MAX));
    }

    #[test]
    fn long_errors_are_cut_between_characters() {
        let mut memory = Memory::default();
        memory.fail("é".repeat(ERROR_BYTES_MAX));
        assert_eq!(memory.error.map(|error| error.len()), Some(ERROR_BYTES_MAX));
    }

    fn monotonic() -> Instant {
        crate::time::monotonic_now()
    }
}
