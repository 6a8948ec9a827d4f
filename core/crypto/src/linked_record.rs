//! A record together with its hash.

use craton_types::{HEADER_BYTES, Hash, Record};

use crate::record_hash;

/// A complete record, its header as it is stored, and its hash: computed once, for all who need them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedRecord {
    record: Record,
    header_bytes: [u8; HEADER_BYTES],
    hash: Hash,
}

impl LinkedRecord {
    /// Encodes and hashes the header.
    #[must_use]
    pub fn new(record: Record) -> Self {
        let header_bytes = record.header.encode();
        let hash = record_hash(&header_bytes);
        Self {
            record,
            header_bytes,
            hash,
        }
    }

    /// The record.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The header as it is stored.
    #[must_use]
    pub const fn header_bytes(&self) -> &[u8; HEADER_BYTES] {
        &self.header_bytes
    }

    /// The record's hash: its link in the chain and its leaf in the Merkle tree.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }
}
