//! Streams of events within a tenant's log.

use crate::{StreamId, StreamSequence};

/// A named stream's number and how many records it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// Its number.
    pub stream: StreamId,
    /// The sequence of its next record.
    pub next: StreamSequence,
}
