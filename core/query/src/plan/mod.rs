//! Plans: statements bound to tables and types, made once and executed many times.

mod session;
mod table;

use std::sync::Arc;

use craton_types::{ColumnType, TableSchema};

use crate::{AsOf, Catalog, Context, SqlError, Statement};

pub use session::{SetVariable, TransactionModes};
pub use table::{CreateTable, DropTable};

/// `SELECT`, bound.
#[derive(Debug)]
pub struct SelectPlan {}

/// `INSERT`, `UPDATE` or `DELETE`, bound.
#[derive(Debug)]
pub struct WritePlan {}

impl WritePlan {
    const fn command(&self) -> &'static str {
        "INSERT"
    }
}

/// `COPY … FROM STDIN`, bound.
#[derive(Clone, Debug)]
pub struct CopyIn {
    columns_count: usize,
}

impl CopyIn {
    /// How many columns each line has, for the protocol's `CopyInResponse`.
    #[must_use]
    pub const fn columns_count(&self) -> usize {
        self.columns_count
    }
}

/// `COPY … TO STDOUT`, bound.
#[derive(Clone, Debug)]
pub struct CopyOut {
    columns_count: usize,
}

impl CopyOut {
    /// How many columns each line has, for the protocol's `CopyOutResponse`.
    #[must_use]
    pub const fn columns_count(&self) -> usize {
        self.columns_count
    }
}

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
    parameter_types: Vec<ColumnType>,
    columns: Option<Arc<[ResultColumn]>>,
    as_of: Option<AsOf>,
    tables: Vec<Arc<TableSchema>>,
    calls_receipt: bool,
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

    /// Whether it calls `craton_receipt`, so that a covering checkpoint is needed before it runs.
    #[must_use]
    pub fn calls_receipt(&self) -> bool {
        self.0.calls_receipt
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
        self.0.tables.iter().all(|table| {
            catalog
                .table(&table.name)
                .is_some_and(|now| Arc::ptr_eq(&now, table) || now == *table)
        })
    }

    /// Which state it reads.
    ///
    /// # Errors
    /// When the clause's expression fails or gives no position or time.
    pub fn as_of(&self, _context: &Context<'_>) -> Result<AsOf, SqlError> {
        match &self.0.as_of {
            None => Ok(AsOf::Now),
            Some(as_of) => Ok(*as_of),
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
            PlanKind::Write(_) | PlanKind::CopyIn(_) | PlanKind::CreateTable(_) | PlanKind::DropTable(_)
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
    _catalog: &dyn Catalog,
    _parameter_types: &[Option<ColumnType>],
) -> Result<Plan, SqlError> {
    Err(SqlError::unsupported(&statement.ast))
}
