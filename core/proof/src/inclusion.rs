//! That a record's header is in a log, and which byte of it is wrong when it is not.

use std::fmt;

use craton_crypto::record_hash;
use craton_types::{HEADER_BYTES, Hash, RecordHeader};

use crate::checkpoint::Checkpoint;
use crate::receipt::ReceiptError;
use crate::repair::{ChangedByte, find_changed_byte, header_field_at};
use crate::tree::{ProofVerifyError, verify_inclusion};

/// A header that is not in the tree under a checkpoint.
///
/// Its `Display` looks for the one byte that was changed, which takes milliseconds; whoever only wants to know whether
/// a receipt verifies does not wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotIncluded {
    header: [u8; HEADER_BYTES],
    claim: Claim,
    error: ProofVerifyError,
}

/// Where a record is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    index: u64,
    path: Vec<Hash>,
    size: u64,
    root: Hash,
}

impl Claim {
    fn verify(&self, header: &[u8; HEADER_BYTES]) -> Result<(), ProofVerifyError> {
        verify_inclusion(record_hash(header), self.index, self.size, &self.path, &self.root)
    }
}

/// Verifies that a record of any kind is the one at `index` under a checkpoint.
pub(crate) fn verify_header_included(
    bytes: &[u8; HEADER_BYTES],
    index: u64,
    path: &[Hash],
    checkpoint: &Checkpoint,
) -> Result<RecordHeader, ReceiptError> {
    let header = RecordHeader::decode(bytes).map_err(|error| ReceiptError::Header { field: error.field })?;
    if header.offset.get() != index {
        return Err(ReceiptError::Index {
            offset: header.offset.get(),
            index,
        });
    }
    let claim = Claim {
        index,
        path: path.to_vec(),
        size: checkpoint.size,
        root: checkpoint.root,
    };
    match claim.verify(bytes) {
        Ok(()) => Ok(header),
        Err(error) => Err(ReceiptError::Inclusion(Box::new(NotIncluded {
            header: *bytes,
            claim,
            error,
        }))),
    }
}

impl NotIncluded {
    /// The one byte of the header that was changed, if that is what is wrong.
    fn changed_byte(&self) -> Option<ChangedByte> {
        let path_may_be_right = matches!(self.error, ProofVerifyError::Root { .. });
        let search = || find_changed_byte(&self.header, |candidate| self.claim.verify(candidate).is_ok());
        path_may_be_right.then(search).flatten()
    }
}

impl fmt::Display for NotIncluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changed_byte() {
            Some(ChangedByte { index, expected, found }) => write!(
                f,
                "field {}: byte {index} of the record header is {found:#04x}, the signed record has {expected:#04x}",
                header_field_at(index).name
            ),
            None => write!(f, "inclusion path: {}", self.error),
        }
    }
}

impl std::error::Error for NotIncluded {}
