//! `INSERT`, `UPDATE` and `DELETE`: what they write.

use std::sync::Arc;

use craton_types::{Expected, PrimaryKey, Row, RowWrite, TableSchema, Value, VersionedRow};

use super::input::{self, Flow};
use super::memory::row_bytes;
use super::select::for_each_row;
use super::store::{Inserted, Inserter, build_row, changed_row, key_of};
use super::{Memory, ResultSet, WriteSet};
use crate::expression::Expression;
use crate::limits::ROWS_WRITTEN_MAX;
use crate::overlay::{TransactionWrites, too_many_rows};
use crate::plan::{Access, Assignment, Conflict, InsertSource, Returning, WriteKind, WritePlan, check_parameters};
use crate::{Context, InsertCheck, RowSource, SqlError};

/// Finds out what an `INSERT`, `UPDATE` or `DELETE` writes.
///
/// # Errors
/// When the parameters do not fit, a value does not fit its column, the source or an expression fails, or a bound
/// is exceeded.
pub fn execute_write(write: &WritePlan, source: &dyn RowSource, context: &Context<'_>) -> Result<WriteSet, SqlError> {
    check_parameters(&write.parameter_types, context.parameters)?;
    let table = &write.table;
    let mut returned = Returned::new(write);
    match &write.kind {
        WriteKind::Insert { source: rows, conflict } => insert(table, rows, conflict, source, context, returned),
        WriteKind::Update {
            access,
            filter,
            assignments,
            changes_key: false,
        } => {
            let mut writes = Vec::new();
            let mut memory = Memory::new(context.memory_bytes_max);
            for_each_match(table, access, filter.as_ref(), source, context, &mut |key, old| {
                let row = changed_row(table, &old.row, assignments, &old.row, context)?;
                memory.take_row(&row)?;
                returned.push(&row, context, &mut memory)?;
                push(&mut writes, table, key, Expected::Version(old.version), Some(row))
            })?;
            Ok(returned.finish(format!("UPDATE {}", writes.len()), writes))
        }
        WriteKind::Update {
            access,
            filter,
            assignments,
            changes_key: true,
        } => move_rows(table, access, filter.as_ref(), assignments, source, context, returned),
        WriteKind::Delete { access, filter } => {
            let mut writes = Vec::new();
            let mut memory = Memory::new(context.memory_bytes_max);
            for_each_match(table, access, filter.as_ref(), source, context, &mut |key, old| {
                memory.take(size_of::<RowWrite>() + key.as_bytes().len())?;
                returned.push(&old.row, context, &mut memory)?;
                push(&mut writes, table, key, Expected::Version(old.version), None)
            })?;
            Ok(returned.finish(format!("DELETE {}", writes.len()), writes))
        }
    }
}

fn push(
    writes: &mut Vec<RowWrite>,
    table: &TableSchema,
    key: PrimaryKey,
    expected: Expected,
    after: Option<Row>,
) -> Result<(), SqlError> {
    if writes.len() == ROWS_WRITTEN_MAX {
        return Err(too_many_rows());
    }
    writes.push(RowWrite {
        table: table.id,
        key: key.into_bytes(),
        expected,
        after,
    });
    Ok(())
}

fn for_each_match(
    table: &TableSchema,
    access: &Access,
    filter: Option<&Expression>,
    source: &dyn RowSource,
    context: &Context<'_>,
    visit: &mut dyn FnMut(PrimaryKey, VersionedRow) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    input::for_each(table, access, source, context, &mut |key, row| {
        if let Some(filter) = filter
            && !filter.is_true(&row.row, context)?
        {
            return Ok(Flow::Continue);
        }
        visit(key, row)?;
        Ok(Flow::Continue)
    })
}

fn insert(
    table: &Arc<TableSchema>,
    rows: &InsertSource,
    conflict: &Conflict,
    source: &dyn RowSource,
    context: &Context<'_>,
    mut returned: Returned<'_>,
) -> Result<WriteSet, SqlError> {
    let mut memory = Memory::new(context.memory_bytes_max);
    let mut affected = 0u64;
    let keep = returned.is_wanted();
    let expected = match rows {
        InsertSource::Values(rows) => rows.len(),
        InsertSource::Query(..) => 0,
    };
    let mut inserter = Inserter::new(table, conflict, source, context, expected);
    let mut add = |row: Row, memory: &mut Memory| -> Result<(), SqlError> {
        match inserter.insert(row, keep)? {
            Inserted::Skipped => return Ok(()),
            Inserted::Stored(row) | Inserted::Updated(row) => returned.push(&row, context, memory)?,
        }
        affected += 1;
        Ok(())
    };
    match rows {
        InsertSource::Values(rows) => {
            for assignments in rows {
                add(build_row(table, assignments, &[], context)?, &mut memory)?;
            }
        }
        InsertSource::Query(select, assignments) => {
            for_each_row(select, source, context, &mut memory, &mut |row, memory| {
                add(build_row(table, assignments, &row, context)?, memory)
            })?;
        }
    }
    let writes = inserter.finish();
    Ok(returned.finish(format!("INSERT 0 {affected}"), writes))
}

/// An `UPDATE` of key columns: each row is deleted under its old key and inserted under the new one. All deletes
/// count before all inserts, so that `SET id = id + 1` meets no row that moves on, too.
fn move_rows(
    table: &Arc<TableSchema>,
    access: &Access,
    filter: Option<&Expression>,
    assignments: &[(usize, Assignment)],
    source: &dyn RowSource,
    context: &Context<'_>,
    mut returned: Returned<'_>,
) -> Result<WriteSet, SqlError> {
    let mut memory = Memory::new(context.memory_bytes_max);
    let mut deletes = Vec::new();
    let mut inserts = Vec::new();
    for_each_match(table, access, filter, source, context, &mut |key, old| {
        let row = changed_row(table, &old.row, assignments, &old.row, context)?;
        memory.take(2 * key.as_bytes().len() + row_bytes(&row))?;
        returned.push(&row, context, &mut memory)?;
        push(&mut deletes, table, key, Expected::Version(old.version), None)?;
        let new_key = key_of(table, &row)?;
        push(&mut inserts, table, new_key, Expected::Absent, Some(row))
    })?;
    let tag = format!("UPDATE {}", inserts.len());
    let mut merged = TransactionWrites::default();
    let schema = |_| Some(Arc::clone(table));
    merged.merge(deletes, schema)?;
    merged.merge(inserts, schema)?;
    let writes = merged.into_writes();
    if context.insert_check == InsertCheck::Now {
        for write in writes.iter().filter(|write| write.expected == Expected::Absent) {
            let key = PrimaryKey::from_bytes(write.key.clone());
            if let (Some(_), Some(row)) = (source.get(table.id, &key)?, &write.after) {
                return Err(SqlError::unique_violation(table, row));
            }
        }
    }
    Ok(returned.finish(tag, writes))
}

/// The rows of `RETURNING`.
struct Returned<'a> {
    returning: Option<&'a Returning>,
    rows: Vec<Row>,
}

impl<'a> Returned<'a> {
    fn new(write: &'a WritePlan) -> Self {
        Self {
            returning: write.returning.as_ref(),
            rows: Vec::new(),
        }
    }

    const fn is_wanted(&self) -> bool {
        self.returning.is_some()
    }

    fn push(&mut self, row: &[Value], context: &Context<'_>, memory: &mut Memory) -> Result<(), SqlError> {
        let Some(returning) = self.returning else { return Ok(()) };
        let mut projected = Row::with_capacity(returning.projection.len());
        for expression in &returning.projection {
            projected.push(expression.evaluate(row, context)?.into_owned());
        }
        memory.take_row(&projected)?;
        self.rows.push(projected);
        Ok(())
    }

    fn finish(self, tag: String, writes: Vec<RowWrite>) -> WriteSet {
        let rows = self.rows;
        WriteSet {
            writes,
            tag,
            returning: self.returning.map(|returning| ResultSet {
                columns: Arc::clone(&returning.columns),
                rows,
            }),
        }
    }
}
