//! The rows of one tenant, every version of them, derived from the tenant's log.
//!
//! A [`Projection`] is a cache: whatever it holds can be rebuilt by replaying the log, and a file that is
//! damaged, of another format version or behind the log is deleted and rebuilt
//! ([`ProjectionError::is_rebuildable`]). It still never serves wrong rows: every page is authenticated.
//!
//! Recent versions live in memory, in an *active* layer that takes writes and, while a flush is under way, a
//! *frozen* one. Everything older is in a redb file that is encrypted page by page. A flush moves a whole layer into
//! the file in one transaction, together with the position in the log that it reaches and the state of the kernel at
//! that position.
//!
//! # Invariants
//! - A version is the offset of the record that wrote it. A read at an exclusive end offset sees, of each row, the
//!   newest version below the end. Versions are never removed, deletions are versions too.
//! - Versions reach the projection in log order, and become visible to snapshots only when they are published.
//! - A snapshot shows one position for as long as it lives, whatever is written or flushed meanwhile, and never makes a
//!   writer wait for longer than one chunk of a scan takes to copy.
//! - The file always holds exactly the versions below its applied end offset: a crash during a flush leaves the state
//!   before it or after it.
//! - Streams are noted beside the rows: names, and where their records are. They have no versions, since offsets of a
//!   stream are only ever added; a snapshot sees those below its end.
//! - No plaintext reaches the disk, not even lengths or table names.
//!
//! # Deliberately absent
//! Secondary indexes, SQL (`craton-query`), deciding whether a write is allowed (`craton-kernel`), the log itself
//! (`craton-log`), and any clock, thread or timer: the engine decides when to flush and on which thread.

mod backend;
mod cipher;
mod error;
mod memory;
mod projection;
mod range;
mod scan;
mod snapshot;
mod stored;
mod streams;

pub use backend::EncryptedBackend;
pub use craton_types::{Direction, KeyRange};
pub use error::ProjectionError;
pub use projection::{Applied, Flush, Projection, ProjectionOptions, RowVersion};
pub use scan::Scan;
pub use snapshot::{History, HistoryEntry, Snapshot};

/// The private parsers, one function each: takes bytes, asserts what must hold of anything that is understood, and says
/// whether it was.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::stored::{stored_applied, stored_row};
    pub use crate::streams::{stored_offsets, stored_stream};
}
