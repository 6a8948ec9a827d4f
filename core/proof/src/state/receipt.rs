//! State receipts: the proof that a change of a row was the newest at a position of the log, or that there was no such
//! row, for someone who trusts only the log's key.
//!
//! A state receipt is a [`TlogProof`] of a checkpoint record. Verification is a chain, each link resting on the one
//! before:
//!
//! 1. the checkpoint at the end is signed by the log's key, and the disclosed checkpoint record is one of the records
//!    that it covers;
//! 2. the state commitment is a chunk of that record, and the disclosed state key is the one that it commits to;
//! 3. the name of the table leads to its newest creation: the tree has it, and the record that it names creates a table
//!    of this name, with its number and the columns of its key;
//! 4. the number and the key lead to the row's newest change: the tree has it, and the record that it names changes that
//!    row of that table; or the tree has nothing there.

use std::fmt;

use craton_crypto::{ChangeKey, SecretBytes, StateKey, chunk_hash};
use craton_types::{
    Change, ColumnType, Hash, KeyEncodeError, PrimaryKey, Record, RecordHeader, RecordKind, Row, SealedCell,
    TableSchema, Value,
};

use super::commitment::{StateCommitment, StateCommitmentError};
use super::disclosure::{DisclosedChange, DisclosedCommitment, DisclosedRow, StateDisclosure};
use super::tree::{STATE_TABLE_NAMES, StateLeafValue, StateTreeProof, StateTreeProofError};
use crate::checkpoint::Checkpoint;
use crate::cosignature::{Cosignature, WitnessPolicy};
use crate::inclusion::verify_header_included;
use crate::receipt::{ReceiptBuildError, ReceiptError, VerifiedReceipt, disclose, verify_record};
use crate::signed_proof::{Signed, SignedProof};
use crate::tlog_proof::TlogProof;
use crate::tree::{ProofVerifyError, inclusion_proof, verify_inclusion};
use crate::verifier_key::VerifierKey;

/// The chunk of a checkpoint record that holds the state commitment.
const COMMITMENT_CHUNK: u32 = 1;

/// A state receipt, built. Its text is what is handed out.
#[derive(Clone, Debug)]
pub struct StateReceipt(TlogProof);

/// What a state receipt is built from.
pub struct StateReceiptParts<'a> {
    /// The checkpoint record with the state commitment.
    pub commitment: &'a Record,
    /// Its inclusion path in the tree under the checkpoint.
    pub commitment_path: Vec<Hash>,
    /// Places rows in the tree.
    pub state_key: &'a StateKey,
    /// The table's name in the tree.
    pub table: StatedChange<'a>,
    /// The tree's proof for the table's name.
    pub table_proof: StateTreeProof,
    /// The row's primary key.
    pub key: Row,
    /// The leaf key that follows from it: [`StateKey::row_key`].
    pub leaf_key: Hash,
    /// The row's newest change; `None` when there is no such row.
    pub row: Option<StatedChange<'a>>,
    /// The tree's proof for the row.
    pub row_proof: StateTreeProof,
    /// The signed note that covers all these records.
    pub checkpoint: String,
}

/// A change that a leaf of the tree names.
pub struct StatedChange<'a> {
    /// What the leaf holds.
    pub value: StateLeafValue,
    /// The record that it names.
    pub record: &'a Record,
    /// The record's inclusion path in the tree under the checkpoint.
    pub path: Vec<Hash>,
    /// The change keys of the record's chunks.
    pub change_key: &'a dyn Fn(u32) -> ChangeKey,
    /// The key of a sealed cell, if it is to be disclosed and was not destroyed.
    pub cell_key: &'a dyn Fn(&SealedCell) -> Option<ChangeKey>,
}

/// Why a state receipt does not verify. Each message begins with the part that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum StateReceiptError {
    /// The form, the signatures, or the disclosure.
    #[error(transparent)]
    Proof(#[from] ReceiptError),
    /// A disclosed record is not in the log, or not what it is said to be.
    #[error("{part}: {source}")]
    Record {
        /// Which.
        part: &'static str,
        /// What is wrong with it.
        source: ReceiptError,
    },
    /// The record with the commitment is no checkpoint.
    #[error("checkpoint record: its kind is not that of a checkpoint")]
    CommitmentKind,
    /// The commitment is not in the checkpoint record.
    #[error("state commitment: it is not in the checkpoint record: {0}")]
    CommitmentPath(ProofVerifyError),
    /// The commitment is malformed.
    #[error("state commitment: {0}")]
    Commitment(#[from] StateCommitmentError),
    /// The disclosed key is not the one that the checkpoint record commits to.
    #[error("state key: it is not the one that the checkpoint record commits to")]
    StateKey,
    /// The tree does not have what is claimed.
    #[error("{part}: {source}")]
    Tree {
        /// Which path.
        part: &'static str,
        /// What is wrong with it.
        source: StateTreeProofError,
    },
    /// A leaf names another change than the one disclosed, or one that the state cannot know.
    #[error(
        "{part}: the state tree names chunk {chunk} of record {offset} below {size}, which is not what is disclosed"
    )]
    OtherChange {
        /// Which change.
        part: &'static str,
        /// The record that the tree names.
        offset: u64,
        /// The chunk that the tree names.
        chunk: u32,
        /// How many records the state comes from.
        size: u64,
    },
    /// The change that the table's name leads to creates no table.
    #[error("table: the disclosed change does not create a table")]
    TableChange,
    /// The key does not fit the table.
    #[error("primary key: its values are not of the types of the table's key")]
    KeyType,
    /// The key is another than the one whose leaf key is disclosed.
    #[error("primary key: its leaf key is {expected}, the receipt is about {found}")]
    LeafKey {
        /// The leaf key that follows from the primary key.
        expected: Hash,
        /// The leaf key that is disclosed.
        found: Hash,
    },
    /// The key cannot be encoded.
    #[error("primary key: {0}")]
    Key(#[from] KeyEncodeError),
    /// The row's change is not one of the row with this key, or deletes it.
    #[error("row: the disclosed change does not store a row of the table with this key")]
    RowChange,
}

/// What a state receipt proves. Made by [`StateReceipt::verify`] only; `Display` renders it for people.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedStateReceipt {
    /// The table, as it was created.
    pub table: TableSchema,
    /// The row's primary key, in the order of the key's columns.
    pub key: Row,
    /// How many records the state comes from: the claim is as of the record before this offset.
    pub size: u64,
    /// The checkpoint record that commits to the state.
    pub committed_by: RecordHeader,
    /// The newest change of the row; `None` when there was no such row.
    pub row: Option<VerifiedReceipt>,
    /// The checkpoint that covers it all.
    pub checkpoint: Checkpoint,
    /// The key that signed the checkpoint.
    pub log_key: VerifierKey,
    /// The witnesses that cosigned the checkpoint, of those that the verifier knows.
    pub cosignatures: Vec<Cosignature>,
}

const TABLE: &str = "table's record";
const ROW: &str = "row's record";

impl StateReceipt {
    /// Builds a state receipt. The engine answers for the parts belonging together; [`Self::verify`] finds out.
    ///
    /// # Errors
    /// When a record does not have the chunk to disclose.
    pub fn build(parts: StateReceiptParts<'_>) -> Result<Self, ReceiptBuildError> {
        let Record { header, chunks } = parts.commitment;
        let offset = header.offset.get();
        let missing = || ReceiptBuildError::Chunk {
            offset,
            chunk: COMMITMENT_CHUNK,
            chunk_count: chunks.len(),
        };
        let leaves: Vec<Hash> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
        let path = inclusion_proof(&leaves[..], u64::from(COMMITMENT_CHUNK), leaves.len() as u64);
        let disclosure = StateDisclosure {
            checkpoint: DisclosedCommitment {
                header: header.encode().into(),
                commitment: chunks
                    .get(COMMITMENT_CHUNK as usize)
                    .ok_or_else(missing)?
                    .clone()
                    .into(),
                path: path.map_err(|_| missing())?,
            },
            state_key: (*parts.state_key.as_bytes()).into(),
            table: DisclosedRow {
                proof: parts.table_proof,
                change: parts.table.disclose()?,
            },
            key: parts.key,
            leaf_key: parts.leaf_key,
            proof: parts.row_proof,
            row: parts.row.map(StatedChange::disclose).transpose()?,
        };
        Ok(Self(TlogProof {
            extra: Some(disclosure.to_bytes()),
            index: offset,
            path: parts.commitment_path,
            checkpoint: parts.checkpoint,
        }))
    }

    /// Verifies the text of a state receipt against the key of the log that it is said to be from and the witnesses of
    /// that log.
    ///
    /// # Errors
    /// Names the first part that is wrong.
    pub fn verify(
        text: &[u8],
        key: &VerifierKey,
        witnesses: &WitnessPolicy,
    ) -> Result<VerifiedStateReceipt, StateReceiptError> {
        Self::verify_proof(SignedProof::open(text, key, witnesses)?)
    }

    pub(crate) fn verify_proof(proof: SignedProof<'_>) -> Result<VerifiedStateReceipt, StateReceiptError> {
        let disclosure = StateDisclosure::from_bytes(&proof.extra).map_err(ReceiptError::from)?;
        let (committed_by, commitment) = verify_commitment(&disclosure.checkpoint, &proof)?;
        let state_key = StateKey::new(SecretBytes::new(*disclosure.state_key));
        if state_key.commitment() != commitment.key {
            return Err(StateReceiptError::StateKey);
        }
        let stated = Stated {
            commitment,
            state_key,
            signed: proof.signed,
        };
        let table = stated.verify_table(&disclosure.table)?;
        let row_key = encode_key(&table, &disclosure.key)?;
        let row = stated.verify_row(&table, &row_key, &disclosure)?;
        Ok(VerifiedStateReceipt {
            table,
            key: disclosure.key,
            size: commitment.size,
            committed_by,
            row,
            checkpoint: stated.signed.checkpoint,
            log_key: stated.signed.key.clone(),
            cosignatures: stated.signed.cosignatures,
        })
    }
}

impl fmt::Display for StateReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StatedChange<'_> {
    fn disclose(self) -> Result<DisclosedChange, ReceiptBuildError> {
        Ok(DisclosedChange {
            value: self.value,
            path: self.path,
            record: disclose(self.record, &[self.value.chunk_index], self.change_key, self.cell_key)?,
        })
    }
}

/// A state that is committed to in a signed log.
struct Stated<'a> {
    commitment: StateCommitment,
    state_key: StateKey,
    signed: Signed<'a>,
}

fn verify_commitment(
    disclosed: &DisclosedCommitment,
    proof: &SignedProof<'_>,
) -> Result<(RecordHeader, StateCommitment), StateReceiptError> {
    let checkpoint = &proof.signed.checkpoint;
    let header = verify_header_included(&disclosed.header, proof.index, &proof.path, checkpoint);
    let header = header.map_err(|source| StateReceiptError::Record {
        part: "checkpoint record",
        source,
    })?;
    if header.kind != RecordKind::Checkpoint {
        return Err(StateReceiptError::CommitmentKind);
    }
    verify_inclusion(
        chunk_hash(&disclosed.commitment),
        u64::from(COMMITMENT_CHUNK),
        u64::from(header.chunk_count),
        &disclosed.path,
        &header.payload_hash,
    )
    .map_err(StateReceiptError::CommitmentPath)?;
    let commitment = StateCommitment::from_bytes(&disclosed.commitment)?;
    Ok((header, commitment))
}

impl Stated<'_> {
    /// The table that the name in the disclosed creation leads to.
    fn verify_table(&self, disclosed: &DisclosedRow) -> Result<TableSchema, StateReceiptError> {
        let (_, change) = self.verify_change(&disclosed.change, TABLE)?;
        let Change::CreateTable(table) = change else {
            return Err(StateReceiptError::TableChange);
        };
        let name = PrimaryKey::encode([&Value::Text(table.name.clone())])?;
        let key = self.state_key.row_key(STATE_TABLE_NAMES, name.as_bytes());
        disclosed
            .proof
            .verify_present(&self.commitment.root, &key, &disclosed.change.value.to_bytes())
            .map_err(|source| StateReceiptError::Tree {
                part: "table's path",
                source,
            })?;
        Ok(table)
    }

    /// The row's newest change, or that there is no row.
    fn verify_row(
        &self,
        table: &TableSchema,
        row_key: &PrimaryKey,
        disclosure: &StateDisclosure,
    ) -> Result<Option<VerifiedReceipt>, StateReceiptError> {
        let key = self.state_key.row_key(table.id, row_key.as_bytes());
        if key != disclosure.leaf_key {
            return Err(StateReceiptError::LeafKey {
                expected: key,
                found: disclosure.leaf_key,
            });
        }
        let root = &self.commitment.root;
        let tree = |source| StateReceiptError::Tree {
            part: "row's path",
            source,
        };
        let Some(disclosed) = &disclosure.row else {
            disclosure.proof.verify_absent(root, &key).map_err(tree)?;
            return Ok(None);
        };
        let value = disclosed.value.to_bytes();
        disclosure.proof.verify_present(root, &key, &value).map_err(tree)?;
        let (record, change) = self.verify_change(disclosed, ROW)?;
        let Change::Row(row) = change else {
            return Err(StateReceiptError::RowChange);
        };
        let stored = row.after.as_ref().filter(|_| row.table == table.id);
        let stored_key = stored.and_then(|row| key_of(table, row));
        if stored_key.as_ref() != Some(row_key) {
            return Err(StateReceiptError::RowChange);
        }
        Ok(Some(record))
    }

    /// The one change of the record that a leaf names.
    fn verify_change(
        &self,
        disclosed: &DisclosedChange,
        part: &'static str,
    ) -> Result<(VerifiedReceipt, Change), StateReceiptError> {
        let StateLeafValue {
            offset, chunk_index, ..
        } = disclosed.value;
        let record = verify_record(&disclosed.record, offset.get(), &disclosed.path, &self.signed);
        let record = record.map_err(|source| StateReceiptError::Record { part, source })?;
        let size = self.commitment.size;
        match &record.changes[..] {
            [change] if change.chunk_index == chunk_index && offset.get() < size => {
                let change = change.change.clone();
                Ok((record, change))
            }
            _ => Err(StateReceiptError::OtherChange {
                part,
                offset: offset.get(),
                chunk: chunk_index,
                size,
            }),
        }
    }
}

/// The key's encoding, if its values are of the types that the table's key has: no row has a key of other types, so its
/// absence would say nothing.
fn encode_key(table: &TableSchema, key: &Row) -> Result<PrimaryKey, StateReceiptError> {
    let columns = table
        .primary_key
        .iter()
        .map(|&position| table.columns.get(usize::from(position)));
    let fits = key.len() == table.primary_key.len()
        && columns
            .zip(key)
            .all(|(column, value)| column.is_some_and(|column| fits(column.column_type, value)));
    if !fits {
        return Err(StateReceiptError::KeyType);
    }
    Ok(PrimaryKey::encode(key)?)
}

const fn fits(column_type: ColumnType, value: &Value) -> bool {
    matches!(
        (column_type, value),
        (ColumnType::Bool, Value::Bool(_))
            | (ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, Value::Int(_))
            | (ColumnType::Float4 | ColumnType::Float8, Value::Float(_))
            | (ColumnType::Text | ColumnType::Varchar { .. }, Value::Text(_))
            | (ColumnType::Bytea, Value::Bytes(_))
            | (ColumnType::Date, Value::Date(_))
            | (ColumnType::Time, Value::Time(_))
            | (ColumnType::Timestamp, Value::Timestamp(_))
            | (ColumnType::TimestampTz, Value::TimestampTz(_))
            | (ColumnType::Uuid, Value::Uuid(_))
    )
}

fn key_of(table: &TableSchema, row: &Row) -> Option<PrimaryKey> {
    let values: Option<Vec<&Value>> = table
        .primary_key
        .iter()
        .map(|&position| row.get(usize::from(position)))
        .collect();
    PrimaryKey::encode(values?).ok()
}
