//! `decide`: the one place where a command becomes a record.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use craton_crypto::SubjectKey;
use craton_proof::{Checkpoint, StateCommitment};
use craton_types::planted::{Bug, is_planted};
use craton_types::{
    Change, DataClass, DatabaseDefinition, Expected, FormatVersion, Hash, IdempotencyId, KeysRotated, Offset,
    PrimaryKey, RecordHeader, RecordKind, RecordSummary, Recovered, Retention, RotationReason, Row, RowChange,
    RowWrite, StreamHead, StreamId, StreamSequence, SubjectKeyId, TableId, TableSchema, TableSummary, Timestamp,
    UserDefinition, VersionedRow,
};

use crate::checkpoint::{StateCheckpoint, check_state_size, decide_cosigned, parse_checkpoint};
use crate::placement::{self, StreamClass};
use crate::seal::{Content, Draft, Placement, draft};
use crate::subject::{self, RowSealer, SealPlace, SubjectDecision, SubjectKeyEffect};
use crate::system_table::{
    CATALOGUE_TABLE, IDEMPOTENCY_IDS_MAX, IDEMPOTENCY_RING_TABLE, IDEMPOTENCY_TABLE, KEY_EPOCH_TABLE, RECOVERY_TABLE,
    STREAM_NAME_BYTES_MAX, catalogue_key, catalogue_row, idempotency_key, idempotency_offset, idempotency_row,
    key_epoch_key, key_epoch_row, recovery_key, recovery_row, ring_id, ring_key, ring_row,
};
use crate::{
    Catalogue, Command, ExpectedSequence, NewDataKey, NewSubjectKey, Operation, Outcome, ReadCheck, Refusal,
    SchemaWrite, TenantState,
};

/// The rows as the tenant's records so far left them.
pub trait RowReader {
    /// The current version of a row.
    ///
    /// # Errors
    /// When the view cannot be read; the node then stops, because replicas must not differ.
    fn row(&self, table: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, ApplyError>;

    /// A named stream; `None` when it has no records.
    ///
    /// # Errors
    /// As for [`Self::row`].
    fn stream(&self, name: &str) -> Result<Option<StreamHead>, ApplyError>;

    /// The key of a data subject that is not erased.
    ///
    /// # Errors
    /// When it cannot be read or is missing; the node then stops, because replicas must not differ.
    fn subject_key(&self, id: SubjectKeyId) -> Result<SubjectKey, ApplyError>;
}

/// The view could not answer. Not an outcome: nothing was decided.
#[derive(Debug, thiserror::Error)]
#[error("the view could not be read")]
pub struct ApplyError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A row version for the view to store.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewWrite {
    /// The row's table.
    pub table: TableId,
    /// The row's key.
    pub key: PrimaryKey,
    /// The row; `None` deletes it.
    pub row: Option<Arc<Row>>,
}

/// Where a record of a stream is, for the view to note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamWrite {
    /// The stream's number.
    pub stream: StreamId,
    /// The stream's name, when this is its first record.
    pub new_name: Option<String>,
    /// The record's position in the stream.
    pub sequence: StreamSequence,
    /// The record's position in the log.
    pub offset: Offset,
}

/// What became of a command.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every command is drafted, and none is kept in this form"
)]
pub enum Decided {
    /// Nothing is written; this is the answer.
    Answered(Outcome),
    /// A record.
    Drafted(Drafted),
}

/// A record to be sealed and appended, and what it changes in the view.
#[derive(Debug)]
pub struct Drafted {
    /// The record.
    pub draft: Draft,
    /// The row versions to store, all of the record's offset.
    pub writes: Vec<ViewWrite>,
    /// The record's place in its stream, if it is of a named one.
    pub stream: Option<StreamWrite>,
    /// Keys of data subjects to keep before the next command is decided, or to destroy.
    pub subject_keys: Vec<SubjectKeyEffect>,
    /// Why the command was refused, when that is what the record says.
    pub refusal: Option<Refusal>,
}

/// Decides a command and, when it commits, moves the state past its record. The next command may be decided once the
/// view can read what this one writes; the record itself is sealed and chained later. `timestamp` is the proposer's
/// clock; the record carries it, or the previous record's time if that is later.
///
/// # Errors
/// Only when the view cannot be read. Refusals are outcomes.
pub fn decide(
    state: &mut TenantState,
    rows: &dyn RowReader,
    timestamp: Timestamp,
    command: &Command,
) -> Result<Decided, ApplyError> {
    if let Some(offset) = known_idempotency_id(rows, command)? {
        return Ok(Decided::Answered(Outcome::Duplicate { offset }));
    }
    let timestamp = match is_planted(Bug::TimeGoesBack) {
        true => timestamp,
        false => timestamp.max(state.last_timestamp),
    };
    let decision = match decide_operation(state, rows, timestamp, command)? {
        Ok(decision) => decision,
        Err(refusal) => return Ok(Decided::Answered(Outcome::Refused(refusal))),
    };
    let placement = Placement {
        kind: decision.kind,
        stream: decision.stream,
        sequence: decision.sequence,
        timestamp,
        key_epoch: match &decision.state {
            StateChange::KeyEpoch(rotated) => rotated.epoch,
            _ => state.key_epoch,
        },
    };
    let draft = match draft(state, command, placement, decision.content) {
        Ok(draft) => draft,
        Err(refusal) => return Ok(Decided::Answered(Outcome::Refused(refusal))),
    };
    let mut writes = decision.writes;
    remember_idempotency_id(state, rows, command.idempotency_id, &mut writes)?;
    state.advance(draft.header());
    state.change(decision.state);
    state.count_subject_keys(&decision.subject_keys);
    state.note_tables(&writes);
    Ok(Decided::Drafted(Drafted {
        draft,
        writes,
        stream: decision.stream_write,
        subject_keys: decision.subject_keys,
        refusal: decision.refusal,
    }))
}

/// What a command that commits will do.
pub(crate) struct Decision {
    kind: RecordKind,
    stream: StreamId,
    sequence: StreamSequence,
    content: Content,
    writes: Vec<ViewWrite>,
    stream_write: Option<StreamWrite>,
    state: StateChange,
    subject_keys: Vec<SubjectKeyEffect>,
    /// Set when the record says that the command was refused.
    refusal: Option<Refusal>,
}

impl Decision {
    /// The record says that the command was refused.
    pub(crate) fn refusing(self, refusal: Refusal) -> Self {
        Self {
            refusal: Some(refusal),
            ..self
        }
    }

    /// A record of the unnamed stream.
    pub(crate) fn of_root(state: &TenantState, kind: RecordKind, content: Content, change: StateChange) -> Self {
        Self {
            kind,
            stream: StreamId::ZERO,
            sequence: state.root_stream_next,
            content,
            writes: Vec::new(),
            stream_write: None,
            state: change,
            subject_keys: Vec::new(),
            refusal: None,
        }
    }
}

/// What changes in the state beside the head of the log.
pub(crate) enum StateChange {
    Nothing,
    Catalogue(Catalogue),
    NewStream(Option<DataClass>),
    Checkpoint {
        checkpoint: Checkpoint,
        stated: StateCheckpoint,
    },
    Cosigned {
        size: u64,
        offset: Offset,
    },
    Database(DatabaseDefinition),
    Users(BTreeMap<String, UserDefinition>),
    Format(FormatVersion),
    KeyEpoch(KeysRotated),
    DefaultRetention(Option<Retention>),
    Placement(craton_types::Placement),
}

type DecisionResult = Result<Result<Decision, Refusal>, ApplyError>;

fn decide_operation(state: &TenantState, rows: &dyn RowReader, time: Timestamp, command: &Command) -> DecisionResult {
    match &command.operation {
        Operation::Write {
            schema,
            rows: row_writes,
            reads,
            subject_keys,
            erasures_seen,
        } => {
            if erasures_seen.is_some_and(|seen| seen != state.erasures) {
                return Ok(Err(Refusal::SubjectErased));
            }
            match check_reads(state, rows, reads)? {
                Some(refusal) => Ok(Err(refusal)),
                None => decide_write(state, rows, time, schema, row_writes, subject_keys),
            }
        }
        Operation::Append {
            stream,
            expected,
            events,
            data_class,
        } => decide_append(state, rows, stream, *expected, events, data_class.as_ref()),
        Operation::Checkpoint {
            size,
            note,
            state: commitment,
        } => Ok(decide_checkpoint(state, *size, note, *commitment)),
        Operation::Cosign { note, time_stamp } => Ok(decide_cosign(state, note, time_stamp.as_ref())),
        Operation::RotateKeys { salt, reason, data_key } => {
            Ok(decide_rotate_keys(state, *salt, *reason, data_key.as_ref()))
        }
        Operation::EraseSubject { subject, reason } => {
            let decided = subject::decide_erase(state, rows, time, subject, reason.as_deref())?;
            Ok(decided.map(|decided| subject_decision(state, decided)))
        }
        Operation::HoldSubject { subject, reason } => {
            let decided = subject::decide_hold(rows, subject, reason)?;
            Ok(decided.map(|decided| subject_decision(state, decided)))
        }
        Operation::ReleaseSubject { subject, reason } => {
            let decided = subject::decide_release(rows, subject, reason)?;
            Ok(decided.map(|decided| subject_decision(state, decided)))
        }
        Operation::SetRetention { table, retention } => Ok(decide_retention(state, *table, *retention)),
        Operation::SetPlacement(placement) => Ok(Ok(placement::decide_set(state, placement))),
        Operation::RecordRecovery(recovered) => Ok(Ok(decide_record_recovery(state, recovered))),
        _ if !state.is_system => Ok(Err(Refusal::WrongTenant)),
        Operation::CreateDatabase { database, .. } => Ok(decide_create_database(state, database)),
        Operation::PutUser(user) => Ok(Ok(decide_put_user(state, user))),
        Operation::DropUser { name } => Ok(decide_drop_user(state, name)),
        Operation::RaiseFormat(version) => Ok(decide_raise_format(state, *version)),
    }
}

fn decide_write(
    state: &TenantState,
    rows: &dyn RowReader,
    time: Timestamp,
    schema: &[SchemaWrite],
    row_writes: &[RowWrite],
    new_keys: &[NewSubjectKey],
) -> DecisionResult {
    let (catalogue, mut changes, mut writes) = match change_catalogue(state, schema) {
        Ok(changed) => changed,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some(write) = repeated_row(row_writes) {
        return Ok(Err(Refusal::RowChanged {
            table: write.table,
            key: write.key.clone(),
        }));
    }
    let created = schema.iter().filter_map(|write| match write {
        SchemaWrite::Create(table) => Some(table),
        SchemaWrite::Drop { .. } => None,
    });
    if let Some(refused) = placement::check_tables(state, created) {
        return Ok(Ok(refused));
    }
    let row_writes = match row_writes {
        [kept @ .., _] if kept.len() == 2 && is_planted(Bug::HalfTransaction) => kept,
        all => all,
    };
    let tables = catalogue.as_ref().unwrap_or(&state.catalogue);
    let mut summaries = BTreeMap::new();
    let place = SealPlace {
        tenant: state.tenant,
        epoch: state.key_epoch,
        salt: state.key_salt,
        offset: state.end,
        time,
    };
    let mut sealer = RowSealer::new(state, rows, place, new_keys);
    for write in row_writes {
        let Some(table) = tables.table_by_id(write.table) else {
            return Ok(Err(Refusal::CatalogueChanged));
        };
        summaries
            .entry(write.table)
            .or_insert_with(|| TableSummary::from(table.as_ref()));
        let chunk = u32::try_from(changes.len() + 1).unwrap_or(u32::MAX);
        match change_row(rows, &mut sealer, table, chunk, write)? {
            Ok((change, view_write)) => {
                changes.push(change);
                writes.push(view_write);
            }
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    let summary = RecordSummary {
        tables: summaries.into_values().collect(),
        ..RecordSummary::default()
    };
    let (subject_writes, subject_keys) = sealer.finish();
    writes.extend(subject_writes);
    let content = Content::changes(&summary, &changes);
    let change = catalogue.map_or(StateChange::Nothing, StateChange::Catalogue);
    Ok(Ok(Decision {
        writes,
        subject_keys,
        ..Decision::of_root(state, RecordKind::Data, content, change)
    }))
}

/// The first thing read that is no longer so.
fn check_reads(state: &TenantState, rows: &dyn RowReader, reads: &[ReadCheck]) -> Result<Option<Refusal>, ApplyError> {
    for read in reads {
        let (table, holds) = match read {
            ReadCheck::Row { table, key, version } => {
                let current = rows.row(*table, &PrimaryKey::from_bytes(key.clone()))?;
                (*table, current.map(|row| row.version) == *version)
            }
            ReadCheck::Table { table, end } => (
                *table,
                state.table_ends.get(table).is_none_or(|changed_end| changed_end <= end),
            ),
        };
        if !holds && !is_planted(Bug::SkipVersionCheck) {
            return Ok(Some(Refusal::ReadChanged { table }));
        }
    }
    Ok(None)
}

/// The first write to a row that an earlier write of the same transaction also names.
fn repeated_row(writes: &[RowWrite]) -> Option<&RowWrite> {
    let mut seen = HashSet::new();
    writes
        .iter()
        .find(|write| writes.len() > 1 && !seen.insert((write.table, write.key.as_slice())))
}

type CatalogueChange = (Option<Catalogue>, Vec<Change>, Vec<ViewWrite>);

/// Applies schema changes to a copy of the catalogue; `None` when there are none.
fn change_catalogue(state: &TenantState, schema: &[SchemaWrite]) -> Result<CatalogueChange, Refusal> {
    if schema.is_empty() {
        return Ok((None, Vec::new(), Vec::new()));
    }
    let mut catalogue = Catalogue::clone(&state.catalogue);
    let mut changes = Vec::new();
    let mut writes = Vec::new();
    for write in schema {
        match write {
            SchemaWrite::Create(table) => {
                create_table(&mut catalogue, table)?;
                changes.push(Change::CreateTable(table.clone()));
                writes.push(catalogue_write(table.id, Some(catalogue_row(table))));
            }
            SchemaWrite::Drop { table, name } => {
                if catalogue.tables.get(name).is_none_or(|schema| schema.id != *table) {
                    return Err(Refusal::CatalogueChanged);
                }
                catalogue.tables.remove(name);
                changes.push(Change::DropTable {
                    table: *table,
                    name: name.clone(),
                });
                writes.push(catalogue_write(*table, None));
            }
        }
    }
    catalogue.changed_end = state.end.next();
    Ok((Some(catalogue), changes, writes))
}

fn create_table(catalogue: &mut Catalogue, table: &TableSchema) -> Result<(), Refusal> {
    if catalogue.tables.contains_key(&table.name) {
        return Err(Refusal::TableExists {
            name: table.name.clone(),
        });
    }
    if table.id != catalogue.next_table {
        return Err(Refusal::CatalogueChanged);
    }
    catalogue.next_table = table.id.next();
    catalogue.tables.insert(table.name.clone(), Arc::new(table.clone()));
    Ok(())
}

pub(crate) fn catalogue_write(table: TableId, row: Option<Row>) -> ViewWrite {
    ViewWrite {
        table: CATALOGUE_TABLE,
        key: catalogue_key(table),
        row: row.map(Arc::new),
    }
}

/// Checks one row write against the row of now, and seals its erasable cells.
fn change_row(
    rows: &dyn RowReader,
    sealer: &mut RowSealer<'_>,
    table: &TableSchema,
    chunk: u32,
    write: &RowWrite,
) -> Result<Result<(Change, ViewWrite), Refusal>, ApplyError> {
    let key = PrimaryKey::from_bytes(write.key.clone());
    let current = rows.row(write.table, &key)?;
    let conflict = match (write.expected, &current) {
        (Expected::Absent, None) => None,
        (Expected::Absent, Some(_)) => Some(Refusal::RowExists {
            table: write.table,
            key: write.key.clone(),
        }),
        (Expected::Version(version), Some(row)) if row.version == version => None,
        (Expected::Version(_), Some(_)) if is_planted(Bug::SkipVersionCheck) => None,
        (Expected::Version(_), _) => Some(Refusal::RowChanged {
            table: write.table,
            key: write.key.clone(),
        }),
    };
    if let Some(refusal) = conflict {
        return Ok(Err(refusal));
    }
    let mut after = write.after.clone();
    if let Some(row) = &mut after
        && let Err(refusal) = sealer.seal(table, chunk, row)?
    {
        return Ok(Err(refusal));
    }
    let change = Change::Row(RowChange {
        table: write.table,
        before: current.map(|row| Row::clone(&row.row)),
        after: after.clone(),
    });
    let view_write = ViewWrite {
        table: write.table,
        key,
        row: after.map(Arc::new),
    };
    Ok(Ok((change, view_write)))
}

fn decide_append(
    state: &TenantState,
    rows: &dyn RowReader,
    stream: &str,
    expected: ExpectedSequence,
    events: &[minicbor::bytes::ByteVec],
    data_class: Option<&DataClass>,
) -> DecisionResult {
    if stream.is_empty() || stream.len() > STREAM_NAME_BYTES_MAX {
        return Ok(Err(Refusal::StreamName {
            bytes: stream.len(),
            bytes_max: STREAM_NAME_BYTES_MAX,
        }));
    }
    let stored = rows.stream(stream)?;
    let head = stored.unwrap_or(StreamHead {
        stream: state.next_stream,
        next: StreamSequence::ZERO,
    });
    if let ExpectedSequence::Exactly(expected) = expected
        && expected != head.next.get()
    {
        return Ok(Err(Refusal::StreamMoved {
            stream: stream.to_owned(),
            expected,
            actual: head.next.get(),
        }));
    }
    let class_write = match placement::check_stream(state, rows, (stream, head.stream), stored.is_none(), data_class)? {
        Ok(StreamClass::Known) => None,
        Ok(StreamClass::New(write)) => Some(write),
        Ok(StreamClass::Refused(decision)) => return Ok(Ok(*decision)),
        Err(refusal) => return Ok(Err(refusal)),
    };
    let event_bytes = events.iter().map(|event| Change::event_bytes(event));
    // The stream's first record names it; the others need not.
    let (kind, content) = match stored {
        Some(_) => (RecordKind::Events, event_bytes.collect()),
        None => {
            let summary = RecordSummary {
                tables: Vec::new(),
                stream: Some(stream.to_owned()),
                data_class: data_class.cloned(),
            };
            (
                RecordKind::Data,
                std::iter::once(summary.to_bytes()).chain(event_bytes).collect(),
            )
        }
    };
    Ok(Ok(Decision {
        kind,
        stream: head.stream,
        sequence: head.next,
        content: Content::Secret(content),
        writes: class_write.into_iter().collect(),
        stream_write: Some(StreamWrite {
            stream: head.stream,
            new_name: stored.is_none().then(|| stream.to_owned()),
            sequence: head.next,
            offset: state.end,
        }),
        state: match stored {
            Some(_) => StateChange::Nothing,
            None => StateChange::NewStream(data_class.cloned()),
        },
        subject_keys: Vec::new(),
        refusal: None,
    }))
}

fn decide_checkpoint(
    state: &TenantState,
    size: u64,
    note: &str,
    commitment: StateCommitment,
) -> Result<Decision, Refusal> {
    if size <= state.checkpoint_size || size > state.end.get() {
        return Err(Refusal::CheckpointOutOfOrder {
            size,
            last_size: state.checkpoint_size,
            records: state.end.get(),
        });
    }
    check_state_size(state, commitment.size, size)?;
    let content = Content::Plain(vec![note.as_bytes().to_vec(), commitment.to_bytes().to_vec()]);
    let change = StateChange::Checkpoint {
        checkpoint: parse_checkpoint(note.as_bytes())?,
        stated: StateCheckpoint {
            size: commitment.size,
            offset: state.end,
        },
    };
    Ok(Decision::of_root(state, RecordKind::Checkpoint, content, change))
}

fn decide_cosign(
    state: &TenantState,
    note: &str,
    time_stamp: Option<&minicbor::bytes::ByteVec>,
) -> Result<Decision, Refusal> {
    let size = decide_cosigned(state, note.as_bytes())?;
    let chunks = [Some(note.as_bytes().to_vec()), time_stamp.map(|token| token.to_vec())];
    let content = Content::Plain(chunks.into_iter().flatten().collect());
    let offset = state.end;
    let change = StateChange::Cosigned { size, offset };
    Ok(Decision::of_root(state, RecordKind::Cosignature, content, change))
}

fn decide_rotate_keys(
    state: &TenantState,
    salt: [u8; 32],
    reason: RotationReason,
    data_key: Option<&NewDataKey>,
) -> Result<Decision, Refusal> {
    let data_key = match data_key {
        None => state.data_key,
        Some(new) if new.number > state.data_key => new.number,
        Some(new) => {
            return Err(Refusal::DataKeyOutOfOrder {
                number: new.number,
                current: state.data_key,
            });
        }
    };
    let rotated = KeysRotated {
        epoch: state.key_epoch.next(),
        data_key,
        salt,
        reason,
    };
    let content = Content::Plain(vec![Change::KeysRotated(rotated.clone()).to_bytes()]);
    Ok(Decision {
        writes: vec![key_epoch_write(&rotated, state.end)],
        ..Decision::of_root(state, RecordKind::Policy, content, StateChange::KeyEpoch(rotated))
    })
}

fn decide_record_recovery(state: &TenantState, recovered: &Recovered) -> Decision {
    let content = Content::Plain(vec![Change::Recovered(recovered.clone()).to_bytes()]);
    Decision {
        writes: vec![recovery_write(recovered, state.end)],
        ..Decision::of_root(state, RecordKind::Recovery, content, StateChange::Nothing)
    }
}

pub(crate) fn recovery_write(recovered: &Recovered, offset: Offset) -> ViewWrite {
    ViewWrite {
        table: RECOVERY_TABLE,
        key: recovery_key(offset),
        row: Some(Arc::new(recovery_row(recovered, offset))),
    }
}

pub(crate) fn key_epoch_write(rotated: &KeysRotated, offset: Offset) -> ViewWrite {
    ViewWrite {
        table: KEY_EPOCH_TABLE,
        key: key_epoch_key(rotated.epoch),
        row: Some(Arc::new(key_epoch_row(rotated, offset))),
    }
}

fn decide_create_database(state: &TenantState, database: &DatabaseDefinition) -> Result<Decision, Refusal> {
    if state.databases.contains_key(&database.name) {
        return Err(Refusal::DatabaseExists {
            name: database.name.clone(),
        });
    }
    let state_change = StateChange::Database(database.clone());
    Ok(system_decision(
        state,
        Change::CreateDatabase(database.clone()),
        state_change,
    ))
}

fn decide_put_user(state: &TenantState, user: &UserDefinition) -> Decision {
    let mut users = BTreeMap::clone(&state.users);
    users.insert(user.name.clone(), user.clone());
    system_decision(state, Change::PutUser(user.clone()), StateChange::Users(users))
}

fn decide_drop_user(state: &TenantState, name: &str) -> Result<Decision, Refusal> {
    let mut users = BTreeMap::clone(&state.users);
    if users.remove(name).is_none() {
        return Err(Refusal::UserMissing { name: name.to_owned() });
    }
    Ok(system_decision(
        state,
        Change::DropUser { name: name.to_owned() },
        StateChange::Users(users),
    ))
}

/// Whoever applies it looks whether it knows the version: the outcome depends on the log alone.
fn decide_raise_format(state: &TenantState, to: FormatVersion) -> Result<Decision, Refusal> {
    if to <= state.format {
        return Err(Refusal::FormatNotRaised {
            to,
            current: state.format,
        });
    }
    Ok(system_decision(
        state,
        Change::FormatRaised { to },
        StateChange::Format(to),
    ))
}

fn system_decision(state: &TenantState, change: Change, state_change: StateChange) -> Decision {
    let content = Content::changes(&RecordSummary::default(), &[change]);
    Decision::of_root(state, RecordKind::Data, content, state_change)
}

fn subject_decision(state: &TenantState, decided: SubjectDecision) -> Decision {
    let content = Content::changes(&RecordSummary::default(), &[decided.change]);
    Decision {
        writes: decided.write.into_iter().collect(),
        subject_keys: decided.erased.map(SubjectKeyEffect::Erased).into_iter().collect(),
        refusal: decided.refusal,
        ..Decision::of_root(state, RecordKind::Erasure, content, StateChange::Nothing)
    }
}

fn decide_retention(
    state: &TenantState,
    table: Option<TableId>,
    retention: Option<Retention>,
) -> Result<Decision, Refusal> {
    let mut writes = Vec::new();
    let (name, change) = match table {
        None => (None, StateChange::DefaultRetention(retention)),
        Some(table) => {
            let changed = state.catalogue.with_retention(table, retention);
            let (mut catalogue, schema) = changed.ok_or(Refusal::NotErasable { table })?;
            catalogue.changed_end = state.end.next();
            writes.push(catalogue_write(table, Some(catalogue_row(&schema))));
            (Some(schema.name), StateChange::Catalogue(catalogue))
        }
    };
    let set = Change::RetentionSet { table, name, retention };
    let content = Content::changes(&RecordSummary::default(), &[set]);
    Ok(Decision {
        writes,
        ..Decision::of_root(state, RecordKind::Erasure, content, change)
    })
}

impl TenantState {
    /// Moves the end of the log past a record, which is to be linked later.
    pub(crate) fn advance(&mut self, header: &RecordHeader) {
        debug_assert_eq!(header.offset, self.end);
        self.end = self.end.next();
        self.last_timestamp = header.timestamp;
        if header.kind == RecordKind::Checkpoint {
            self.checkpoint_offset = Some(header.offset);
        }
        if header.stream == StreamId::ZERO {
            self.root_stream_next = header.stream_sequence.next();
        }
    }

    /// Makes a record the last one of the chain and the tree.
    pub(crate) fn link(&mut self, record_hash: Hash) {
        self.last_hash = record_hash;
        self.frontier.push(record_hash);
    }

    /// Notes which tables the last record changed.
    pub(crate) fn note_tables(&mut self, writes: &[ViewWrite]) {
        let mut noted = None;
        for table in writes
            .iter()
            .map(|write| write.table)
            .filter(|table| *table >= TableId::FIRST_USER)
        {
            if noted != Some(table) {
                self.table_ends.insert(table, self.end);
                noted = Some(table);
            }
        }
    }

    fn change(&mut self, change: StateChange) {
        match change {
            StateChange::Nothing => {}
            StateChange::Catalogue(catalogue) => self.catalogue = Arc::new(catalogue),
            StateChange::NewStream(class) => {
                self.next_stream = self.next_stream.next();
                self.stream_classes.extend(class);
            }
            StateChange::Checkpoint { checkpoint, stated } => self.note_checkpoint(&checkpoint, stated),
            StateChange::Cosigned { size, offset } => self.note_cosigned(size, offset),
            StateChange::Database(database) => {
                self.databases.insert(database.name.clone(), database);
            }
            StateChange::Users(users) => self.users = Arc::new(users),
            StateChange::Format(version) => self.format = version,
            StateChange::KeyEpoch(rotated) => self.begin_key_epoch(&rotated),
            StateChange::DefaultRetention(retention) => self.default_retention = retention,
            StateChange::Placement(placement) => self.placement = Arc::new(placement),
        }
    }

    fn count_subject_keys(&mut self, effects: &[SubjectKeyEffect]) {
        for effect in effects {
            match effect {
                SubjectKeyEffect::Created(key) => self.next_subject_key = key.id().get() + 1,
                SubjectKeyEffect::Erased(_) => self.erasures += 1,
            }
        }
    }

    pub(crate) fn begin_key_epoch(&mut self, rotated: &KeysRotated) {
        self.key_epoch = rotated.epoch;
        self.data_key = rotated.data_key;
        self.key_salt = rotated.salt;
    }
}

fn known_idempotency_id(rows: &dyn RowReader, command: &Command) -> Result<Option<Offset>, ApplyError> {
    if command.idempotency_id == IdempotencyId::NIL {
        return Ok(None);
    }
    let row = rows.row(IDEMPOTENCY_TABLE, &idempotency_key(command.idempotency_id))?;
    Ok(row.and_then(|row| idempotency_offset(&row.row)))
}

/// Stores the id and forgets the one that its ring slot held.
pub(crate) fn remember_idempotency_id(
    state: &mut TenantState,
    rows: &dyn RowReader,
    id: IdempotencyId,
    writes: &mut Vec<ViewWrite>,
) -> Result<(), ApplyError> {
    if id == IdempotencyId::NIL {
        return Ok(());
    }
    let ids_max = match is_planted(Bug::ForgetIdempotencyIds) {
        true => 2,
        false => IDEMPOTENCY_IDS_MAX,
    };
    let slot = ring_key(state.idempotency_count % ids_max);
    let oldest = rows
        .row(IDEMPOTENCY_RING_TABLE, &slot)?
        .and_then(|row| ring_id(&row.row));
    if let Some(oldest) = oldest {
        writes.push(ViewWrite {
            table: IDEMPOTENCY_TABLE,
            key: idempotency_key(oldest),
            row: None,
        });
    }
    let row = Some(Arc::new(idempotency_row(state.end)));
    writes.push(ViewWrite {
        table: IDEMPOTENCY_TABLE,
        key: idempotency_key(id),
        row,
    });
    writes.push(ViewWrite {
        table: IDEMPOTENCY_RING_TABLE,
        key: slot,
        row: Some(Arc::new(ring_row(id))),
    });
    state.idempotency_count += 1;
    Ok(())
}
