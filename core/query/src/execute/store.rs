//! Rows on their way into a table: casts, checks, keys and conflicts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use craton_types::{Column, Expected, PrimaryKey, Row, RowWrite, TableSchema, Value, VersionedRow};

use super::Memory;
use crate::expression::assign;
use crate::limits::ROWS_WRITTEN_MAX;
use crate::overlay::too_many_rows;
use crate::plan::{Assignment, Conflict};
use crate::{Context, InsertCheck, RowSource, SqlError, SqlState, text};

/// Makes a row for a table from one assignment per column, evaluated over `row`.
pub(crate) fn build_row(
    table: &TableSchema,
    assignments: &[Assignment],
    row: &[Value],
    context: &Context<'_>,
) -> Result<Row, SqlError> {
    let mut built = Row::with_capacity(table.columns.len());
    for (assignment, column) in assignments.iter().zip(&table.columns) {
        built.push(value_for(assignment, column, row, context)?);
    }
    check_not_null(table, &built)?;
    Ok(built)
}

/// The value that an assignment gives a column.
fn value_for(
    assignment: &Assignment,
    column: &Column,
    row: &[Value],
    context: &Context<'_>,
) -> Result<Value, SqlError> {
    let value = assignment.expression.evaluate(row, context)?;
    let value = assign(value, assignment.from, column)?.into_owned();
    Ok(match value {
        // SQL has one NaN, and keys and hashes must not see another.
        Value::Float(number) => Value::Float(text::one_nan(number)),
        other => other,
    })
}

/// A row with some columns assigned anew; the new values are evaluated over `scope_row`.
pub(super) fn changed_row(
    table: &TableSchema,
    old: &Row,
    assignments: &[(usize, Assignment)],
    scope_row: &[Value],
    context: &Context<'_>,
) -> Result<Row, SqlError> {
    let mut row = old.clone();
    for (place, assignment) in assignments {
        let (Some(slot), Some(column)) = (row.get_mut(*place), table.columns.get(*place)) else {
            return Err(SqlError::internal("an assignment names a missing column"));
        };
        *slot = value_for(assignment, column, scope_row, context)?;
    }
    check_not_null(table, &row)?;
    Ok(row)
}

/// `23502` for the first NULL in a column that takes none.
pub(crate) fn check_not_null(table: &TableSchema, row: &[Value]) -> Result<(), SqlError> {
    for (column, value) in table.columns.iter().zip(row) {
        if value.is_null() && !column.nullable {
            return Err(SqlError::new(
                SqlState::NOT_NULL_VIOLATION,
                format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    column.name, table.name
                ),
            )
            .with_detail(format!("Failing row contains ({}).", describe_row(table, row))));
        }
    }
    Ok(())
}

fn describe_row(table: &TableSchema, row: &[Value]) -> String {
    const CHARACTERS_MAX: usize = 64;
    let mut out = String::new();
    for (index, (column, value)) in table.columns.iter().zip(row).enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        if value.is_null() {
            out.push_str("null");
            continue;
        }
        let shown = text::format(value, column.column_type);
        out.extend(shown.chars().take(CHARACTERS_MAX));
        if shown.chars().nth(CHARACTERS_MAX).is_some() {
            out.push_str("...");
        }
    }
    out
}

/// The row's encoded primary key.
pub(super) fn key_of(table: &TableSchema, row: &[Value]) -> Result<PrimaryKey, SqlError> {
    let values = table
        .primary_key
        .iter()
        .filter_map(|&place| row.get(usize::from(place)));
    PrimaryKey::encode(values).map_err(|error| SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, error.to_string()))
}

/// What became of a proposed row.
pub(crate) enum Inserted {
    /// It will be stored.
    Stored(Row),
    /// `ON CONFLICT` changed the existing row to this.
    Updated(Row),
    /// `ON CONFLICT` left the existing row alone.
    Skipped,
}

/// Collects the writes of an `INSERT` or `COPY`.
pub(crate) struct Inserter<'a> {
    table: &'a Arc<TableSchema>,
    conflict: &'a Conflict,
    source: &'a dyn RowSource,
    context: &'a Context<'a>,
    memory: Memory,
    writes: Vec<RowWrite>,
    /// The keys so far; left empty while there is one row, which meets no other.
    keys: HashMap<Vec<u8>, ()>,
}

impl<'a> Inserter<'a> {
    pub(crate) fn new(
        table: &'a Arc<TableSchema>,
        conflict: &'a Conflict,
        source: &'a dyn RowSource,
        context: &'a Context<'a>,
        rows_expected: usize,
    ) -> Self {
        Self {
            table,
            conflict,
            source,
            context,
            memory: Memory::new(context.memory_bytes_max),
            writes: Vec::with_capacity(rows_expected),
            keys: HashMap::new(),
        }
    }

    /// Proposes a row. `keep` tells whether the caller needs the row that came of it.
    pub(crate) fn insert(&mut self, row: Row, keep: bool) -> Result<Inserted, SqlError> {
        let key = key_of(self.table, &row)?;
        if self.writes.len() == ROWS_WRITTEN_MAX {
            return Err(too_many_rows());
        }
        if !self.note_key(&key) {
            return match self.conflict {
                Conflict::Refuse => Err(SqlError::unique_violation(self.table, &row)),
                Conflict::Ignore => Ok(Inserted::Skipped),
                Conflict::Update { .. } => Err(SqlError::new(
                    SqlState::CARDINALITY_VIOLATION,
                    "ON CONFLICT DO UPDATE command cannot affect row a second time",
                )
                .with_hint(
                    "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
                )),
            };
        }
        let looks = !matches!(self.conflict, Conflict::Refuse) || self.context.insert_check == InsertCheck::Now;
        let existing = if looks {
            self.source.get(self.table.id, &key)?
        } else {
            None
        };
        match (existing, self.conflict) {
            (None, _) => {
                self.memory.take_row(&row)?;
                let kept = if keep { row.clone() } else { Row::new() };
                self.push(key, Expected::Absent, row);
                Ok(Inserted::Stored(kept))
            }
            (Some(_), Conflict::Refuse) => Err(SqlError::unique_violation(self.table, &row)),
            (Some(_), Conflict::Ignore) => Ok(Inserted::Skipped),
            (Some(existing), Conflict::Update { assignments, filter }) => {
                let mut scope_row = Row::clone(&existing.row);
                scope_row.extend(row);
                if let Some(filter) = filter
                    && !filter.is_true(&scope_row, self.context)?
                {
                    return Ok(Inserted::Skipped);
                }
                let VersionedRow { version, row: old } = existing;
                let changed = changed_row(self.table, &old, assignments, &scope_row, self.context)?;
                self.memory.take_row(&changed)?;
                let kept = if keep { changed.clone() } else { Row::new() };
                self.push(key, Expected::Version(version), changed);
                Ok(Inserted::Updated(kept))
            }
        }
    }

    /// Whether the key is new in this statement.
    fn note_key(&mut self, key: &PrimaryKey) -> bool {
        if self.writes.len() == 1 && self.keys.is_empty() {
            self.keys.insert(self.writes[0].key.clone(), ());
        }
        if self.writes.is_empty() && self.keys.is_empty() {
            return true;
        }
        match self.keys.entry(key.as_bytes().to_vec()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(slot) => {
                slot.insert(());
                true
            }
        }
    }

    fn push(&mut self, key: PrimaryKey, expected: Expected, row: Row) {
        self.writes.push(RowWrite {
            table: self.table.id,
            key: key.into_bytes(),
            expected,
            after: Some(row),
        });
    }

    pub(crate) fn finish(self) -> Vec<RowWrite> {
        self.writes
    }
}
