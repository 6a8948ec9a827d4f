//! `replay`: from a record back to the state and row versions that it caused. A view that was lost or damaged
//! is rebuilt with it; tests hold it against what `apply` did.

use std::collections::BTreeMap;
use std::sync::Arc;

use craton_crypto::{Dek, record_hash};
use craton_proof::StateCommitment;
use craton_types::planted::{Bug, is_planted};
use craton_types::{
    Change, KeyEpoch, PrimaryKey, Record, RecordHeader, RecordKind, RowChange, SubjectKeyId, TableSchema,
};

use crate::apply::{catalogue_write, key_epoch_write, recovery_write, remember_idempotency_id};
use crate::checkpoint::{StateCheckpoint, check_state_size, decide_cosigned, parse_checkpoint};
use crate::placement::stream_class_write;
use crate::subject::SubjectReplay;
use crate::system_table::catalogue_row;
use crate::{ApplyError, Catalogue, RowReader, StreamWrite, TenantState, ViewWrite, key_epoch_of, unseal_changes};

/// Why a record cannot be replayed onto a state.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The record is not the one that follows the state.
    #[error("record {offset} does not follow this state")]
    OutOfOrder {
        /// The record's offset.
        offset: u64,
    },
    /// The record does not open, or holds what no kernel writes.
    #[error("record {offset} holds nothing that a kernel wrote")]
    Content {
        /// The record's offset.
        offset: u64,
    },
    /// The view could not be read.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// What a replayed record changes in the view.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The row versions to store, all of the record's offset.
    pub writes: Vec<ViewWrite>,
    /// The record's place in its stream, if it is of a named one.
    pub stream: Option<StreamWrite>,
    /// The keys of data subjects that the record erased.
    pub erased: Vec<SubjectKeyId>,
}

/// Advances a state by one record of its log and tells what the view has to store.
///
/// # Errors
/// When the record does not follow the state or does not open under the tenant's keys.
pub fn replay(
    state: &mut TenantState,
    rows: &dyn RowReader,
    key_for_epoch: &dyn Fn(KeyEpoch) -> Option<Dek>,
    record: &Record,
) -> Result<Replayed, ReplayError> {
    let header = &record.header;
    let offset = header.offset.get();
    if header.offset != state.end || header.previous_hash != state.last_hash || header.tenant != state.tenant {
        return Err(ReplayError::OutOfOrder { offset });
    }
    let mut replayed = match header.kind {
        RecordKind::Data | RecordKind::Erasure => replay_changes(state, rows, key_for_epoch, record)?,
        // What the events are is not needed, so they stay sealed.
        RecordKind::Events => Replayed {
            stream: Some(stream_write(header, None)),
            ..Replayed::default()
        },
        RecordKind::Checkpoint => replay_checkpoint(state, record)?,
        RecordKind::Cosignature => replay_cosignature(state, record)?,
        RecordKind::Policy => replay_key_epoch(state, record)?,
        RecordKind::Recovery => replay_recovery(record)?,
    };
    if !is_planted(Bug::SnapshotWithoutIds) {
        remember_idempotency_id(state, rows, header.idempotency_id, &mut replayed.writes)?;
    }
    state.advance(header);
    state.link(record_hash(&header.encode()));
    state.note_tables(&replayed.writes);
    Ok(replayed)
}

fn replay_checkpoint(state: &mut TenantState, record: &Record) -> Result<Replayed, ReplayError> {
    let malformed = || ReplayError::Content {
        offset: record.header.offset.get(),
    };
    let [note, commitment] = &record.chunks[..] else {
        return Err(malformed());
    };
    let checkpoint = parse_checkpoint(note).map_err(|_| malformed())?;
    let commitment = StateCommitment::from_bytes(commitment).map_err(|_| malformed())?;
    check_state_size(state, commitment.size, checkpoint.size).map_err(|_| malformed())?;
    let stated = StateCheckpoint {
        size: commitment.size,
        offset: record.header.offset,
    };
    state.note_checkpoint(&checkpoint, stated);
    Ok(Replayed::default())
}

fn replay_cosignature(state: &mut TenantState, record: &Record) -> Result<Replayed, ReplayError> {
    let offset = record.header.offset;
    let malformed = || ReplayError::Content { offset: offset.get() };
    let note = record.chunks.first().ok_or_else(malformed)?;
    let size = decide_cosigned(state, note).map_err(|_| malformed())?;
    state.note_cosigned(size, offset);
    Ok(Replayed::default())
}

fn replay_key_epoch(state: &mut TenantState, record: &Record) -> Result<Replayed, ReplayError> {
    let offset = record.header.offset;
    let rotated = key_epoch_of(record).filter(|rotated| rotated.epoch == state.key_epoch.next());
    let rotated = rotated.ok_or(ReplayError::Content { offset: offset.get() })?;
    state.begin_key_epoch(&rotated);
    Ok(Replayed {
        writes: vec![key_epoch_write(&rotated, offset)],
        ..Replayed::default()
    })
}

fn replay_recovery(record: &Record) -> Result<Replayed, ReplayError> {
    let offset = record.header.offset;
    let change = match record.chunks.as_slice() {
        [chunk] => Change::from_bytes(chunk).ok(),
        _ => None,
    };
    let Some(Change::Recovered(recovered)) = change else {
        return Err(ReplayError::Content { offset: offset.get() });
    };
    Ok(Replayed {
        writes: vec![recovery_write(&recovered, offset)],
        ..Replayed::default()
    })
}

fn replay_changes(
    state: &mut TenantState,
    rows: &dyn RowReader,
    key_for_epoch: &dyn Fn(KeyEpoch) -> Option<Dek>,
    record: &Record,
) -> Result<Replayed, ReplayError> {
    let header = &record.header;
    let malformed = || ReplayError::Content {
        offset: header.offset.get(),
    };
    let (summary, changes) = unseal_changes(record, key_for_epoch).map_err(|_| malformed())?;
    let mut catalogue = CatalogueEdit {
        state_end: state.end,
        edited: None,
    };
    let mut writes = Vec::new();
    let mut subjects = SubjectReplay::new(rows, header.timestamp);
    let mut erased = Vec::new();
    for change in changes {
        match change {
            Change::Row(change) => {
                let table = catalogue.view(state).table_by_id(change.table).ok_or_else(malformed)?;
                let table = Arc::clone(table);
                if let Some(row) = &change.after {
                    subjects.note_row(state, &table, row)?;
                }
                writes.push(row_write(&table, change).ok_or_else(malformed)?);
            }
            Change::CreateTable(schema) => {
                writes.push(catalogue_write(schema.id, Some(catalogue_row(&schema))));
                let edited = catalogue.edit(state);
                edited.next_table = schema.id.next();
                edited.tables.insert(schema.name.clone(), Arc::new(schema));
            }
            Change::DropTable { table, name } => {
                writes.push(catalogue_write(table, None));
                catalogue.edit(state).tables.remove(&name);
            }
            Change::Event(_) => {}
            Change::CreateDatabase(database) => {
                state.databases.insert(database.name.clone(), database);
            }
            Change::PutUser(user) => {
                let mut users = BTreeMap::clone(&state.users);
                users.insert(user.name.clone(), user);
                state.users = Arc::new(users);
            }
            Change::DropUser { name } => {
                let mut users = BTreeMap::clone(&state.users);
                users.remove(&name);
                state.users = Arc::new(users);
            }
            Change::FormatRaised { to } => state.format = to,
            Change::KeysRotated(_) | Change::Recovered(_) => return Err(malformed()),
            Change::SubjectErased { subject, key, .. } => {
                subjects.note_erased(state, &subject)?;
                erased.push(key);
            }
            Change::ErasureRefused { .. } => {}
            Change::SubjectHeld { subject, reason } => subjects.note_held(&subject, &reason)?,
            Change::SubjectReleased { subject, .. } => subjects.note_released(&subject)?,
            Change::PlacementSet(placement) => state.placement = Arc::new(placement),
            Change::PlacementRefused { .. } => {}
            Change::RetentionSet {
                table: None, retention, ..
            } => state.default_retention = retention,
            Change::RetentionSet {
                table: Some(table),
                retention,
                ..
            } => {
                let changed = catalogue.view(state).with_retention(table, retention);
                let (_, schema) = changed.ok_or_else(malformed)?;
                writes.push(catalogue_write(table, Some(catalogue_row(&schema))));
                let edited = catalogue.edit(state);
                edited.tables.insert(schema.name.clone(), Arc::new(schema));
            }
        }
    }
    writes.extend(subjects.into_writes());
    if let Some(edited) = catalogue.edited {
        state.catalogue = Arc::new(edited);
    }
    if summary.stream.is_some() {
        if header.stream != state.next_stream {
            return Err(malformed());
        }
        state.next_stream = state.next_stream.next();
        if let Some(class) = summary.data_class {
            writes.push(stream_class_write(header.stream, &class));
            state.stream_classes.insert(class);
        }
    }
    let stream = summary.stream.map(|name| stream_write(header, Some(name)));
    Ok(Replayed { writes, stream, erased })
}

fn stream_write(header: &RecordHeader, new_name: Option<String>) -> StreamWrite {
    StreamWrite {
        stream: header.stream,
        new_name,
        sequence: header.stream_sequence,
        offset: header.offset,
    }
}

/// A copy of the catalogue, made when the record first changes it.
struct CatalogueEdit {
    state_end: craton_types::Offset,
    edited: Option<Catalogue>,
}

impl CatalogueEdit {
    fn view<'a>(&'a self, state: &'a TenantState) -> &'a Catalogue {
        self.edited.as_ref().unwrap_or(&state.catalogue)
    }

    fn edit(&mut self, state: &TenantState) -> &mut Catalogue {
        let end = self.state_end;
        self.edited.get_or_insert_with(|| Catalogue {
            changed_end: end.next(),
            ..Catalogue::clone(&state.catalogue)
        })
    }
}

/// The row version of a row change; `None` when its key columns do not make a key.
fn row_write(table: &TableSchema, change: RowChange) -> Option<ViewWrite> {
    let row = change.after.as_ref().or(change.before.as_ref())?;
    let key_values: Option<Vec<_>> = table
        .primary_key
        .iter()
        .map(|&position| row.get(usize::from(position)))
        .collect();
    let key = PrimaryKey::encode(key_values?).ok()?;
    Some(ViewWrite {
        table: change.table,
        key,
        row: change.after.map(Arc::new),
    })
}
