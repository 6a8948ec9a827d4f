//! Receipts: the proof that one record of a log made one change, for someone who trusts only the log's key.
//!
//! A receipt is a [`TlogProof`] whose `extra` line discloses the record's header and some of its chunks with
//! their change keys. Verification is a chain, each link resting on the one before:
//!
//! 1. the checkpoint is signed by the log's key: its size and root are what the log's operator vouched for;
//! 2. the record hash of the disclosed header is leaf `index` of the tree with that root;
//! 3. each disclosed chunk is a leaf of the tree with the root `payload_hash`, a field of that header;
//! 4. each chunk's key commitment is that of the disclosed change key, so the chunk opens to one plaintext only;
//! 5. the plaintext is a summary or a change, and the summary names the change's table and columns. A record of events
//!    has no summary: it changes no table, and its stream is named by the stream's first record;
//! 6. a sealed cell of a row opens with its disclosed cell key, to which it is committed like a chunk. A cell without
//!    a disclosed key stays [`Value::Sealed`]: the key of its data subject was destroyed, or withheld.

use std::fmt;

use craton_crypto::{CellError, ChangeKey, ChunkError, chunk_hash, open_cell, record_hash};
use craton_types::{
    Change, ChangeDecodeError, Hash, Record, RecordHeader, RecordSummary, Row, RowChange, SealedCell, TableId, Value,
};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::cosignature::{Cosignature, WitnessError, WitnessPolicy};
use crate::disclosure::{DisclosedCell, DisclosedChunk, Disclosure, DisclosureError};
use crate::inclusion::{NotIncluded, verify_header_included};
use crate::signed_proof::{Signed, SignedProof};
use crate::tlog_proof::{TlogProof, TlogProofError};
use crate::tree::{ProofVerifyError, inclusion_proof, verify_inclusion};
use crate::verifier_key::VerifierKey;

/// A receipt, built. Its text is what is handed out.
#[derive(Clone, Debug)]
pub struct Receipt(TlogProof);

/// What a receipt is built from.
pub struct ReceiptParts<'a> {
    /// The record, as it is in the log.
    pub record: &'a Record,
    /// The changes to disclose: indexes of chunks, ascending, without the summary, which is always disclosed.
    pub changes: &'a [u32],
    /// The change key of a chunk of the record.
    pub change_key: &'a dyn Fn(u32) -> ChangeKey,
    /// The key of a sealed cell in a disclosed change; `None` when it is erased or withheld.
    pub cell_key: &'a dyn Fn(&SealedCell) -> Option<ChangeKey>,
    /// The inclusion path of the record in the tree under the checkpoint.
    pub path: Vec<Hash>,
    /// The signed note that covers the record.
    pub checkpoint: String,
}

/// Why no receipt can be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptBuildError {
    /// The record holds no changes.
    #[error("the record at {offset} holds no changes, so it has no receipt")]
    Kind {
        /// The record's offset.
        offset: u64,
    },
    /// A chunk to disclose does not exist, is the summary, or is not in order.
    #[error("the record at {offset} has no change {chunk} to disclose here; it has {chunk_count} chunks")]
    Chunk {
        /// The record's offset.
        offset: u64,
        /// The index asked for.
        chunk: u32,
        /// How many chunks there are, with the summary.
        chunk_count: usize,
    },
}

/// Why a receipt does not verify. Each message begins with the part that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The text is no proof.
    #[error("receipt form: {0}")]
    Form(#[from] TlogProofError),
    /// The `extra` line is no disclosure.
    #[error("extra line: {0}")]
    Disclosure(#[from] DisclosureError),
    /// The checkpoint is malformed, of another log, or not signed by the key.
    #[error("signature: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Too few witnesses cosigned the checkpoint, or a known witness's signature does not verify.
    #[error("cosignatures: {0}")]
    Witness(#[from] WitnessError),
    /// A header field holds what no log writes.
    #[error("field {field}: the record header does not decode")]
    Header {
        /// The field.
        field: &'static str,
    },
    /// The record is of a kind that has no receipts.
    #[error("field kind: the record holds no changes")]
    Kind,
    /// The record is at another position than the proof is about.
    #[error("field offset: the record header says {offset}, the index line {index}")]
    Index {
        /// The header's offset.
        offset: u64,
        /// The proof's index.
        index: u64,
    },
    /// The record is not in the tree under the checkpoint.
    #[error(transparent)]
    Inclusion(Box<NotIncluded>),
    /// A chunk is not in the record.
    #[error("field payload_hash: chunk {chunk} or its path is not in the record: {source}")]
    ChunkPath {
        /// The chunk's index.
        chunk: u32,
        /// What is wrong with the path.
        source: ProofVerifyError,
    },
    /// A chunk does not open with the disclosed key.
    #[error("chunk {chunk} {}: {source}", chunk_part(.source))]
    Chunk {
        /// The chunk's index.
        chunk: u32,
        /// Why.
        source: ChunkError,
    },
    /// A chunk opens to something that is no summary or change.
    #[error("chunk {chunk} content: {source}")]
    Content {
        /// The chunk's index.
        chunk: u32,
        /// Why.
        source: ChangeDecodeError,
    },
    /// The summary of a data record is not disclosed.
    #[error("chunk 0: the summary is missing")]
    NoSummary,
    /// A disclosed cell key is for a cell that is not sealed, or does not open it.
    #[error("chunk {chunk} cell {column} of row {row}: {reason}")]
    Cell {
        /// The chunk's index.
        chunk: u32,
        /// 0: the row before the change, 1: the row after it.
        row: u8,
        /// The cell's position in its row.
        column: u16,
        /// What is wrong.
        reason: String,
    },
    /// The summary does not describe the rows of a change.
    #[error("chunk 0 content: the summary does not describe the rows of table {table} in chunk {chunk}")]
    Summary {
        /// The change's chunk.
        chunk: u32,
        /// The change's table.
        table: TableId,
    },
}

fn chunk_part(error: &ChunkError) -> &'static str {
    match error {
        ChunkError::Length { .. } => "length",
        ChunkError::Commitment => "commitment",
        ChunkError::Authentication => "ciphertext",
    }
}

/// What a receipt proves. Made by [`Receipt::verify`] only; `Display` renders it for people.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedReceipt {
    /// The record's header.
    pub header: RecordHeader,
    /// The record's hash: its leaf in the log's tree.
    pub record_hash: Hash,
    /// The names of tables and columns.
    pub summary: RecordSummary,
    /// The disclosed changes.
    pub changes: Vec<VerifiedChange>,
    /// The checkpoint that covers the record.
    pub checkpoint: Checkpoint,
    /// The key that signed the checkpoint.
    pub key: VerifierKey,
    /// The witnesses that cosigned the checkpoint, of those that the verifier knows.
    pub cosignatures: Vec<Cosignature>,
}

/// One disclosed change.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedChange {
    /// The index of its chunk in the record.
    pub chunk_index: u32,
    /// The change, with its sealed cells opened as far as their keys are disclosed.
    pub change: Change,
}

impl Receipt {
    /// Builds a receipt. The engine answers for the parts belonging together; [`Self::verify`] finds out.
    ///
    /// # Errors
    /// When the record has no changes, or not the ones to disclose.
    pub fn build(parts: ReceiptParts<'_>) -> Result<Self, ReceiptBuildError> {
        let disclosure = disclose(parts.record, parts.changes, parts.change_key, parts.cell_key)?;
        Ok(Self(TlogProof {
            extra: Some(disclosure.to_bytes()),
            index: parts.record.header.offset.get(),
            path: parts.path,
            checkpoint: parts.checkpoint,
        }))
    }

    /// Verifies the text of a receipt against the key of the log that it is said to be from, whoever may have
    /// cosigned its checkpoint.
    ///
    /// # Errors
    /// Names the first part that is wrong.
    pub fn verify(text: &[u8], key: &VerifierKey) -> Result<VerifiedReceipt, ReceiptError> {
        Self::verify_witnessed(text, key, &WitnessPolicy::default())
    }

    /// Verifies the text of a receipt against the key of the log that it is said to be from and the witnesses of
    /// that log.
    ///
    /// # Errors
    /// Names the first part that is wrong.
    pub fn verify_witnessed(
        text: &[u8],
        key: &VerifierKey,
        witnesses: &WitnessPolicy,
    ) -> Result<VerifiedReceipt, ReceiptError> {
        let proof = SignedProof::open(text, key, witnesses)?;
        let disclosure = Disclosure::from_bytes(&proof.extra)?;
        verify_record(&disclosure, proof.index, &proof.path, &proof.signed)
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The rows of a change, each with the number that the disclosure gives it.
fn rows_of(change: &RowChange) -> impl Iterator<Item = (u8, &Row)> {
    let before = change.before.iter().map(|row| (0, row));
    before.chain(change.after.iter().map(|row| (1, row)))
}

/// The keys of a change's sealed cells; `None` when there are none, or when the chunk does not open to a row change,
/// which [`Receipt::verify`] finds out.
fn disclose_cells(
    change_key: &ChangeKey,
    chunk: &[u8],
    cell_key: &dyn Fn(&SealedCell) -> Option<ChangeKey>,
) -> Option<Vec<DisclosedCell>> {
    let change = Change::from_bytes(&change_key.open(chunk).ok()?).ok()?;
    let Change::Row(change) = change else { return None };
    let mut cells = Vec::new();
    for (row, values) in rows_of(&change) {
        for (column, value) in (0u16..).zip(values) {
            if let Value::Sealed(cell) = value
                && let Some(key) = cell_key(cell)
            {
                let key = (*key.as_bytes()).into();
                cells.push(DisclosedCell { row, column, key });
            }
        }
    }
    (!cells.is_empty()).then_some(cells)
}

/// Opens the sealed cells whose keys are disclosed.
fn open_cells(change: &mut Change, disclosed: &DisclosedChunk) -> Result<(), ReceiptError> {
    for DisclosedCell { row, column, key } in disclosed.cells.iter().flatten() {
        let wrong = |reason: String| ReceiptError::Cell {
            chunk: disclosed.index,
            row: *row,
            column: *column,
            reason,
        };
        let values = match (&mut *change, row) {
            (Change::Row(change), 0) => change.before.as_mut(),
            (Change::Row(change), 1) => change.after.as_mut(),
            _ => None,
        };
        let value = values.and_then(|row| row.get_mut(usize::from(*column)));
        let Some(value @ Value::Sealed(_)) = value else {
            return Err(wrong("it is not sealed, so it has no key".to_owned()));
        };
        if let Value::Sealed(cell) = value {
            let key = ChangeKey::from_bytes(**key, cell.offset, cell.chunk);
            *value = open_cell(&key, cell).map_err(|error: CellError| wrong(error.to_string()))?;
        }
    }
    Ok(())
}

/// Discloses the summary and some changes of a record.
pub(crate) fn disclose(
    record: &Record,
    changes: &[u32],
    change_key: &dyn Fn(u32) -> ChangeKey,
    cell_key: &dyn Fn(&SealedCell) -> Option<ChangeKey>,
) -> Result<Disclosure, ReceiptBuildError> {
    let Record { header, chunks } = record;
    let offset = header.offset.get();
    let first_change = header.kind.first_change().ok_or(ReceiptBuildError::Kind { offset })?;
    let leaves: Vec<Hash> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
    let mut disclosed: Vec<DisclosedChunk> = Vec::with_capacity(1 + changes.len());
    for index in (0..first_change).chain(changes.iter().copied()) {
        let missing = || ReceiptBuildError::Chunk {
            offset,
            chunk: index,
            chunk_count: chunks.len(),
        };
        let in_order = disclosed.last().is_none_or(|last| last.index < index);
        let chunk = chunks.get(index as usize).filter(|_| in_order).ok_or_else(missing)?;
        let change_key = change_key(index);
        let cells = match index {
            0 => None,
            _ => disclose_cells(&change_key, chunk, cell_key),
        };
        disclosed.push(DisclosedChunk {
            index,
            cells,
            change_key: (*change_key.as_bytes()).into(),
            chunk: chunk.clone().into(),
            path: inclusion_proof(&leaves[..], u64::from(index), leaves.len() as u64).map_err(|_| missing())?,
        });
    }
    Ok(Disclosure {
        header: header.encode().into(),
        chunks: disclosed,
    })
}

/// Verifies what is disclosed of the record at `index` against a checkpoint that was verified already.
pub(crate) fn verify_record(
    disclosure: &Disclosure,
    index: u64,
    path: &[Hash],
    signed: &Signed<'_>,
) -> Result<VerifiedReceipt, ReceiptError> {
    let header = verify_header_included(&disclosure.header, index, path, &signed.checkpoint)?;
    if header.kind.first_change().is_none() {
        return Err(ReceiptError::Kind);
    }
    let (summary, changes) = open_chunks(&header, &disclosure.chunks)?;
    Ok(VerifiedReceipt {
        record_hash: record_hash(&disclosure.header),
        header,
        summary,
        changes,
        checkpoint: signed.checkpoint.clone(),
        key: signed.key.clone(),
        cosignatures: signed.cosignatures.clone(),
    })
}

fn open_chunks(
    header: &RecordHeader,
    chunks: &[DisclosedChunk],
) -> Result<(RecordSummary, Vec<VerifiedChange>), ReceiptError> {
    let has_summary = header.kind.first_change() == Some(1);
    if has_summary && chunks.first().is_none_or(|first| first.index != 0) {
        return Err(ReceiptError::NoSummary);
    }
    let mut summary = RecordSummary::default();
    let mut changes = Vec::new();
    for disclosed in chunks {
        let chunk = disclosed.index;
        let content = |source| ReceiptError::Content { chunk, source };
        let plaintext = open_chunk(header, disclosed)?;
        if has_summary && chunk == 0 {
            summary = RecordSummary::from_bytes(&plaintext).map_err(content)?;
            continue;
        }
        let mut change = Change::from_bytes(&plaintext).map_err(content)?;
        open_cells(&mut change, disclosed)?;
        if let Change::Row(row) = &change {
            let described = summary
                .tables
                .iter()
                .find(|table| table.id == row.table)
                .is_some_and(|table| {
                    let columns = table.columns.len();
                    let rows_fit = [&row.before, &row.after]
                        .into_iter()
                        .flatten()
                        .all(|row| row.len() == columns);
                    rows_fit
                        && table
                            .primary_key
                            .iter()
                            .all(|position| usize::from(*position) < columns)
                });
            if !described {
                return Err(ReceiptError::Summary {
                    chunk,
                    table: row.table,
                });
            }
        }
        changes.push(VerifiedChange {
            chunk_index: chunk,
            change,
        });
    }
    Ok((summary, changes))
}

fn open_chunk(header: &RecordHeader, disclosed: &DisclosedChunk) -> Result<Vec<u8>, ReceiptError> {
    let chunk = disclosed.index;
    verify_inclusion(
        chunk_hash(&disclosed.chunk),
        u64::from(chunk),
        u64::from(header.chunk_count),
        &disclosed.path,
        &header.payload_hash,
    )
    .map_err(|source| ReceiptError::ChunkPath { chunk, source })?;
    ChangeKey::from_bytes(*disclosed.change_key, header.offset, chunk)
        .open(&disclosed.chunk)
        .map_err(|source| ReceiptError::Chunk { chunk, source })
}
