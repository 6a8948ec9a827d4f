//! Witnesses and time stamps: how a node gets others to vouch for its logs.
//!
//! A background thread takes every new checkpoint of every database to the configured witnesses (C2SP tlog-witness),
//! verifies their cosignatures and records the cosigned note in the log, with a time stamp over it where an authority is
//! configured (RFC 3161). Receipts carry the note from then on.
//!
//! # Invariants
//! - A write never waits for a witness, and a witness that is slow or gone holds up no other.
//! - Only a cosignature or a time stamp that verifies is recorded.
//! - Every wait and queue is bounded: time and bytes of an answer, requests at once, tries and how often they are made.
//! - A witness that has seen another history of a log is an alarm: it is logged as an error and counted.
//!
//! # Deliberately absent
//! Judging checkpoints (`craton_proof::AddCheckpoint::judge`) and being a witness (the control plane).

mod asking;
mod cosigning;
mod file;
mod policy;
mod status;
mod time_stamp;
mod transport;

pub use cosigning::Cosigning;
pub use file::{FileCosigning, WitnessFileError};
pub use policy::{POLICY_BYTES_MAX, Policy, PolicyError, ServiceUrl, ServiceUrlError, WITNESSES_MAX, Witness};
pub use status::{CosigningStatus, RequestOutcome, WitnessStatus};
pub use time_stamp::{StampOutcome, TimeStampAuthority};
pub use transport::{HttpTransport, Reply, Transport, TransportError};
