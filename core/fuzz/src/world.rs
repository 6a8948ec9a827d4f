//! What inputs begin from and are held against: small logs, receipts and rows, the same in every run.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use craton_crypto::{
    CellPlace, ChangeKey, Dek, LinkedRecord, SecretBytes, SigningKey, StateKey, SubjectKey, chunk_hash, record_hash,
    sha256,
};
use craton_log::testing::MemoryDisk;
use craton_log::{OnDamage, TenantLog, TenantLogError, TenantLogOptions, Vote, Wal, WalEntry, WalError, WalOptions};
use craton_proof::{
    Checkpoint, Cosigner, Frontier, KeyName, OtherLeaf, Receipt, ReceiptParts, STATE_TABLE_NAMES, SignerKey,
    StateCommitment, StateLeafValue, StateReceipt, StateReceiptParts, StateTreeProof, StatedChange, consistency_proof,
    inclusion_proof, merkle_tree_hash, state_key_bit, state_leaf_hash, state_node_hash,
};
use craton_types::{
    ActorId, Change, CorrelationId, Hash, IdempotencyId, KeyEpoch, LogIndex, NodeId, Offset, PrimaryKey, Record,
    RecordHeader, RecordKind, RowChange, SealedCell, SegmentFooter, SegmentHeader, StreamId, StreamSequence,
    SubjectKeyId, TableId, TenantId, Term, Timestamp, Value, segment_file_name,
};

mod rows;
mod vocabulary;

pub(crate) use rows::Rows;
pub(crate) use vocabulary::{applied_state, changes, commands, people, row, summary};

/// A file's name and content.
pub(crate) type File = (String, Vec<u8>);

pub(crate) const TENANT: TenantId = TenantId::new([0x7e; 16]);
pub(crate) const WAL_DIR: &str = "/wal";
pub(crate) const LOG_DIR: &str = "/log";
/// How many entries the write-ahead log has.
pub(crate) const WAL_ENTRIES: usize = 12;
const RECORDS: u64 = 22;
/// The offsets of the checkpoint records, and how many records each covers.
const CHECKPOINTS: [(u64, u64); 3] = [(7, 7), (14, 12), (19, 19)];
/// The first offsets of the segments that are verified offline.
const SEGMENTS: [u64; 3] = [0, 9, 16];
/// The salt of the key epoch that every record is of.
pub(crate) const EPOCH_SALT: [u8; 32] = [0xe5; 32];
/// The record with a sealed cell, and the record of the row whose state is proved.
const SEALED: u64 = 4;
const STATED: u64 = 5;

/// A log of one tenant, and what is proved about it.
pub(crate) struct World {
    pub(crate) records: Vec<Record>,
    /// Signed checkpoints, the last one over every record.
    pub(crate) notes: Vec<String>,
    pub(crate) signer: SignerKey,
    pub(crate) receipts: Vec<String>,
    pub(crate) state_receipts: Vec<String>,
}

/// The log.
pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

fn key_name(name: &str) -> KeyName {
    KeyName::parse(name).expect("a name")
}

/// Keys follow from what is in the log: once that is another, what was signed before is signed by nobody, and inputs
/// that were kept from then do not pass for forgeries.
fn signing_key(name: &[u8]) -> SigningKey {
    static CONTENT: OnceLock<Hash> = OnceLock::new();
    let content = CONTENT.get_or_init(|| {
        let chunks = (0..RECORDS).flat_map(|offset| sealed_chunks(offset, false));
        let leaves: Vec<Hash> = chunks.map(|chunk| chunk_hash(&chunk)).collect();
        sha256(&[merkle_tree_hash(&leaves).as_bytes(), state_root().as_bytes()])
    });
    SigningKey::from_seed(&SecretBytes::new(*sha256(&[content.as_bytes(), name]).as_bytes()))
}

/// A witness.
pub(crate) fn cosigner() -> Cosigner {
    Cosigner::new(key_name("witness.example/w1"), signing_key(b"witness"))
}

pub(crate) fn change_key(offset: u64, chunk: u32) -> ChangeKey {
    let dek = Dek::new(SecretBytes::new([0xde; 32]));
    dek.change_key(TENANT, Offset::new(offset), chunk)
}

pub(crate) fn subject_key() -> SubjectKey {
    SubjectKey::new(SecretBytes::new([0x5c; 32]), SubjectKeyId::new(3), TENANT)
}

/// A cell that holds the text `secret`.
pub(crate) fn sealed_cell() -> SealedCell {
    let place = CellPlace {
        epoch: KeyEpoch::ZERO,
        offset: Offset::new(SEALED),
        chunk: 1,
        column: 1,
        salt: EPOCH_SALT,
    };
    subject_key().seal(place, &Value::Text("secret".to_owned()))
}

fn state_key() -> StateKey {
    StateKey::new(SecretBytes::new([0x57; 32]))
}

fn leaf_key(id: i64) -> Hash {
    let key = PrimaryKey::encode([&Value::Int(id)]).expect("a key");
    state_key().row_key(TableId::FIRST_USER, key.as_bytes())
}

fn table_leaf_key() -> Hash {
    let name = PrimaryKey::encode([&Value::Text(people().name)]).expect("a key");
    state_key().row_key(STATE_TABLE_NAMES, name.as_bytes())
}

/// The first row from `from` on that is on the other side of the state tree than the table's name.
fn other_side(from: i64) -> i64 {
    let side = state_key_bit(&table_leaf_key(), 0);
    let mut ids = from..;
    ids.find(|id| state_key_bit(&leaf_key(*id), 0) != side)
        .expect("half of all rows")
}

fn leaf_value(offset: u64) -> StateLeafValue {
    StateLeafValue {
        offset: Offset::new(offset),
        chunk_index: 1,
        blind: [0xb1; 32].into(),
    }
}

fn leaf_hash(key: &Hash, offset: u64) -> Hash {
    state_leaf_hash(key, &sha256(&[&leaf_value(offset).to_bytes()]))
}

/// The state tree of two leaves: the table's name and one row.
fn state_root() -> Hash {
    let (table, row) = (table_leaf_key(), leaf_key(other_side(0)));
    let (table_leaf, row_leaf) = (leaf_hash(&table, 0), leaf_hash(&row, STATED));
    match state_key_bit(&table, 0) {
        true => state_node_hash(&row_leaf, &table_leaf),
        false => state_node_hash(&table_leaf, &row_leaf),
    }
}

/// The changes of the data record at `offset`.
fn changes_at(offset: u64) -> Vec<Change> {
    let id = offset.cast_signed();
    let changed = |before, after| {
        Change::Row(RowChange {
            table: TableId::FIRST_USER,
            before,
            after,
        })
    };
    match offset {
        0 => vec![Change::CreateTable(people()), changed(None, Some(row(100, "Ada")))],
        SEALED => {
            let mut sealed = row(id, "secret");
            sealed[1] = Value::Sealed(Box::new(sealed_cell()));
            vec![changed(None, Some(sealed))]
        }
        STATED => vec![changed(None, Some(row(other_side(0), "Grace")))],
        _ if offset % 4 == 2 => vec![Change::Event(format!("event {offset}").into_bytes())],
        _ => vec![
            changed(Some(row(id, "Ada")), Some(row(id, "Ada L."))),
            changed(Some(row(id, "Ada L.")), None),
        ],
    }
}

impl World {
    fn new() -> Self {
        let name = key_name(&format!("cluster.example/{TENANT}"));
        let mut world = Self {
            records: Vec::new(),
            notes: Vec::new(),
            signer: SignerKey::new(name, signing_key(b"log")),
            receipts: Vec::new(),
            state_receipts: Vec::new(),
        };
        let mut sequences = [0, 0];
        for offset in 0..RECORDS {
            let covers = CHECKPOINTS.iter().find(|(at, _)| *at == offset);
            let (kind, stream, chunks) = match covers {
                Some((_, size)) => (RecordKind::Checkpoint, 0, world.checkpoint_chunks(*size)),
                None => {
                    let stream = usize::from(offset % 4 == 2);
                    (RecordKind::Data, stream, sealed_chunks(offset, stream == 1))
                }
            };
            world.push(kind, (stream, sequences[stream]), chunks);
            sequences[stream] += 1;
        }
        world.notes.push(world.checkpoint(RECORDS));
        world.receipts = vec![world.receipt(1, &[1, 2]), world.receipt(SEALED, &[1])];
        world.state_receipts = vec![world.present(), world.absent()];
        world
    }

    fn checkpoint_chunks(&mut self, size: u64) -> Vec<Vec<u8>> {
        let note = self.checkpoint(size);
        self.notes.push(note.clone());
        let commitment = StateCommitment {
            size,
            root: state_root(),
            key: state_key().commitment(),
        };
        vec![note.into_bytes(), commitment.to_bytes().to_vec()]
    }

    fn push(&mut self, kind: RecordKind, (stream, sequence): (usize, u64), chunks: Vec<Vec<u8>>) {
        let leaves: Vec<Hash> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
        let offset = self.records.len() as u64;
        let header = RecordHeader {
            kind,
            tenant: TENANT,
            stream: StreamId::new(stream as u64),
            offset: Offset::new(offset),
            stream_sequence: StreamSequence::new(sequence),
            timestamp: Timestamp::new(1_795_256_130_000_000_000 + offset / 2 * 1_000_000),
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

    /// The record hashes.
    pub(crate) fn hashes(&self) -> Vec<Hash> {
        let encoded = self.records.iter().map(|record| record.header.encode());
        encoded.map(|header| record_hash(&header)).collect()
    }

    /// The root of the log's first records; of all when it has not so many.
    pub(crate) fn root_of(&self, size: u64) -> Hash {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let hashes = self.hashes();
        merkle_tree_hash(&hashes[..size.min(hashes.len())])
    }

    fn checkpoint(&self, size: u64) -> String {
        let checkpoint = Checkpoint {
            origin: self.signer.verifier().name().clone(),
            size,
            root: self.root_of(size),
        };
        checkpoint.sign(&self.signer)
    }

    /// The path of a record in the whole log.
    pub(crate) fn inclusion(&self, offset: u64) -> Vec<Hash> {
        inclusion_proof(&self.hashes()[..], offset, RECORDS).expect("covered")
    }

    /// The path from the first 12 records to the whole log.
    pub(crate) fn consistency(&self) -> Vec<Hash> {
        consistency_proof(&self.hashes()[..], 12, RECORDS).expect("covered")
    }

    fn record(&self, offset: u64) -> &Record {
        &self.records[usize::try_from(offset).expect("small")]
    }

    fn receipt(&self, offset: u64, changes: &[u32]) -> String {
        let parts = ReceiptParts {
            record: self.record(offset),
            changes,
            change_key: &|chunk| change_key(offset, chunk),
            cell_key: &cell_key,
            path: self.inclusion(offset),
            checkpoint: self.checkpoint(RECORDS),
        };
        Receipt::build(parts).expect("a data record").to_string()
    }

    fn present(&self) -> String {
        let proof = StateTreeProof {
            other: None,
            siblings: vec![leaf_hash(&table_leaf_key(), 0)],
        };
        self.state_receipt(other_side(0), proof, Some(STATED))
    }

    /// Of a row whose path ends in the leaf of the one that is there.
    fn absent(&self) -> String {
        let (there, id) = (other_side(0), other_side(other_side(0) + 1));
        let other = OtherLeaf {
            key: leaf_key(there),
            value_hash: sha256(&[&leaf_value(STATED).to_bytes()]),
        };
        let proof = StateTreeProof {
            other: Some(other),
            siblings: vec![leaf_hash(&table_leaf_key(), 0)],
        };
        self.state_receipt(id, proof, None)
    }

    fn state_receipt(&self, id: i64, row_proof: StateTreeProof, row: Option<u64>) -> String {
        let (committed, _) = CHECKPOINTS[2];
        let table_proof = StateTreeProof {
            other: None,
            siblings: vec![leaf_hash(&leaf_key(other_side(0)), STATED)],
        };
        let table_keys = |chunk| change_key(0, chunk);
        let row_keys = |chunk| change_key(STATED, chunk);
        let parts = StateReceiptParts {
            commitment: self.record(committed),
            commitment_path: self.inclusion(committed),
            state_key: &state_key(),
            table: self.stated(0, &table_keys),
            table_proof,
            key: vec![Value::Int(id)],
            leaf_key: leaf_key(id),
            row: row.map(|offset| self.stated(offset, &row_keys)),
            row_proof,
            checkpoint: self.checkpoint(RECORDS),
        };
        StateReceipt::build(parts).expect("data records").to_string()
    }

    fn stated<'a>(&'a self, offset: u64, change_key: &'a dyn Fn(u32) -> ChangeKey) -> StatedChange<'a> {
        StatedChange {
            value: leaf_value(offset),
            record: self.record(offset),
            path: self.inclusion(offset),
            change_key,
            cell_key: &cell_key,
        }
    }

    /// The log as three segment files; the last one is open.
    pub(crate) fn segments(&self) -> Vec<File> {
        let ends = SEGMENTS[1..].iter().copied().chain([RECORDS]);
        SEGMENTS
            .iter()
            .copied()
            .zip(ends)
            .map(|(start, end)| self.segment(start, end))
            .collect()
    }

    fn segment(&self, start: u64, end: u64) -> File {
        let header = SegmentHeader {
            tenant: TENANT,
            first_offset: Offset::new(start),
            previous_hash: self.record(start).header.previous_hash,
        };
        let mut bytes = with_crc(&header.encode_without_crc());
        let mut tree = Frontier::new();
        for offset in start..end {
            let record = self.record(offset);
            let encoded = record.header.encode();
            bytes.extend(with_crc(&encoded));
            record.encode_body(&mut bytes);
            tree.push(record_hash(&encoded));
        }
        if end < RECORDS {
            let footer = SegmentFooter {
                record_count: tree.size(),
                records_root: tree.root(),
                last_hash: self.record(end).header.previous_hash,
            };
            bytes.extend(with_crc(&footer.encode_without_crc()));
        }
        (segment_file_name(Offset::new(start)), bytes)
    }
}

fn cell_key(cell: &SealedCell) -> Option<ChangeKey> {
    Some(subject_key().cell_key(CellPlace::of(cell, EPOCH_SALT)))
}

fn sealed_chunks(offset: u64, in_stream: bool) -> Vec<Vec<u8>> {
    let mut summary = summary();
    summary.stream = in_stream.then(|| "orders".to_owned());
    let changes = changes_at(offset).into_iter().map(|change| change.to_bytes());
    let plaintexts = std::iter::once(summary.to_bytes()).chain(changes);
    let chunks = (0..)
        .zip(plaintexts)
        .map(|(chunk, plain)| change_key(offset, chunk).seal(&plain));
    chunks.collect()
}

fn with_crc(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc32c::crc32c(bytes).to_be_bytes()].concat()
}

/// Opens the write-ahead log on a disk.
pub(crate) fn open_wal(disk: &MemoryDisk, on_damage: OnDamage) -> Result<Wal, WalError> {
    let options = WalOptions {
        segment_bytes: 2_048,
        on_damage,
        ..WalOptions::new(NodeId::new(1), SecretBytes::new([9; 32]))
    };
    let mut number = 0u64;
    let random = move |bytes: &mut [u8]| {
        for chunk in bytes.chunks_mut(32) {
            number += 1;
            chunk.copy_from_slice(&sha256(&[&number.to_be_bytes()]).as_bytes()[..chunk.len()]);
        }
    };
    Wal::open(Arc::new(disk.clone()), Path::new(WAL_DIR), options, Box::new(random)).map(|(wal, _)| wal)
}

/// The entries of the write-ahead log.
pub(crate) fn wal_entries() -> Vec<WalEntry> {
    let entry = |number: usize| WalEntry {
        index: LogIndex::new(number as u64 + 1),
        term: Term::new(1 + number as u64 / 5),
        payload: format!("entry {number} ").repeat(10 * number).into_bytes(),
    };
    (0..WAL_ENTRIES).map(entry).collect()
}

/// An entry that was appended after the others, and cut off again.
pub(crate) fn cut_off_entry() -> WalEntry {
    WalEntry {
        index: LogIndex::new(WAL_ENTRIES as u64 + 1),
        term: Term::new(8),
        payload: b"of another leader".to_vec(),
    }
}

/// The files of the write-ahead log, closed.
pub(crate) fn wal_files() -> &'static [File] {
    static FILES: OnceLock<Vec<File>> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = MemoryDisk::new();
        let mut wal = open_wal(&disk, OnDamage::Refuse).expect("an empty disk takes a log");
        for entry in wal_entries() {
            wal.append(&[entry]).expect("an empty disk takes an entry");
        }
        let next = wal.next_index();
        wal.note_committed(LogIndex::new(WAL_ENTRIES as u64 / 2));
        wal.append(&[cut_off_entry()]).expect("an empty disk takes an entry");
        wal.truncate_from(next).expect("an empty disk takes a segment");
        let vote = Vote {
            term: Term::new(9),
            voted_for: NodeId::new(1),
            committed: true,
        };
        wal.record_vote(vote).expect("an empty disk takes a vote");
        wal.mark_synced().expect("an empty disk takes a superblock");
        files(&disk)
    })
}

/// Opens the tenant's log on a disk.
pub(crate) fn open_tenant_log(disk: &MemoryDisk) -> Result<TenantLog, TenantLogError> {
    let options = TenantLogOptions { segment_bytes: 3_072 };
    TenantLog::open(Arc::new(disk.clone()), Path::new(LOG_DIR), TENANT, options)
}

/// The files of the tenant's log, synced.
pub(crate) fn tenant_files() -> &'static [File] {
    static FILES: OnceLock<Vec<File>> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = MemoryDisk::new();
        let mut log = open_tenant_log(&disk).expect("an empty disk takes a log");
        for record in &world().records {
            log.append(&LinkedRecord::new(record.clone()))
                .expect("an empty disk takes a record");
        }
        log.publish().expect("an empty disk takes records");
        log.sync().expect("in memory");
        files(&disk)
    })
}

fn files(disk: &MemoryDisk) -> Vec<File> {
    let names = disk.paths().into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        Some((name, disk.contents(&path)?))
    });
    names.collect()
}
