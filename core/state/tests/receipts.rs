//! State receipts against those who forge them: every claim that is not so is refused, and the part that is wrong is
//! named.

use craton_crypto::{ChangeKey, Dek, SecretBytes, SigningKey, StateBlindingKey, StateKey, chunk_hash, record_hash};
use craton_log::{Disk as _, RealDisk};
use craton_proof::{
    Checkpoint, KeyName, OtherLeaf, STATE_TABLE_NAMES, SignerKey, StateLeafValue, StateReceipt, StateReceiptError,
    StateReceiptParts, StateTreeProof, StatedChange, VerifiedStateReceipt, WitnessPolicy, inclusion_proof,
    merkle_tree_hash,
};
use craton_state::{Position, RowState, StateKeys, StateOptions, StateTree, StateVersion};
use craton_types::{
    ActorId, Change, Column, ColumnType, CorrelationId, Hash, IdempotencyId, KeyEpoch, Offset, PrimaryKey, Record,
    RecordHeader, RecordKind, RecordSummary, Row, RowChange, StreamId, StreamSequence, TableId, TableSchema,
    TableSummary, TenantId, Timestamp, Value,
};

const TENANT: TenantId = TenantId::new([7; 16]);
const PEOPLE: TableId = TableId::new(16);
const PLACES: TableId = TableId::new(17);
/// The checkpoint that commits to the state of all records before it, and an older one.
const COMMITTED: usize = 7;
const COMMITTED_EARLIER: usize = 3;

fn table(id: TableId, name: &str) -> TableSchema {
    let column = |name: &str, column_type| Column {
        name: name.to_owned(),
        column_type,
        nullable: true,
        default_sql: None,
    };
    TableSchema {
        id,
        name: name.to_owned(),
        columns: vec![column("id", ColumnType::Int4), column("name", ColumnType::Text)],
        primary_key: vec![0],
        subjects: Default::default(),
        data_class: None,
    }
}

fn row(id: i64, name: &str) -> Option<Row> {
    Some(vec![Value::Int(id), Value::Text(name.to_owned())])
}

fn change(table: TableId, before: Option<Row>, after: Option<Row>) -> Change {
    Change::Row(RowChange { table, before, after })
}

fn key(id: i64) -> PrimaryKey {
    PrimaryKey::encode([&Value::Int(id)]).expect("a key")
}

fn name_key(name: &str) -> PrimaryKey {
    PrimaryKey::encode([&Value::Text(name.to_owned())]).expect("a key")
}

fn change_key(offset: usize, chunk: u32) -> ChangeKey {
    Dek::new(SecretBytes::new([9; 32])).change_key(TENANT, Offset::new(offset as u64), chunk)
}

/// A log with rows, its state tree, and its key.
struct World {
    records: Vec<Record>,
    tree: StateTree,
    signer: SignerKey,
    _folder: tempfile::TempDir,
}

/// What a receipt is made of; the genuine ones to begin with.
struct Choice {
    committed: usize,
    path_of: usize,
    state_key: StateKey,
    table: (Option<StateLeafValue>, StateTreeProof),
    table_id: TableId,
    key: Row,
    row: (Option<StateLeafValue>, StateTreeProof),
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = StateKeys {
            state: StateKey::new(SecretBytes::new([1; 32])),
            blinding: StateBlindingKey::new(&SecretBytes::new([2; 32])),
            store: SecretBytes::new([3; 32]),
        };
        let tree = StateTree::open(file(&folder.path().join("state")), keys, StateOptions::default()).expect("a tree");
        let name = KeyName::parse(&format!("cluster.example/{TENANT}")).expect("a name");
        let signer = SignerKey::new(name, SigningKey::from_seed(&SecretBytes::new([4; 32])));
        let mut world = Self {
            records: Vec::new(),
            tree,
            signer,
            _folder: folder,
        };
        world.data(vec![Change::CreateTable(table(PEOPLE, "people"))]);
        let many = (1..40).map(|id| change(PEOPLE, None, row(id, "someone"))).collect();
        world.data(many);
        world.data(vec![change(PEOPLE, row(1, "someone"), row(1, "Ada"))]);
        let first: Vec<_> = (1..40)
            .map(|id| state(PEOPLE, key(id), Some((1, u32::try_from(id).expect("small")))))
            .collect();
        let created = [state(STATE_TABLE_NAMES, name_key("people"), Some((0, 1)))];
        world.advance(&[&created[..], &first, &[state(PEOPLE, key(1), Some((2, 1)))]].concat());
        world.checkpoint();
        world.data(vec![Change::CreateTable(table(PLACES, "places"))]);
        world.data(vec![change(PLACES, None, row(1, "Paris"))]);
        world.data(vec![change(PEOPLE, row(2, "someone"), None)]);
        world.advance(&[
            state(STATE_TABLE_NAMES, name_key("places"), Some((4, 1))),
            state(PLACES, key(1), Some((5, 1))),
            state(PEOPLE, key(2), None),
        ]);
        world.checkpoint();
        world.data(vec![change(PEOPLE, row(3, "someone"), row(3, "changed since"))]);
        world
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
            timestamp: Timestamp::new(1_795_256_130_000_000_000),
            actor: ActorId::new([1; 16]),
            correlation_id: CorrelationId::NIL,
            idempotency_id: IdempotencyId::NIL,
            key_epoch: KeyEpoch::ZERO,
            chunk_count: u32::try_from(chunks.len()).expect("few"),
            payload_length: u32::try_from(Record::body_length(&chunks)).expect("short"),
            payload_hash: merkle_tree_hash(&leaves),
            previous_hash: self.hashes().last().copied().unwrap_or_default(),
        };
        self.records.push(Record { header, chunks });
    }

    fn data(&mut self, changes: Vec<Change>) {
        let summary = RecordSummary {
            tables: [table(PEOPLE, "people"), table(PLACES, "places")]
                .iter()
                .map(TableSummary::from)
                .collect(),
            stream: None,
            data_class: None,
        };
        let plain = std::iter::once(summary.to_bytes()).chain(changes.iter().map(Change::to_bytes));
        let offset = self.records.len();
        let chunks = (0..)
            .zip(plain)
            .map(|(chunk, plain)| change_key(offset, chunk).seal(&plain));
        self.push(RecordKind::Data, chunks.collect());
    }

    fn advance(&self, rows: &[RowState]) {
        let size = self.records.len() as u64;
        self.tree
            .advance(size, Hash::ZERO, rows, &[])
            .expect("the next version");
    }

    fn newest(&self) -> StateVersion {
        self.tree.newest().expect("readable")
    }

    fn checkpoint(&mut self) {
        let note = self.note();
        let commitment = self.tree.commitment(&self.newest()).to_bytes().to_vec();
        self.push(RecordKind::Checkpoint, vec![note.into_bytes(), commitment]);
    }

    fn hashes(&self) -> Vec<Hash> {
        self.records
            .iter()
            .map(|record| record_hash(&record.header.encode()))
            .collect()
    }

    /// A signed checkpoint over everything.
    fn note(&self) -> String {
        let checkpoint = Checkpoint {
            origin: self.signer.verifier().name().clone(),
            size: self.records.len() as u64,
            root: merkle_tree_hash(&self.hashes()),
        };
        checkpoint.sign(&self.signer)
    }

    fn path(&self, offset: usize) -> Vec<Hash> {
        inclusion_proof(&self.hashes()[..], offset as u64, self.records.len() as u64).expect("covered")
    }

    fn prove(&self, committed: usize, table: TableId, key: &PrimaryKey) -> (Option<StateLeafValue>, StateTreeProof) {
        self.tree.prove(committed as u64, table, key).expect("readable")
    }

    fn choice(&self, name: &str, id: TableId, row: i64) -> Choice {
        Choice {
            committed: COMMITTED,
            path_of: COMMITTED,
            state_key: self.tree.state_key().clone(),
            table: self.prove(COMMITTED, STATE_TABLE_NAMES, &name_key(name)),
            table_id: id,
            key: vec![Value::Int(row)],
            row: self.prove(COMMITTED, id, &key(row)),
        }
    }

    /// Makes a receipt of whatever was chosen.
    fn text(&self, choice: &Choice) -> String {
        let stated = |value: StateLeafValue, change_key| {
            let offset = usize::try_from(value.offset.get()).expect("small");
            StatedChange {
                value,
                record: &self.records[offset],
                path: self.path(offset),
                change_key,
                cell_key: &|_| None,
            }
        };
        let table_value = choice.table.0.expect("the table is there");
        let row_offset = choice.row.0.map_or(0, |value| value.offset.get());
        let (table_key, row_key) = (
            |chunk| change_key(usize::try_from(table_value.offset.get()).expect("small"), chunk),
            |chunk| change_key(usize::try_from(row_offset).expect("small"), chunk),
        );
        let encoded = PrimaryKey::encode(&choice.key).expect("a key");
        let parts = StateReceiptParts {
            commitment: &self.records[choice.committed],
            commitment_path: self.path(choice.path_of),
            state_key: &choice.state_key,
            table: stated(table_value, &table_key),
            table_proof: choice.table.1.clone(),
            key: choice.key.clone(),
            leaf_key: choice.state_key.row_key(choice.table_id, encoded.as_bytes()),
            row: choice.row.0.map(|value| stated(value, &row_key)),
            row_proof: choice.row.1.clone(),
            checkpoint: self.note(),
        };
        StateReceipt::build(parts).expect("the chunks exist").to_string()
    }

    fn verify_text(&self, text: &str) -> Result<VerifiedStateReceipt, StateReceiptError> {
        StateReceipt::verify(text.as_bytes(), self.signer.verifier(), &WitnessPolicy::default())
    }

    fn verify(&self, choice: &Choice) -> Result<VerifiedStateReceipt, StateReceiptError> {
        self.verify_text(&self.text(choice))
    }
}

fn state(table: TableId, key: PrimaryKey, at: Option<(u64, u32)>) -> RowState {
    RowState {
        table,
        key,
        position: at.map(|(offset, chunk_index)| Position {
            offset: Offset::new(offset),
            chunk_index,
        }),
    }
}

#[test]
fn genuine_claims_verify() {
    let world = World::new();
    for (name, table, id, offset) in [
        ("people", PEOPLE, 1, Some(2)),
        ("people", PEOPLE, 39, Some(1)),
        ("people", PEOPLE, 2, None),
        ("people", PEOPLE, 77, None),
        ("places", PLACES, 1, Some(5)),
        ("places", PLACES, 2, None),
    ] {
        let verified = world.verify(&world.choice(name, table, id)).expect(name);
        assert_eq!(
            verified.row.map(|record| record.header.offset.get()),
            offset,
            "{name} {id}"
        );
        assert_eq!((verified.table.name.as_str(), verified.size), (name, 7));
    }
}

#[test]
fn forged_claims_are_refused_and_the_part_is_named() {
    let world = World::new();
    let earlier = |table, row: i64| world.prove(COMMITTED_EARLIER, table, &key(row));
    type Forge<'a> = Box<dyn Fn(&mut Choice) + 'a>;
    let cases: Vec<(&str, Forge<'_>, &str)> = vec![
        (
            "an older change of the row claimed as the latest",
            Box::new(|choice| {
                let value = choice.row.0.as_mut().expect("there");
                (value.offset, value.chunk_index) = (Offset::new(1), 1);
            }),
            "row's path",
        ),
        (
            "another blind",
            Box::new(|choice| choice.row.0.as_mut().expect("there").blind[0] ^= 1),
            "row's path",
        ),
        (
            "a row that is there claimed absent",
            Box::new(|choice| choice.row.0 = None),
            "row's path",
        ),
        (
            "a row that is there claimed absent, its own leaf in its place",
            Box::new(|choice| {
                let value = choice.row.0.take().expect("there");
                choice.row.1.other = Some(OtherLeaf {
                    key: world.tree.state_key().row_key(PEOPLE, key(1).as_bytes()),
                    value_hash: craton_crypto::sha256(&[&value.to_bytes()]),
                });
            }),
            "row's path: the path ends in the leaf of the key that is said to be absent",
        ),
        (
            "another row's proof of absence",
            Box::new(|choice| choice.row = world.prove(COMMITTED, PEOPLE, &key(77))),
            "row's path",
        ),
        (
            "another row's change",
            Box::new(|choice| choice.row = world.prove(COMMITTED, PEOPLE, &key(3))),
            "row's path",
        ),
        (
            "another table's row",
            Box::new(|choice| choice.row = world.prove(COMMITTED, PLACES, &key(1))),
            "row's path",
        ),
        (
            "a table of another name",
            Box::new(|choice| choice.table = world.prove(COMMITTED, STATE_TABLE_NAMES, &name_key("places"))),
            "primary key: its leaf key is",
        ),
        (
            "a table of another name, and its leaf key",
            Box::new(|choice| {
                choice.table = world.prove(COMMITTED, STATE_TABLE_NAMES, &name_key("places"));
                choice.table_id = PLACES;
            }),
            "row's path",
        ),
        (
            "the proof of another table's name",
            Box::new(|choice| choice.table.1 = world.prove(COMMITTED, STATE_TABLE_NAMES, &name_key("places")).1),
            "table's path",
        ),
        (
            "a row where a table should be",
            Box::new(|choice| choice.table = world.prove(COMMITTED, PEOPLE, &key(1))),
            "table: the disclosed change does not create a table",
        ),
        (
            "another key",
            Box::new(|choice| choice.key = vec![Value::Int(3)]),
            "row's path",
        ),
        (
            "a key of another type",
            Box::new(|choice| choice.key = vec![Value::Text("1".into())]),
            "primary key",
        ),
        (
            "a key of no columns",
            Box::new(|choice| choice.key.clear()),
            "primary key",
        ),
        (
            "another state key",
            Box::new(|choice| choice.state_key = StateKey::new(SecretBytes::new([8; 32]))),
            "state key",
        ),
        (
            "another checkpoint's state",
            Box::new(|choice| (choice.committed, choice.path_of) = (COMMITTED_EARLIER, COMMITTED_EARLIER)),
            "table's path",
        ),
        (
            "a path of another record",
            Box::new(|choice| choice.path_of = COMMITTED_EARLIER),
            "checkpoint record",
        ),
        (
            "an older proof",
            Box::new(move |choice| choice.row = earlier(PEOPLE, 1)),
            "row's path",
        ),
        (
            "a path cut short",
            Box::new(|choice| choice.row.1.siblings.truncate(1)),
            "row's path",
        ),
        (
            "a path made longer",
            Box::new(|choice| choice.row.1.siblings.push(Hash::ZERO)),
            "row's path",
        ),
        (
            "a path of too many levels",
            Box::new(|choice| choice.row.1.siblings = vec![Hash::ZERO; 257]),
            "row's path",
        ),
        (
            "a record that is no checkpoint",
            Box::new(|choice| (choice.committed, choice.path_of) = (6, 6)),
            "checkpoint record: its kind",
        ),
    ];
    for (what, forge, part) in cases {
        let mut choice = world.choice("people", PEOPLE, 1);
        forge(&mut choice);
        let error = world.verify(&choice).expect_err(what).to_string();
        assert!(error.starts_with(part), "{what}: {error}");
    }
}

/// A checkpoint that vouches for a change which it cannot know of, or for the change of another row: the operator signed
/// it, and still it proves nothing.
#[test]
fn a_state_that_names_what_it_cannot_know_proves_nothing() {
    for (what, at, part) in [
        ("a change after the state", (8, 1), "row's record: the state tree names"),
        ("another row's change", (1, 5), "row: the disclosed change"),
        ("a deletion", (6, 1), "row: the disclosed change"),
    ] {
        let mut world = World::new();
        world.records.truncate(COMMITTED);
        let size = world.records.len() as u64 + 1;
        world.push(
            RecordKind::Data,
            vec![change_key(COMMITTED, 0).seal(&RecordSummary::default().to_bytes())],
        );
        let version = world
            .tree
            .advance(size, Hash::ZERO, &[state(PEOPLE, key(1), Some(at))], &[])
            .expect("a version");
        let commitment = world
            .tree
            .commitment(&StateVersion { size: 7, ..version })
            .to_bytes()
            .to_vec();
        let note = world.note().into_bytes();
        world.data(vec![change(PEOPLE, row(1, "Ada"), row(1, "later"))]);
        world.push(RecordKind::Checkpoint, vec![note, commitment]);
        let choice = Choice {
            committed: 9,
            path_of: 9,
            table: world.prove(8, STATE_TABLE_NAMES, &name_key("people")),
            row: world.prove(8, PEOPLE, &key(1)),
            ..world.choice("people", PEOPLE, 1)
        };
        let error = world.verify(&choice).expect_err(what).to_string();
        assert!(error.starts_with(part), "{what}: {error}");
    }
}

fn file(path: &std::path::Path) -> std::sync::Arc<dyn craton_log::DiskFile> {
    RealDisk.open_or_create(path).expect("the file is ours")
}
