//! `COPY … FROM STDIN` and `COPY … TO STDOUT`.

use std::sync::Arc;

use craton_types::TableSchema;
use sqlparser::ast::{self, CopyLegacyCsvOption, CopyLegacyOption, CopyOption};

use super::query::SelectPlan;
use super::write::{Assignment, defaults, place_of};
use super::{PlanKind, Planner};
use crate::{SqlError, SqlState};

/// How the lines of `COPY` are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyFormat {
    pub(crate) csv: bool,
    pub(crate) header: bool,
    pub(crate) delimiter: u8,
    pub(crate) null: String,
    pub(crate) quote: u8,
    pub(crate) escape: u8,
}

/// `COPY … FROM STDIN`, bound.
#[derive(Clone, Debug)]
pub struct CopyIn {
    pub(crate) table: Arc<TableSchema>,
    /// The table's columns that the lines give, in the lines' order.
    pub(crate) places: Vec<usize>,
    /// A value for each column, for those that the lines do not give.
    pub(crate) defaults: Vec<Assignment>,
    pub(crate) format: CopyFormat,
}

impl CopyIn {
    /// How many columns each line has, for the protocol's `CopyInResponse`.
    #[must_use]
    pub fn columns_count(&self) -> usize {
        self.places.len()
    }

    /// The table that is written.
    #[must_use]
    pub fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }
}

/// `COPY … TO STDOUT`, bound.
#[derive(Clone, Debug)]
pub struct CopyOut {
    pub(crate) select: SelectPlan,
    pub(crate) format: CopyFormat,
}

impl CopyOut {
    /// How many columns each line has, for the protocol's `CopyOutResponse`.
    #[must_use]
    pub fn columns_count(&self) -> usize {
        self.select.columns.len()
    }
}

impl Planner<'_> {
    pub(super) fn bind_copy(&mut self, statement: &ast::Statement) -> Result<PlanKind, SqlError> {
        let ast::Statement::Copy {
            source,
            to,
            target,
            options,
            legacy_options,
            values: _,
        } = statement
        else {
            return Err(SqlError::internal("only COPY is bound as COPY"));
        };
        match (to, target) {
            (false, ast::CopyTarget::Stdin) | (true, ast::CopyTarget::Stdout) => {}
            _ => {
                return Err(SqlError::unsupported("COPY from or to a file of the server").with_hint(
                    "Anyone can COPY to stdout or from stdin. psql's \\copy command also works for anyone.",
                ));
            }
        }
        let format = Options::collect(options, legacy_options)?.finish()?;
        match source {
            ast::CopySource::Query(query) => {
                let select = self.bind_query(query)?;
                Ok(PlanKind::CopyOut(CopyOut { select, format }))
            }
            ast::CopySource::Table { table_name, columns } => {
                let table = self.table(table_name)?;
                let places = copied_columns(&table, columns)?;
                if *to {
                    let select = SelectPlan::of_columns(&table, &places);
                    return Ok(PlanKind::CopyOut(CopyOut { select, format }));
                }
                let defaults = defaults(&table)?;
                Ok(PlanKind::CopyIn(CopyIn {
                    table,
                    places,
                    defaults,
                    format,
                }))
            }
        }
    }
}

fn copied_columns(table: &TableSchema, columns: &[ast::Ident]) -> Result<Vec<usize>, SqlError> {
    if columns.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    let mut places = Vec::with_capacity(columns.len());
    for name in columns {
        let place = place_of(table, name)?;
        if places.contains(&place) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{}\" specified more than once", table.columns[place].name),
            ));
        }
        places.push(place);
    }
    Ok(places)
}

/// The options as far as they were said.
#[derive(Default)]
struct Options {
    csv: Option<bool>,
    header: Option<bool>,
    delimiter: Option<char>,
    null: Option<String>,
    quote: Option<char>,
    escape: Option<char>,
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), SqlError> {
    if slot.replace(value).is_some() {
        return Err(SqlError::syntax("conflicting or redundant options"));
    }
    Ok(())
}

impl Options {
    fn collect(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<Self, SqlError> {
        let mut found = Self::default();
        for option in options {
            match option {
                CopyOption::Format(name) => match name.value.to_ascii_lowercase().as_str() {
                    "csv" => set(&mut found.csv, true)?,
                    "text" => set(&mut found.csv, false)?,
                    "binary" => return Err(SqlError::unsupported("COPY … FORMAT binary")),
                    other => {
                        return Err(SqlError::new(
                            SqlState::INVALID_PARAMETER_VALUE,
                            format!("COPY format \"{other}\" not recognized"),
                        ));
                    }
                },
                CopyOption::Header(header) => set(&mut found.header, *header)?,
                CopyOption::Delimiter(character) => set(&mut found.delimiter, *character)?,
                CopyOption::Null(text) => set(&mut found.null, text.clone())?,
                CopyOption::Quote(character) => set(&mut found.quote, *character)?,
                CopyOption::Escape(character) => set(&mut found.escape, *character)?,
                CopyOption::Encoding(name) => check_encoding(name)?,
                // Nothing is ever frozen: accepting the default changes nothing.
                CopyOption::Freeze(false) => {}
                other => return Err(SqlError::unsupported(format!("the COPY option {other}"))),
            }
        }
        for option in legacy {
            match option {
                CopyLegacyOption::Csv(options) => {
                    set(&mut found.csv, true)?;
                    for option in options {
                        match option {
                            CopyLegacyCsvOption::Header => set(&mut found.header, true)?,
                            CopyLegacyCsvOption::Quote(character) => set(&mut found.quote, *character)?,
                            CopyLegacyCsvOption::Escape(character) => set(&mut found.escape, *character)?,
                            other => return Err(SqlError::unsupported(format!("the COPY option {other}"))),
                        }
                    }
                }
                CopyLegacyOption::Header => set(&mut found.header, true)?,
                CopyLegacyOption::Delimiter(character) => set(&mut found.delimiter, *character)?,
                CopyLegacyOption::Null(text) => set(&mut found.null, text.clone())?,
                other => return Err(SqlError::unsupported(format!("the COPY option {other}"))),
            }
        }
        Ok(found)
    }

    fn finish(self) -> Result<CopyFormat, SqlError> {
        let csv = self.csv.unwrap_or(false);
        let refused = |message: &str| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("COPY {message}"));
        let byte = |character: char, name: &str| {
            u8::try_from(character)
                .ok()
                .filter(|byte| byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0))
                .ok_or_else(|| refused(&format!("{name} must be a single one-byte character")))
        };
        if !csv && (self.quote.is_some() || self.escape.is_some()) {
            return Err(SqlError::unsupported("COPY quote or escape outside of CSV mode"));
        }
        let delimiter = byte(self.delimiter.unwrap_or(if csv { ',' } else { '\t' }), "delimiter")?;
        let quote = byte(self.quote.unwrap_or('"'), "quote")?;
        let escape = match self.escape {
            Some(character) => byte(character, "escape")?,
            None => quote,
        };
        let null = self
            .null
            .unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() });
        if null.contains(['\n', '\r']) || null.bytes().any(|byte| byte == delimiter) {
            return Err(refused("null representation cannot use a line break or the delimiter"));
        }
        if csv && (delimiter == quote || null.bytes().any(|byte| byte == quote)) {
            return Err(refused("delimiter, null and quote must be different"));
        }
        let taken = b"\\.abcdefghijklmnopqrstuvwxyz0123456789";
        if !csv && taken.contains(&delimiter) {
            return Err(refused("delimiter cannot be a letter, a digit, a point or a backslash"));
        }
        Ok(CopyFormat {
            csv,
            header: self.header.unwrap_or(false),
            delimiter,
            null,
            quote,
            escape,
        })
    }
}

fn check_encoding(name: &str) -> Result<(), SqlError> {
    if ["utf8", "utf-8", "unicode"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
    {
        return Ok(());
    }
    Err(SqlError::unsupported(format!("the encoding {name}")))
}
