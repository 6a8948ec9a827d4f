//! The kernel: what a command does to a tenant, decided the same way on every replica.
//!
//! [`decide`] takes a tenant's state, a view of its rows and a command, and answers with a refusal or with a record and
//! the row versions to store. The record is a draft: [`Draft::seal`] encrypts and hashes its chunks, which needs no state
//! and so may happen on any thread, and [`SealedRecord::chain`] links it to the one before.
//!
//! # Invariants
//! - Pure: no IO, no clock, no randomness. Equal inputs give equal records, byte for byte, encryption included.
//! - `decide` changes the state only when a command commits; after a refusal the state is as it was.
//! - A tenant's timestamps never decrease, its offsets have no gap, and each record links to the one before.
//! - Every check that a writer made on a snapshot is made again here, against the row versions of now.
//!
//! # Deliberately absent
//! SQL (`craton-query` turns statements into row writes), ordering and durability (`craton-consensus`),
//! files (`craton-log`, `craton-projection`) and signing keys: checkpoints arrive signed.

mod apply;
mod checkpoint;
mod command;
mod outcome;
mod placement;
mod replay;
mod seal;
mod state;
mod subject;
mod system_table;

pub use apply::{ApplyError, Decided, Drafted, RowReader, StreamWrite, ViewWrite, decide};
pub use checkpoint::{Cosigned, RecentCheckpoints, StateCheckpoint};
pub use command::{Command, ExpectedSequence, NewDataKey, NewSubjectKey, Operation, ReadCheck, SchemaWrite};
pub use outcome::{Committed, Outcome, Refusal};
pub use replay::{ReplayError, Replayed, replay};
pub use seal::{Draft, SealedRecord, UnsealError, key_epoch_of, unseal_changes};
pub use state::{Catalogue, StateDecodeError, TenantState};
pub use subject::{SUBJECT_TABLE, SubjectKeyEffect, SubjectState, subject_key};
pub use system_table::{
    CATALOGUE_TABLE, IDEMPOTENCY_IDS_MAX, KEY_EPOCH_TABLE, RECOVERY_TABLE, STREAM_NAME_BYTES_MAX, catalogue_table,
    key_epoch_from_row, recovery_from_row,
};
