//! Read models in SQLite: one file per projection, derived from the event log and from nothing else.
//!
//! # Invariants
//! - An event and the checkpoint behind it commit in one transaction, so a crash never loses or repeats one.
//! - A file of another version, or one whose checkpoint the log does not know, is deleted and replayed: deleting
//!   the files by hand is always safe.
//! - One writer (the runner) and several readers (WAL mode); readers cannot write.
//!
//! # Deliberately absent
//! Schemas and projections: they are beside the code that reads them. Business rules: a view never decides.

mod error;
mod read_model;
mod runner;
mod views;

pub use error::ReadModelError;
pub use read_model::{READERS_MAX, ReadModel, SqliteProjection};
pub use views::{VIEW_WAIT_MAX, Views};

/// What projections and queries are written with.
pub use rusqlite;
