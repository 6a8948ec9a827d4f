//! A small log of patients: names can be erased, and a checkpoint commits to which rows there are.

use craton_crypto::{CellPlace, ChangeKey, Dek, SecretBytes, StateKey, SubjectKey, chunk_hash, record_hash, sha256};
use craton_proof::{
    Checkpoint, EMPTY_SUBTREE, OtherLeaf, Receipt, ReceiptParts, STATE_TABLE_NAMES, SignerKey, StateCommitment,
    StateLeafValue, StateReceipt, StateReceiptParts, StateTreeProof, StatedChange, inclusion_proof, merkle_tree_hash,
    state_key_bit, state_leaf_hash, state_node_hash,
};
use craton_types::{
    ActorId, Change, Column, ColumnType, CorrelationId, Hash, IdempotencyId, KeyEpoch, Offset, PrimaryKey, Record,
    RecordHeader, RecordKind, RecordSummary, Row, RowChange, SealedCell, StreamId, StreamSequence, SubjectColumns,
    SubjectKeyId, TableId, TableSchema, TableSummary, TenantId, Timestamp, Value,
};

use crate::support::signer;

const TENANT: TenantId = TenantId::new([0xc1; 16]);
/// The record that changes the name of patient 3.
pub(crate) const RENAMED: u64 = 2;
/// The checkpoint record, which commits to the state of all records before it.
pub(crate) const COMMITTED: u64 = 4;
const SIZE: u64 = 5;
const NAME: u16 = 1;

pub(crate) struct Clinic {
    pub(crate) records: Vec<Record>,
    pub(crate) signer: SignerKey,
    /// The leaves of the state tree.
    leaves: Vec<(Hash, StateLeafValue)>,
}

/// Patient `id`, whose name the change in `chunk` of the record at `offset` wrote.
fn patient(id: i64, name: &str, offset: u64, chunk: u32) -> Row {
    let place = CellPlace {
        epoch: KeyEpoch::ZERO,
        salt: [0; 32],
        offset: Offset::new(offset),
        chunk,
        column: NAME,
    };
    let key = subject_key(id.cast_unsigned() + offset * 100);
    let name = key.seal(place, &Value::Text(name.to_owned()));
    vec![
        Value::Int(id),
        Value::Sealed(Box::new(name)),
        Value::Timestamp(1_795_256_130_000_000),
        Value::Bool(id % 2 == 0),
    ]
}

fn subject_key(id: u64) -> SubjectKey {
    SubjectKey::new(SecretBytes::new([0x5c; 32]), SubjectKeyId::new(id), TENANT)
}

fn change_key(offset: u64, chunk: u32) -> ChangeKey {
    Dek::new(SecretBytes::new([0xc2; 32])).change_key(TENANT, Offset::new(offset), chunk)
}

fn state_key() -> StateKey {
    StateKey::new(SecretBytes::new([0xc3; 32]))
}

fn patients() -> TableSchema {
    let column = |name: &str, column_type| Column {
        name: name.to_owned(),
        column_type,
        nullable: true,
        default_sql: None,
    };
    TableSchema {
        id: TableId::FIRST_USER,
        name: "patients".to_owned(),
        columns: vec![
            column("id", ColumnType::Int8),
            column("name", ColumnType::Text),
            column("admitted", ColumnType::Timestamp),
            column("insured", ColumnType::Bool),
        ],
        primary_key: vec![0],
        subjects: Some(SubjectColumns {
            subject: 0,
            erasable: vec![NAME],
            retention: None,
        }),
        data_class: None,
    }
}

fn row_change(before: Option<Row>, after: Option<Row>) -> Change {
    Change::Row(RowChange {
        table: TableId::FIRST_USER,
        before,
        after,
    })
}

fn leaf_key(table: TableId, key: &Value) -> Hash {
    let key = PrimaryKey::encode([key]).expect("a key");
    state_key().row_key(table, key.as_bytes())
}

impl Clinic {
    pub(crate) fn new() -> Self {
        let mut clinic = Self {
            records: Vec::new(),
            signer: signer(0x53, &format!("cluster.example/{TENANT}")),
            leaves: Vec::new(),
        };
        clinic.data(&[Change::CreateTable(patients())]);
        let admitted = |id: u32| row_change(None, Some(patient(id.into(), &format!("Patient {id}"), 1, id)));
        clinic.data(&(1..=9).map(admitted).collect::<Vec<_>>());
        let before = patient(3, "Patient 3", 1, 3);
        clinic.data(&[row_change(Some(before), Some(patient(3, "Ada", RENAMED, 1)))]);
        clinic.data(&[row_change(Some(patient(5, "Patient 5", 1, 5)), None)]);
        clinic.leaf(STATE_TABLE_NAMES, &Value::Text("patients".to_owned()), 0, 1);
        for id in (1..=9).filter(|id| *id != 5) {
            let at = if id == 3 { (RENAMED, 1) } else { (1, id) };
            clinic.leaf(TableId::FIRST_USER, &Value::Int(id.into()), at.0, at.1);
        }
        let commitment = StateCommitment {
            size: COMMITTED,
            root: subtree(&clinic.leaf_hashes(), 0),
            key: state_key().commitment(),
        };
        let note = clinic.checkpoint().into_bytes();
        clinic.push(RecordKind::Checkpoint, vec![note, commitment.to_bytes().to_vec()]);
        clinic
    }

    /// A signed checkpoint of all records.
    fn checkpoint(&self) -> String {
        let checkpoint = Checkpoint {
            origin: self.signer.verifier().name().clone(),
            size: self.records.len() as u64,
            root: merkle_tree_hash(&self.hashes()),
        };
        checkpoint.sign(&self.signer)
    }

    fn hashes(&self) -> Vec<Hash> {
        let headers = self.records.iter().map(|record| record.header.encode());
        headers.map(|header| record_hash(&header)).collect()
    }

    fn path(&self, offset: u64) -> Vec<Hash> {
        inclusion_proof(&self.hashes()[..], offset, SIZE).expect("covered")
    }

    fn data(&mut self, changes: &[Change]) {
        let summary = RecordSummary {
            tables: vec![TableSummary::from(&patients())],
            stream: None,
            data_class: None,
        };
        let plain = std::iter::once(summary.to_bytes()).chain(changes.iter().map(Change::to_bytes));
        let offset = self.records.len() as u64;
        let chunks = (0..)
            .zip(plain)
            .map(|(chunk, plain)| change_key(offset, chunk).seal(&plain));
        self.push(RecordKind::Data, chunks.collect());
    }

    fn push(&mut self, kind: RecordKind, chunks: Vec<Vec<u8>>) {
        let offset = self.records.len() as u64;
        let leaves: Vec<Hash> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
        let header = RecordHeader {
            kind,
            tenant: TENANT,
            stream: StreamId::ZERO,
            offset: Offset::new(offset),
            stream_sequence: StreamSequence::new(offset),
            timestamp: Timestamp::new(1_795_256_130_000_000_000 + offset * 1_000_000),
            actor: ActorId::new([0xac; 16]),
            correlation_id: CorrelationId::new([0xc0; 16]),
            idempotency_id: IdempotencyId::NIL,
            key_epoch: KeyEpoch::ZERO,
            chunk_count: u32::try_from(chunks.len()).expect("few"),
            payload_length: u32::try_from(Record::body_length(&chunks)).expect("short"),
            payload_hash: merkle_tree_hash(&leaves),
            previous_hash: self.hashes().last().copied().unwrap_or_default(),
        };
        self.records.push(Record { header, chunks });
    }

    fn leaf(&mut self, table: TableId, key: &Value, offset: u64, chunk_index: u32) {
        let key = leaf_key(table, key);
        let value = StateLeafValue {
            offset: Offset::new(offset),
            chunk_index,
            blind: (*sha256(&[key.as_bytes()]).as_bytes()).into(),
        };
        self.leaves.push((key, value));
    }

    fn leaf_hashes(&self) -> Vec<(Hash, Hash)> {
        let leaves = self.leaves.iter();
        leaves
            .map(|(key, value)| (*key, sha256(&[&value.to_bytes()])))
            .collect()
    }

    /// The receipt for the new name of patient 3.
    pub(crate) fn renamed(&self) -> String {
        let parts = ReceiptParts {
            record: &self.records[2],
            changes: &[1],
            change_key: &|chunk| change_key(RENAMED, chunk),
            cell_key: &disclosed_cell_key,
            path: self.path(RENAMED),
            checkpoint: self.checkpoint(),
        };
        Receipt::build(parts).expect("a data record").to_string()
    }

    /// The state receipt for a patient: latest for those who are there, absent for the others.
    pub(crate) fn state(&self, id: i64) -> String {
        let name = Value::Text("patients".to_owned());
        let (table_value, table_proof) = self.prove(&leaf_key(STATE_TABLE_NAMES, &name));
        let leaf_key = leaf_key(TableId::FIRST_USER, &Value::Int(id));
        let (row_value, row_proof) = self.prove(&leaf_key);
        let row_offset = row_value.map_or(0, |value| value.offset.get());
        let row_key = |chunk| change_key(row_offset, chunk);
        let parts = StateReceiptParts {
            commitment: &self.records[4],
            commitment_path: self.path(COMMITTED),
            state_key: &state_key(),
            table: self.stated(table_value.expect("the table is there"), &|chunk| change_key(0, chunk)),
            table_proof,
            key: vec![Value::Int(id)],
            leaf_key,
            row: row_value.map(|value| self.stated(value, &row_key)),
            row_proof,
            checkpoint: self.checkpoint(),
        };
        StateReceipt::build(parts).expect("the chunks exist").to_string()
    }

    fn stated<'a>(&'a self, value: StateLeafValue, change_key: &'a dyn Fn(u32) -> ChangeKey) -> StatedChange<'a> {
        StatedChange {
            value,
            record: &self.records[usize::try_from(value.offset.get()).expect("small")],
            path: self.path(value.offset.get()),
            change_key,
            cell_key: &disclosed_cell_key,
        }
    }

    fn prove(&self, key: &Hash) -> (Option<StateLeafValue>, StateTreeProof) {
        let mut leaves = self.leaf_hashes();
        let mut siblings = Vec::new();
        for level in 0.. {
            if leaves.len() < 2 {
                break;
            }
            let bit = state_key_bit(key, level);
            let (side, other): (Vec<_>, Vec<_>) = leaves
                .into_iter()
                .partition(|(leaf, _)| state_key_bit(leaf, level) == bit);
            siblings.insert(0, subtree(&other, level + 1));
            leaves = side;
        }
        let other = leaves.first().filter(|(leaf, _)| leaf != key);
        let other = other.map(|&(key, value_hash)| OtherLeaf { key, value_hash });
        let value = self
            .leaves
            .iter()
            .find(|(leaf, _)| leaf == key)
            .map(|(_, value)| *value);
        (value, StateTreeProof { other, siblings })
    }
}

/// The key of the new name of patient 3. All others are withheld, as if they had been erased.
fn disclosed_cell_key(cell: &SealedCell) -> Option<ChangeKey> {
    let is_disclosed = cell.offset.get() == RENAMED;
    is_disclosed.then(|| subject_key(cell.key.get()).cell_key(CellPlace::of(cell, [0; 32])))
}

/// The hash of the subtree at a level that holds these leaves.
fn subtree(leaves: &[(Hash, Hash)], level: usize) -> Hash {
    match leaves {
        [] => EMPTY_SUBTREE,
        [(key, value_hash)] => state_leaf_hash(key, value_hash),
        leaves => {
            let (right, left): (Vec<_>, Vec<_>) = leaves.iter().partition(|(key, _)| state_key_bit(key, level));
            state_node_hash(&subtree(&left, level + 1), &subtree(&right, level + 1))
        }
    }
}
