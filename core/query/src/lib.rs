//! SQL for one tenant's tables: from text to plans, from plans to rows and row writes.
//!
//! ```text
//! text ── parse ──> Statement ── plan (Catalog) ──> Plan ── execute (RowSource, Context) ──> rows, RowWrites
//! ```
//!
//! The dialect is PostgreSQL's: names fold to lower case, types, operators, casts, errors and text formats are
//! PostgreSQL's, and a statement that needs something else is refused with its SQLSTATE, never half understood.
//!
//! # Invariants
//! - Pure: rows come from a [`RowSource`], time, user, randomness and receipts from a [`Context`].
//! - A clause that is not carried out is refused. Syntax trees are taken apart field by field, so that a field
//!   added by the parser is an error of the compiler here.
//! - Every bound is in [`limits`]: no text, however long or nested, takes unbounded stack or memory.
//! - A writing statement yields at most one [`craton_types::RowWrite`] per row, each with what the writer saw.
//! - Text order is byte order (the `C` collation), in keys, comparisons and `ORDER BY` alike.
//!
//! # Deliberately absent
//! Joins, subqueries, windows and set operations (each refused with `0A000`). Sessions, transactions and the
//! decision whether a write happens (`craton-engine`, `craton-kernel`). Time zones other than UTC.

mod context;
mod copy;
mod error;
mod execute;
mod expression;
pub mod limits;
mod overlay;
mod parse;
mod plan;
mod recovery;
mod source;
mod statement;
pub mod text;
mod types;
mod variables;

pub use context::{Catalog, Context, CosignedCheckpoint, Functions, HistoryEntry, InsertCheck};
pub use copy::{copy_in, copy_out};
pub use craton_types::{Direction, KeyRange, prefix_end};
pub use error::{SqlError, SqlState};
pub use execute::{ResultSet, WriteSet, execute_select, execute_write};
pub use overlay::{Overlay, TransactionWrites};
pub use parse::parse;
pub use plan::{
    CopyIn, CopyOut, CreateTable, DropTable, EVENTS_TABLE, Plan, PlanKind, ResultColumn, SelectPlan, SetPlacement,
    SetRetention, SetVariable, SubjectPlan, SubjectRequest, TransactionModes, WritePlan, plan,
};
pub use recovery::RecoveryEntry;
pub use source::{RowSource, Scan, SourceError};
pub use statement::{AsOf, Statement};
pub use variables::{CONSISTENCY_TOKEN, Consistency, SERVER_VERSION, Variables};
