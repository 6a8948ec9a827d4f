//! From a record's plaintext to its sealed chunks and header, and back.

use craton_crypto::{CHUNK_OVERHEAD_BYTES, ChunkError, ChunkSealer, Dek, LinkedRecord, chunk_hash};
use craton_proof::merkle_tree_hash;
use craton_types::planted::{Bug, is_planted};
use craton_types::{
    BODY_BYTES_MAX, CHUNKS_MAX, Change, ChangeDecodeError, Hash, KeyEpoch, KeysRotated, Record, RecordHeader,
    RecordKind, RecordSummary, StreamId, StreamSequence, Timestamp,
};

use smallvec::SmallVec;

use crate::{Command, Committed, Refusal, TenantState};

/// A record that was decided: its place and its plaintext are fixed. What is left needs no state until the last step,
/// so the records of a batch may be sealed on several threads: [`Draft::seal`], then [`SealedRecord::chain`] in order.
#[derive(Debug)]
pub struct Draft {
    /// Complete but for `payload_hash` and `previous_hash`.
    header: RecordHeader,
    content: Content,
}

/// What a record will hold.
#[derive(Debug)]
pub(crate) enum Content {
    /// Chunks to be encrypted.
    Secret(Vec<Vec<u8>>),
    /// Chunks that everybody may read.
    Plain(Vec<Vec<u8>>),
}

/// A record that lacks only its link to the one before.
#[derive(Debug)]
pub struct SealedRecord(Record);

/// Where a record goes, when, and what for.
pub(crate) struct Placement {
    pub(crate) kind: RecordKind,
    pub(crate) stream: StreamId,
    pub(crate) sequence: StreamSequence,
    pub(crate) timestamp: Timestamp,
    pub(crate) key_epoch: KeyEpoch,
}

impl Content {
    /// A summary and its changes.
    pub(crate) fn changes(summary: &RecordSummary, changes: &[Change]) -> Self {
        let plaintexts = std::iter::once(summary.to_bytes()).chain(changes.iter().map(Change::to_bytes));
        Self::Secret(plaintexts.collect())
    }

    fn chunks(&self) -> &[Vec<u8>] {
        match self {
            Self::Secret(chunks) | Self::Plain(chunks) => chunks,
        }
    }

    /// The length of the body that it becomes.
    fn body_bytes(&self) -> usize {
        let chunks = self.chunks();
        match self {
            Self::Secret(_) => Record::body_length(chunks) + chunks.len() * CHUNK_OVERHEAD_BYTES,
            Self::Plain(_) => Record::body_length(chunks),
        }
    }
}

/// Gives content its place as the tenant's next record, if a record can hold it.
pub(crate) fn draft(
    state: &TenantState,
    command: &Command,
    placement: Placement,
    content: Content,
) -> Result<Draft, Refusal> {
    let first_change = placement.kind.first_change().unwrap_or_default();
    let too_many = || Refusal::TooManyChanges {
        changes: content.chunks().len() as u64 - u64::from(first_change),
        changes_max: u64::from(CHUNKS_MAX - first_change),
    };
    let chunk_count = u32::try_from(content.chunks().len())
        .ok()
        .filter(|count| *count <= CHUNKS_MAX)
        .ok_or_else(too_many)?;
    let bytes = content.body_bytes();
    let too_large = || Refusal::RecordTooLarge {
        bytes: bytes as u64,
        bytes_max: u64::from(BODY_BYTES_MAX),
    };
    let payload_length = u32::try_from(bytes)
        .ok()
        .filter(|length| *length <= BODY_BYTES_MAX)
        .ok_or_else(too_large)?;
    let header = RecordHeader {
        kind: placement.kind,
        tenant: state.tenant,
        stream: placement.stream,
        offset: state.end,
        stream_sequence: placement.sequence,
        timestamp: placement.timestamp,
        actor: command.actor,
        correlation_id: command.correlation_id,
        idempotency_id: command.idempotency_id,
        key_epoch: placement.key_epoch,
        chunk_count,
        payload_length,
        payload_hash: Hash::ZERO,
        previous_hash: Hash::ZERO,
    };
    Ok(Draft { header, content })
}

impl Draft {
    /// The record's header as far as it is known: all but its two hashes.
    #[must_use]
    pub const fn header(&self) -> &RecordHeader {
        &self.header
    }

    /// Encrypts the chunks with the key of the header's epoch, and hashes them. Equal drafts give equal bytes. The key of
    /// a plain record is not asked for.
    #[must_use]
    pub fn seal<'a>(self, sealer: &mut ChunkSealer, key: impl FnOnce(KeyEpoch) -> &'a Dek) -> SealedRecord {
        let Self { mut header, content } = self;
        let chunks = match content {
            Content::Plain(chunks) => chunks,
            Content::Secret(plaintexts) => {
                let key = key(header.key_epoch);
                plaintexts
                    .iter()
                    .zip(0u32..)
                    .map(|(plaintext, index)| {
                        let key = key.change_key(header.tenant, header.offset, index);
                        sealer.seal(&key, plaintext)
                    })
                    .collect()
            }
        };
        debug_assert_eq!(header.payload_length as usize, Record::body_length(&chunks));
        let leaves: SmallVec<[Hash; 2]> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
        header.payload_hash = merkle_tree_hash(&leaves);
        SealedRecord(Record { header, chunks })
    }
}

impl SealedRecord {
    /// Links the record to the one before and makes it the last of the chain. Records are chained in the order in which
    /// they were decided.
    pub fn chain(self, state: &mut TenantState) -> (LinkedRecord, Committed) {
        let Self(mut record) = self;
        assert_eq!(
            record.header.offset.get(),
            state.frontier.size(),
            "records are chained in order"
        );
        record.header.previous_hash = state.last_hash;
        if is_planted(Bug::SkipPreviousHash) && record.header.offset.get() % 8 == 7 {
            record.header.previous_hash = Hash::ZERO;
        }
        let record = LinkedRecord::new(record);
        let header = &record.record().header;
        let committed = Committed {
            offset: header.offset,
            record_hash: record.hash(),
            timestamp: header.timestamp,
            stream_sequence: header.stream_sequence,
        };
        state.link(record.hash());
        (record, committed)
    }
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

/// Opens a record of changes: its summary and its changes in order. A record of events has no summary of its own.
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
    let summary = match header.kind.first_change() {
        Some(0) => RecordSummary::default(),
        _ => RecordSummary::from_bytes(&plaintexts.next().ok_or(UnsealError::NoSummary)??)?,
    };
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
