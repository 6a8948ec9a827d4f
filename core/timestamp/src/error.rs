//! What is wrong with a time stamp.

use crate::{AUTHORITIES_BYTES_MAX, TOKEN_BYTES_MAX};

/// Why an answer or a token is no time stamp of what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeStampError {
    /// It is not the DER that it should be.
    #[error("this is no time stamp: {0}")]
    Form(String),
    /// The authority refused.
    #[error("the time stamp authority refused with status {status}")]
    Refused {
        /// `PKIStatus` (RFC 3161 section 2.4.2).
        status: u32,
    },
    /// The answer says that there is a token, and there is none.
    #[error("the answer holds no token")]
    NoToken,
    /// The token is longer than any.
    #[error("a time stamp has at most {TOKEN_BYTES_MAX} bytes, found {found}")]
    Length {
        /// Its length.
        found: usize,
    },
    /// The token stamps something else.
    #[error("the time stamp is over other data")]
    OtherData,
    /// The token is the answer to another request.
    #[error("the time stamp answers another request: its nonce differs")]
    OtherNonce,
    /// The token is not signed the way that is supported.
    #[error("the time stamp's signature cannot be checked: {0}")]
    Unsupported(String),
    /// The token's content is not what was signed.
    #[error("the time stamp's signature does not verify")]
    Signature,
    /// The certificate of whoever signed is not one to trust for time stamps.
    #[error("the time stamp's certificate is not trusted: {0}")]
    Certificate(String),
    /// The certificates to trust are not usable.
    #[error("the time stamp authority's certificates are not usable: {0}")]
    Authorities(String),
    /// The certificates to trust are longer than any.
    #[error("certificates have at most {AUTHORITIES_BYTES_MAX} bytes, found {found}")]
    AuthoritiesLength {
        /// Their length.
        found: usize,
    },
}

impl From<der::Error> for TimeStampError {
    fn from(error: der::Error) -> Self {
        Self::Form(error.to_string())
    }
}
