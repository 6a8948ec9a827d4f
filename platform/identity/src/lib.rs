//! People, organisations and keys: who may come in, and as whom.
//!
//! # Invariants
//! - A person signs in with a passkey and user verification (W3C Web Authentication Level 3); there is no password.
//! - A session is an opaque 256-bit cookie, stored as a hash, new at each sign-in, gone at once when revoked.
//! - An API key is shown once and stored as a hash; comparison takes the same time whatever the input.
//! - An organisation always has an owner, and nobody hands out a role stronger than their own.
//! - Decisions are made on the event log alone; the read model only finds and lists.
//!
//! # Deliberately absent
//! Clusters and nodes (`craton-platform-fleet`, which this crate never imports), the router and its layers
//! (`craton-platform-app`).

mod api_key;
mod authenticate;
mod ceremonies;
pub mod http;
mod identity;
mod operator_key;
mod organisation;
mod passkeys;
mod sessions;
mod text;
mod user;
mod view;

pub use authenticate::authenticate;
pub use identity::{Identity, IdentityError, IdentityParts};
pub use operator_key::OperatorKey;
pub use passkeys::{Passkeys, PasskeysError};
pub use sessions::{SESSION_ABSOLUTE_HOURS, SESSION_IDLE_HOURS};
pub use view::IdentityProjection;
