//! `INSERT`, `UPDATE` and `DELETE`.

use std::sync::Arc;

use craton_types::{Column, ColumnType, TableSchema, Value};
use sqlparser::ast::{self, Expr};

use super::access::{self, Access};
use super::query::refuse_if;
use super::{NoTables, Planner, Returning, SelectPlan, relation};
use crate::expression::{Binder, Expression, ParameterTypes, Scope, ScopeTable, assign, fold, is_assignable, start_of};
use crate::limits::ROWS_WRITTEN_MAX;
use crate::parse::{parse_expression, position};
use crate::types::type_name;
use crate::{SqlError, SqlState};

/// `INSERT`, `UPDATE` or `DELETE`, bound.
#[derive(Clone, Debug)]
pub struct WritePlan {
    pub(crate) table: Arc<TableSchema>,
    pub(crate) kind: WriteKind,
    pub(crate) returning: Option<Returning>,
    pub(crate) parameter_types: Arc<[ColumnType]>,
}

#[derive(Clone, Debug)]
pub(crate) enum WriteKind {
    Insert {
        source: InsertSource,
        conflict: Conflict,
    },
    Update {
        access: Access,
        filter: Option<Expression>,
        /// Column places and their new values.
        assignments: Vec<(usize, Assignment)>,
        changes_key: bool,
    },
    Delete {
        access: Access,
        filter: Option<Expression>,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum InsertSource {
    /// Rows of one assignment per column of the table.
    Values(Vec<Vec<Assignment>>),
    /// A query, and per column of the table where its value comes from.
    Query(Box<SelectPlan>, Vec<Assignment>),
}

/// What happens when a row with the key is there already.
#[derive(Clone, Debug)]
pub(crate) enum Conflict {
    /// An error.
    Refuse,
    /// `ON CONFLICT DO NOTHING`.
    Ignore,
    /// `ON CONFLICT DO UPDATE`: over the existing row followed by the proposed one.
    Update {
        assignments: Vec<(usize, Assignment)>,
        filter: Option<Expression>,
    },
}

/// A value for a column, cast and checked when it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) expression: Expression,
    /// The type of the expression's value.
    pub(crate) from: ColumnType,
}

impl Assignment {
    const NULL: Self = Self {
        expression: Expression::Literal(Value::Null),
        from: ColumnType::Text,
    };

    /// Binds a value for a column; a literal is cast and checked now.
    pub(super) fn bind(binder: &mut Binder<'_>, syntax: &Expr, column: &Column) -> Result<Self, SqlError> {
        let typed = binder.bind(syntax)?;
        let typed = binder.resolve(typed, column.column_type)?;
        let from = typed.column_type.unwrap_or(column.column_type);
        Self::new(typed.expression, from, column).map_err(|error| error.at(start_of(syntax)))
    }

    pub(super) fn new(expression: Expression, from: ColumnType, column: &Column) -> Result<Self, SqlError> {
        if !is_assignable(from, column.column_type) {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "column \"{}\" is of type {} but expression is of type {}",
                    column.name,
                    type_name(column.column_type),
                    type_name(from)
                ),
            )
            .with_hint("You will need to rewrite or cast the expression."));
        }
        if let Expression::Literal(value) = &expression {
            let value = assign(std::borrow::Cow::Borrowed(value), from, column)?.into_owned();
            return Ok(Self {
                expression: Expression::Literal(value),
                from: column.column_type,
            });
        }
        Ok(Self { expression, from })
    }

    /// The column's default.
    pub(super) fn default_of(column: &Column) -> Result<Self, SqlError> {
        let Some(sql) = &column.default_sql else {
            return Ok(Self::NULL);
        };
        let syntax = parse_expression(sql)?;
        let mut parameters = ParameterTypes::new(&[])?;
        let mut binder = Binder::new(Scope::empty(), &NoTables, &mut parameters, "DEFAULT expressions");
        Self::bind(&mut binder, &syntax, column).map_err(|error| SqlError {
            position: None,
            ..error
        })
    }
}

impl WritePlan {
    /// The command's name for tags and messages.
    pub(crate) const fn command(&self) -> &'static str {
        match self.kind {
            WriteKind::Insert { .. } => "INSERT",
            WriteKind::Update { .. } => "UPDATE",
            WriteKind::Delete { .. } => "DELETE",
        }
    }

    /// Whether it has an `ON CONFLICT` clause. When another writer inserts a row with its key in between, the statement
    /// is then not refused but executed again.
    #[must_use]
    pub const fn has_on_conflict(&self) -> bool {
        matches!(
            self.kind,
            WriteKind::Insert {
                conflict: Conflict::Ignore | Conflict::Update { .. },
                ..
            }
        )
    }

    /// The table that is written.
    #[must_use]
    pub fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }

    /// Calls `visit` for every expression that is evaluated per row.
    pub(super) fn for_each_expression(&self, visit: &mut impl FnMut(&Expression)) {
        let assignments = |list: &[(usize, Assignment)], visit: &mut dyn FnMut(&Expression)| {
            list.iter().for_each(|(_, assignment)| visit(&assignment.expression));
        };
        match &self.kind {
            WriteKind::Insert { source, conflict } => {
                match source {
                    InsertSource::Values(rows) => {
                        rows.iter()
                            .flatten()
                            .for_each(|assignment| visit(&assignment.expression));
                    }
                    InsertSource::Query(select, _) => select.for_each_expression(visit),
                }
                if let Conflict::Update {
                    assignments: list,
                    filter,
                } = conflict
                {
                    assignments(list, visit);
                    filter.iter().for_each(&mut *visit);
                }
            }
            WriteKind::Update {
                filter,
                assignments: list,
                ..
            } => {
                assignments(list, visit);
                filter.iter().for_each(&mut *visit);
            }
            WriteKind::Delete { filter, .. } => filter.iter().for_each(&mut *visit),
        }
        if let Some(returning) = &self.returning {
            returning.projection.iter().for_each(visit);
        }
    }
}

impl Planner<'_> {
    pub(super) fn bind_insert(&mut self, insert: &ast::Insert) -> Result<WritePlan, SqlError> {
        let ast::Insert {
            insert_token: _,
            optimizer_hints: _,
            or: None,
            ignore: false,
            into: _,
            table: ast::TableObject::TableName(table_name),
            table_alias,
            columns,
            overwrite: false,
            source,
            assignments,
            partitioned: None,
            after_columns,
            has_table_keyword: false,
            on,
            returning,
            output: None,
            replace_into: false,
            priority: None,
            insert_alias: None,
            settings: None,
            format_clause: None,
            multi_table_insert_type: None,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause: None,
        } = insert
        else {
            return Err(SqlError::unsupported("this form of INSERT"));
        };
        refuse_if(
            !assignments.is_empty()
                || !after_columns.is_empty()
                || !multi_table_into_clauses.is_empty()
                || !multi_table_when_clauses.is_empty(),
            "this form of INSERT",
        )?;
        let table = self.table(table_name)?;
        let alias = match table_alias {
            None => table.name.clone(),
            Some(alias) => fold(&alias.alias)?,
        };
        let places = target_columns(&table, columns, table_name)?;
        let source = match source.as_deref() {
            None => {
                refuse_if(!columns.is_empty(), "DEFAULT VALUES with a column list")?;
                InsertSource::Values(vec![defaults(&table)?])
            }
            Some(query) => match query.body.as_ref() {
                ast::SetExpr::Values(values) if is_bare(query) => self.bind_values(&table, &places, values, columns)?,
                _ => self.bind_insert_select(&table, &places, query, columns)?,
            },
        };
        let conflict = self.bind_conflict(&table, &alias, on.as_ref())?;
        let returning = self.bind_returning(returning.as_deref(), &Scope::table(&alias, &table.columns))?;
        Ok(WritePlan {
            table,
            kind: WriteKind::Insert { source, conflict },
            returning,
            parameter_types: Arc::default(),
        })
    }

    fn bind_values(
        &mut self,
        table: &TableSchema,
        places: &[usize],
        values: &ast::Values,
        columns: &[ast::ObjectName],
    ) -> Result<InsertSource, SqlError> {
        if values.rows.len() > ROWS_WRITTEN_MAX {
            return Err(crate::overlay::too_many_rows());
        }
        let defaults = defaults(table)?;
        let mut rows = Vec::with_capacity(values.rows.len());
        for row in &values.rows {
            let row = &row.content;
            check_count(row.len(), places.len(), !columns.is_empty())?;
            if row.len() != values.rows[0].content.len() {
                return Err(SqlError::syntax("VALUES lists must all be the same length"));
            }
            let mut assignments = defaults.clone();
            for (syntax, &place) in row.iter().zip(places) {
                if !is_default(syntax) {
                    let mut binder = self.binder(Scope::empty(), "VALUES");
                    assignments[place] = Assignment::bind(&mut binder, syntax, &table.columns[place])?;
                }
            }
            rows.push(assignments);
        }
        Ok(InsertSource::Values(rows))
    }

    fn bind_insert_select(
        &mut self,
        table: &TableSchema,
        places: &[usize],
        query: &ast::Query,
        columns: &[ast::ObjectName],
    ) -> Result<InsertSource, SqlError> {
        let select = self.bind_query(query)?;
        check_count(select.columns.len(), places.len(), !columns.is_empty())?;
        let mut assignments = defaults(table)?;
        for (index, &place) in places.iter().enumerate().take(select.columns.len()) {
            let from = select.columns[index].column_type;
            assignments[place] = Assignment::new(Expression::Column(index), from, &table.columns[place])?;
        }
        Ok(InsertSource::Query(Box::new(select), assignments))
    }

    fn bind_conflict(
        &mut self,
        table: &TableSchema,
        alias: &str,
        on: Option<&ast::OnInsert>,
    ) -> Result<Conflict, SqlError> {
        let conflict = match on {
            None => return Ok(Conflict::Refuse),
            Some(ast::OnInsert::OnConflict(conflict)) => conflict,
            Some(_) => return Err(SqlError::unsupported("ON DUPLICATE KEY UPDATE")),
        };
        check_conflict_target(table, conflict.conflict_target.as_ref())?;
        let update = match &conflict.action {
            ast::OnConflictAction::DoNothing => return Ok(Conflict::Ignore),
            ast::OnConflictAction::DoUpdate(update) => update,
        };
        if conflict.conflict_target.is_none() {
            return Err(
                SqlError::syntax("ON CONFLICT DO UPDATE requires inference specification or constraint name")
                    .with_hint("For example, ON CONFLICT (column_name)."),
            );
        }
        let own = ScopeTable {
            name: alias,
            columns: &table.columns,
            offset: 0,
            qualified_only: false,
        };
        let proposed = ScopeTable {
            name: "excluded",
            offset: table.columns.len(),
            qualified_only: true,
            ..own
        };
        let scope = Scope {
            tables: vec![own, proposed],
        };
        let assignments = self.bind_assignments(table, &update.assignments, &scope)?;
        if let Some((place, _)) = assignments.iter().find(|(place, _)| is_key_column(table, *place)) {
            return Err(SqlError::unsupported(format!(
                "changing the key column \"{}\" in ON CONFLICT DO UPDATE",
                table.columns[*place].name
            )));
        }
        let filter = match &update.selection {
            Some(selection) => Some(self.binder(scope, "WHERE").bind_condition(selection, "WHERE")?),
            None => None,
        };
        Ok(Conflict::Update { assignments, filter })
    }

    pub(super) fn bind_update(&mut self, update: &ast::Update) -> Result<WritePlan, SqlError> {
        let ast::Update {
            update_token: _,
            optimizer_hints: _,
            table: relation,
            assignments,
            from,
            selection,
            returning,
            output: None,
            or: None,
            order_by,
            limit: None,
        } = update
        else {
            return Err(SqlError::unsupported("this form of UPDATE"));
        };
        refuse_if(from.is_some(), "UPDATE … FROM")?;
        refuse_if(!order_by.is_empty(), "UPDATE … ORDER BY")?;
        let (table, alias) = self.written_table(std::slice::from_ref(relation))?;
        let scope = Scope::table(&alias, &table.columns);
        let assignments = self.bind_assignments(&table, assignments, &scope)?;
        let changes_key = assignments.iter().any(|(place, _)| is_key_column(&table, *place));
        let (access, filter) = self.bind_written_rows(&table, &scope, selection.as_ref())?;
        let returning = self.bind_returning(returning.as_deref(), &scope)?;
        Ok(WritePlan {
            kind: WriteKind::Update {
                access,
                filter,
                assignments,
                changes_key,
            },
            table,
            returning,
            parameter_types: Arc::default(),
        })
    }

    pub(super) fn bind_delete(&mut self, delete: &ast::Delete) -> Result<WritePlan, SqlError> {
        let ast::Delete {
            delete_token: _,
            optimizer_hints: _,
            tables,
            from: ast::FromTable::WithFromKeyword(from),
            using,
            selection,
            returning,
            output: None,
            order_by,
            limit: None,
        } = delete
        else {
            return Err(SqlError::unsupported("this form of DELETE"));
        };
        refuse_if(using.is_some(), "DELETE … USING")?;
        refuse_if(!order_by.is_empty() || !tables.is_empty(), "this form of DELETE")?;
        let (table, alias) = self.written_table(from)?;
        let scope = Scope::table(&alias, &table.columns);
        let (access, filter) = self.bind_written_rows(&table, &scope, selection.as_ref())?;
        let returning = self.bind_returning(returning.as_deref(), &scope)?;
        Ok(WritePlan {
            kind: WriteKind::Delete { access, filter },
            table,
            returning,
            parameter_types: Arc::default(),
        })
    }

    fn written_table(&mut self, from: &[ast::TableWithJoins]) -> Result<(Arc<TableSchema>, String), SqlError> {
        let (name, alias, arguments) = self.lone_table(from)?;
        refuse_if(arguments.is_some(), "writing to a function")?;
        let table = self.table(name)?;
        let alias = alias.unwrap_or_else(|| table.name.clone());
        Ok((table, alias))
    }

    fn bind_written_rows(
        &mut self,
        table: &TableSchema,
        scope: &Scope<'_>,
        selection: Option<&Expr>,
    ) -> Result<(Access, Option<Expression>), SqlError> {
        let condition = match selection {
            Some(selection) => Some(self.binder(scope.clone(), "WHERE").bind_condition(selection, "WHERE")?),
            None => None,
        };
        Ok(access::choose(table, condition, &self.parameters))
    }

    fn bind_assignments(
        &mut self,
        table: &TableSchema,
        assignments: &[ast::Assignment],
        scope: &Scope<'_>,
    ) -> Result<Vec<(usize, Assignment)>, SqlError> {
        let mut bound: Vec<(usize, Assignment)> = Vec::with_capacity(assignments.len());
        for assignment in assignments {
            let pairs: Vec<(&ast::ObjectName, &Expr)> = match (&assignment.target, &assignment.value) {
                (ast::AssignmentTarget::ColumnName(name), value) => vec![(name, value)],
                (ast::AssignmentTarget::Tuple(names), Expr::Tuple(values)) if names.len() == values.len() => {
                    names.iter().zip(values).collect()
                }
                _ => return Err(SqlError::unsupported("this form of SET")),
            };
            for (name, value) in pairs {
                let place = column_place(table, name)?;
                if bound.iter().any(|(other, _)| *other == place) {
                    return Err(SqlError::syntax(format!(
                        "multiple assignments to same column \"{}\"",
                        table.columns[place].name
                    ))
                    .at(relation::start_of_name(name)));
                }
                let column = &table.columns[place];
                let assignment = if is_default(value) {
                    Assignment::default_of(column)?
                } else {
                    Assignment::bind(&mut self.binder(scope.clone(), "UPDATE"), value, column)?
                };
                bound.push((place, assignment));
            }
        }
        Ok(bound)
    }
}

fn is_key_column(table: &TableSchema, place: usize) -> bool {
    table.primary_key.iter().any(|&key| usize::from(key) == place)
}

/// `VALUES` with nothing around it that would have to be carried out.
fn is_bare(query: &ast::Query) -> bool {
    query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none()
}

fn is_default(syntax: &Expr) -> bool {
    matches!(syntax, Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"))
}

pub(super) fn defaults(table: &TableSchema) -> Result<Vec<Assignment>, SqlError> {
    table.columns.iter().map(Assignment::default_of).collect()
}

fn check_count(values: usize, columns: usize, listed: bool) -> Result<(), SqlError> {
    if values > columns {
        return Err(SqlError::syntax("INSERT has more expressions than target columns"));
    }
    // Without a column list the last columns may be left out.
    if values < columns && listed {
        return Err(SqlError::syntax("INSERT has more target columns than expressions"));
    }
    Ok(())
}

/// The places of the listed columns, or of all.
fn target_columns(
    table: &TableSchema,
    columns: &[ast::ObjectName],
    table_name: &ast::ObjectName,
) -> Result<Vec<usize>, SqlError> {
    if columns.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    let mut places = Vec::with_capacity(columns.len());
    for name in columns {
        let place = column_place(table, name)?;
        if places.contains(&place) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{}\" specified more than once", table.columns[place].name),
            )
            .at(relation::start_of_name(table_name)));
        }
        places.push(place);
    }
    Ok(places)
}

fn column_place(table: &TableSchema, name: &ast::ObjectName) -> Result<usize, SqlError> {
    match name.0.as_slice() {
        [ast::ObjectNamePart::Identifier(ident)] => place_of(table, ident),
        _ => Err(SqlError::unsupported(format!("the column {name}"))),
    }
}

/// The place of a column that is written to.
pub(super) fn place_of(table: &TableSchema, name: &ast::Ident) -> Result<usize, SqlError> {
    let folded = fold(name)?;
    table.column_position(&folded).ok_or_else(|| {
        SqlError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{folded}\" of relation \"{}\" does not exist", table.name),
        )
        .at(position(name.span))
    })
}

/// The target must be the primary key, the only constraint that a row can conflict with.
fn check_conflict_target(table: &TableSchema, target: Option<&ast::ConflictTarget>) -> Result<(), SqlError> {
    let matches = match target {
        None => true,
        Some(ast::ConflictTarget::Columns(names)) => {
            let mut places = Vec::with_capacity(names.len());
            for name in names {
                places.push(place_of(table, name)?);
            }
            places.len() == table.primary_key.len() && places.iter().all(|place| is_key_column(table, *place))
        }
        Some(ast::ConflictTarget::OnConstraint(name)) => relation::name_of(name)? == format!("{}_pkey", table.name),
    };
    if matches {
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::INVALID_COLUMN_REFERENCE,
        "there is no unique or exclusion constraint matching the ON CONFLICT specification",
    )
    .with_hint("Name the columns of the primary key."))
}
