//! Commands and what becomes of them: given a tenant, when a command is applied, then this is the outcome.

use std::collections::BTreeMap;

use craton_crypto::{ChunkSealer, DataKey, Dek, SecretBytes, SigningKey, SubjectKey, record_hash};
use craton_kernel::{
    ApplyError, Command, Decided, ExpectedSequence, IDEMPOTENCY_IDS_MAX, KEY_EPOCH_TABLE, NewDataKey, Operation,
    Outcome, ReadCheck, Refusal, RowReader, SchemaWrite, StateCheckpoint, StreamWrite, TenantState, ViewWrite, decide,
    key_epoch_from_row, key_epoch_of, replay, unseal_changes,
};
use craton_proof::{Checkpoint, KeyName, SignerKey, StateCommitment};
use craton_types::{
    ActorId, Change, Column, ColumnType, CorrelationId, DataKeyNumber, DatabaseDefinition, Expected, FormatVersion,
    Hash, IdempotencyId, KeyEpoch, Offset, PrimaryKey, Record, RecordKind, RotationReason, RowWrite, StreamHead,
    StreamId, StreamSequence, SubjectKeyId, TableId, TableSchema, TenantId, Timestamp, UserDefinition, Value,
    VersionedRow,
};

const PEOPLE: TableId = TableId::FIRST_USER;

/// The rows and streams of a tenant, in memory.
#[derive(Clone, Default, PartialEq, Debug)]
struct Rows {
    rows: BTreeMap<(TableId, PrimaryKey), VersionedRow>,
    streams: BTreeMap<String, StreamId>,
    /// Where each record of a stream is.
    offsets: BTreeMap<StreamId, Vec<Offset>>,
}

impl Rows {
    fn store(&mut self, version: Offset, writes: Vec<ViewWrite>, stream: Option<StreamWrite>) {
        for write in writes {
            match write.row {
                Some(row) => self
                    .rows
                    .insert((write.table, write.key), VersionedRow { version, row }),
                None => self.rows.remove(&(write.table, write.key)),
            };
        }
        let Some(write) = stream else { return };
        if let Some(name) = write.new_name {
            self.streams.insert(name, write.stream);
        }
        let offsets = self.offsets.entry(write.stream).or_default();
        assert_eq!(write.sequence.get(), offsets.len() as u64);
        offsets.push(write.offset);
    }
}

impl RowReader for Rows {
    fn row(&self, table: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, ApplyError> {
        Ok(self.rows.get(&(table, key.clone())).cloned())
    }

    fn stream(&self, name: &str) -> Result<Option<StreamHead>, ApplyError> {
        Ok(self.streams.get(name).map(|stream| StreamHead {
            stream: *stream,
            next: StreamSequence::new(self.offsets[stream].len() as u64),
        }))
    }

    fn subject_key(&self, id: SubjectKeyId) -> Result<SubjectKey, ApplyError> {
        Err(ApplyError(
            format!("no data subject has a key here, not even {id}").into(),
        ))
    }
}

/// A tenant under test and its log.
struct Tenant {
    state: TenantState,
    rows: Rows,
    records: Vec<Record>,
    clock: u64,
}

/// The key of an epoch, as the node's keyring gives it.
fn dek(tenant: TenantId, epoch: KeyEpoch, number: DataKeyNumber, salt: &[u8; 32]) -> Dek {
    let byte = u8::try_from(number.get()).expect("few data keys");
    DataKey::new(SecretBytes::new([byte; 32])).dek(tenant, epoch, salt)
}

impl Tenant {
    fn new() -> Self {
        Self::of(TenantState::new(TenantId::new([1; 16]), false))
    }

    fn system() -> Self {
        Self::of(TenantState::new(TenantId::new([2; 16]), true))
    }

    fn of(state: TenantState) -> Self {
        Self {
            state,
            rows: Rows::default(),
            records: Vec::new(),
            clock: 1_000,
        }
    }

    /// The key of the epoch that the state has reached.
    fn dek(&self) -> Dek {
        let state = &self.state;
        dek(state.tenant, state.key_epoch, state.data_key, &state.key_salt)
    }

    /// The key of any epoch, by the records that begin them.
    fn dek_of(&self, epoch: KeyEpoch) -> Option<Dek> {
        if epoch == KeyEpoch::ZERO {
            return Some(dek(self.state.tenant, epoch, DataKeyNumber::ZERO, &[0; 32]));
        }
        let mut begun = self.records.iter().filter_map(key_epoch_of);
        let rotated = begun.find(|rotated| rotated.epoch == epoch)?;
        Some(dek(self.state.tenant, epoch, rotated.data_key, &rotated.salt))
    }

    fn with_people() -> Self {
        let mut tenant = Self::new();
        tenant.commit(Operation::Write {
            schema: vec![SchemaWrite::Create(people())],
            rows: Vec::new(),
            reads: Vec::new(),
            subject_keys: Vec::new(),
            erasures_seen: None,
        });
        tenant
    }

    fn command(&self, operation: Operation, idempotency_id: IdempotencyId) -> Command {
        Command {
            tenant: self.state.tenant,
            actor: ActorId::new([3; 16]),
            correlation_id: CorrelationId::new([4; 16]),
            idempotency_id,
            operation,
        }
    }

    fn when(&mut self, operation: Operation) -> Outcome {
        self.when_identified(operation, IdempotencyId::NIL)
    }

    fn when_identified(&mut self, operation: Operation, idempotency_id: IdempotencyId) -> Outcome {
        let command = self.command(operation, idempotency_id);
        let before = self.state.to_bytes();
        let key = self.dek();
        let decided = decide(&mut self.state, &self.rows, Timestamp::new(self.clock), &command);
        match decided.expect("memory can be read") {
            Decided::Drafted(drafted) => {
                let (record, committed) = drafted
                    .draft
                    .seal(&mut ChunkSealer::default(), |_| &key)
                    .chain(&mut self.state);
                self.rows.store(committed.offset, drafted.writes, drafted.stream);
                self.records.push(record.record().clone());
                Outcome::Committed(committed)
            }
            Decided::Answered(outcome) => {
                assert_eq!(self.state.to_bytes(), before, "a refusal changes nothing");
                outcome
            }
        }
    }

    fn commit(&mut self, operation: Operation) -> Offset {
        match self.when(operation) {
            Outcome::Committed(committed) => committed.offset,
            outcome => panic!("expected a commit, got {outcome:?}"),
        }
    }

    fn refuse(&mut self, operation: Operation) -> Refusal {
        match self.when(operation) {
            Outcome::Refused(refusal) => refusal,
            outcome => panic!("expected a refusal, got {outcome:?}"),
        }
    }
}

fn people() -> TableSchema {
    let column = |name: &str, column_type| Column {
        name: name.to_owned(),
        column_type,
        nullable: true,
        default_sql: None,
    };
    TableSchema {
        id: PEOPLE,
        name: "people".to_owned(),
        columns: vec![column("id", ColumnType::Int8), column("name", ColumnType::Text)],
        primary_key: vec![0],
        subjects: None,
        data_class: None,
    }
}

fn row_key(id: i64) -> Vec<u8> {
    PrimaryKey::encode([&Value::Int(id)])
        .expect("an integer is a key")
        .as_bytes()
        .to_vec()
}

fn put(id: i64, name: &str, expected: Expected) -> RowWrite {
    let after = Some(vec![Value::Int(id), Value::Text(name.to_owned())]);
    RowWrite {
        table: PEOPLE,
        key: row_key(id),
        expected,
        after,
    }
}

fn delete(id: i64, expected: Expected) -> RowWrite {
    RowWrite {
        table: PEOPLE,
        key: row_key(id),
        expected,
        after: None,
    }
}

fn write(rows: Vec<RowWrite>) -> Operation {
    Operation::Write {
        schema: Vec::new(),
        rows,
        reads: Vec::new(),
        subject_keys: Vec::new(),
        erasures_seen: None,
    }
}

fn append(stream: &str, expected: ExpectedSequence, event: &str) -> Operation {
    let events = vec![event.as_bytes().to_vec().into()];
    Operation::Append {
        stream: stream.to_owned(),
        expected,
        events,
        data_class: None,
    }
}

#[test]
fn an_insert_is_refused_when_the_row_exists() {
    let mut tenant = Tenant::with_people();
    tenant.commit(write(vec![put(1, "Ada", Expected::Absent)]));
    let refusal = tenant.refuse(write(vec![
        put(2, "Bob", Expected::Absent),
        put(1, "Eve", Expected::Absent),
    ]));
    assert_eq!(
        refusal,
        Refusal::RowExists {
            table: PEOPLE,
            key: row_key(1)
        }
    );
}

#[test]
fn an_update_is_refused_when_the_row_was_changed_or_deleted() {
    let mut tenant = Tenant::with_people();
    let first = tenant.commit(write(vec![put(1, "Ada", Expected::Absent)]));
    let second = tenant.commit(write(vec![put(1, "Ada L.", Expected::Version(first))]));
    let changed = Refusal::RowChanged {
        table: PEOPLE,
        key: row_key(1),
    };
    assert_eq!(
        tenant.refuse(write(vec![put(1, "Eve", Expected::Version(first))])),
        changed
    );
    tenant.commit(write(vec![delete(1, Expected::Version(second))]));
    assert_eq!(
        tenant.refuse(write(vec![put(1, "Eve", Expected::Version(second))])),
        changed
    );
    tenant.commit(write(vec![put(1, "Ada again", Expected::Absent)]));
}

#[test]
fn a_transaction_is_refused_when_what_it_read_was_changed() {
    let mut tenant = Tenant::with_people();
    let first = tenant.commit(write(vec![put(1, "Ada", Expected::Absent)]));
    let snapshot = tenant.state.end;
    let read_row = |version| ReadCheck::Row {
        table: PEOPLE,
        key: row_key(1),
        version,
    };
    let read_table = |end| ReadCheck::Table { table: PEOPLE, end };
    let with_reads = |id, reads| Operation::Write {
        schema: Vec::new(),
        rows: vec![put(id, "new", Expected::Absent)],
        reads,
        subject_keys: Vec::new(),
        erasures_seen: None,
    };
    tenant.commit(with_reads(2, vec![read_row(Some(first)), read_table(snapshot)]));
    let changed = Refusal::ReadChanged { table: PEOPLE };
    assert_eq!(tenant.refuse(with_reads(3, vec![read_table(snapshot)])), changed);
    assert_eq!(tenant.refuse(with_reads(3, vec![read_row(None)])), changed);
    tenant.commit(with_reads(
        3,
        vec![read_row(Some(first)), read_table(tenant_end(&tenant))],
    ));
}

fn tenant_end(tenant: &Tenant) -> Offset {
    tenant.state.end
}

#[test]
fn one_transaction_writes_a_row_once() {
    let mut tenant = Tenant::with_people();
    let twice = write(vec![put(1, "Ada", Expected::Absent), put(1, "Eve", Expected::Absent)]);
    assert_eq!(
        tenant.refuse(twice),
        Refusal::RowChanged {
            table: PEOPLE,
            key: row_key(1)
        }
    );
}

#[test]
fn the_catalogue_guards_names_and_numbers() {
    let mut tenant = Tenant::with_people();
    let create = |schema| Operation::Write {
        schema: vec![SchemaWrite::Create(schema)],
        rows: Vec::new(),
        reads: Vec::new(),
        subject_keys: Vec::new(),
        erasures_seen: None,
    };
    assert_eq!(
        tenant.refuse(create(people())),
        Refusal::TableExists {
            name: "people".to_owned()
        }
    );
    let stale = TableSchema {
        name: "pets".to_owned(),
        ..people()
    };
    assert_eq!(tenant.refuse(create(stale.clone())), Refusal::CatalogueChanged);
    tenant.commit(create(TableSchema {
        id: PEOPLE.next(),
        ..stale
    }));
    let drop = |name: &str| Operation::Write {
        schema: vec![SchemaWrite::Drop {
            table: PEOPLE,
            name: name.to_owned(),
        }],
        rows: Vec::new(),
        reads: Vec::new(),
        subject_keys: Vec::new(),
        erasures_seen: None,
    };
    assert_eq!(tenant.refuse(drop("pets")), Refusal::CatalogueChanged);
    tenant.commit(drop("people"));
    assert_eq!(
        tenant.refuse(write(vec![put(1, "Ada", Expected::Absent)])),
        Refusal::CatalogueChanged
    );
}

#[test]
fn a_stream_takes_an_append_only_where_the_writer_expects_it() {
    let mut tenant = Tenant::new();
    tenant.commit(append("orders", ExpectedSequence::Exactly(0), "placed"));
    let refusal = tenant.refuse(append("orders", ExpectedSequence::Exactly(0), "placed again"));
    assert_eq!(
        refusal,
        Refusal::StreamMoved {
            stream: "orders".to_owned(),
            expected: 0,
            actual: 1
        }
    );
    tenant.commit(append("orders", ExpectedSequence::Exactly(1), "paid"));
    tenant.commit(append("returns", ExpectedSequence::Any, "sent back"));
    let headers: Vec<_> = tenant
        .records
        .iter()
        .map(|record| (record.header.stream.get(), record.header.stream_sequence.get()))
        .collect();
    assert_eq!(headers, [(1, 0), (1, 1), (2, 0)]);
}

#[test]
fn only_the_first_record_of_a_stream_names_it() {
    let mut tenant = Tenant::new();
    for stream in ["orders", "orders", "bills", "orders"] {
        tenant.commit(append(stream, ExpectedSequence::Any, "secret"));
    }
    let opened: Vec<_> = tenant
        .records
        .iter()
        .map(|record| {
            let (summary, changes) = unseal_changes(record, &|epoch| tenant.dek_of(epoch)).expect("it opens");
            assert_eq!(changes, [Change::Event(b"secret".to_vec())]);
            (record.header.kind, record.header.stream.get(), summary.stream)
        })
        .collect();
    let named = |stream, name: &str| (RecordKind::Data, stream, Some(name.to_owned()));
    let unnamed = |stream| (RecordKind::Events, stream, None);
    assert_eq!(opened, [named(1, "orders"), unnamed(1), named(2, "bills"), unnamed(1)]);
}

/// Deciding a whole batch before any of it is sealed gives the records that one command after another gives.
#[test]
fn a_batch_may_be_decided_before_it_is_sealed() {
    let mut one_by_one = Tenant::new();
    let mut state = one_by_one.state.clone();
    let mut rows = Rows::default();
    let mut drafts = Vec::new();
    let operations = ["a", "b", "a", "a"].map(|stream| append(stream, ExpectedSequence::Any, stream));
    for operation in operations {
        let command = one_by_one.command(operation.clone(), IdempotencyId::NIL);
        let Decided::Drafted(drafted) =
            decide(&mut state, &rows, Timestamp::new(1_000), &command).expect("memory can be read")
        else {
            panic!("nothing refuses this");
        };
        rows.store(drafted.draft.header().offset, drafted.writes, drafted.stream);
        drafts.push(drafted.draft);
        one_by_one.commit(operation);
    }
    let key = one_by_one.dek();
    let sealed: Vec<_> = drafts
        .into_iter()
        .rev()
        .map(|draft| draft.seal(&mut ChunkSealer::default(), |_| &key))
        .collect();
    let records: Vec<_> = sealed
        .into_iter()
        .rev()
        .map(|sealed| sealed.chain(&mut state).0.record().clone())
        .collect();
    assert_eq!(records, one_by_one.records);
    assert_eq!(state.to_bytes(), one_by_one.state.to_bytes());
}

#[test]
fn stream_names_are_bounded() {
    let mut tenant = Tenant::new();
    tenant.commit(append(&"s".repeat(512), ExpectedSequence::Any, "fits"));
    for name in [String::new(), "s".repeat(513)] {
        assert!(matches!(
            tenant.refuse(append(&name, ExpectedSequence::Any, "")),
            Refusal::StreamName { .. }
        ));
    }
}

#[test]
fn an_idempotency_id_is_applied_once_until_it_is_forgotten() {
    let mut tenant = Tenant::new();
    let id = |number: u64| IdempotencyId::new([[9; 8], number.to_be_bytes()].concat().try_into().expect("16 bytes"));
    let event = || append("orders", ExpectedSequence::Any, "placed");
    assert!(matches!(tenant.when_identified(event(), id(0)), Outcome::Committed(_)));
    assert_eq!(
        tenant.when_identified(event(), id(0)),
        Outcome::Duplicate { offset: Offset::ZERO }
    );
    // The ring is moved to its end, where the next id takes the first one's slot.
    tenant.state.idempotency_count = IDEMPOTENCY_IDS_MAX;
    assert!(matches!(tenant.when_identified(event(), id(1)), Outcome::Committed(_)));
    assert!(matches!(tenant.when_identified(event(), id(0)), Outcome::Committed(_)));
}

#[test]
fn checkpoints_only_move_forward_and_never_past_the_log() {
    let mut tenant = Tenant::new();
    tenant.commit(append("orders", ExpectedSequence::Any, "placed"));
    let checkpoint = |size| checkpoint_of(size, 0);
    assert!(matches!(
        tenant.refuse(checkpoint(2)),
        Refusal::CheckpointOutOfOrder { .. }
    ));
    tenant.commit(checkpoint(1));
    assert!(matches!(
        tenant.refuse(checkpoint(1)),
        Refusal::CheckpointOutOfOrder { .. }
    ));
    assert_eq!(tenant.state.checkpoint_offset, Some(Offset::new(1)));
}

/// A checkpoint over `size` records that commits to the state of the first `state_size`.
fn checkpoint_of(size: u64, state_size: u64) -> Operation {
    Operation::Checkpoint {
        size,
        note: note(size, 0),
        state: stated(state_size),
    }
}

fn stated(size: u64) -> StateCommitment {
    StateCommitment {
        size,
        root: Hash::new([1; 32]),
        key: Hash::new([2; 32]),
    }
}

#[test]
fn committed_states_move_forward_within_their_checkpoint_and_are_remembered() {
    let mut tenant = Tenant::new();
    for _ in 0..4 {
        tenant.commit(append("orders", ExpectedSequence::Any, "placed"));
    }
    let refused = |state_size, last_size, size| Refusal::StateOutOfOrder {
        state_size,
        last_size,
        size,
    };
    assert_eq!(tenant.refuse(checkpoint_of(3, 4)), refused(4, 0, 3));
    tenant.commit(checkpoint_of(3, 2));
    assert_eq!(tenant.state.covered_state_checkpoint, None);
    assert_eq!(tenant.refuse(checkpoint_of(4, 1)), refused(1, 2, 4));
    tenant.commit(checkpoint_of(4, 2));
    assert_eq!(tenant.state.covered_state_checkpoint, None, "neither record is covered");
    tenant.commit(checkpoint_of(5, 5));
    let covered = |size, offset| {
        let offset = Offset::new(offset);
        Some(StateCheckpoint { size, offset })
    };
    assert_eq!(tenant.state.state_checkpoint, covered(5, 6));
    tenant.commit(checkpoint_of(7, 5));
    assert_eq!(tenant.state.covered_state_checkpoint, covered(5, 6));
    let record = tenant.records.last().expect("a record");
    assert_eq!(record.chunks, [note(7, 0).into_bytes(), stated(5).to_bytes().to_vec()]);
    let saved = TenantState::from_bytes(&tenant.state.to_bytes()).expect("its own bytes");
    assert_eq!(saved.state_checkpoint, tenant.state.state_checkpoint);
    assert_eq!(saved.covered_state_checkpoint, covered(5, 6));
}

/// A signed checkpoint over `size` records. The kernel looks at what it says, not at who signed it.
fn note(size: u64, root: u8) -> String {
    let name = KeyName::parse("cluster.example/1").expect("a name");
    let key = SigningKey::from_seed(&SecretBytes::new([1; 32]));
    Checkpoint {
        origin: name.clone(),
        size,
        root: Hash::new([root; 32]),
    }
    .sign(&SignerKey::new(name, key))
}

#[test]
fn only_the_logs_own_checkpoints_are_cosigned_and_the_last_only_moves_forward() {
    let mut tenant = Tenant::new();
    let checkpoint = |size: u64| checkpoint_of(size, 0);
    let cosign = |note: String, time_stamp: Option<&[u8]>| Operation::Cosign {
        note,
        time_stamp: time_stamp.map(|token| token.to_vec().into()),
    };
    for size in 1..=3 {
        tenant.commit(append("orders", ExpectedSequence::Any, "placed"));
        tenant.commit(checkpoint(size));
    }
    let unknown = |size| Refusal::CheckpointUnknown { size };
    assert_eq!(tenant.refuse(cosign(note(4, 0), None)), unknown(4));
    assert_eq!(tenant.refuse(cosign(note(2, 1), None)), unknown(2), "another root");
    assert_eq!(tenant.refuse(cosign("no note\n".into(), None)), Refusal::NotACheckpoint);

    tenant.commit(cosign(note(2, 0), None));
    assert_eq!(
        tenant.refuse(cosign(note(1, 0), None)),
        Refusal::CosignatureOutOfOrder { size: 1, last_size: 2 }
    );
    tenant.commit(cosign(note(2, 0), Some(b"a time stamp")));
    let cosigned = tenant.state.cosigned.expect("cosigned");
    assert_eq!((cosigned.size, cosigned.offset), (2, Offset::new(7)));
    let record = tenant.records.last().expect("a record");
    assert_eq!(record.header.kind, RecordKind::Cosignature);
    assert_eq!(record.chunks, [note(2, 0).into_bytes(), b"a time stamp".to_vec()]);

    let saved = TenantState::from_bytes(&tenant.state.to_bytes()).expect("its own bytes");
    assert_eq!(saved.cosigned, tenant.state.cosigned);
    assert_eq!(saved.recent_checkpoints, tenant.state.recent_checkpoints);
    tenant.commit(cosign(note(3, 0), None));
}

#[test]
fn databases_and_users_belong_to_the_system_tenant() {
    let user = UserDefinition {
        name: "app".to_owned(),
        actor: ActorId::new([5; 16]),
        scram_verifier: "SCRAM-SHA-256$…".to_owned(),
        databases: Vec::new(),
        read_only: false,
        compliance: false,
    };
    let database = DatabaseDefinition {
        name: "main".to_owned(),
        tenant: TenantId::new([6; 16]),
    };
    let create = |database: DatabaseDefinition| Operation::CreateDatabase {
        database,
        keys: b"wrapped keys".to_vec(),
    };
    assert_eq!(
        Tenant::new().refuse(Operation::PutUser(user.clone())),
        Refusal::WrongTenant
    );
    let mut system = Tenant::system();
    system.commit(Operation::PutUser(user));
    system.commit(create(database.clone()));
    let created = database.clone();
    let again = system.refuse(create(database));
    assert_eq!(
        again,
        Refusal::DatabaseExists {
            name: "main".to_owned()
        }
    );
    let (_, changes) =
        unseal_changes(system.records.last().expect("two records"), &|_| Some(system.dek())).expect("it opens");
    assert_eq!(changes, [Change::CreateDatabase(created)], "the log holds no keys");
    system.commit(Operation::DropUser { name: "app".to_owned() });
    let missing = system.refuse(Operation::DropUser { name: "app".to_owned() });
    assert_eq!(missing, Refusal::UserMissing { name: "app".to_owned() });
}

#[test]
fn the_version_of_the_formats_is_only_raised_and_only_by_the_system_tenant() {
    let raise = |number| Operation::RaiseFormat(FormatVersion::new(number));
    assert_eq!(Tenant::new().refuse(raise(2)), Refusal::WrongTenant);
    let mut system = Tenant::system();
    let not_raised = |to, current| Refusal::FormatNotRaised {
        to: FormatVersion::new(to),
        current: FormatVersion::new(current),
    };
    assert_eq!(system.refuse(raise(1)), not_raised(1, 1));
    system.commit(raise(2));
    assert_eq!(system.refuse(raise(2)), not_raised(2, 2));
    // Which version this build knows is not the kernel's business.
    system.commit(raise(200));
    assert_eq!(system.state.format, FormatVersion::new(200));
}

#[test]
fn records_are_chained_and_their_times_never_go_back() {
    let mut tenant = Tenant::new();
    for clock in [50, 40, 60] {
        tenant.clock = clock;
        tenant.commit(append("orders", ExpectedSequence::Any, "event"));
    }
    let times: Vec<u64> = tenant
        .records
        .iter()
        .map(|record| record.header.timestamp.get())
        .collect();
    assert_eq!(times, [50, 50, 60]);
    let mut previous = Hash::ZERO;
    for record in &tenant.records {
        assert_eq!(record.header.previous_hash, previous);
        previous = record_hash(&record.header.encode());
    }
    assert_eq!(tenant.state.last_hash, previous);
}

#[test]
fn a_record_tells_the_row_before_and_after() {
    let mut tenant = Tenant::with_people();
    let first = tenant.commit(write(vec![put(1, "Ada", Expected::Absent)]));
    tenant.commit(write(vec![put(1, "Ada L.", Expected::Version(first))]));
    let (summary, changes) =
        unseal_changes(tenant.records.last().expect("three records"), &|_| Some(tenant.dek())).expect("it opens");
    assert_eq!(summary.tables[0].columns, ["id", "name"]);
    let [Change::Row(change)] = changes.as_slice() else {
        panic!("one row change, got {changes:?}")
    };
    let named = |name: &str| Some(vec![Value::Int(1), Value::Text(name.to_owned())]);
    assert_eq!(
        (change.before.clone(), change.after.clone()),
        (named("Ada"), named("Ada L."))
    );
}

fn rotate(salt: u8, data_key: Option<u32>) -> Operation {
    Operation::RotateKeys {
        salt: [salt; 32],
        reason: data_key.map_or(RotationReason::Opened, |_| RotationReason::DataKey),
        data_key: data_key.map(|number| NewDataKey {
            number: DataKeyNumber::new(number),
            wrapped: b"wrapped key".to_vec(),
        }),
    }
}

#[test]
fn a_key_epoch_begins_with_its_own_record_and_earlier_ones_stay_readable() {
    let mut tenant = Tenant::with_people();
    tenant.commit(write(vec![put(1, "Ada", Expected::Absent)]));
    let rotation = tenant.commit(rotate(9, Some(4)));
    tenant.commit(write(vec![put(2, "Grace", Expected::Absent)]));
    let epochs: Vec<u32> = tenant
        .records
        .iter()
        .map(|record| record.header.key_epoch.get())
        .collect();
    assert_eq!(epochs, [0, 0, 1, 1]);
    let row = tenant
        .rows
        .row(KEY_EPOCH_TABLE, &PrimaryKey::encode([&Value::Int(1)]).expect("a key"));
    let row = row.expect("memory can be read").expect("epoch 1 has a row");
    let (rotated, offset) = key_epoch_from_row(&row.row).expect("an epoch's row");
    assert_eq!(
        (rotated.data_key, rotated.salt, offset),
        (DataKeyNumber::new(4), [9; 32], rotation)
    );
    for record in tenant
        .records
        .iter()
        .filter(|record| record.header.kind == RecordKind::Data)
    {
        let own = tenant.dek_of(record.header.key_epoch);
        assert!(unseal_changes(record, &|_| own.clone()).is_ok());
        let other = KeyEpoch::new(1 - record.header.key_epoch.get());
        assert!(unseal_changes(record, &|_| tenant.dek_of(other)).is_err());
    }
}

#[test]
fn data_keys_only_ever_go_up() {
    let mut tenant = Tenant::with_people();
    tenant.commit(rotate(1, Some(2)));
    for number in [0, 1, 2] {
        let refusal = tenant.refuse(rotate(2, Some(number)));
        let (number, current) = (DataKeyNumber::new(number), DataKeyNumber::new(2));
        assert_eq!(refusal, Refusal::DataKeyOutOfOrder { number, current });
    }
}

#[test]
fn what_changes_no_key_leaves_the_data_key_as_it_is() {
    let mut tenant = Tenant::with_people();
    tenant.commit(rotate(1, Some(2)));
    tenant.commit(rotate(3, None));
    assert_eq!(tenant.state.data_key, DataKeyNumber::new(2));
    assert_eq!(tenant.state.key_epoch, KeyEpoch::new(2));
    assert_eq!(tenant.state.key_salt, [3; 32]);
}

/// A mixed history, for the two tests that compare whole tenants.
fn history() -> Tenant {
    let mut tenant = Tenant::with_people();
    let first = tenant.commit(write((1..=20).map(|id| put(id, "someone", Expected::Absent)).collect()));
    tenant.commit(write(vec![
        delete(3, Expected::Version(first)),
        put(4, "else", Expected::Version(first)),
    ]));
    tenant.commit(append("orders", ExpectedSequence::Any, "placed"));
    tenant.commit(rotate(1, None));
    tenant.commit(rotate(2, Some(3)));
    tenant.when_identified(
        append("orders", ExpectedSequence::Any, "paid"),
        IdempotencyId::new([8; 16]),
    );
    tenant.commit(Operation::Write {
        schema: vec![
            SchemaWrite::Drop {
                table: PEOPLE,
                name: "people".to_owned(),
            },
            SchemaWrite::Create(TableSchema {
                id: PEOPLE.next(),
                ..people()
            }),
        ],
        rows: vec![RowWrite {
            table: PEOPLE.next(),
            ..put(1, "again", Expected::Absent)
        }],
        reads: Vec::new(),
        subject_keys: Vec::new(),
        erasures_seen: None,
    });
    let checkpoint = note(tenant.state.end.get(), 0);
    tenant.commit(Operation::Checkpoint {
        size: tenant.state.end.get(),
        note: checkpoint.clone(),
        state: stated(1),
    });
    tenant.commit(Operation::Cosign {
        note: checkpoint,
        time_stamp: None,
    });
    tenant
}

#[test]
fn equal_commands_give_equal_records() {
    assert_eq!(history().records, history().records);
}

#[test]
fn replaying_the_log_gives_the_state_and_rows_that_applying_gave() {
    let applied = history();
    let mut state = TenantState::new(applied.state.tenant, false);
    let mut rows = Rows::default();
    for record in &applied.records {
        let replayed = replay(&mut state, &rows, &|epoch| applied.dek_of(epoch), record).expect("the log is whole");
        rows.store(record.header.offset, replayed.writes, replayed.stream);
    }
    assert_eq!(state.to_bytes(), applied.state.to_bytes());
    assert_eq!(rows, applied.rows);
}

#[test]
fn replay_refuses_a_record_that_does_not_follow() {
    let applied = history();
    let mut state = TenantState::new(applied.state.tenant, false);
    assert!(
        replay(
            &mut state,
            &Rows::default(),
            &|epoch| applied.dek_of(epoch),
            &applied.records[1]
        )
        .is_err()
    );
}

#[test]
fn a_saved_state_reads_back_as_it_was() {
    let state = history().state;
    let read = TenantState::from_bytes(&state.to_bytes()).expect("it was just saved");
    assert_eq!(read.to_bytes(), state.to_bytes());
    assert!(TenantState::from_bytes(&state.to_bytes()[1..]).is_err());
}
