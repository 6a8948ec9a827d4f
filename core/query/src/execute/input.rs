//! The rows that a statement reads, by the access path that the planner chose.

use craton_types::{ColumnType, PrimaryKey, Row, TableSchema, Value, VersionedRow};

use crate::expression::{Expression, convert_for_key};
use crate::plan::{Access, KeyBound};
use crate::prefix_end;
use crate::text;
use crate::{Context, Direction, HistoryEntry, KeyRange, RowSource, SqlError, SqlState};

/// Whether more rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Stop,
}

/// Visits the rows of a table on an access path, in its order.
pub(super) fn for_each(
    table: &TableSchema,
    access: &Access,
    source: &dyn RowSource,
    context: &Context<'_>,
    visit: &mut dyn FnMut(PrimaryKey, VersionedRow) -> Result<Flow, SqlError>,
) -> Result<(), SqlError> {
    if access.fixed_columns_count() == table.primary_key.len() {
        // A single key: the path of most reads.
        if let Some(key) = single_key(table, access, context)?
            && let Some(row) = source.get(table.id, &key)?
        {
            visit(key, row)?;
        }
        return Ok(());
    }
    let mut prefixes = key_prefixes(table, access, context)?;
    if access.direction == Direction::Backward {
        prefixes.reverse();
    }
    if access.is_points(table) {
        for prefix in prefixes {
            let key = PrimaryKey::from_bytes(prefix);
            if let Some(row) = source.get(table.id, &key)?
                && visit(key, row)? == Flow::Stop
            {
                return Ok(());
            }
        }
        return Ok(());
    }
    for prefix in prefixes {
        let Some(range) = key_range(table, access, prefix, context)? else {
            continue;
        };
        for item in source.scan(table.id, range, access.direction)? {
            let (key, row) = item?;
            if visit(key, row)? == Flow::Stop {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The key that an access path names; `None` when a value is NULL or too long to be stored, so no row has it.
fn single_key(table: &TableSchema, access: &Access, context: &Context<'_>) -> Result<Option<PrimaryKey>, SqlError> {
    let mut values = Vec::with_capacity(access.equal.len());
    for (index, alternatives) in access.equal.iter().enumerate() {
        for alternative in alternatives {
            let value = alternative.evaluate(&[], context)?;
            values.push(convert_for_key(value, key_column_type(table, index)?));
        }
    }
    Ok(PrimaryKey::encode(values.iter().map(AsRef::as_ref)).ok())
}

/// The encoded leading key columns, one for each combination of the alternatives, ascending.
fn key_prefixes(table: &TableSchema, access: &Access, context: &Context<'_>) -> Result<Vec<Vec<u8>>, SqlError> {
    let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
    for (index, alternatives) in access.equal.iter().enumerate() {
        let column_type = key_column_type(table, index)?;
        let mut parts = Vec::with_capacity(alternatives.len());
        for alternative in alternatives {
            // A NULL equals nothing, and neither does a key that is too long to be stored.
            if let Some(part) = encode_part(alternative, column_type, context)? {
                parts.push(part);
            }
        }
        if parts.len() == 1 {
            for prefix in &mut prefixes {
                prefix.extend_from_slice(&parts[0]);
            }
            continue;
        }
        prefixes = prefixes
            .iter()
            .flat_map(|prefix| parts.iter().map(|part| [prefix.as_slice(), part].concat()))
            .collect();
    }
    if prefixes.len() > 1 {
        prefixes.sort_unstable();
        prefixes.dedup();
    }
    Ok(prefixes)
}

fn key_column_type(table: &TableSchema, index: usize) -> Result<ColumnType, SqlError> {
    let place = table.primary_key.get(index).map(|&place| usize::from(place));
    place
        .and_then(|place| table.columns.get(place))
        .map(|column| column.column_type)
        .ok_or_else(|| SqlError::internal("an access path names a missing key column"))
}

fn encode_part(
    expression: &Expression,
    column_type: ColumnType,
    context: &Context<'_>,
) -> Result<Option<Vec<u8>>, SqlError> {
    let value = expression.evaluate(&[], context)?;
    let value = convert_for_key(value, column_type);
    if value.is_null() {
        return Ok(None);
    }
    Ok(PrimaryKey::encode([value.as_ref()]).ok().map(PrimaryKey::into_bytes))
}

/// The range behind a prefix; `None` when a bound is NULL and so no row is inside.
fn key_range(
    table: &TableSchema,
    access: &Access,
    prefix: Vec<u8>,
    context: &Context<'_>,
) -> Result<Option<KeyRange>, SqlError> {
    let mut range = KeyRange::prefix(&prefix);
    let bound = |bound: &KeyBound| -> Result<Option<Vec<u8>>, SqlError> {
        let column_type = key_column_type(table, access.equal.len())?;
        let value = bound.value.evaluate(&[], context)?;
        if value.is_null() {
            return Ok(None);
        }
        let value = convert_for_key(value, column_type);
        let part = PrimaryKey::encode([value.as_ref()])
            .map_err(|error| SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, error.to_string()))?;
        Ok(Some([prefix.as_slice(), part.as_bytes()].concat()))
    };
    if let Some(lower) = &access.lower {
        let Some(key) = bound(lower)? else { return Ok(None) };
        if lower.inclusive {
            range.start = key;
        } else {
            // After every key with this value; there is always one, as values do not begin with 0xFF.
            let Some(start) = prefix_end(&key) else { return Ok(None) };
            range.start = start;
        }
    }
    if let Some(upper) = &access.upper {
        let Some(key) = bound(upper)? else { return Ok(None) };
        range.end = if upper.inclusive { prefix_end(&key) } else { Some(key) };
    }
    Ok((!range.is_empty()).then_some(range))
}

/// A row of `craton_history('table')`.
pub(super) fn history_row(table: &TableSchema, entry: &HistoryEntry) -> Result<Row, SqlError> {
    let operation = match (&entry.before, &entry.after) {
        (None, _) => "INSERT",
        (Some(_), Some(_)) => "UPDATE",
        (Some(_), None) => "DELETE",
    };
    let json = |row: Option<&Vec<Value>>, places: &mut dyn Iterator<Item = usize>| match row {
        Some(row) => Value::Json(row_json(table, row, places)),
        None => Value::Null,
    };
    let all = || 0..table.columns.len();
    let key_row = entry.after.as_ref().or(entry.before.as_ref());
    let mut key_places = table.primary_key.iter().map(|&place| usize::from(place));
    let position = i64::try_from(entry.position)
        .map_err(|_| SqlError::new(SqlState::NUMERIC_OUT_OF_RANGE, "bigint out of range"))?;
    Ok(vec![
        Value::Int(position),
        Value::TimestampTz(entry.time.as_micros()),
        Value::Text(operation.to_owned()),
        Value::Text(entry.actor.clone()),
        json(key_row, &mut key_places),
        json(entry.before.as_ref(), &mut all()),
        json(entry.after.as_ref(), &mut all()),
    ])
}

/// Some columns of a row as a JSON object, as PostgreSQL's `row_to_json` writes it.
fn row_json(table: &TableSchema, row: &[Value], places: &mut dyn Iterator<Item = usize>) -> String {
    let mut out = String::from("{");
    for place in places {
        let (Some(column), Some(value)) = (table.columns.get(place), row.get(place)) else {
            continue;
        };
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&json_string(&column.name));
        out.push(':');
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Float(number) if !number.is_finite() => {
                out.push_str(&json_string(&text::format(value, column.column_type)));
            }
            Value::Int(_) | Value::Float(_) | Value::Numeric(_) | Value::Json(_) => {
                text::write(value, column.column_type, &mut out);
            }
            _ => out.push_str(&json_string(&text::format(value, column.column_type))),
        }
    }
    out.push('}');
    out
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}
