//! `CREATE TABLE` and `DROP TABLE`.

use craton_types::{Column, ColumnType, TableId, TableSchema, Value};
use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{self, ColumnOption, Expr, TableConstraint};

use super::query::refuse_if;
use super::write::Assignment;
use super::{NoTables, Planner, compliance, relation, session};
use crate::expression::{Binder, ParameterTypes, Scope, fold, start_of};
use crate::limits::{COLUMNS_MAX, KEY_COLUMNS_MAX};
use crate::parse::position;
use crate::types::{column_type, type_name};
use crate::{SqlError, SqlState};

/// `CREATE TABLE`, checked. Whether the name is free is for the kernel to say: [`SqlError::duplicate_table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTable {
    /// The definition; its id is zero until the kernel gives it one.
    pub schema: TableSchema,
    /// Whether an existing table is left alone with a notice.
    pub if_not_exists: bool,
}

/// `DROP TABLE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropTable {
    /// The tables' names, each once.
    pub tables: Vec<String>,
    /// Whether missing tables are skipped with a notice.
    pub if_exists: bool,
}

const KEY_HINT: &str =
    "Declare one, such as: id uuid PRIMARY KEY DEFAULT gen_random_uuid(). Every row's history is kept by its key.";

impl Planner<'_> {
    pub(super) fn bind_create_table(&mut self, create: &ast::CreateTable) -> Result<CreateTable, SqlError> {
        refuse_other_clauses(create)?;
        let name = relation::name_of(&create.name)?;
        if name == relation::events_table().name {
            return Err(SqlError::duplicate_table(&name));
        }
        if create.columns.len() > COLUMNS_MAX {
            return Err(SqlError::new(
                SqlState::TOO_MANY_COLUMNS,
                format!("tables can have at most {COLUMNS_MAX} columns"),
            ));
        }
        let mut columns: Vec<Column> = Vec::with_capacity(create.columns.len());
        let mut key: Option<Vec<u16>> = None;
        for (index, definition) in create.columns.iter().enumerate() {
            let (column, is_key) = bind_column(definition)?;
            if columns.iter().any(|other| other.name == column.name) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{}\" specified more than once", column.name),
                )
                .at(position(definition.name.span)));
            }
            columns.push(column);
            if is_key {
                let place = u16::try_from(index).map_err(|_| SqlError::internal("more columns than were allowed"))?;
                set_key(&mut key, vec![place], &name)?;
            }
        }
        for constraint in &create.constraints {
            match constraint {
                TableConstraint::PrimaryKey(constraint) => {
                    set_key(&mut key, key_columns(constraint, &columns)?, &name)?;
                }
                other => return Err(unsupported_constraint(constraint_name(other))),
            }
        }
        let Some(primary_key) = key else {
            return Err(SqlError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                format!("table \"{name}\" must have a primary key"),
            )
            .with_hint(KEY_HINT));
        };
        for &place in &primary_key {
            let column = &mut columns[usize::from(place)];
            column.nullable = false;
            check_key_type(column)?;
        }
        let data = match &create.table_options {
            ast::CreateTableOptions::With(options) => compliance::table_data(options, &columns, &primary_key)?,
            _ => compliance::TableData::default(),
        };
        Ok(CreateTable {
            schema: TableSchema {
                id: TableId::ZERO,
                name,
                columns,
                primary_key,
                subjects: data.subjects,
                data_class: data.class,
            },
            if_not_exists: create.if_not_exists,
        })
    }
}

/// Whatever else the parser understood after `CREATE` or after the columns is refused: what is left when the parts
/// that are carried out are put together again must be the whole statement.
fn refuse_other_clauses(create: &ast::CreateTable) -> Result<(), SqlError> {
    refuse_if(create.temporary, "CREATE TEMPORARY TABLE")?;
    refuse_if(create.query.is_some(), "CREATE TABLE AS")?;
    refuse_if(create.like.is_some(), "CREATE TABLE … LIKE")?;
    refuse_if(
        create.partition_by.is_some() || create.partition_of.is_some(),
        "a partitioned table",
    )?;
    refuse_if(create.inherits.is_some(), "INHERITS")?;
    let understood = CreateTableBuilder::new(create.name.clone())
        .if_not_exists(create.if_not_exists)
        .columns(create.columns.clone())
        .constraints(create.constraints.clone())
        .table_options(match &create.table_options {
            with @ ast::CreateTableOptions::With(_) => with.clone(),
            _ => ast::CreateTableOptions::None,
        })
        .build();
    refuse_if(understood != *create, "a clause of this CREATE TABLE")
}

fn bind_column(definition: &ast::ColumnDef) -> Result<(Column, bool), SqlError> {
    let at = position(definition.name.span);
    let mut column = Column {
        name: fold(&definition.name)?,
        column_type: column_type(&definition.data_type).map_err(|error| error.at(at))?,
        nullable: true,
        default_sql: None,
    };
    let (mut is_key, mut said_null, mut said_not_null) = (false, false, false);
    for option in &definition.options {
        match &option.option {
            ColumnOption::Null => said_null = true,
            ColumnOption::NotNull => said_not_null = true,
            ColumnOption::Default(syntax) => {
                if column.default_sql.is_some() {
                    return Err(SqlError::syntax(format!(
                        "multiple default values specified for column \"{}\"",
                        column.name
                    ))
                    .at(at));
                }
                column.default_sql = bind_default(syntax, &column)?;
            }
            ColumnOption::PrimaryKey(constraint) => {
                let ast::PrimaryKeyConstraint {
                    name: _,
                    index_name: None,
                    index_type: None,
                    columns: _,
                    include,
                    index_options,
                    characteristics: None,
                } = constraint
                else {
                    return Err(SqlError::unsupported("this form of PRIMARY KEY").at(at));
                };
                refuse_if(
                    !include.is_empty() || !index_options.is_empty(),
                    "this form of PRIMARY KEY",
                )?;
                is_key = true;
            }
            ColumnOption::Unique(_) => return Err(unsupported_constraint("UNIQUE").at(at)),
            ColumnOption::ForeignKey(_) => return Err(unsupported_constraint("REFERENCES").at(at)),
            ColumnOption::Check(_) => return Err(unsupported_constraint("CHECK").at(at)),
            ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
                return Err(SqlError::unsupported("a generated column").at(at));
            }
            ColumnOption::Collation(name) => {
                return Err(SqlError::unsupported(format!("COLLATE {name}"))
                    .with_hint("Texts are ordered by their bytes.")
                    .at(at));
            }
            other => return Err(SqlError::unsupported(format!("the column option {other}")).at(at)),
        }
    }
    if said_null && (said_not_null || is_key) {
        return Err(SqlError::syntax(format!(
            "conflicting NULL/NOT NULL declarations for column \"{}\"",
            column.name
        ))
        .at(at));
    }
    column.nullable = !(said_not_null || is_key);
    Ok((column, is_key))
}

/// Checks a default and gives its text: constants, `now()`, `gen_random_uuid()` and what can be made of them.
fn bind_default(syntax: &Expr, column: &Column) -> Result<Option<String>, SqlError> {
    let mut parameters = ParameterTypes::new(&[])?;
    let mut binder = Binder::new(Scope::empty(), &NoTables, &mut parameters, "DEFAULT expressions");
    let assignment = Assignment::bind(&mut binder, syntax, column).map_err(|error| {
        if error.sqlstate == SqlState::UNDEFINED_COLUMN {
            return SqlError::unsupported("a column in a DEFAULT expression").at(start_of(syntax));
        }
        error
    })?;
    if !parameters.finish().is_empty() {
        return Err(SqlError::new(
            SqlState::UNDEFINED_PARAMETER,
            "a DEFAULT expression cannot have parameters",
        ));
    }
    if matches!(
        &assignment.expression,
        crate::expression::Expression::Literal(Value::Null)
    ) {
        return Ok(None);
    }
    Ok(Some(syntax.to_string()))
}

fn set_key(key: &mut Option<Vec<u16>>, columns: Vec<u16>, table: &str) -> Result<(), SqlError> {
    if key.is_some() {
        return Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{table}\" are not allowed"),
        ));
    }
    *key = Some(columns);
    Ok(())
}

fn key_columns(constraint: &ast::PrimaryKeyConstraint, columns: &[Column]) -> Result<Vec<u16>, SqlError> {
    let ast::PrimaryKeyConstraint {
        name: _,
        index_name: None,
        index_type: None,
        columns: names,
        include,
        index_options,
        characteristics: None,
    } = constraint
    else {
        return Err(SqlError::unsupported("this form of PRIMARY KEY"));
    };
    refuse_if(
        !include.is_empty() || !index_options.is_empty(),
        "this form of PRIMARY KEY",
    )?;
    if names.len() > KEY_COLUMNS_MAX {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            format!("a primary key cannot have more than {KEY_COLUMNS_MAX} columns"),
        ));
    }
    let mut key = Vec::with_capacity(names.len());
    for item in names {
        let ast::IndexColumn {
            column:
                ast::OrderByExpr {
                    expr: Expr::Identifier(name),
                    options:
                        ast::OrderByOptions {
                            sort: None,
                            nulls_first: None,
                        },
                    with_fill: None,
                },
            operator_class: None,
        } = item
        else {
            return Err(SqlError::unsupported("this form of PRIMARY KEY"));
        };
        let folded = fold(name)?;
        let place = columns.iter().position(|column| column.name == folded).ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{folded}\" named in key does not exist"),
            )
            .at(position(name.span))
        })?;
        let place = u16::try_from(place).map_err(|_| SqlError::internal("more columns than were allowed"))?;
        if key.contains(&place) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{folded}\" appears twice in primary key constraint"),
            ));
        }
        key.push(place);
    }
    Ok(key)
}

/// Keys are kept as bytes in order, which some types do not have.
fn check_key_type(column: &Column) -> Result<(), SqlError> {
    match column.column_type {
        ColumnType::Numeric { .. } | ColumnType::Json | ColumnType::Jsonb => Err(SqlError::unsupported(format!(
            "a primary key column of type {}",
            type_name(column.column_type)
        ))
        .with_detail(format!("Column \"{}\" is part of the primary key.", column.name))),
        _ => Ok(()),
    }
}

const fn constraint_name(constraint: &TableConstraint) -> &'static str {
    match constraint {
        TableConstraint::Unique(_) | TableConstraint::UniqueUsingIndex(_) => "UNIQUE",
        TableConstraint::ForeignKey(_) => "FOREIGN KEY",
        TableConstraint::Check(_) => "CHECK",
        TableConstraint::Exclude(_) => "EXCLUDE",
        _ => "INDEX",
    }
}

fn unsupported_constraint(name: &str) -> SqlError {
    SqlError::unsupported(format!("the constraint {name}"))
        .with_hint("Tables have a primary key, NOT NULL and DEFAULT.")
}

/// `DROP TABLE`; nothing else is dropped.
pub(super) fn bind_drop(statement: &ast::Statement) -> Result<DropTable, SqlError> {
    let ast::Statement::Drop {
        object_type,
        if_exists,
        names,
        cascade: _,
        restrict: _,
        purge: false,
        temporary: false,
        table: None,
    } = statement
    else {
        return Err(SqlError::unsupported("this form of DROP"));
    };
    if *object_type != ast::ObjectType::Table {
        return Err(SqlError::unsupported(format!("DROP {object_type}")));
    }
    Ok(DropTable {
        tables: session::table_names(names)?,
        if_exists: *if_exists,
    })
}
