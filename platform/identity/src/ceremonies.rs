//! WebAuthn ceremonies between start and finish: in memory, single use, bounded in number and time.

use std::collections::HashMap;

use craton_platform_kernel::CeremonyId;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// How long a person may take.
pub(crate) const CEREMONY_MINUTES_MAX: i64 = 5;
/// Ceremonies open at one time.
pub(crate) const CEREMONIES_MAX: usize = 10_000;

/// Too many ceremonies are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{CEREMONIES_MAX} ceremonies are open")]
pub(crate) struct CeremoniesFull;

/// Open ceremonies with their server-side state.
#[derive(Debug)]
pub(crate) struct Ceremonies<T>(Mutex<HashMap<CeremonyId, (Timestamp, T)>>);

impl<T> Default for Ceremonies<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Ceremonies<T> {
    /// Opens a ceremony.
    pub(crate) fn open(&self, id: CeremonyId, now: Timestamp, state: T) -> Result<(), CeremoniesFull> {
        let mut open = self.0.lock();
        if open.len() >= CEREMONIES_MAX {
            open.retain(|_, (ends_at, _)| *ends_at > now);
        }
        if open.len() >= CEREMONIES_MAX {
            return Err(CeremoniesFull);
        }
        open.insert(id, (now + SignedDuration::from_mins(CEREMONY_MINUTES_MAX), state));
        Ok(())
    }

    /// Closes a ceremony and gives its state, if it is open and in time.
    pub(crate) fn close(&self, id: CeremonyId, now: Timestamp) -> Option<T> {
        let (ends_at, state) = self.0.lock().remove(&id)?;
        (ends_at > now).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing::environment;

    use super::*;

    #[test]
    fn a_ceremony_is_finished_once_and_in_time() {
        let environment = environment();
        let now = environment.now();
        let minutes = SignedDuration::from_mins(CEREMONY_MINUTES_MAX);
        let ceremonies = Ceremonies::default();
        for (later, found) in [
            (SignedDuration::ZERO, true),
            (minutes - SignedDuration::from_nanos(1), true),
            (minutes, false),
        ] {
            let id = environment.new_id();
            ceremonies.open(id, now, ()).expect("room");
            assert_eq!(ceremonies.close(id, now + later).is_some(), found, "{later:?}");
            assert!(ceremonies.close(id, now).is_none(), "a second time");
        }
    }

    #[test]
    fn one_past_the_limit_is_refused_until_old_ones_end() {
        let environment = environment();
        let now = environment.now();
        let ceremonies = Ceremonies::default();
        for _ in 0..CEREMONIES_MAX {
            ceremonies.open(environment.new_id(), now, ()).expect("room");
        }
        assert_eq!(ceremonies.open(environment.new_id(), now, ()), Err(CeremoniesFull));
        let later = now + SignedDuration::from_mins(CEREMONY_MINUTES_MAX);
        assert_eq!(ceremonies.open(environment.new_id(), later, ()), Ok(()));
    }
}
