//! What has become of the requests.

use std::collections::BTreeMap;
use std::fmt;

use crate::StampOutcome;

/// How a request to a witness ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestOutcome {
    /// It cosigned.
    Cosigned,
    /// It said which size it has cosigned last, and was asked again from there.
    Conflict,
    /// It has seen another history of the log, or a longer one.
    OtherHistory,
    /// It does not know the log.
    UnknownOrigin,
    /// It refused for another reason, or its answer was not to be used.
    Refused,
    /// It did not answer.
    Unreachable,
}

impl RequestOutcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Cosigned,
        Self::Conflict,
        Self::OtherHistory,
        Self::UnknownOrigin,
        Self::Refused,
        Self::Unreachable,
    ];

    /// A word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cosigned => "cosigned",
            Self::Conflict => "conflict",
            Self::OtherHistory => "other_history",
            Self::UnknownOrigin => "unknown_origin",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for RequestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of the witnesses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CosigningStatus {
    /// Requests since the start, by how they ended.
    pub requests: BTreeMap<RequestOutcome, u64>,
    /// Requests for time stamps since the start, by how they ended.
    pub time_stamps: BTreeMap<StampOutcome, u64>,
    /// What went wrong with the last request for a time stamp, while it is still wrong.
    pub time_stamp_error: Option<String>,
    /// Each database and witness that was asked.
    pub witnesses: Vec<WitnessStatus>,
}

/// A witness of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessStatus {
    /// The database.
    pub database: String,
    /// Name and id of the witness's key.
    pub witness: String,
    /// How many records the last checkpoint covers that it cosigned; `None` when it has not since the start.
    pub cosigned_size: Option<u64>,
    /// What went wrong last, while it is still wrong.
    pub error: Option<String>,
}
