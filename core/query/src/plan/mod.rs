//! Plans: statements bound to tables and types, made once and executed many times.

mod access;
mod compliance;
mod copy;
mod explain;
mod group;
mod order;
mod query;
mod relation;
mod result_name;
mod session;
mod table;
mod write;

use std::sync::Arc;

use craton_types::{ColumnType, TableSchema, Value};

use sqlparser::ast;

use crate::expression::{Expression, ParameterTypes, ReceiptKind, check_parameter};
use crate::limits::EXPRESSION_DEPTH_MAX;
use crate::statement::{AsOfKind, Syntax};
use crate::{AsOf, Catalog, Context, SqlError, SqlState, Statement};

pub use compliance::{SetPlacement, SetRetention, SubjectPlan, SubjectRequest};
pub use copy::{CopyIn, CopyOut};
pub use query::SelectPlan;
pub use relation::EVENTS_TABLE;
pub use session::{SetVariable, TransactionModes};
pub use table::{CreateTable, DropTable};
pub use write::WritePlan;

pub(crate) use access::{Access, KeyBound};
pub(crate) use copy::CopyFormat;
pub(crate) use query::{Grouping, Input, SortKey};
pub(crate) use write::{Assignment, Conflict, InsertSource, WriteKind};

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultColumn {
    /// The name shown to the client.
    pub name: String,
    /// The type of its values.
    pub column_type: ColumnType,
}

/// A statement, bound. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Plan(Arc<PlanInner>);

#[derive(Debug)]
struct PlanInner {
    kind: PlanKind,
    parameter_types: Arc<[ColumnType]>,
    columns: Option<Arc<[ResultColumn]>>,
    as_of: Option<(AsOfKind, Expression)>,
    tables: Vec<Arc<TableSchema>>,
    calls_receipt: bool,
    calls_state_receipt: bool,
    reads_catalog: bool,
}

/// `RETURNING`, bound.
#[derive(Clone, Debug)]
pub(crate) struct Returning {
    pub(crate) projection: Vec<Expression>,
    pub(crate) columns: Arc<[ResultColumn]>,
}

/// Checks the number and the types of the parameters' values. Done by every execution.
pub(crate) fn check_parameters(types: &[ColumnType], values: &[Value]) -> Result<(), SqlError> {
    if types.len() != values.len() {
        return Err(SqlError::new(
            SqlState::PROTOCOL_VIOLATION,
            format!(
                "bind message supplies {} parameters, but the statement requires {}",
                values.len(),
                types.len()
            ),
        ));
    }
    types
        .iter()
        .zip(values)
        .try_for_each(|(column_type, value)| check_parameter(value, *column_type))
}

/// What a plan does, so that a session can dispatch on it.
#[derive(Debug)]
pub enum PlanKind {
    /// Rows out: [`crate::execute_select`].
    Select(SelectPlan),
    /// Rows written: [`crate::execute_write`].
    Write(WritePlan),
    /// `COPY … FROM STDIN`: [`crate::copy_in`] once the data is there.
    CopyIn(CopyIn),
    /// `COPY … TO STDOUT`: [`crate::copy_out`].
    CopyOut(CopyOut),
    /// `CREATE TABLE`.
    CreateTable(CreateTable),
    /// `DROP TABLE`.
    DropTable(DropTable),
    /// `ERASE`, `HOLD` or `RELEASE SUBJECT`.
    Subject(SubjectPlan),
    /// `ALTER … SET (retention = …)`.
    SetRetention(SetRetention),
    /// `ALTER DATABASE … SET (placement = …)`.
    SetPlacement(SetPlacement),
    /// `BEGIN`, `START TRANSACTION`.
    Begin(TransactionModes),
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `SET TRANSACTION`, `SET SESSION CHARACTERISTICS AS TRANSACTION`.
    SetTransaction(TransactionModes),
    /// `SET name = value`, and `RESET name`.
    Set(SetVariable),
    /// `RESET ALL`.
    ResetAll,
    /// `SHOW name`; `None` is `SHOW ALL`.
    Show(Option<String>),
    /// `DISCARD ALL`: reset variables, forget prepared statements and portals.
    DiscardAll,
    /// `DEALLOCATE name`; `None` is `DEALLOCATE ALL`.
    Deallocate(Option<String>),
}

impl Plan {
    /// What it does.
    #[must_use]
    pub fn kind(&self) -> &PlanKind {
        &self.0.kind
    }

    /// The types of `$1`, `$2`, ….
    #[must_use]
    pub fn parameter_types(&self) -> &[ColumnType] {
        &self.0.parameter_types
    }

    /// The columns of its result; `None` when it returns no rows.
    #[must_use]
    pub fn columns(&self) -> Option<&Arc<[ResultColumn]>> {
        self.0.columns.as_ref()
    }

    /// Whether it calls `craton_receipt` or `craton_state_receipt`, so that a covering checkpoint is needed before it runs.
    #[must_use]
    pub fn calls_receipt(&self) -> bool {
        self.0.calls_receipt
    }

    /// Whether it calls `craton_state_receipt`, so that a checkpoint must vouch for the rows before it runs.
    #[must_use]
    pub fn calls_state_receipt(&self) -> bool {
        self.0.calls_state_receipt
    }

    /// Whether it has a time travel clause of its own, which goes before the session's setting.
    #[must_use]
    pub fn has_as_of(&self) -> bool {
        self.0.as_of.is_some()
    }

    /// The tables that it was bound to.
    #[must_use]
    pub fn tables(&self) -> &[Arc<TableSchema>] {
        &self.0.tables
    }

    /// Whether every table it was bound to is still that table in `catalog`. When not, plan the statement again.
    #[must_use]
    pub fn is_current(&self, catalog: &dyn Catalog) -> bool {
        !self.0.reads_catalog
            && self.0.tables.iter().all(|table| {
                catalog
                    .table(&table.name)
                    .is_some_and(|now| Arc::ptr_eq(&now, table) || now == *table)
            })
    }

    /// Which state it reads.
    ///
    /// # Errors
    /// When the clause's expression fails or gives no position or time.
    pub fn as_of(&self, context: &Context<'_>) -> Result<AsOf, SqlError> {
        match &self.0.as_of {
            None => Ok(AsOf::Now),
            Some((kind, expression)) => session::evaluate_as_of(*kind, expression, context),
        }
    }

    /// The command tag of a statement that returns no rows and writes none, such as `CREATE TABLE`.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self.kind() {
            PlanKind::Select(_) => "SELECT",
            PlanKind::Write(write) => write.command(),
            PlanKind::CopyIn(_) | PlanKind::CopyOut(_) => "COPY",
            PlanKind::CreateTable(_) => "CREATE TABLE",
            PlanKind::DropTable(_) => "DROP TABLE",
            PlanKind::Subject(subject) => subject.tag(),
            PlanKind::SetRetention(set) => set.tag(),
            PlanKind::SetPlacement(_) => "ALTER DATABASE",
            PlanKind::Begin(modes) => modes.begin_tag(),
            PlanKind::Commit => "COMMIT",
            PlanKind::Rollback => "ROLLBACK",
            PlanKind::SetTransaction(_) => "SET",
            PlanKind::Set(set) => set.tag(),
            PlanKind::ResetAll => "RESET",
            PlanKind::Show(_) => "SHOW",
            PlanKind::DiscardAll => "DISCARD ALL",
            PlanKind::Deallocate(Some(_)) => "DEALLOCATE",
            PlanKind::Deallocate(None) => "DEALLOCATE ALL",
        }
    }

    /// Whether it changes rows or tables, and so is refused in a read-only transaction and in the past.
    #[must_use]
    pub fn writes(&self) -> bool {
        matches!(
            self.kind(),
            PlanKind::Write(_)
                | PlanKind::CopyIn(_)
                | PlanKind::CreateTable(_)
                | PlanKind::DropTable(_)
                | PlanKind::Subject(_)
                | PlanKind::SetRetention(_)
                | PlanKind::SetPlacement(_)
        )
    }
}

/// Binds a statement to the catalogue's tables.
///
/// `parameter_types` are the types that the client told for `$1`, `$2`, …; the others are inferred from where the
/// parameters stand.
///
/// # Errors
/// When a name is unknown, types do not go together, or the statement asks for something that is not supported.
pub fn plan(
    statement: &Statement,
    catalog: &dyn Catalog,
    parameter_types: &[Option<ColumnType>],
) -> Result<Plan, SqlError> {
    let mut planner = Planner {
        catalog,
        parameters: ParameterTypes::new(parameter_types)?,
        tables: Vec::new(),
        reads_catalog: false,
        depth: 0,
    };
    let (mut kind, mut columns) = match statement.syntax.as_ref() {
        Syntax::Sql(syntax) => planner.bind_statement(syntax)?,
        Syntax::Compliance(syntax) => planner.bind_compliance(syntax)?,
    };
    let as_of = planner.bind_as_of(statement, &kind)?;
    if statement.explain {
        (kind, columns) = explain::explain(&kind)?;
    }
    Ok(planner.finish(kind, columns, as_of))
}

/// What is collected while a statement is bound.
struct Planner<'a> {
    catalog: &'a dyn Catalog,
    parameters: ParameterTypes,
    tables: Vec<Arc<TableSchema>>,
    reads_catalog: bool,
    depth: usize,
}

type Bound = (PlanKind, Option<Arc<[ResultColumn]>>);

impl Planner<'_> {
    fn bind_statement(&mut self, statement: &ast::Statement) -> Result<Bound, SqlError> {
        match statement {
            ast::Statement::Query(query) => {
                let select = self.bind_query(query)?;
                let columns = Some(Arc::clone(&select.columns));
                Ok((PlanKind::Select(select), columns))
            }
            ast::Statement::Insert(insert) => Ok(returning(self.bind_insert(insert)?)),
            ast::Statement::Update(update) => Ok(returning(self.bind_update(update)?)),
            ast::Statement::Delete(delete) => Ok(returning(self.bind_delete(delete)?)),
            ast::Statement::CreateTable(create) => {
                let create = self.bind_create_table(create)?;
                Ok((PlanKind::CreateTable(create), None))
            }
            ast::Statement::Drop { .. } => Ok((PlanKind::DropTable(table::bind_drop(statement)?), None)),
            ast::Statement::Copy { .. } => Ok((self.bind_copy(statement)?, None)),
            _ => session::bind(statement),
        }
    }

    /// Goes one level down in something that nests.
    fn nested<T>(&mut self, bind: impl FnOnce(&mut Self) -> Result<T, SqlError>) -> Result<T, SqlError> {
        if self.depth == EXPRESSION_DEPTH_MAX {
            return Err(crate::parse::too_deep());
        }
        self.depth += 1;
        let bound = bind(self);
        self.depth -= 1;
        bound
    }

    fn finish(
        self,
        mut kind: PlanKind,
        columns: Option<Arc<[ResultColumn]>>,
        as_of: Option<(AsOfKind, Expression)>,
    ) -> Plan {
        let parameter_types: Arc<[ColumnType]> = self.parameters.finish().into();
        match &mut kind {
            PlanKind::Select(select) => select.parameter_types = Arc::clone(&parameter_types),
            PlanKind::Write(write) => write.parameter_types = Arc::clone(&parameter_types),
            PlanKind::CopyOut(copy) => copy.select.parameter_types = Arc::clone(&parameter_types),
            PlanKind::Subject(subject) => subject.parameter_types = Arc::clone(&parameter_types),
            _ => {}
        }
        Plan(Arc::new(PlanInner {
            calls_receipt: kind.calls(Expression::calls_receipt),
            calls_state_receipt: kind.calls(|expression| expression.calls_receipt_of(ReceiptKind::State)),
            kind,
            parameter_types,
            columns,
            as_of,
            tables: self.tables,
            reads_catalog: self.reads_catalog,
        }))
    }
}

fn returning(write: WritePlan) -> Bound {
    let columns = write.returning.as_ref().map(|returning| Arc::clone(&returning.columns));
    (PlanKind::Write(write), columns)
}

impl PlanKind {
    /// Whether one of its expressions calls something.
    fn calls(&self, looked_for: impl Fn(&Expression) -> bool) -> bool {
        let mut calls = false;
        let mut visit = |expression: &Expression| calls |= looked_for(expression);
        match self {
            Self::Select(select) => select.for_each_expression(&mut visit),
            Self::Write(write) => write.for_each_expression(&mut visit),
            Self::CopyOut(copy) => copy.select.for_each_expression(&mut visit),
            _ => {}
        }
        calls
    }
}

/// A catalogue without tables, for expressions that can name none.
struct NoTables;

impl Catalog for NoTables {
    fn table(&self, _: &str) -> Option<Arc<TableSchema>> {
        None
    }

    fn tables(&self) -> Vec<Arc<TableSchema>> {
        Vec::new()
    }
}

impl Statement {
    /// The state that its own time travel clause names, when that needs no parameter; `None` when it does. Lets a
    /// session bind the statement to the tables of that time. Without a clause it is the present.
    ///
    /// # Errors
    /// When the clause's expression fails or gives no position or time.
    pub fn constant_as_of(&self, context: &Context<'_>) -> Result<Option<AsOf>, SqlError> {
        session::constant_as_of(self, context)
    }

    /// Whether it has a time travel clause.
    #[must_use]
    pub const fn has_as_of(&self) -> bool {
        self.as_of.is_some()
    }
}
