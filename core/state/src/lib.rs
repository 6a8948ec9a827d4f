//! The state tree of one tenant: a versioned sparse Merkle tree over the rows that exist, so that a checkpoint can
//! vouch for "this was the latest change of the row" and "there was no such row".
//!
//! A leaf says which record and which chunk of it holds the newest change of a row. Where the leaf is follows from the
//! tenant's state key, the table and the primary key; what it holds is blinded, so that the hash of a leaf beside the
//! proved one cannot be guessed. The hashes are those of `craton_proof::StateTreeProof`.
//!
//! The tree is kept on redb behind the encrypting backend of `craton-projection`. A version is the number of records of
//! the log that it comes from. Nodes are written once and never changed; a version that changes `n` rows writes the
//! nodes on the paths to them, and every older version stays provable.
//!
//! # Invariants
//! - The root of a version is a function of the rows at that position and the tenant's keys, whatever the batches in
//!   which they came.
//! - A version is written in one transaction, with the hash of the last record that it comes from: a crash leaves it
//!   whole or not at all, and a tree of another log is noticed.
//! - The tree is a cache: it can be rebuilt from the log, and a damaged one is.
//!
//! # Deliberately absent
//! Reading the log (`craton-engine`), verification (`craton-proof`), threads, clocks and randomness.

mod error;
mod node;
mod store;
mod tree;
mod update;

pub use error::StateError;
pub use node::Position;
pub use tree::{RowState, StateKeys, StateOptions, StateTree, StateVersion};

/// The private parsers, one function each: takes bytes, asserts what must hold of anything that is understood, and says
/// whether it was.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::node::state_node;
}
