//! What a record does to the state tree.

use craton_kernel::{UnsealError, unseal_changes};
use craton_proof::{STATE_TABLE_NAMES, StateCommitment};
use craton_state::{Position, RowState};
use craton_types::{
    Change, Offset, PrimaryKey, Record, RecordKind, RecordSummary, RowChange, StreamId, TableId, Value,
};

use crate::epoch_keys::EpochKeys;

/// What a record does to the state tree.
pub(super) enum RecordEffect {
    Rows(Vec<RowState>),
    /// It commits to a state.
    Checkpoint(StateCommitment),
    Nothing,
}

/// Opens a record, when it is one that may change rows.
pub(super) fn effect_of(record: &Record, keys: &EpochKeys) -> Result<RecordEffect, UnsealError> {
    match record.header.kind {
        // Events go to named streams, rows never.
        RecordKind::Data if record.header.stream != StreamId::ZERO => Ok(RecordEffect::Nothing),
        RecordKind::Data => {
            let (summary, changes) = unseal_changes(record, &|epoch| keys.get(epoch))?;
            let offset = record.header.offset;
            Ok(RecordEffect::Rows(rows_of(offset, &summary, changes)))
        }
        RecordKind::Checkpoint => {
            let commitment = record.chunks.get(1).map(|chunk| StateCommitment::from_bytes(chunk));
            Ok(match commitment {
                Some(Ok(commitment)) => RecordEffect::Checkpoint(commitment),
                _ => RecordEffect::Nothing,
            })
        }
        _ => Ok(RecordEffect::Nothing),
    }
}

/// The rows that the changes of a record write, a table's name being a row of [`STATE_TABLE_NAMES`].
fn rows_of(offset: Offset, summary: &RecordSummary, changes: Vec<Change>) -> Vec<RowState> {
    let row = |(chunk_index, change): (u32, Change)| {
        let here = Some(Position { offset, chunk_index });
        match change {
            Change::Row(change) => Some(RowState {
                table: change.table,
                key: row_key(summary, &change)?,
                position: here.filter(|_| change.after.is_some()),
            }),
            Change::CreateTable(schema) => Some(table_name(&schema.name, here)),
            Change::DropTable { name, .. } => Some(table_name(&name, None)),
            _ => None,
        }
    };
    (1..).zip(changes).filter_map(row).collect()
}

fn table_name(name: &str, position: Option<Position>) -> RowState {
    RowState {
        table: STATE_TABLE_NAMES,
        key: table_name_key(name),
        position,
    }
}

/// The key of a table's name.
pub(crate) fn table_name_key(name: &str) -> PrimaryKey {
    let name = Value::Text(name.to_owned());
    PrimaryKey::encode([&name]).expect("a table's name is shorter than a key may be")
}

/// The primary key of a changed row. Rows of the engine's own tables have none here.
fn row_key(summary: &RecordSummary, change: &RowChange) -> Option<PrimaryKey> {
    let row = change.after.as_ref().or(change.before.as_ref())?;
    let table = summary
        .tables
        .iter()
        .find(|table| table.id == change.table && table.id >= TableId::FIRST_USER)?;
    let values: Option<Vec<&Value>> = table
        .primary_key
        .iter()
        .map(|&position| row.get(usize::from(position)))
        .collect();
    PrimaryKey::encode(values?).ok()
}
