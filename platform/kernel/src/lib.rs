//! The vocabulary of the control plane: identifiers, principals, aggregates and the traits of its stores.
//!
//! # Invariants
//! - Pure: time and randomness come in through [`Clock`] and [`Random`], storage through [`EventStore`] and
//!   [`SessionStore`]. Nothing here opens a file or a socket.
//! - An identifier is a UUIDv7 behind a typed prefix; parsing is strict, so one identifier has one spelling.
//! - Who may do what is decided by one table, [`Role::allows`].
//! - [`Ledger::execute`] is the only place that loads an aggregate, decides, appends and retries a lost race.
//! - Events never hold secrets: keys are stored as hashes, and secrets have no `Serialize`.
//!
//! # Deliberately absent
//! Event stores (`craton-platform-data`), read models (`craton-platform-sqlite`), HTTP (`craton-platform-http`),
//! and every aggregate (`craton-platform-identity`, `craton-platform-fleet`).

mod aggregate;
mod base32;
mod environment;
mod event;
mod id;
mod ledger;
mod principal;
mod projection;
mod role;
mod session;
mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod token;
mod witness;

pub use aggregate::{Aggregate, EventCodecError, decode_event, encode_event};
pub use environment::{Clock, Environment, Random};
pub use event::{
    Actor, ActorKind, AppendError, Appended, EventEnvelope, EventStore, NewEvent, Position, Receipt, RecordHash,
    StoreError, WITHHELD_FIELDS,
};
pub use id::{
    ApiKeyId, CeremonyId, ClusterId, EventId, IdParseError, JoinTokenId, NodeId, OperationId, OrgId, PasskeyId,
    RequestId, SessionId, UserId,
};
pub use ledger::{CommandContext, ExecuteError, Executed, Ledger, Loaded};
pub use principal::{Memberships, Principal};
pub use projection::{Projection, ProjectionError, ViewBarrier};
pub use role::{Permission, Role};
pub use session::{CredentialUse, SessionRecord, SessionStore};
pub use stream::{StreamName, StreamNameError};
pub use token::{SecretHash, SecretToken, TokenKind, TokenParseError};
pub use witness::{RefusedCheckpoint, WitnessStore, WitnessedCheckpoint};
