//! Members of a cluster among each other: requests over TCP with mutual TLS.
//!
//! A member's certificate names it as `node-<number>.<cluster id>.peer.craton.internal`. Whoever connects checks that the other
//! end is the member that it wants; whoever accepts checks that the other end is the member that it says it is. A
//! connection begins with a hello each way and then carries frames, see [`wire`].

mod client;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod listener;
mod tls;
mod wire;

pub(crate) use client::PeerTransport;
pub(crate) use listener::PeerListener;
pub(crate) use tls::PeerIdentity;
pub use tls::PeerTlsError;
