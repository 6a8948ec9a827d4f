//! Time stamps of cosigned checkpoints (RFC 3161): asking the authority.

use std::fmt;

use craton_timestamp::{Authorities, NONCE_BYTES, Request, TimeStampError};

use crate::{ServiceUrl, Transport, TransportError};

/// The content type of a request.
const QUERY_CONTENT_TYPE: &str = "application/timestamp-query";

/// Who stamps what the witnesses cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeStampAuthority {
    /// Where it is asked. It may be plain `http`: see [`ServiceUrl::parse_any_http`].
    pub url: ServiceUrl,
    /// Where the chain of its certificate may end.
    pub certificates: Authorities,
}

/// Why there is no time stamp.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StampError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the time stamp authority answered with HTTP status {0}")]
    HttpStatus(u16),
    #[error("there is no randomness for a nonce: {0}")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    TimeStamp(#[from] TimeStampError),
}

/// How a request for a time stamp ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StampOutcome {
    /// The token verifies and is recorded.
    Stamped,
    /// The authority refused.
    Refused,
    /// The answer was no token that verifies: an alarm, if it lasts.
    NotVerified,
    /// The authority did not answer.
    Unreachable,
}

impl StampOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stamped, Self::Refused, Self::NotVerified, Self::Unreachable];

    /// A word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stamped => "stamped",
            Self::Refused => "refused",
            Self::NotVerified => "not_verified",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for StampOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl StampError {
    pub(crate) const fn outcome(&self) -> StampOutcome {
        match self {
            Self::Transport(_) | Self::Random(_) => StampOutcome::Unreachable,
            Self::HttpStatus(_) | Self::TimeStamp(TimeStampError::Refused { .. }) => StampOutcome::Refused,
            Self::TimeStamp(_) => StampOutcome::NotVerified,
        }
    }
}

/// Asks an authority for a time stamp over a note.
pub(crate) fn stamp(
    transport: &dyn Transport,
    authority: &TimeStampAuthority,
    note: &[u8],
) -> Result<Vec<u8>, StampError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)?;
    let request = Request::over(note, nonce);
    let reply = transport.post(&authority.url, "", QUERY_CONTENT_TYPE, &request.to_der())?;
    if reply.status != 200 {
        return Err(StampError::HttpStatus(reply.status));
    }
    Ok(request.token(&reply.body, &authority.certificates)?)
}
