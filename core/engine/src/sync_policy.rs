//! How many commands share one `fdatasync`.

use std::str::FromStr;
use std::time::Duration;

/// How many commands share one `fdatasync`. Whatever the policy, none is acknowledged before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Everything that waits when the log is ready for it. A lone client waits for nobody, and batches grow with the
    /// load.
    #[default]
    EveryBatch,
    /// One command each: the most syncs, and the least that a crash leaves undecided.
    EveryRecord,
    /// What arrives within a time after the first command: fewer syncs, each command up to that much later.
    Group {
        /// The time, at most [`GROUP_DELAY_MAX`].
        delay_max: Duration,
    },
}

/// The longest time that commands may be held back to share a sync.
pub const GROUP_DELAY_MAX: Duration = Duration::from_secs(1);

/// Why a text is no [`SyncPolicy`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not every-batch, every-record or group:MILLISECONDS with 1 to 1000 milliseconds")]
pub struct SyncPolicyError {
    text: String,
}

impl FromStr for SyncPolicy {
    type Err = SyncPolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || SyncPolicyError { text: text.to_owned() };
        match text {
            "every-batch" => Ok(Self::EveryBatch),
            "every-record" => Ok(Self::EveryRecord),
            _ => {
                let milliseconds = text.strip_prefix("group:").ok_or_else(wrong)?;
                let delay_max = Duration::from_millis(milliseconds.parse().map_err(|_| wrong())?);
                let policy = Self::Group { delay_max };
                policy.is_within_bounds().then_some(policy).ok_or_else(wrong)
            }
        }
    }
}

impl SyncPolicy {
    /// Whether a group's delay is at least a millisecond and at most [`GROUP_DELAY_MAX`].
    pub(crate) fn is_within_bounds(&self) -> bool {
        match self {
            Self::EveryBatch | Self::EveryRecord => true,
            Self::Group { delay_max } => (Duration::from_millis(1)..=GROUP_DELAY_MAX).contains(delay_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_a_text_and_bounds() {
        let group = |milliseconds| SyncPolicy::Group {
            delay_max: Duration::from_millis(milliseconds),
        };
        for (text, expected) in [
            ("every-batch", Some(SyncPolicy::EveryBatch)),
            ("every-record", Some(SyncPolicy::EveryRecord)),
            ("group:1", Some(group(1))),
            ("group:1000", Some(group(1000))),
            ("group:0", None),
            ("group:1001", None),
            ("group:", None),
            ("group:1.5", None),
            ("every", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<SyncPolicy>().ok(), expected, "{text:?}");
        }
    }
}
