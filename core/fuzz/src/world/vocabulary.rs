//! Values, changes and commands of every kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use craton_crypto::SecretBytes;
use craton_kernel::{
    Command, ExpectedSequence, NewDataKey, NewSubjectKey, Operation, ReadCheck, SchemaWrite, TenantState,
};
use craton_proof::StateCommitment;
use craton_types::{
    ActorId, Change, Column, ColumnType, CorrelationId, DataKeyNumber, DatabaseDefinition, Expected, FormatVersion,
    Hash, IdempotencyId, KeyEpoch, KeysRotated, Offset, Placement, RecordSummary, Recovered, RecoveryAction,
    RecoveryArea, Retention, RotationReason, Row, RowChange, RowWrite, SubjectColumns, SubjectKeyId, TableId,
    TableSchema, TableSummary, Timestamp, UserDefinition, Value,
};

use super::{TENANT, sealed_cell};

/// The table of the world.
pub(crate) fn people() -> TableSchema {
    let column = |name: &str, column_type, nullable| Column {
        name: name.to_owned(),
        column_type,
        nullable,
        default_sql: None,
    };
    TableSchema {
        id: TableId::FIRST_USER,
        name: "people".to_owned(),
        columns: vec![
            column("id", ColumnType::Int8, false),
            column("name", ColumnType::Text, true),
            column("joined", ColumnType::Date, true),
            column("doc", ColumnType::Jsonb, true),
        ],
        primary_key: vec![0],
        subjects: Some(SubjectColumns {
            subject: 0,
            erasable: vec![1],
            retention: Some(RETENTION),
        }),
        data_class: None,
    }
}

const RETENTION: Retention = Retention {
    months: 120,
    days: 2,
    microseconds: 3,
};

/// A row of the table.
pub(crate) fn row(id: i64, name: &str) -> Row {
    vec![
        Value::Int(id),
        Value::Text(name.to_owned()),
        Value::Date(20_000),
        Value::Json("{\"a\": 1}".to_owned()),
    ]
}

fn placement() -> Placement {
    Placement {
        region: Some("eu-central".parse().expect("a region")),
        rules: "phi: eu-central eu-west".parse().expect("rules"),
    }
}

pub(crate) fn summary() -> RecordSummary {
    RecordSummary {
        tables: vec![TableSummary::from(&people())],
        stream: None,
        data_class: None,
    }
}

fn every_value() -> Row {
    vec![
        Value::Null,
        Value::Bool(true),
        Value::Int(-7),
        Value::Float(-0.5),
        Value::Numeric("12.340".parse().expect("a number")),
        Value::Text("text".to_owned()),
        Value::Bytes(vec![0, 0xff]),
        Value::Date(-1),
        Value::Time(86_400_000_000),
        Value::Timestamp(1),
        Value::TimestampTz(-1),
        Value::Uuid([0x11; 16]),
        Value::Json("[]".to_owned()),
        Value::Sealed(Box::new(sealed_cell())),
    ]
}

/// A change of every kind.
pub(crate) fn changes() -> Vec<Change> {
    vec![
        Change::Row(RowChange {
            table: TableId::FIRST_USER,
            before: Some(row(1, "Ada")),
            after: Some(every_value()),
        }),
        Change::CreateTable(people()),
        Change::DropTable {
            table: TableId::FIRST_USER,
            name: "people".to_owned(),
        },
        Change::Event(b"event".to_vec()),
        Change::CreateDatabase(database()),
        Change::PutUser(user()),
        Change::DropUser { name: "ada".to_owned() },
        Change::FormatRaised {
            to: FormatVersion::NEWEST,
        },
        Change::KeysRotated(KeysRotated {
            epoch: KeyEpoch::new(2),
            data_key: DataKeyNumber::ZERO,
            salt: [3; 32],
            reason: RotationReason::DataKey,
        }),
        Change::SubjectErased {
            subject: "p-7".to_owned(),
            key: SubjectKeyId::new(3),
            reason: Some("asked for it".to_owned()),
        },
        Change::ErasureRefused {
            subject: "p-7".to_owned(),
            held: Some("case 12".to_owned()),
            retained_until: Some(Timestamp::new(9)),
            reason: None,
        },
        Change::SubjectHeld {
            subject: "p-7".to_owned(),
            reason: "case 12".to_owned(),
        },
        Change::SubjectReleased {
            subject: "p-7".to_owned(),
            reason: "case closed".to_owned(),
        },
        Change::PlacementSet(placement()),
        Change::PlacementRefused {
            class: "phi".parse().expect("a class"),
            region: placement().region,
            name: "people".to_owned(),
        },
        Change::RetentionSet {
            table: Some(TableId::FIRST_USER),
            name: Some("people".to_owned()),
            retention: Some(RETENTION),
        },
        Change::Recovered(recovered()),
    ]
}

fn recovered() -> Recovered {
    Recovered {
        generation: 2,
        area: RecoveryArea::Log,
        file: "00000000000000000000.segment".to_owned(),
        start: 100,
        end: 120,
        reason: "header_end".to_owned(),
        action: RecoveryAction::SetAside,
        node: None,
    }
}

fn database() -> DatabaseDefinition {
    DatabaseDefinition {
        name: "main".to_owned(),
        tenant: TENANT,
    }
}

fn user() -> UserDefinition {
    UserDefinition {
        name: "ada".to_owned(),
        actor: ActorId::new([6; 16]),
        scram_verifier: "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA".to_owned(),
        databases: vec!["main".to_owned()],
        read_only: false,
        compliance: true,
    }
}

fn write() -> Operation {
    Operation::Write {
        schema: vec![
            SchemaWrite::Create(people()),
            SchemaWrite::Drop {
                table: TableId::FIRST_USER,
                name: "people".to_owned(),
            },
        ],
        rows: vec![
            RowWrite {
                table: TableId::FIRST_USER,
                key: vec![3, 0x80, 0, 0, 0, 0, 0, 0, 1],
                expected: Expected::Absent,
                after: Some(every_value()),
            },
            RowWrite {
                table: TableId::FIRST_USER,
                key: vec![3, 0x80, 0, 0, 0, 0, 0, 0, 2],
                expected: Expected::Version(Offset::new(4)),
                after: None,
            },
        ],
        reads: vec![
            ReadCheck::Row {
                table: TableId::FIRST_USER,
                key: vec![3],
                version: None,
            },
            ReadCheck::Table {
                table: TableId::FIRST_USER,
                end: Offset::new(9),
            },
        ],
        subject_keys: vec![NewSubjectKey {
            subject: "p-7".to_owned(),
            key: SecretBytes::new([1; 32]),
        }],
        erasures_seen: Some(2),
    }
}

/// A command of every kind.
pub(crate) fn commands() -> Vec<Command> {
    let subject = || "p-7".to_owned();
    let reason = || "case 12".to_owned();
    let commitment = StateCommitment {
        size: 7,
        root: Hash::new([1; 32]),
        key: Hash::new([2; 32]),
    };
    let operations = vec![
        Operation::Append {
            stream: "orders".to_owned(),
            expected: ExpectedSequence::Exactly(3),
            events: vec![b"one".to_vec().into(), Vec::new().into()],
            data_class: None,
        },
        write(),
        Operation::Checkpoint {
            size: 7,
            note: "note\n".to_owned(),
            state: commitment,
        },
        Operation::CreateDatabase {
            database: database(),
            keys: vec![1; 20],
        },
        Operation::PutUser(user()),
        Operation::DropUser { name: "ada".to_owned() },
        Operation::RaiseFormat(FormatVersion::NEWEST),
        Operation::Cosign {
            note: "note\n".to_owned(),
            time_stamp: Some(vec![0x30, 0].into()),
        },
        Operation::RotateKeys {
            salt: [3; 32],
            reason: RotationReason::Opened,
            data_key: Some(NewDataKey {
                number: DataKeyNumber::ZERO,
                wrapped: vec![1; 69],
            }),
        },
        Operation::EraseSubject {
            subject: subject(),
            reason: None,
        },
        Operation::HoldSubject {
            subject: subject(),
            reason: reason(),
        },
        Operation::ReleaseSubject {
            subject: subject(),
            reason: reason(),
        },
        Operation::SetPlacement(placement()),
        Operation::SetRetention {
            table: None,
            retention: Some(RETENTION),
        },
        Operation::RecordRecovery(recovered()),
    ];
    let command = |operation| Command {
        tenant: TENANT,
        actor: ActorId::new([1; 16]),
        correlation_id: CorrelationId::new([2; 16]),
        idempotency_id: IdempotencyId::NIL,
        operation,
    };
    operations.into_iter().map(command).collect()
}

/// The state of a tenant that has seen something.
pub(crate) fn applied_state() -> TenantState {
    let mut state = TenantState::new(TENANT, true);
    state.end = Offset::new(3);
    (0..3).for_each(|_| state.frontier.push(Hash::new([4; 32])));
    let mut catalogue = craton_kernel::Catalogue::default();
    catalogue.tables.insert(people().name, Arc::new(people()));
    state.catalogue = Arc::new(catalogue);
    state.databases = BTreeMap::from([(database().name, database())]);
    state.users = Arc::new(BTreeMap::from([(user().name, user())]));
    state.table_ends = BTreeMap::from([(TableId::FIRST_USER, Offset::new(3))]);
    state.default_retention = Some(RETENTION);
    state
}
