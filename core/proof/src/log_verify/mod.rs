//! Verification of a tenant's log: every byte of its segment files, in one pass, with memory bounded by one
//! buffer, a window of hashes and the number of streams.
//!
//! # What is checked
//! - Each segment: its name, header and footer; that no segment is missing, swapped or of another tenant.
//! - Each record: the header's CRC32C and form, its tenant, offset and link to the record before, times that
//!   never decrease, stream sequences without gap, and the body against `payload_hash`.
//! - Each checkpoint: that it is of this tenant's log, covers what it may, has the Merkle root of the
//!   records here, and is signed by the key, when a key is given.
//! - A checkpoint obtained elsewhere, when one is given: that this log contains all it covers.
//!
//! # What the parts are worth
//! The CRCs find accidents. The chain of hashes finds a change that was not carried through to the end of the log.
//! Only the signed checkpoints find a change by someone who rewrote everything after it; so records after the
//! last checkpoint are *linked but unsigned*, and the summary counts them apart. Nothing inside a log can show
//! that its newest records were cut off: that takes a checkpoint obtained elsewhere.
//!
//! # Two passes
//! [`verify_log`] is careful: it goes through the segments in their order and names what is wrong. A log that is intact
//! is verified faster by [`digest_segment`], which segments can go through at the same time, and [`LogAssembly`], which
//! checks what reaches over their seams. The quick pass accepts nothing that the careful one refuses, and names nothing.
//!
//! # How the first bad field is found
//! When a header's CRC does not match, the one-byte change that makes it match is looked for; when the link to a
//! header does not match, the one-byte change that gives the linked hash. Either names the field and the
//! byte. A complaint about something that the header only implies (times, sequences, the body) waits for the
//! next record's link, which may tell that it is the header that was changed.

mod assembly;
mod body;
mod checkpoints;
mod digest;
mod fault;
mod header;
mod segments;
mod source;
mod streams;
mod summary;
mod verifier;

use std::io::Read;

use crate::{Checkpoint, VerifierKey, WitnessPolicy};

pub use assembly::LogAssembly;
pub use checkpoints::Cosigned;
pub use digest::{SegmentDigest, digest_segment};
pub use fault::{Finding, LogFault, LogPart, LogVerifyError};
pub use summary::LogSummary;

/// A segment file, opened by the caller.
pub struct SegmentSource<R> {
    /// The file's name, without its folder.
    pub name: String,
    /// Its content.
    pub reader: R,
}

/// What a log is verified against.
#[derive(Clone, Debug, Default)]
pub struct LogVerifyOptions {
    /// The log's key. Without it the checkpoints' signatures are not checked.
    pub key: Option<VerifierKey>,
    /// A signed checkpoint of this log that was obtained elsewhere.
    pub checkpoint: Option<String>,
    /// Checkpoints of this log that the caller has seen before and verified then.
    pub pinned: Vec<Checkpoint>,
    /// Whose cosignatures are asked for, of a checkpoint in the log.
    pub witnesses: WitnessPolicy,
    /// Accepts an incomplete last record: the log was copied while it was being written.
    pub allow_torn_tail: bool,
}

/// Verifies a log, given its segment files in the order of their names.
///
/// # Errors
/// The first bad record and its field, or why the files cannot be read.
pub fn verify_log<R: Read>(
    segments: impl IntoIterator<Item = SegmentSource<R>>,
    options: &LogVerifyOptions,
) -> Result<LogSummary, LogVerifyError> {
    let mut verifier = verifier::Verifier::new(options)?;
    let mut segments = segments.into_iter().peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        verifier.segment(segment, is_last)?;
    }
    verifier.finish()
}
