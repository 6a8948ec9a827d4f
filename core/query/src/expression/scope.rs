//! The columns that an expression can name.

use craton_types::Column;
use sqlparser::ast::Ident;

use crate::limits::NAME_BYTES_MAX;
use crate::parse::position;
use crate::{SqlError, SqlState};

/// One table's columns in the row that an expression is evaluated over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScopeTable<'a> {
    /// The name that qualifies its columns: the alias, or the table's name.
    pub(crate) name: &'a str,
    pub(crate) columns: &'a [Column],
    /// The place of the first column in the row.
    pub(crate) offset: usize,
    /// Whether its columns need the qualifier, as those of `excluded` do.
    pub(crate) qualified_only: bool,
}

/// The tables in sight.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) tables: Vec<ScopeTable<'a>>,
}

impl<'a> Scope<'a> {
    /// No columns at all.
    pub(crate) const fn empty() -> Self {
        Self { tables: Vec::new() }
    }

    /// The columns of one table.
    pub(crate) fn table(name: &'a str, columns: &'a [Column]) -> Self {
        Self {
            tables: vec![ScopeTable {
                name,
                columns,
                offset: 0,
                qualified_only: false,
            }],
        }
    }

    /// Whether a column can be named without a qualifier.
    pub(crate) fn has_column(&self, name: &str) -> bool {
        self.tables
            .iter()
            .any(|table| !table.qualified_only && find(table, name).is_some())
    }

    /// The place and the definition of a column, by its name and perhaps its qualifiers.
    pub(super) fn resolve(&self, names: &[Ident]) -> Result<(usize, &'a Column), SqlError> {
        let (column, qualifier) = match names {
            [column] => (column, None),
            [table, column] => (column, Some(table)),
            [schema, table, column] if fold(schema)? == "public" => (column, Some(table)),
            _ => return Err(SqlError::unsupported("a name with so many parts")),
        };
        let at = names.first().map_or(0, |name| position(name.span));
        let column_name = fold(column)?;
        let Some(qualifier) = qualifier else {
            let found = self
                .tables
                .iter()
                .filter(|table| !table.qualified_only)
                .find_map(|table| find(table, &column_name));
            return found.ok_or_else(|| SqlError::undefined_column(&column_name).at(at));
        };
        let table_name = fold(qualifier)?;
        let table = self
            .tables
            .iter()
            .find(|table| table.name == table_name)
            .ok_or_else(|| {
                SqlError::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("missing FROM-clause entry for table \"{table_name}\""),
                )
                .at(at)
            })?;
        find(table, &column_name).ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column {table_name}.{column_name} does not exist"),
            )
            .at(at)
        })
    }

    /// The column at a place of the row, for messages.
    pub(crate) fn column_at(&self, place: usize) -> Option<(&'a str, &'a Column)> {
        self.tables.iter().find_map(|table| {
            let column = table.columns.get(place.checked_sub(table.offset)?)?;
            Some((table.name, column))
        })
    }
}

fn find<'a>(table: &ScopeTable<'a>, name: &str) -> Option<(usize, &'a Column)> {
    let index = table.columns.iter().position(|column| column.name == name)?;
    Some((table.offset + index, &table.columns[index]))
}

/// A name as it is stored: in lower case unless it was quoted.
pub(crate) fn fold(name: &Ident) -> Result<String, SqlError> {
    let folded = if name.quote_style.is_some() {
        name.value.clone()
    } else {
        name.value.to_ascii_lowercase()
    };
    if folded.len() > NAME_BYTES_MAX {
        return Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("a name cannot be longer than {NAME_BYTES_MAX} bytes"),
        )
        .at(position(name.span)));
    }
    if folded.is_empty() || folded.contains('\0') {
        return Err(SqlError::syntax("a name must not be empty or hold a zero byte").at(position(name.span)));
    }
    Ok(folded)
}
