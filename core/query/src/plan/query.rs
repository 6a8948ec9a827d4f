//! `SELECT` over one table, or none.

use std::sync::Arc;

use craton_types::{Column, ColumnType, Row, TableSchema};
use sqlparser::ast::{self, Expr};

use super::access::{self, Access};
use super::group::{has_group_by, over_group};
use super::order::{arrange, order_items};
use super::result_name::result_name;
use super::{Planner, ResultColumn, relation};
use crate::expression::{Aggregate, Binder, Expression, ParameterTypes, Scope, fold};
use crate::limits::SELECT_ITEMS_MAX;
use crate::{SqlError, SqlState};

/// `SELECT`, bound.
#[derive(Clone, Debug)]
pub struct SelectPlan {
    pub(crate) input: Input,
    pub(crate) filter: Option<Expression>,
    pub(crate) grouping: Option<Grouping>,
    /// Over the input's row, or the group's.
    pub(crate) projection: Vec<Expression>,
    pub(crate) distinct: bool,
    /// Empty when the input comes in the wanted order.
    pub(crate) sort: Vec<SortKey>,
    pub(crate) limit: Option<Expression>,
    pub(crate) offset: Option<Expression>,
    pub(crate) columns: Arc<[ResultColumn]>,
    /// Those of the whole statement; empty inside of another plan.
    pub(crate) parameter_types: Arc<[ColumnType]>,
}

impl SelectPlan {
    /// Some columns of every row, in key order: what `COPY table TO` sends.
    pub(super) fn of_columns(table: &Arc<TableSchema>, places: &[usize]) -> Self {
        Self {
            input: Input::Table {
                table: Arc::clone(table),
                access: Access::default(),
            },
            filter: None,
            grouping: None,
            projection: places.iter().map(|&place| Expression::Column(place)).collect(),
            distinct: false,
            sort: Vec::new(),
            limit: None,
            offset: None,
            columns: places
                .iter()
                .map(|&place| result_column(&table.columns[place]))
                .collect(),
            parameter_types: Arc::default(),
        }
    }

    /// Rows that are known already, all their columns.
    pub(super) fn of_rows(rows: Arc<[Row]>, columns: Arc<[ResultColumn]>) -> Self {
        Self {
            input: Input::Rows(rows),
            filter: None,
            grouping: None,
            projection: (0..columns.len()).map(Expression::Column).collect(),
            distinct: false,
            sort: Vec::new(),
            limit: None,
            offset: None,
            columns,
            parameter_types: Arc::default(),
        }
    }

    /// Calls `visit` for every expression that is evaluated per row.
    pub(super) fn for_each_expression(&self, visit: &mut impl FnMut(&Expression)) {
        self.filter.iter().for_each(&mut *visit);
        self.projection.iter().for_each(&mut *visit);
        self.sort.iter().for_each(|key| visit(&key.expression));
        if let Some(grouping) = &self.grouping {
            grouping.keys.iter().for_each(&mut *visit);
            grouping.having.iter().for_each(&mut *visit);
            for aggregate in &grouping.aggregates {
                aggregate.argument.iter().for_each(&mut *visit);
                aggregate.filter.iter().for_each(&mut *visit);
            }
        }
    }
}

/// Where the rows come from.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// `SELECT` without `FROM`: one row without columns.
    OneRow,
    Table {
        table: Arc<TableSchema>,
        access: Access,
    },
    /// `craton_history('table')`.
    History(Arc<TableSchema>),
    /// `craton_recoveries`.
    Recoveries,
    /// Rows known when the plan was made.
    Rows(Arc<[Row]>),
}

/// `GROUP BY` and aggregates: makes rows of the keys' values followed by the aggregates'.
#[derive(Clone, Debug)]
pub(crate) struct Grouping {
    pub(crate) keys: Vec<Expression>,
    pub(crate) aggregates: Vec<Aggregate>,
    /// Over the group's row.
    pub(crate) having: Option<Expression>,
}

/// One expression of `ORDER BY`.
#[derive(Clone, Debug)]
pub(crate) struct SortKey {
    pub(crate) expression: Expression,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// A `SELECT` while it is bound.
pub(super) struct Draft {
    pub(super) projection: Vec<Expression>,
    pub(super) columns: Vec<ResultColumn>,
}

impl Planner<'_> {
    pub(super) fn bind_query(&mut self, query: &ast::Query) -> Result<SelectPlan, SqlError> {
        let ast::Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        refuse_if(with.is_some(), "WITH")?;
        refuse_if(!locks.is_empty(), "FOR UPDATE and its kin")?;
        refuse_if(
            for_clause.is_some() || settings.is_some() || format_clause.is_some() || !pipe_operators.is_empty(),
            "a clause of this query",
        )?;
        let select = match body.as_ref() {
            ast::SetExpr::Select(select) => select,
            ast::SetExpr::SetOperation { op, .. } => return Err(SqlError::unsupported(op)),
            ast::SetExpr::Query(inner) if order_by.is_none() && limit_clause.is_none() && fetch.is_none() => {
                return self.nested(|planner| planner.bind_query(inner));
            }
            ast::SetExpr::Values(_) => return Err(SqlError::unsupported("VALUES outside of INSERT")),
            _ => return Err(SqlError::unsupported("this form of query")),
        };
        let order = order_items(order_by.as_ref())?;
        let (limit, offset) = self.bind_limit(limit_clause.as_ref(), fetch.as_ref())?;
        self.bind_select(select, &order, limit, offset)
    }

    fn bind_select(
        &mut self,
        select: &ast::Select,
        order: &[&ast::OrderByExpr],
        limit: Option<Expression>,
        offset: Option<Expression>,
    ) -> Result<SelectPlan, SqlError> {
        let ast::Select {
            select_token: _,
            optimizer_hints: _,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection: items,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        refuse_if(into.is_some(), "SELECT INTO")?;
        refuse_if(!named_window.is_empty() || qualify.is_some(), "a window function")?;
        refuse_if(
            select_modifiers.is_some()
                || top.is_some()
                || exclude.is_some()
                || !lateral_views.is_empty()
                || prewhere.is_some()
                || !connect_by.is_empty()
                || !cluster_by.is_empty()
                || !distribute_by.is_empty()
                || !sort_by.is_empty()
                || value_table_mode.is_some()
                || !matches!(flavor, ast::SelectFlavor::Standard),
            "a clause of this query",
        )?;
        let distinct = match distinct {
            None | Some(ast::Distinct::All) => false,
            Some(ast::Distinct::Distinct) => true,
            Some(ast::Distinct::On(_)) => return Err(SqlError::unsupported("DISTINCT ON")),
        };
        let source = self.bind_from(from)?;
        let scope = source.scope();
        let condition = match selection {
            Some(selection) => Some(self.binder(scope.clone(), "WHERE").bind_condition(selection, "WHERE")?),
            None => None,
        };

        let mut aggregates = Vec::new();
        let mut draft = self.bind_projection(items, &scope, &mut aggregates)?;
        let keys = self.bind_group_by(group_by, &scope, items, &draft)?;
        let mut having = match having {
            Some(having) => {
                let mut binder = self.binder(scope.clone(), "HAVING").collecting(&mut aggregates);
                Some(binder.bind_condition(having, "HAVING")?)
            }
            None => None,
        };
        let mut sort = self.bind_order_by(order, &scope, &draft, &mut aggregates)?;
        let grouped = !keys.is_empty() || !aggregates.is_empty() || having.is_some() || has_group_by(group_by);
        if grouped {
            for expression in draft
                .projection
                .iter_mut()
                .chain(having.as_mut())
                .chain(sort.iter_mut().map(|key| &mut key.expression))
            {
                over_group(expression, &keys, &scope)?;
            }
        }
        if distinct && sort.iter().any(|key| !draft.projection.contains(&key.expression)) {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
            ));
        }
        let grouping = grouped.then_some(Grouping {
            keys,
            aggregates,
            having,
        });
        drop(scope);
        let (mut input, filter) = source.into_input(condition, &self.parameters);
        if grouping.is_none() {
            arrange(&mut input, &mut sort);
        }
        let columns: Arc<[ResultColumn]> = std::mem::take(&mut draft.columns).into();
        Ok(SelectPlan {
            input,
            filter,
            grouping,
            projection: draft.projection,
            distinct,
            sort,
            limit,
            offset,
            columns,
            parameter_types: Arc::default(),
        })
    }

    fn bind_projection(
        &mut self,
        items: &[ast::SelectItem],
        scope: &Scope<'_>,
        aggregates: &mut Vec<Aggregate>,
    ) -> Result<Draft, SqlError> {
        let mut draft = Draft {
            projection: Vec::with_capacity(items.len()),
            columns: Vec::with_capacity(items.len()),
        };
        for item in items {
            match item {
                ast::SelectItem::UnnamedExpr(syntax) => {
                    let name = result_name(syntax);
                    self.bind_item(syntax, name, scope, aggregates, &mut draft)?;
                }
                ast::SelectItem::ExprWithAlias { expr, alias } => {
                    self.bind_item(expr, fold(alias)?, scope, aggregates, &mut draft)?;
                }
                ast::SelectItem::Wildcard(options) => {
                    refuse_if(!is_plain(options), "a clause after *")?;
                    draft.push_all(scope, None)?;
                }
                ast::SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    refuse_if(!is_plain(options), "a clause after *")?;
                    let table = relation::name_of(name)?;
                    draft.push_all(scope, Some(&table))?;
                }
                _ => return Err(SqlError::unsupported("this form of select item")),
            }
            if draft.columns.len() > SELECT_ITEMS_MAX {
                return Err(SqlError::new(
                    SqlState::TOO_MANY_COLUMNS,
                    format!("target lists can have at most {SELECT_ITEMS_MAX} entries"),
                ));
            }
        }
        Ok(draft)
    }

    fn bind_item(
        &mut self,
        syntax: &Expr,
        name: String,
        scope: &Scope<'_>,
        aggregates: &mut Vec<Aggregate>,
        draft: &mut Draft,
    ) -> Result<(), SqlError> {
        let mut binder = self.binder(scope.clone(), "SELECT").collecting(aggregates);
        let typed = binder.bind(syntax)?;
        let (expression, column_type) = binder.resolve_as_text(typed)?;
        draft.projection.push(expression);
        draft.columns.push(ResultColumn { name, column_type });
        Ok(())
    }

    pub(super) fn binder<'b>(&'b mut self, scope: Scope<'b>, clause: &'static str) -> Binder<'b> {
        Binder::new(scope, self.catalog, &mut self.parameters, clause)
    }
}

impl Draft {
    /// `*`, or `table.*`.
    fn push_all(&mut self, scope: &Scope<'_>, table: Option<&str>) -> Result<(), SqlError> {
        let before = self.columns.len();
        let mut found = false;
        for source in &scope.tables {
            if source.qualified_only || table.is_some_and(|table| table != source.name) {
                continue;
            }
            found = true;
            for (index, column) in source.columns.iter().enumerate() {
                self.projection.push(Expression::Column(source.offset + index));
                self.columns.push(result_column(column));
            }
        }
        match (table, found) {
            (_, true) => Ok(()),
            (Some(table), false) => Err(SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{table}\""),
            )),
            (None, false) if before == 0 => Err(SqlError::syntax("SELECT * with no tables specified is not valid")),
            (None, false) => Ok(()),
        }
    }
}

/// `RETURNING` is bound like a select list without aggregates.
impl Planner<'_> {
    pub(super) fn bind_returning(
        &mut self,
        items: Option<&[ast::SelectItem]>,
        scope: &Scope<'_>,
    ) -> Result<Option<super::Returning>, SqlError> {
        let Some(items) = items else { return Ok(None) };
        let mut aggregates = Vec::new();
        let draft = self.bind_projection(items, scope, &mut aggregates)?;
        if !aggregates.is_empty() {
            return Err(SqlError::new(
                SqlState::GROUPING_ERROR,
                "aggregate functions are not allowed in RETURNING",
            ));
        }
        Ok(Some(super::Returning {
            projection: draft.projection,
            columns: draft.columns.into(),
        }))
    }
}

fn result_column(column: &Column) -> ResultColumn {
    ResultColumn {
        name: column.name.clone(),
        column_type: column.column_type,
    }
}

pub(super) fn refuse_if(present: bool, what: &str) -> Result<(), SqlError> {
    if present {
        Err(SqlError::unsupported(what))
    } else {
        Ok(())
    }
}

fn is_plain(options: &ast::WildcardAdditionalOptions) -> bool {
    let ast::WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike: None,
        opt_exclude: None,
        opt_except: None,
        opt_replace: None,
        opt_rename: None,
        opt_alias: None,
    } = options
    else {
        return false;
    };
    true
}

/// The rows of a `FROM` clause, and what their columns are called.
pub(super) struct Source {
    pub(super) kind: SourceKind,
    pub(super) alias: String,
}

pub(super) enum SourceKind {
    Nothing,
    Table(Arc<TableSchema>),
    History(Arc<TableSchema>, Vec<Column>),
    Recoveries(Vec<Column>),
    Rows(Arc<[Row]>, Vec<Column>),
}

impl Source {
    fn scope(&self) -> Scope<'_> {
        match &self.kind {
            SourceKind::Nothing => Scope::empty(),
            SourceKind::Table(table) => Scope::table(&self.alias, &table.columns),
            SourceKind::History(_, columns) | SourceKind::Recoveries(columns) | SourceKind::Rows(_, columns) => {
                Scope::table(&self.alias, columns)
            }
        }
    }

    fn into_input(self, condition: Option<Expression>, parameters: &ParameterTypes) -> (Input, Option<Expression>) {
        match self.kind {
            SourceKind::Nothing => (Input::OneRow, condition),
            SourceKind::History(table, _) => (Input::History(table), condition),
            SourceKind::Recoveries(_) => (Input::Recoveries, condition),
            SourceKind::Rows(rows, _) => (Input::Rows(rows), condition),
            SourceKind::Table(table) => {
                let (access, filter) = access::choose(&table, condition, parameters);
                (Input::Table { table, access }, filter)
            }
        }
    }
}
