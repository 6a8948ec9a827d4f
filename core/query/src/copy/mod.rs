//! The data of `COPY`: lines in, lines out.

mod csv_format;
mod rows;
mod text_format;

use craton_types::{Row, Value};

use crate::execute::{Inserter, Memory, build_row, for_each_row};
use crate::expression::{Expression, assign};
use crate::plan::{Assignment, Conflict, CopyFormat, CopyIn, CopyOut};
use crate::types::base;
use crate::{Context, RowSource, SqlError, SqlState, WriteSet, text};

/// One line's fields: `None` is NULL.
type Fields<'a> = [Option<&'a str>];

/// Finds out what a `COPY … FROM STDIN` with this data writes.
///
/// # Errors
/// As [`crate::execute_write`]; the detail names the line and the column. Nothing of the data is then written.
pub fn copy_in(
    copy: &CopyIn,
    data: &[u8],
    source: &dyn RowSource,
    context: &Context<'_>,
) -> Result<WriteSet, SqlError> {
    let mut inserter = Inserter::new(&copy.table, &Conflict::Refuse, source, context, 0);
    let mut rows = 0u64;
    let mut store = |line: u64, fields: &Fields<'_>| -> Result<(), SqlError> {
        let row = parse_line(copy, line, fields, context)?;
        inserter
            .insert(row, false)
            .map_err(|error| in_line(error, copy, line))?;
        rows += 1;
        Ok(())
    };
    if copy.format.csv {
        csv_format::for_each_line(copy, data, &mut store)?;
    } else {
        text_format::for_each_line(copy, data, &mut store)?;
    }
    Ok(WriteSet {
        writes: inserter.finish(),
        tag: format!("COPY {rows}"),
        returning: None,
    })
}

/// Runs a `COPY … TO STDOUT`: the data, and the number of rows.
///
/// # Errors
/// As [`crate::execute_select`].
pub fn copy_out(copy: &CopyOut, source: &dyn RowSource, context: &Context<'_>) -> Result<(Vec<u8>, u64), SqlError> {
    crate::plan::check_parameters(&copy.select.parameter_types, context.parameters)?;
    let mut memory = Memory::new(context.memory_bytes_max);
    let mut out = String::new();
    let mut rows = 0;
    if copy.format.header {
        let names = copy.select.columns.iter().map(|column| Some(column.name.clone()));
        write_line(&copy.format, names, &mut out);
    }
    for_each_row(&copy.select, source, context, &mut memory, &mut |row, memory| {
        let before = out.len();
        let fields = row
            .iter()
            .zip(copy.select.columns.iter())
            .map(|(value, column)| match value {
                Value::Null => None,
                value => Some(text::format(value, column.column_type)),
            });
        write_line(&copy.format, fields, &mut out);
        rows += 1;
        memory.take(out.len() - before)
    })?;
    Ok((out.into_bytes(), rows))
}

fn write_line(format: &CopyFormat, fields: impl Iterator<Item = Option<String>>, out: &mut String) {
    for (index, field) in fields.enumerate() {
        if index > 0 {
            out.push(char::from(format.delimiter));
        }
        match field {
            None => out.push_str(&format.null),
            Some(field) if format.csv => csv_format::write_field(format, &field, out),
            Some(field) => text_format::write_field(format, &field, out),
        }
    }
    out.push('\n');
}

/// The table's row for a line.
fn parse_line(copy: &CopyIn, line: u64, fields: &Fields<'_>, context: &Context<'_>) -> Result<Row, SqlError> {
    let mut given: Vec<Option<Value>> = vec![None; copy.table.columns.len()];
    for (index, &place) in copy.places.iter().enumerate() {
        let column = &copy.table.columns[place];
        let Some(field) = fields.get(index) else {
            return Err(in_column(
                SqlError::new(
                    SqlState::BAD_COPY_FILE_FORMAT,
                    format!("missing data for column \"{}\"", column.name),
                ),
                copy,
                line,
                &column.name,
                None,
            ));
        };
        let value = match field {
            None => Ok(Value::Null),
            Some(spelled) => text::parse(spelled, column.column_type).and_then(|value| {
                let value = std::borrow::Cow::Owned(value);
                assign(value, base(column.column_type), column).map(std::borrow::Cow::into_owned)
            }),
        };
        given[place] = Some(value.map_err(|error| in_column(error, copy, line, &column.name, *field))?);
    }
    if fields.len() > copy.places.len() {
        let error = SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, "extra data after last expected column");
        return Err(in_line(error, copy, line));
    }
    if given.iter().all(Option::is_some) {
        let row: Row = given.into_iter().flatten().collect();
        crate::execute::check_not_null(&copy.table, &row).map_err(|error| in_line(error, copy, line))?;
        return Ok(row);
    }
    let mut assignments = copy.defaults.clone();
    for ((assignment, value), column) in assignments.iter_mut().zip(given).zip(&copy.table.columns) {
        if let Some(value) = value {
            *assignment = Assignment {
                expression: Expression::Literal(value),
                from: column.column_type,
            };
        }
    }
    build_row(&copy.table, &assignments, &[], context).map_err(|error| in_line(error, copy, line))
}

fn add_detail(error: SqlError, place: String) -> SqlError {
    let detail = match &error.detail {
        Some(detail) => format!("{detail} {place}"),
        None => place,
    };
    error.with_detail(detail)
}

fn in_line(error: SqlError, copy: &CopyIn, line: u64) -> SqlError {
    add_detail(error, format!("COPY {}, line {line}", copy.table.name))
}

fn in_column(error: SqlError, copy: &CopyIn, line: u64, column: &str, field: Option<&str>) -> SqlError {
    let place = match field {
        Some(field) => format!(
            "COPY {}, line {line}, column {column}: \"{}\"",
            copy.table.name,
            text::excerpt(field)
        ),
        None => format!("COPY {}, line {line}, column {column}", copy.table.name),
    };
    add_detail(error, place)
}

/// Checks that all of the data is UTF-8, so that its lines are, too.
fn as_text(copy: &CopyIn, data: &[u8]) -> Result<(), SqlError> {
    let Err(error) = std::str::from_utf8(data) else {
        return Ok(());
    };
    let lines_before = data[..error.valid_up_to()]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count() as u64;
    Err(not_utf8(copy, lines_before + 1))
}

/// `22021` for bytes that are not UTF-8.
fn not_utf8(copy: &CopyIn, line: u64) -> SqlError {
    let error = SqlError::new(
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        "invalid byte sequence for encoding \"UTF8\"",
    );
    in_line(error, copy, line)
}
