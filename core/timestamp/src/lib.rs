//! Time stamps by a trusted third party (RFC 3161): asking for one, and verifying it offline.
//!
//! A time stamp authority signs a hash together with the time at which it saw it. Whoever trusts the authority knows
//! that what was hashed existed then.
//!
//! # Invariants
//! - No IO and no clock: a request's nonce and an answer's bytes are arguments, and certificates are judged at the time
//!   that the token itself tells.
//! - Nothing but a token that verifies is ever called one: right hash, right nonce, a signature by a certificate that is
//!   for time stamps and leads to an authority that the caller trusts.
//! - Malformed input ends in a typed error, never in a panic.
//!
//! # Deliberately absent
//! Revocation, and hashes other than SHA-256 for what is stamped. `openssl ts -verify` reads the same tokens.

mod authorities;
mod error;
mod request;
mod token;

pub use authorities::{AUTHORITIES_BYTES_MAX, Authorities};
pub use error::TimeStampError;
pub use request::{NONCE_BYTES, Request};
pub use token::{TOKEN_BYTES_MAX, TimeStamp, verify};
