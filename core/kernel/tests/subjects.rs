//! Data subjects: given rows of people, when somebody is erased, held or kept, then this is what is left of them.

use std::collections::BTreeMap;

use craton_crypto::{ChunkSealer, Dek, SecretBytes, SubjectKey};
use craton_kernel::{
    ApplyError, Command, Decided, NewSubjectKey, Operation, Outcome, Refusal, RowReader, SUBJECT_TABLE, SchemaWrite,
    SubjectKeyEffect, SubjectState, TenantState, ViewWrite, decide, replay, subject_key, unseal_changes,
};
use craton_types::{
    ActorId, Change, Column, ColumnType, CorrelationId, Expected, IdempotencyId, Offset, PrimaryKey, Record,
    RecordKind, Retention, RotationReason, Row, RowWrite, StreamHead, SubjectColumns, SubjectKeyId, TableId,
    TableSchema, TenantId, Timestamp, Value, VersionedRow,
};

const PATIENTS: TableId = TableId::FIRST_USER;
const DAY: u64 = 86_400 * 1_000_000_000;

/// Rows and keys in memory.
#[derive(Clone, Default)]
struct Store {
    rows: BTreeMap<(TableId, PrimaryKey), VersionedRow>,
    keys: BTreeMap<SubjectKeyId, SubjectKey>,
}

impl Store {
    fn store(&mut self, version: Offset, writes: Vec<ViewWrite>) {
        for write in writes {
            match write.row {
                Some(row) => self
                    .rows
                    .insert((write.table, write.key), VersionedRow { version, row }),
                None => self.rows.remove(&(write.table, write.key)),
            };
        }
    }
}

impl RowReader for Store {
    fn stream(&self, _: &str) -> Result<Option<StreamHead>, ApplyError> {
        Ok(None)
    }

    fn row(&self, table: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, ApplyError> {
        Ok(self.rows.get(&(table, key.clone())).cloned())
    }

    fn subject_key(&self, id: SubjectKeyId) -> Result<SubjectKey, ApplyError> {
        self.keys
            .get(&id)
            .cloned()
            .ok_or_else(|| ApplyError("no such key".into()))
    }
}

struct Clinic {
    state: TenantState,
    store: Store,
    records: Vec<Record>,
    now: u64,
}

fn dek() -> Dek {
    Dek::new(SecretBytes::new([7; 32]))
}

fn months(months: u32) -> Option<Retention> {
    Some(Retention {
        months,
        days: 0,
        microseconds: 0,
    })
}

fn patients(retention: Option<Retention>) -> TableSchema {
    let column = |name: &str, column_type, nullable| Column {
        name: name.to_owned(),
        column_type,
        nullable,
        default_sql: None,
    };
    TableSchema {
        id: PATIENTS,
        name: "patients".to_owned(),
        columns: vec![
            column("id", ColumnType::Int8, false),
            column("name", ColumnType::Text, true),
            column("ward", ColumnType::Text, true),
        ],
        primary_key: vec![0],
        subjects: Some(SubjectColumns {
            subject: 0,
            erasable: vec![1],
            retention,
        }),
        data_class: None,
    }
}

impl Clinic {
    fn with_retention(retention: Option<Retention>) -> Self {
        let mut clinic = Self {
            state: TenantState::new(TenantId::new([1; 16]), false),
            store: Store::default(),
            records: Vec::new(),
            now: 1_000 * DAY,
        };
        clinic.commit(Operation::Write {
            schema: vec![SchemaWrite::Create(patients(retention))],
            rows: Vec::new(),
            reads: Vec::new(),
            subject_keys: Vec::new(),
            erasures_seen: None,
        });
        clinic
    }

    fn when(&mut self, operation: Operation) -> Outcome {
        let command = Command {
            tenant: self.state.tenant,
            actor: ActorId::new([3; 16]),
            correlation_id: CorrelationId::NIL,
            idempotency_id: IdempotencyId::NIL,
            operation,
        };
        let before = self.state.to_bytes();
        let decided = decide(&mut self.state, &self.store, Timestamp::new(self.now), &command);
        let drafted = match decided.expect("memory can be read") {
            Decided::Drafted(drafted) => drafted,
            Decided::Answered(outcome) => {
                assert_eq!(self.state.to_bytes(), before, "without a record nothing changes");
                return outcome;
            }
        };
        for effect in drafted.subject_keys {
            match effect {
                SubjectKeyEffect::Created(key) => self.store.keys.insert(key.id(), key),
                SubjectKeyEffect::Erased(id) => self.store.keys.remove(&id),
            };
        }
        let key = dek();
        let (record, committed) = drafted
            .draft
            .seal(&mut ChunkSealer::default(), |_| &key)
            .chain(&mut self.state);
        self.store.store(committed.offset, drafted.writes);
        self.records.push(record.record().clone());
        match drafted.refusal {
            None => Outcome::Committed(committed),
            Some(refusal) => Outcome::RefusedOnRecord {
                record: committed,
                refusal,
            },
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

    fn refuse_on_record(&mut self, operation: Operation) -> Refusal {
        match self.when(operation) {
            Outcome::RefusedOnRecord { record, refusal } => {
                let last = self.records.last().expect("it is recorded");
                assert_eq!(
                    (last.header.offset, last.header.kind),
                    (record.offset, RecordKind::Erasure)
                );
                refusal
            }
            outcome => panic!("expected a recorded refusal, got {outcome:?}"),
        }
    }

    /// The row as it is stored.
    fn stored(&self, id: i64) -> Row {
        let key = PrimaryKey::encode([&Value::Int(id)]).expect("a key");
        Row::clone(&self.store.rows[&(PATIENTS, key)].row)
    }

    /// The name as a reader sees it.
    fn name(&self, id: i64) -> Value {
        match &self.stored(id)[1] {
            Value::Sealed(cell) => match self.store.keys.get(&cell.key) {
                Some(key) => key.open(cell, self.state.key_salt).expect("its own key"),
                None => Value::Null,
            },
            other => other.clone(),
        }
    }

    fn last_changes(&self) -> Vec<Change> {
        let record = self.records.last().expect("a record");
        unseal_changes(record, &|_| Some(dek())).expect("it opens").1
    }

    fn subject(&self, subject: &str) -> Option<SubjectState> {
        let row = self.store.rows.get(&(SUBJECT_TABLE, subject_key(subject)))?;
        Some(SubjectState::from_row(&row.row).expect("a row of a subject"))
    }
}

fn put(id: i64, name: &str, expected: Expected) -> RowWrite {
    row_write(id, Value::Text(name.to_owned()), expected)
}

fn row_write(id: i64, name: Value, expected: Expected) -> RowWrite {
    RowWrite {
        table: PATIENTS,
        key: PrimaryKey::encode([&Value::Int(id)]).expect("a key").into_bytes(),
        expected,
        after: Some(vec![Value::Int(id), name, Value::Text("north".to_owned())]),
    }
}

fn write(rows: Vec<RowWrite>, keys: &[(&str, u8)]) -> Operation {
    let new_key = |(subject, byte): &(&str, u8)| NewSubjectKey {
        subject: (*subject).to_owned(),
        key: SecretBytes::new([*byte; 32]),
    };
    Operation::Write {
        schema: Vec::new(),
        rows,
        reads: Vec::new(),
        subject_keys: keys.iter().map(new_key).collect(),
        erasures_seen: None,
    }
}

fn erase(subject: &str) -> Operation {
    Operation::EraseSubject {
        subject: subject.to_owned(),
        reason: None,
    }
}

fn hold(subject: &str) -> Operation {
    Operation::HoldSubject {
        subject: subject.to_owned(),
        reason: "court order".to_owned(),
    }
}

fn release(subject: &str) -> Operation {
    Operation::ReleaseSubject {
        subject: subject.to_owned(),
        reason: "lifted".to_owned(),
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn erasable_cells_are_stored_sealed_and_the_others_as_they_are() {
    let mut clinic = Clinic::with_retention(None);
    clinic.commit(write(vec![put(42, "Ada", Expected::Absent)], &[("42", 1)]));
    let stored = clinic.stored(42);
    assert!(matches!(stored[1], Value::Sealed(_)));
    assert_eq!((stored[0].clone(), stored[2].clone()), (Value::Int(42), text("north")));
    assert_eq!(clinic.name(42), text("Ada"));
    let changes = clinic.last_changes();
    let [Change::Row(change)] = changes.as_slice() else {
        panic!("one row change, got {changes:?}")
    };
    assert_eq!(change.after, Some(stored.clone()), "log and view hold the same bytes");
}

/// A log and its copy go on separately: they reach the same epoch and the same offset, and write different names there.
#[test]
fn two_copies_of_a_log_never_seal_under_the_same_cell_key() {
    let sealed = [1, 2].map(|salt| {
        let mut clinic = Clinic::with_retention(None);
        let first = clinic.commit(write(vec![put(42, "Ada", Expected::Absent)], &[("42", 1)]));
        clinic.commit(Operation::RotateKeys {
            salt: [salt; 32],
            reason: RotationReason::Opened,
            data_key: None,
        });
        clinic.commit(write(vec![put(42, "Ada King", Expected::Version(first))], &[]));
        assert_eq!(clinic.name(42), text("Ada King"));
        match &clinic.stored(42)[1] {
            Value::Sealed(cell) => cell.clone(),
            other => panic!("{other:?}"),
        }
    });
    let [one, other] = &sealed;
    assert_eq!(
        (one.key, one.epoch, one.offset, one.chunk, one.column),
        (other.key, other.epoch, other.offset, other.chunk, other.column)
    );
    assert_ne!(one.sealed, other.sealed);
}

#[test]
fn a_row_without_values_to_seal_needs_no_key() {
    let mut clinic = Clinic::with_retention(None);
    clinic.commit(write(vec![row_write(42, Value::Null, Expected::Absent)], &[]));
    assert_eq!(clinic.stored(42)[1], Value::Null);
    assert_eq!(clinic.subject("42"), None);
    assert_eq!(clinic.state.next_subject_key, 0);
}

#[test]
fn a_subject_keeps_its_first_key_until_it_is_erased() {
    let mut clinic = Clinic::with_retention(None);
    let refusal = clinic.refuse(write(vec![put(42, "Ada", Expected::Absent)], &[("43", 1)]));
    assert_eq!(
        refusal,
        Refusal::SubjectKeyMissing {
            subject: "42".to_owned()
        }
    );
    let first = clinic.commit(write(vec![put(42, "Ada", Expected::Absent)], &[("42", 1)]));
    let second = clinic.commit(write(vec![put(42, "Ada L.", Expected::Version(first))], &[("42", 2)]));
    assert_eq!(clinic.store.keys.len(), 1, "the second key was not needed");
    clinic.commit(erase("42"));
    assert_eq!(clinic.name(42), Value::Null);
    let change = clinic.last_changes();
    assert_eq!(
        change,
        [Change::SubjectErased {
            subject: "42".to_owned(),
            key: SubjectKeyId::new(0),
            reason: None
        }]
    );
    assert_eq!(clinic.subject("42"), None);
    assert_eq!(
        clinic.refuse(erase("42")),
        Refusal::SubjectUnknown {
            subject: "42".to_owned()
        }
    );
    clinic.commit(write(
        vec![put(42, "Ada again", Expected::Version(second))],
        &[("42", 3)],
    ));
    assert_eq!(clinic.name(42), text("Ada again"));
    assert!(
        clinic.store.keys.contains_key(&SubjectKeyId::new(1)),
        "a new key, a new number"
    );
}

#[test]
fn one_record_gives_each_of_its_subjects_one_key() {
    let mut clinic = Clinic::with_retention(None);
    let rows = (1..=3).map(|id| put(id, "someone", Expected::Absent)).collect();
    clinic.commit(write(rows, &[("1", 1), ("2", 2), ("3", 3)]));
    clinic.commit(erase("2"));
    assert_eq!(
        [1, 2, 3].map(|id| clinic.name(id)),
        [text("someone"), Value::Null, text("someone")]
    );
}

#[test]
fn what_was_read_before_an_erasure_is_not_written_after_it() {
    let mut clinic = Clinic::with_retention(None);
    let first = clinic.commit(write(vec![put(42, "Ada", Expected::Absent)], &[("42", 1)]));
    clinic.commit(erase("42"));
    let stale = |seen| {
        let mut operation = write(vec![put(42, "Ada", Expected::Version(first))], &[("42", 2)]);
        if let Operation::Write { erasures_seen, .. } = &mut operation {
            *erasures_seen = Some(seen);
        }
        operation
    };
    assert_eq!(clinic.refuse(stale(0)), Refusal::SubjectErased);
    clinic.commit(stale(1));
}

#[test]
fn sealed_values_come_from_nowhere_but_the_kernel() {
    let mut clinic = Clinic::with_retention(None);
    clinic.commit(write(vec![put(42, "Ada", Expected::Absent)], &[("42", 1)]));
    let sealed = clinic.stored(42)[1].clone();
    assert_eq!(
        clinic.refuse(write(vec![row_write(43, sealed, Expected::Absent)], &[("43", 1)])),
        Refusal::SealedValue { table: PATIENTS }
    );
}

#[test]
fn every_hold_needs_its_release_before_the_erasure() {
    let mut clinic = Clinic::with_retention(None);
    clinic.commit(write(vec![put(42, "Ada", Expected::Absent)], &[("42", 1)]));
    clinic.commit(hold("42"));
    clinic.commit(hold("42"));
    for _ in 0..2 {
        assert!(matches!(
            clinic.refuse_on_record(erase("42")),
            Refusal::SubjectHeld { .. }
        ));
        let changes = clinic.last_changes();
        let [Change::ErasureRefused { held, .. }] = changes.as_slice() else {
            panic!("a refusal is recorded")
        };
        assert_eq!(held.as_deref(), Some("court order"));
        clinic.commit(release("42"));
    }
    assert_eq!(clinic.name(42), text("Ada"));
    clinic.commit(erase("42"));
    assert_eq!(clinic.name(42), Value::Null);
    assert_eq!(
        clinic.refuse(release("42")),
        Refusal::SubjectNotHeld {
            subject: "42".to_owned()
        }
    );
}

#[test]
fn a_subject_can_be_held_before_anything_is_known_of_it() {
    let mut clinic = Clinic::with_retention(None);
    clinic.commit(hold("42"));
    clinic.commit(write(vec![put(42, "Ada", Expected::Absent)], &[("42", 1)]));
    assert!(matches!(
        clinic.refuse_on_record(erase("42")),
        Refusal::SubjectHeld { .. }
    ));
}

#[test]
fn data_is_kept_for_the_longest_of_all_rules() {
    for (table, default, altered, dropped, kept_days) in [
        (None, None, None, false, 0),
        (months(1), None, None, false, 31),
        (None, months(1), None, false, 31),
        // The table's own rule goes before the default.
        (months(1), months(12), None, false, 31),
        // A longer rule holds for what is there already, a shorter one does not.
        (months(1), None, months(2), false, 59),
        (months(2), None, months(1), false, 59),
        // Dropping the table makes nothing shorter.
        (months(1), None, None, true, 31),
    ] {
        let mut clinic = Clinic::with_retention(table);
        // 1972-12-31, so that January and February follow; the day of writing is not counted.
        clinic.now = 1_095 * DAY + 5;
        clinic.commit(Operation::SetRetention {
            table: None,
            retention: default,
        });
        clinic.commit(write(vec![put(42, "Ada", Expected::Absent)], &[("42", 1)]));
        if altered.is_some() {
            clinic.commit(Operation::SetRetention {
                table: Some(PATIENTS),
                retention: altered,
            });
        }
        if dropped {
            clinic.commit(Operation::Write {
                schema: vec![SchemaWrite::Drop {
                    table: PATIENTS,
                    name: "patients".to_owned(),
                }],
                rows: Vec::new(),
                reads: Vec::new(),
                subject_keys: Vec::new(),
                erasures_seen: None,
            });
        }
        if kept_days > 0 {
            clinic.now = (1_096 + kept_days) * DAY - 1;
            let refusal = clinic.refuse_on_record(erase("42"));
            let until = Timestamp::new(clinic.now + 1);
            assert_eq!(
                refusal,
                Refusal::SubjectRetained {
                    subject: "42".to_owned(),
                    until
                },
                "{table:?} {default:?} {altered:?} {dropped}"
            );
            clinic.now += 1;
        }
        clinic.commit(erase("42"));
    }
}

#[test]
fn limits_of_names_and_reasons_are_refused_one_past_the_edge() {
    let mut clinic = Clinic::with_retention(None);
    let hold = |subject: usize, reason: usize| Operation::HoldSubject {
        subject: "s".repeat(subject),
        reason: "r".repeat(reason),
    };
    clinic.commit(hold(512, 1_024));
    assert!(matches!(
        clinic.refuse(hold(513, 1)),
        Refusal::SubjectName { bytes: 513, .. }
    ));
    assert!(matches!(
        clinic.refuse(hold(0, 1)),
        Refusal::SubjectName { bytes: 0, .. }
    ));
    assert!(matches!(
        clinic.refuse(hold(1, 1_025)),
        Refusal::Reason { bytes: 1_025, .. }
    ));
}

#[test]
fn retention_is_for_tables_with_erasable_columns() {
    let mut clinic = Clinic::with_retention(None);
    let table = Some(PATIENTS.next());
    let refusal = clinic.refuse(Operation::SetRetention {
        table,
        retention: months(1),
    });
    assert_eq!(refusal, Refusal::NotErasable { table: PATIENTS.next() });
}

#[test]
fn replaying_the_log_gives_the_same_sealed_rows_and_subjects_without_any_key() {
    let mut clinic = Clinic::with_retention(months(1));
    clinic.commit(Operation::SetRetention {
        table: None,
        retention: months(3),
    });
    let first = clinic.commit(write(
        vec![put(1, "Ada", Expected::Absent), put(2, "Bob", Expected::Absent)],
        &[("1", 1), ("2", 2)],
    ));
    clinic.commit(hold("1"));
    clinic.refuse_on_record(erase("1"));
    clinic.commit(release("1"));
    clinic.commit(Operation::SetRetention {
        table: Some(PATIENTS),
        retention: None,
    });
    clinic.now += 400 * DAY;
    clinic.commit(erase("1"));
    clinic.commit(write(vec![put(2, "Bob B.", Expected::Version(first))], &[]));
    clinic.commit(write(vec![put(1, "Ada again", Expected::Version(first))], &[("1", 3)]));
    let mut state = TenantState::new(clinic.state.tenant, false);
    let mut replayed = Store::default();
    for record in &clinic.records {
        let changes = replay(&mut state, &replayed, &|_| Some(dek()), record).expect("the log is whole");
        replayed.store(record.header.offset, changes.writes);
    }
    assert_eq!(state.to_bytes(), clinic.state.to_bytes());
    assert_eq!(replayed.rows, clinic.store.rows);
    assert_eq!(state.erasures, 1);
    let read_back = TenantState::from_bytes(&state.to_bytes()).expect("its own form");
    assert_eq!(read_back.to_bytes(), state.to_bytes());
}
