//! The data-plane node: an engine with its network edges.
//!
//! | edge | for | guarded by |
//! |---|---|---|
//! | PostgreSQL protocol over TLS | applications | SCRAM-SHA-256; a signed token for the probe |
//! | HTTP over TLS | those who check a database's log (C2SP tlog-tiles) | a database user's password |
//! | HTTP, where an address is given for it | the machine's metrics collector | the address it listens on |
//! | HTTP over a Unix socket | the agent, the machine's supervisor | the socket's file mode |
//!
//! # Invariants
//! - No statement travels without TLS, and none runs before its user is known and may use the database.
//! - What a client is told has succeeded is durable: success is never sent before the engine has reported the commit.
//! - No parser panics, and each has a bound: on bytes, on time, on how many.
//! - Whether a user exists is not revealed to those who do not know the password.
//! - Secrets are never logged: no password, verifier, token, key or parameter.
//!
//! # Deliberately absent
//! SQL (`craton-query`), storage and transactions (`craton-engine`), organisations and clusters (the control plane).

mod admin;
mod admin_keys;
mod command;
mod connections;
mod endpoints;
mod explain;
mod http;
mod limits;
mod master_key;
mod member;
mod metrics;
mod peers;
mod postgres;
mod problem;
mod server;
mod shared;
mod tls;
mod token;

pub use command::run_command;
pub use endpoints::{ENDPOINTS_FILE, Endpoints};
pub use limits::Limits;
pub use master_key::{MasterKeyOpenError, MasterKeySource, MasterKeySourceError, VaultSettings};
pub use member::{MemberError, MemberOptions};
pub use peers::PeerTlsError;
pub use server::{Options, Reloader, RunError, Server, StartError, TokenOptions};
pub use tls::TlsError;
pub use token::{PROBE_DATABASE, PROBE_USER, TOKEN_LIFETIME_MAX, TokenKeyError};

/// The private parsers, one function each: takes bytes, asserts what must hold of anything that is understood, and says
/// whether it was.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::peers::fuzzing::*;
    pub use crate::postgres::fuzzing::*;
}
