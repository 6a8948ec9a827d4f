//! What a `FROM` clause names: a table, the history of one, or a view of the catalogue.

use std::sync::{Arc, LazyLock};

use craton_types::{Column, ColumnType, Row, TableId, TableSchema, Value};
use sqlparser::ast::{self, Expr};

use super::Planner;
use super::query::{Source, SourceKind, refuse_if};
use crate::expression::fold;
use crate::parse::position;
use crate::types::{full_type_name, type_name};
use crate::{Catalog, SqlError, SqlState, recovery};

/// The name of a relation in schema `public`, or in none.
pub(super) fn name_of(name: &ast::ObjectName) -> Result<String, SqlError> {
    match parts_of(name)?.as_slice() {
        [table] => Ok(table.clone()),
        [schema, table] if schema == "public" => Ok(table.clone()),
        [schema, _] => Err(
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("schema \"{schema}\" does not exist"))
                .at(start_of_name(name)),
        ),
        _ => Err(SqlError::unsupported("a table of another database").at(start_of_name(name))),
    }
}

fn parts_of(name: &ast::ObjectName) -> Result<Vec<String>, SqlError> {
    name.0
        .iter()
        .map(|part| match part {
            ast::ObjectNamePart::Identifier(ident) => fold(ident),
            ast::ObjectNamePart::Function(_) => Err(SqlError::unsupported(format!("the name {name}"))),
        })
        .collect()
}

pub(super) fn start_of_name(name: &ast::ObjectName) -> u32 {
    match name.0.first() {
        Some(ast::ObjectNamePart::Identifier(ident)) => position(ident.span),
        _ => 0,
    }
}

impl Planner<'_> {
    /// The table of a writing statement or of `FROM`.
    pub(super) fn table(&mut self, name: &ast::ObjectName) -> Result<Arc<TableSchema>, SqlError> {
        let folded = name_of(name)?;
        let table = self
            .catalog
            .table(&folded)
            .ok_or_else(|| SqlError::undefined_table(&folded).at(start_of_name(name)))?;
        self.tables.push(Arc::clone(&table));
        Ok(table)
    }

    /// The one table of `UPDATE`, `DELETE` or `FROM`, without joins, and its alias.
    pub(super) fn lone_table<'s>(
        &mut self,
        tables: &'s [ast::TableWithJoins],
    ) -> Result<(&'s ast::ObjectName, Option<String>, Option<&'s ast::TableFunctionArgs>), SqlError> {
        let [ast::TableWithJoins { relation, joins }] = tables else {
            return Err(SqlError::unsupported("more than one table"));
        };
        refuse_if(!joins.is_empty(), "JOIN")?;
        let ast::TableFactor::Table {
            name,
            alias,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } = relation
        else {
            return Err(SqlError::unsupported("a subquery in FROM"));
        };
        refuse_if(sample.is_some(), "TABLESAMPLE")?;
        refuse_if(
            !with_hints.is_empty()
                || version.is_some()
                || *with_ordinality
                || !partitions.is_empty()
                || json_path.is_some()
                || !index_hints.is_empty(),
            "a clause after the table's name",
        )?;
        let alias = match alias {
            None => None,
            Some(ast::TableAlias {
                explicit: _,
                name,
                columns,
                at: None,
            }) if columns.is_empty() => Some(fold(name)?),
            Some(_) => return Err(SqlError::unsupported("a table alias with columns")),
        };
        Ok((name, alias, args.as_ref()))
    }

    pub(super) fn bind_from(&mut self, from: &[ast::TableWithJoins]) -> Result<Source, SqlError> {
        if from.is_empty() {
            return Ok(Source {
                kind: SourceKind::Nothing,
                alias: String::new(),
            });
        }
        let (name, alias, arguments) = self.lone_table(from)?;
        let (kind, own_name) = match arguments {
            Some(arguments) => self.bind_table_function(name, arguments)?,
            None => self.bind_relation(name)?,
        };
        Ok(Source {
            kind,
            alias: alias.unwrap_or(own_name),
        })
    }

    fn bind_relation(&mut self, name: &ast::ObjectName) -> Result<(SourceKind, String), SqlError> {
        if let [schema, relation] = parts_of(name)?.as_slice()
            && schema == "information_schema"
        {
            let (columns, rows) = information_schema(relation, self.catalog)
                .ok_or_else(|| SqlError::undefined_table(&format!("{schema}.{relation}")).at(start_of_name(name)))?;
            self.reads_catalog = true;
            return Ok((SourceKind::Rows(rows.into(), columns), relation.clone()));
        }
        if name_of(name).is_ok_and(|folded| folded == recovery::RECOVERIES && self.catalog.table(&folded).is_none()) {
            return Ok((
                SourceKind::Recoveries(recovery::columns()),
                recovery::RECOVERIES.to_owned(),
            ));
        }
        let events = events_table();
        if name_of(name).is_ok_and(|folded| folded == events.name) {
            return Ok((SourceKind::Table(Arc::clone(events)), events.name.clone()));
        }
        let table = self.table(name)?;
        let own_name = table.name.clone();
        Ok((SourceKind::Table(table), own_name))
    }

    fn bind_table_function(
        &mut self,
        name: &ast::ObjectName,
        arguments: &ast::TableFunctionArgs,
    ) -> Result<(SourceKind, String), SqlError> {
        let at = start_of_name(name);
        let function = name_of(name)?;
        if function != "craton_history" {
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("function {function}() does not exist as a table"),
            )
            .at(at));
        }
        let table_name = match (arguments.args.as_slice(), &arguments.settings) {
            ([ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(Expr::Value(value)))], None) => match &value.value {
                ast::Value::SingleQuotedString(text) => Some(text.as_str()),
                _ => None,
            },
            _ => None,
        };
        let Some(table_name) = table_name else {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "craton_history takes a table's name as a string literal",
            )
            .with_hint("SELECT * FROM craton_history('patients')")
            .at(at));
        };
        let table = self
            .catalog
            .table(table_name.strip_prefix("public.").unwrap_or(table_name))
            .ok_or_else(|| SqlError::undefined_table(table_name).at(at))?;
        self.tables.push(Arc::clone(&table));
        Ok((SourceKind::History(table, history_columns()), function))
    }
}

fn columns(definitions: &[(&str, ColumnType)]) -> Vec<Column> {
    definitions
        .iter()
        .map(|(name, column_type)| Column {
            name: (*name).to_owned(),
            column_type: *column_type,
            nullable: true,
            default_sql: None,
        })
        .collect()
}

/// The number by which a [`crate::RowSource`] is asked for the rows of `craton_events`.
pub const EVENTS_TABLE: TableId = TableId::new(9);

/// `craton_events`: the log as a table that can only be read. Its key is `(position, change)`.
pub(super) fn events_table() -> &'static Arc<TableSchema> {
    static TABLE: LazyLock<Arc<TableSchema>> = LazyLock::new(|| {
        Arc::new(TableSchema {
            id: EVENTS_TABLE,
            name: "craton_events".to_owned(),
            columns: columns(&[
                ("position", ColumnType::Int8),
                ("change", ColumnType::Int8),
                ("time", ColumnType::TimestampTz),
                ("kind", ColumnType::Text),
                ("actor", ColumnType::Text),
                ("stream", ColumnType::Text),
                ("table_name", ColumnType::Text),
                ("operation", ColumnType::Text),
                ("subject", ColumnType::Text),
                ("erased", ColumnType::Bool),
                ("detail", ColumnType::Text),
            ]),
            primary_key: vec![0, 1],
            subjects: None,
            data_class: None,
        })
    });
    &TABLE
}

/// The columns of `craton_history('table')`.
fn history_columns() -> Vec<Column> {
    columns(&[
        ("position", ColumnType::Int8),
        ("time", ColumnType::TimestampTz),
        ("operation", ColumnType::Text),
        ("actor", ColumnType::Text),
        ("key", ColumnType::Json),
        ("before", ColumnType::Json),
        ("after", ColumnType::Json),
    ])
}

/// The views of the SQL standard's information schema (SQL:2016 part 11) that tools ask for tables and columns.
fn information_schema(relation: &str, catalog: &dyn Catalog) -> Option<(Vec<Column>, Vec<Row>)> {
    const TEXT: ColumnType = ColumnType::Text;
    let text = |text: &str| Value::Text(text.to_owned());
    let mut tables = catalog.tables();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    match relation {
        "tables" => {
            let definition = columns(&[("table_schema", TEXT), ("table_name", TEXT), ("table_type", TEXT)]);
            let row = |table: &Arc<TableSchema>| vec![text("public"), text(&table.name), text("BASE TABLE")];
            Some((definition, tables.iter().map(row).collect()))
        }
        "columns" => {
            let definition = columns(&[
                ("table_schema", TEXT),
                ("table_name", TEXT),
                ("column_name", TEXT),
                ("ordinal_position", ColumnType::Int4),
                ("column_default", TEXT),
                ("is_nullable", TEXT),
                ("data_type", TEXT),
                ("character_maximum_length", ColumnType::Int4),
                ("numeric_precision", ColumnType::Int4),
                ("numeric_scale", ColumnType::Int4),
                ("full_type", TEXT),
            ]);
            let mut rows = Vec::new();
            for table in &tables {
                for (index, column) in table.columns.iter().enumerate() {
                    let (length, precision, scale) = type_sizes(column.column_type);
                    rows.push(vec![
                        text("public"),
                        text(&table.name),
                        text(&column.name),
                        Value::Int(i64::try_from(index + 1).ok()?),
                        column.default_sql.as_deref().map_or(Value::Null, text),
                        text(if column.nullable { "YES" } else { "NO" }),
                        text(type_name(column.column_type)),
                        length,
                        precision,
                        scale,
                        Value::Text(full_type_name(column.column_type)),
                    ]);
                }
            }
            Some((definition, rows))
        }
        "key_column_usage" => {
            let definition = columns(&[
                ("constraint_name", TEXT),
                ("table_schema", TEXT),
                ("table_name", TEXT),
                ("column_name", TEXT),
                ("ordinal_position", ColumnType::Int4),
            ]);
            let mut rows = Vec::new();
            for table in &tables {
                for (index, &place) in table.primary_key.iter().enumerate() {
                    let column = table.columns.get(usize::from(place))?;
                    rows.push(vec![
                        Value::Text(format!("{}_pkey", table.name)),
                        text("public"),
                        text(&table.name),
                        text(&column.name),
                        Value::Int(i64::try_from(index + 1).ok()?),
                    ]);
                }
            }
            Some((definition, rows))
        }
        _ => None,
    }
}

/// Characters of a `varchar(n)`, digits and scale of a `numeric`.
fn type_sizes(column_type: ColumnType) -> (Value, Value, Value) {
    match column_type {
        ColumnType::Varchar { length_max } => (Value::Int(length_max.into()), Value::Null, Value::Null),
        ColumnType::Numeric {
            precision_and_scale: Some((precision, scale)),
        } => (Value::Null, Value::Int(precision.into()), Value::Int(scale.into())),
        _ => (Value::Null, Value::Null, Value::Null),
    }
}
