//! From a record's plaintext to its sealed chunks and header, and back.

use craton_crypto::{ChunkError, Dek, chunk_hash, record_hash};
use craton_proof::merkle_tree_hash;
use craton_types::{
    BODY_BYTES_MAX, CHUNKS_MAX, Change, ChangeDecodeError, Hash, KeyEpoch, KeysRotated, Record, RecordHeader,
    RecordKind, RecordSummary, StreamId, StreamSequence, Timestamp,
};

use crate::{Command, Refusal, TenantState};

/// A record and its hash.
pub(crate) struct Sealed {
    pub(crate) record: Record,
    pub(crate) hash: Hash,
}

/// Where a record goes, and when.
#[derive(Clone, Copy)]
pub(crate) struct Placement {
    pub(crate) stream: StreamId,
    pub(crate) sequence: StreamSequence,
    pub(crate) timestamp: Timestamp,
    pub(crate) key_epoch: KeyEpoch,
}

/// Seals a summary and its changes as the tenant's next record.
pub(crate) fn seal_changes(
    state: &TenantState,
    key: &Dek,
    command: &Command,
    placement: Placement,
    summary: &RecordSummary,
    changes: &[Change],
) -> Result<Sealed, Refusal> {
    let count = changes.len() as u64 + 1;
    if count > u64::from(CHUNKS_MAX) {
        return Err(Refusal::TooManyChanges {
            changes: count - 1,
            changes_max: u64::from(CHUNKS_MAX) - 1,
        });
    }
    let plaintexts = std::iter::once(summary.to_bytes()).chain(changes.iter().map(Change::to_bytes));
    let chunks = plaintexts
        .zip(0u32..)
        .map(|(plaintext, index)| key.change_key(state.tenant, state.end, index).seal(&plaintext))
        .collect();
    seal_chunks(state, command, placement, RecordKind::Data, chunks)
}

/// Makes the tenant's next record of finished chunks.
pub(crate) fn seal_chunks(
    state: &TenantState,
    command: &Command,
    placement: Placement,
    kind: RecordKind,
    chunks: Vec<Vec<u8>>,
) -> Result<Sealed, Refusal> {
    let length = Record::body_length(&chunks);
    let too_large = || Refusal::RecordTooLarge {
        bytes: length as u64,
        bytes_max: u64::from(BODY_BYTES_MAX),
    };
    let payload_length = u32::try_from(length).map_err(|_| too_large())?;
    if payload_length > BODY_BYTES_MAX {
        return Err(too_large());
    }
    let leaves: Vec<Hash> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
    let header = RecordHeader {
        kind,
        tenant: state.tenant,
        stream: placement.stream,
        offset: state.end,
        stream_sequence: placement.sequence,
        timestamp: placement.timestamp,
        actor: command.actor,
        correlation_id: command.correlation_id,
        idempotency_id: command.idempotency_id,
        key_epoch: placement.key_epoch,
        chunk_count: u32::try_from(chunks.len()).expect("bounded by CHUNKS_MAX"),
        payload_length,
        payload_hash: merkle_tree_hash(&leaves),
        previous_hash: state.last_hash,
    };
    let hash = record_hash(&header.encode());
    Ok(Sealed {
        record: Record { header, chunks },
        hash,
    })
}

/// Why a data record does not open.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// No key of this epoch is known.
    #[error("the key of epoch {epoch} is not known")]
    KeyMissing {
        /// The epoch.
        epoch: KeyEpoch,
    },
    /// A record without chunks has no summary.
    #[error("the record has no summary")]
    NoSummary,
    /// A chunk does not open under its key.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A chunk opens but is no summary or change.
    #[error(transparent)]
    Change(#[from] ChangeDecodeError),
}

/// Opens a data record: its summary and its changes in order.
///
/// # Errors
/// When a chunk does not open under the key, or is not what a kernel writes.
pub fn unseal_changes(
    record: &Record,
    key_for_epoch: &dyn Fn(KeyEpoch) -> Option<Dek>,
) -> Result<(RecordSummary, Vec<Change>), UnsealError> {
    let header = &record.header;
    let key = key_for_epoch(header.key_epoch).ok_or(UnsealError::KeyMissing {
        epoch: header.key_epoch,
    })?;
    let mut plaintexts = record
        .chunks
        .iter()
        .zip(0u32..)
        .map(|(chunk, index)| key.change_key(header.tenant, header.offset, index).open(chunk));
    let summary = plaintexts.next().ok_or(UnsealError::NoSummary)??;
    let summary = RecordSummary::from_bytes(&summary)?;
    let changes = plaintexts
        .map(|plaintext| Ok(Change::from_bytes(&plaintext?)?))
        .collect::<Result<_, UnsealError>>()?;
    Ok((summary, changes))
}

/// The key epoch that a record begins; `None` when it begins none, or is not what a kernel writes.
#[must_use]
pub fn key_epoch_of(record: &Record) -> Option<KeysRotated> {
    if record.header.kind != RecordKind::Policy {
        return None;
    }
    match (record.chunks.as_slice(), record.header.key_epoch) {
        ([chunk], epoch) => match Change::from_bytes(chunk) {
            Ok(Change::KeysRotated(rotated)) if rotated.epoch == epoch => Some(rotated),
            _ => None,
        },
        _ => None,
    }
}
