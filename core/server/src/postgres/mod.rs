//! The PostgreSQL protocol, version 3.0 and 3.2, over TLS.
//!
//! `connection` brings a socket to an authenticated session; `session` is its main loop, with one file for each
//! sub-protocol: `simple`, `extended` and `copy`. `frontend` parses what clients send; what they are sent is encoded by
//! `pgwire`'s message types, except rows, which `rows` writes straight into the output.

mod authentication;
mod binary;
mod connection;
mod copy;
mod extended;
mod failure;
mod frontend;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod rows;
mod session;
mod simple;
mod startup;
mod transport;
mod types;

pub(crate) use authentication::MockVerifiers;
pub(crate) use connection::serve;
