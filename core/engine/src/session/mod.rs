//! SQL sessions: statements, transactions and time travel over a database.

mod catalogue;
mod conflict_queue;
mod events;
mod functions;
mod subject;
mod system_view;
mod transaction;
mod view;

use std::sync::Arc;

use craton_kernel::{Catalogue, Operation, Outcome, Refusal, SchemaWrite};
use craton_query::{
    AsOf, CONSISTENCY_TOKEN, Catalog as _, Consistency, Context, InsertCheck, Plan, PlanKind, ResultColumn, ResultSet,
    SqlError, SqlState, Statement, Variables, WriteSet,
};
use craton_types::{
    ActorId, ColumnType, CorrelationId, IdempotencyId, LogIndex, Offset, Region, RowWrite, TableId, TableSchema,
    Timestamp, UserDefinition, Value,
};

use crate::checkpointer::{ensure_covered, ensure_state_covered};
use crate::clock::random_array;
use crate::craton::Request;
use crate::erasure::time_text;
use crate::{EngineError, Tenant};
use catalogue::{TableNames, catalogue_at};
pub(crate) use conflict_queue::ConflictQueue;
use functions::SessionFunctions;
use system_view::SystemView;
use transaction::Transaction;
use view::View;

/// How often a statement outside a transaction is tried again after a conflict with another writer.
const CONFLICT_ATTEMPTS_MAX: u32 = 128;

/// One client's SQL session.
pub struct Session {
    database: Tenant,
    user: String,
    actor: ActorId,
    read_only_user: bool,
    /// Whether the user may erase and hold data subjects and say how long data is kept.
    compliance: bool,
    variables: Variables,
    transaction: Option<Transaction>,
}

/// A statement, bound once and executed any number of times.
#[derive(Clone, Debug)]
pub struct Prepared {
    statement: Statement,
    given_types: Vec<Option<ColumnType>>,
    plan: Plan,
}

impl Prepared {
    /// The types of its parameters.
    #[must_use]
    pub fn parameter_types(&self) -> &[ColumnType] {
        self.plan.parameter_types()
    }

    /// The columns of its result; `None` when it returns no rows.
    #[must_use]
    pub fn columns(&self) -> Option<&Arc<[ResultColumn]>> {
        self.plan.columns()
    }

    /// What it does.
    #[must_use]
    pub fn kind(&self) -> &PlanKind {
        self.plan.kind()
    }
}

/// What a statement gave.
#[derive(Debug)]
pub enum Response {
    /// Rows, of a `SELECT` or a `RETURNING`.
    Rows {
        /// Columns and rows.
        result: ResultSet,
        /// The command tag.
        tag: String,
    },
    /// No rows.
    Command {
        /// The command tag.
        tag: String,
        /// What the client should know, though nothing went wrong.
        notice: Option<SqlError>,
    },
    /// The client is to send the data, which then goes to [`Session::copy_in`].
    CopyIn {
        /// Columns in each line.
        columns_count: usize,
    },
    /// Data for the client.
    CopyOut {
        /// Columns in each line.
        columns_count: usize,
        /// The lines.
        data: Vec<u8>,
        /// The command tag.
        tag: String,
    },
    /// The client's prepared statements are to be forgotten: this one, or all.
    Deallocate {
        /// The statement's name; `None` for all.
        name: Option<String>,
        /// The command tag.
        tag: String,
    },
}

impl Response {
    fn command(tag: impl Into<String>) -> Self {
        Self::Command {
            tag: tag.into(),
            notice: None,
        }
    }
}

/// Where a session stands between statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// No transaction: each statement is its own.
    Idle,
    /// In a transaction.
    InTransaction,
    /// In a transaction that failed and waits for its end.
    Failed,
}

/// A statement's surroundings: what it reads, as of when.
struct Surroundings {
    view: View,
    catalogue: Arc<Catalogue>,
    now: Timestamp,
}

impl Session {
    pub(crate) fn new(database: Tenant, user: &UserDefinition) -> Self {
        Self {
            database,
            user: user.name.clone(),
            actor: user.actor,
            read_only_user: user.read_only,
            compliance: user.compliance,
            variables: Variables::default(),
            transaction: None,
        }
    }

    /// Splits a text into statements.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn parse(&self, sql: &str) -> Result<Vec<Statement>, SqlError> {
        craton_query::parse(sql)
    }

    /// Binds a statement to the tables of now.
    ///
    /// # Errors
    /// When a name is unknown or types do not go together.
    pub fn prepare(&self, statement: &Statement, parameter_types: &[Option<ColumnType>]) -> Result<Prepared, SqlError> {
        let catalogue = self.catalogue_for(statement)?;
        let plan = craton_query::plan(statement, &TableNames(&catalogue), parameter_types)?;
        Ok(Prepared {
            statement: statement.clone(),
            given_types: parameter_types.to_vec(),
            plan,
        })
    }

    /// As [`Self::prepare`]; what another node knows and this one not yet is waited for.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub async fn prepare_latest(
        &self,
        statement: &Statement,
        parameter_types: &[Option<ColumnType>],
    ) -> Result<Prepared, SqlError> {
        match self.prepare(statement, parameter_types) {
            Err(_) if self.database.node.cluster.is_some() => {
                self.catch_up().await?;
                self.prepare(statement, parameter_types)
            }
            prepared => prepared,
        }
    }

    /// Where the session stands.
    #[must_use]
    pub fn transaction_status(&self) -> TransactionStatus {
        match &self.transaction {
            None => TransactionStatus::Idle,
            Some(transaction) if transaction.failed => TransactionStatus::Failed,
            Some(_) => TransactionStatus::InTransaction,
        }
    }

    /// A setting's value.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.variables.get(name)
    }

    /// Executes a prepared statement. A failure inside a transaction fails the transaction.
    ///
    /// # Errors
    /// Typed as PostgreSQL types them.
    pub async fn execute(&mut self, prepared: &Prepared, parameters: &[Value]) -> Result<Response, SqlError> {
        let result = self.dispatch(prepared, parameters).await;
        self.note_failure(result)
    }

    /// Parses and executes one statement.
    ///
    /// # Errors
    /// When the text does not hold exactly one statement, it does not fit the tables, or it fails.
    pub async fn sql(&mut self, sql: &str, parameters: &[Value]) -> Result<Response, SqlError> {
        let statements = self.parse(sql)?;
        let [statement] = statements.as_slice() else {
            let message = format!("one statement at a time, not {}", statements.len());
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        };
        let prepared = self.prepare_latest(statement, &[]).await;
        let prepared = prepared.inspect_err(|_| self.fail_transaction())?;
        self.execute(&prepared, parameters).await
    }

    /// Carries out a `COPY … FROM STDIN` whose [`Response::CopyIn`] was answered with `data`.
    ///
    /// # Errors
    /// When a line does not fit the table; nothing is written then.
    pub async fn copy_in(&mut self, prepared: &Prepared, data: &[u8]) -> Result<Response, SqlError> {
        let result = self.run_copy_in(prepared, data).await;
        self.note_failure(result)
    }

    /// Fails the transaction, as when the client gave up in the middle of a `COPY`.
    pub fn fail_transaction(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.failed = true;
        }
    }

    fn note_failure<T>(&mut self, result: Result<T, SqlError>) -> Result<T, SqlError> {
        if result.is_err() {
            self.fail_transaction();
        }
        result
    }

    /// Waits until this node has what the session's next statement must see, as `craton.consistency` says. Inside a
    /// transaction, what it sees is settled.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn catch_up(&self) -> Result<(), SqlError> {
        if self.transaction.is_some() {
            return Ok(());
        }
        let node = &self.database.node;
        let caught_up = match self.variables.consistency() {
            Consistency::Linearizable => node.catch_up().await,
            Consistency::Causal(token) => node.wait_applied(LogIndex::new(token)).await,
            Consistency::Eventual => Ok(()),
        };
        caught_up.map_err(sql_error)
    }

    async fn dispatch(&mut self, prepared: &Prepared, parameters: &[Value]) -> Result<Response, SqlError> {
        let kind = prepared.plan.kind();
        if self.transaction_status() == TransactionStatus::Failed
            && !matches!(kind, PlanKind::Commit | PlanKind::Rollback)
        {
            return Err(SqlError::in_failed_transaction());
        }
        let reads = matches!(
            kind,
            PlanKind::Begin(_)
                | PlanKind::Select(_)
                | PlanKind::CopyOut(_)
                | PlanKind::Write(_)
                | PlanKind::CreateTable(_)
                | PlanKind::DropTable(_)
        );
        if reads {
            self.catch_up().await?;
        }
        match kind {
            PlanKind::Begin(modes) => Ok(self.begin(modes.read_only, prepared.plan.tag())),
            PlanKind::Commit => self.commit().await,
            PlanKind::Rollback => Ok(self.rollback()),
            PlanKind::SetTransaction(modes) => Ok(self.set_transaction(*modes)),
            PlanKind::Set(set) => {
                if set.local && self.transaction.is_none() {
                    let notice = SqlError::new(
                        SqlState::NO_ACTIVE_TRANSACTION,
                        "SET LOCAL can only be used in transaction blocks",
                    );
                    return Ok(Response::Command {
                        tag: prepared.plan.tag().to_owned(),
                        notice: Some(notice),
                    });
                }
                self.variables.set(set)?;
                if let (false, Some(transaction)) = (set.local, &mut self.transaction) {
                    transaction.variables_after.set(set)?;
                }
                Ok(Response::command(prepared.plan.tag()))
            }
            PlanKind::ResetAll => {
                self.variables.reset_all();
                Ok(Response::command(prepared.plan.tag()))
            }
            PlanKind::Show(name) => {
                if name
                    .as_deref()
                    .is_some_and(|name| name.eq_ignore_ascii_case(CONSISTENCY_TOKEN))
                {
                    let applied = self.database.node.tenants.applied_index();
                    self.variables.set_consistency_token(applied.get());
                }
                let placement = Arc::clone(&self.database.tenant.head().placement);
                let region = self.database.node.region.as_ref().map(Region::as_str);
                self.variables.note_placement(&placement.rules, region.unwrap_or(""));
                let result = self.variables.show(name.as_deref())?;
                Ok(Response::Rows {
                    result,
                    tag: "SHOW".to_owned(),
                })
            }
            PlanKind::DiscardAll => {
                if self.transaction.is_some() {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(SqlError::new(SqlState::ACTIVE_TRANSACTION, message));
                }
                self.variables.reset_all();
                Ok(Response::Deallocate {
                    name: None,
                    tag: prepared.plan.tag().to_owned(),
                })
            }
            PlanKind::Deallocate(name) => Ok(Response::Deallocate {
                name: name.clone(),
                tag: prepared.plan.tag().to_owned(),
            }),
            PlanKind::Select(_) | PlanKind::CopyOut(_) => self.read(prepared, parameters).await,
            PlanKind::CopyIn(copy) => {
                self.check_writable(&prepared.plan)?;
                Ok(Response::CopyIn {
                    columns_count: copy.columns_count(),
                })
            }
            PlanKind::Write(_) => {
                self.check_writable(&prepared.plan)?;
                let written = self.write(prepared, parameters, None).await?;
                Ok(write_response(written))
            }
            PlanKind::CreateTable(_) | PlanKind::DropTable(_) => {
                self.check_writable(&prepared.plan)?;
                self.change_schema(prepared).await
            }
            PlanKind::Subject(_) | PlanKind::SetRetention(_) | PlanKind::SetPlacement(_) => {
                self.comply(prepared, parameters).await
            }
        }
    }

    /// The catalogue that names are bound to: the transaction's own, or the published one.
    fn catalogue(&self) -> Arc<Catalogue> {
        match &self.transaction {
            Some(transaction) => Arc::clone(&transaction.catalogue),
            None => Arc::clone(&self.database.tenant.head().catalogue),
        }
    }

    /// The catalogue that a statement is bound to: that of the position it reads, when that is known already.
    fn catalogue_for(&self, statement: &Statement) -> Result<Arc<Catalogue>, SqlError> {
        let catalogue = self.catalogue();
        let session_as_of = self.variables.as_of();
        if !statement.has_as_of() && session_as_of == AsOf::Now {
            return Ok(catalogue);
        }
        let around = self.surroundings();
        let functions = SessionFunctions::new(&self.database, &self.variables, around.view.end());
        let as_of = match statement.constant_as_of(&self.context(around.now, &[], &functions))? {
            Some(AsOf::Now) => session_as_of,
            Some(as_of) => as_of,
            None => return Ok(catalogue),
        };
        let end = around.view.resolve(as_of)?;
        catalogue_at(&around.view.at(end), &catalogue)
    }

    fn check_writable(&self, plan: &Plan) -> Result<(), SqlError> {
        if self.read_only_user {
            let message = format!("permission denied: user \"{}\" may only read", self.user);
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        if let Some(view) = plan
            .tables()
            .first()
            .filter(|table| SystemView::by_id(table.id).is_some())
        {
            let message = format!("\"{}\" is a view of the engine and cannot be changed", view.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        if self.variables.as_of() != AsOf::Now || plan.has_as_of() {
            return Err(SqlError::read_only_past(plan.tag()));
        }
        let read_only = match &self.transaction {
            Some(transaction) => transaction.read_only,
            None => self.variables.default_read_only(),
        };
        if read_only {
            Err(SqlError::read_only_transaction(plan.tag()))
        } else {
            Ok(())
        }
    }

    /// A plan that fits the catalogue: the prepared one, or the statement bound again.
    fn current_plan(&self, prepared: &Prepared, catalogue: &Catalogue) -> Result<Plan, SqlError> {
        let names = TableNames(catalogue);
        if prepared.plan.is_current(&names) {
            return Ok(prepared.plan.clone());
        }
        craton_query::plan(&prepared.statement, &names, &prepared.given_types)
    }

    fn surroundings(&self) -> Surroundings {
        let mut around = self.surroundings_without_deadline();
        let timeout_ns = self.variables.statement_timeout_ms().saturating_mul(1_000_000);
        if timeout_ns > 0 {
            let now = self.database.node.clock.now().get();
            around.view.set_deadline(Timestamp::new(now.saturating_add(timeout_ns)));
        }
        around
    }

    fn surroundings_without_deadline(&self) -> Surroundings {
        match &self.transaction {
            Some(transaction) => transaction.surroundings(),
            None => {
                // The view first: a catalogue may be newer than the rows, never older.
                let view = View::now(self.database.clone());
                let catalogue = Arc::clone(&self.database.tenant.head().catalogue);
                Surroundings {
                    view,
                    catalogue,
                    now: self.database.node.clock.now(),
                }
            }
        }
    }

    fn context<'a>(
        &'a self,
        now: Timestamp,
        parameters: &'a [Value],
        functions: &'a SessionFunctions<'a>,
    ) -> Context<'a> {
        Context {
            now,
            user: &self.user,
            database: self.database.name(),
            parameters,
            functions,
            insert_check: if self.transaction.is_some() {
                InsertCheck::Now
            } else {
                InsertCheck::AtApply
            },
            memory_bytes_max: craton_query::limits::MEMORY_BYTES_DEFAULT,
        }
    }

    async fn read(&mut self, prepared: &Prepared, parameters: &[Value]) -> Result<Response, SqlError> {
        let mut around = self.surroundings();
        if prepared.plan.calls_receipt() {
            // A receipt needs a checkpoint over what is seen.
            ensure_covered(&self.database.node, &self.database.tenant, around.view.end())
                .await
                .map_err(sql_error)?;
            let timeout_ms = self.variables.cosignature_timeout_ms();
            self.database.wait_for_cosignatures(around.view.end(), timeout_ms).await;
        }
        let as_of = self.as_of(prepared, parameters, &around)?;
        let past = as_of != AsOf::Now;
        if prepared.plan.calls_state_receipt() && !past {
            ensure_state_covered(&self.database.node, &self.database.tenant, around.view.end())
                .await
                .map_err(sql_error)?;
        }
        if past {
            let end = around.view.resolve(as_of)?;
            around.view = around.view.at(end);
            around.catalogue = catalogue_at(&around.view, &around.catalogue)?;
        }
        let plan = self.current_plan(prepared, &around.catalogue)?;
        let functions = SessionFunctions::new(&self.database, &self.variables, around.view.end()).in_past(past);
        let context = self.context(around.now, parameters, &functions);
        let transaction = if past { None } else { self.transaction.as_ref() };
        transaction::with_source(transaction, &around.view, |source| match plan.kind() {
            PlanKind::Select(select) => {
                let result = craton_query::execute_select(select, source, &context)?;
                let tag = format!("SELECT {}", result.rows.len());
                Ok(Response::Rows { result, tag })
            }
            PlanKind::CopyOut(copy) => {
                let (data, rows) = craton_query::copy_out(copy, source, &context)?;
                Ok(Response::CopyOut {
                    columns_count: copy.columns_count(),
                    data,
                    tag: format!("COPY {rows}"),
                })
            }
            _ => unreachable!("only reading plans come here"),
        })
    }

    /// Which state a statement reads: its own clause goes before the session's setting.
    fn as_of(&self, prepared: &Prepared, parameters: &[Value], around: &Surroundings) -> Result<AsOf, SqlError> {
        if !prepared.plan.has_as_of() {
            return Ok(self.variables.as_of());
        }
        let functions = SessionFunctions::new(&self.database, &self.variables, around.view.end());
        prepared.plan.as_of(&self.context(around.now, parameters, &functions))
    }

    async fn run_copy_in(&mut self, prepared: &Prepared, data: &[u8]) -> Result<Response, SqlError> {
        if self.transaction_status() == TransactionStatus::Failed {
            return Err(SqlError::in_failed_transaction());
        }
        self.check_writable(&prepared.plan)?;
        let written = self.write(prepared, &[], Some(data)).await?;
        Ok(write_response(written))
    }

    /// Runs a writing statement: inside a transaction its writes are kept for the commit, outside it is
    /// committed at once, and tried again when another writer got in between.
    async fn write(
        &mut self,
        prepared: &Prepared,
        parameters: &[Value],
        copy_data: Option<&[u8]>,
    ) -> Result<WriteSet, SqlError> {
        let mut turn = None;
        for _ in 0..CONFLICT_ATTEMPTS_MAX {
            let (mut written, around) = self.find_writes(prepared, parameters, copy_data)?;
            let rows = std::mem::take(&mut written.writes);
            if let Some(transaction) = &mut self.transaction {
                transaction.keep(rows)?;
                return Ok(written);
            }
            if rows.is_empty() {
                return Ok(written);
            }
            let Some(conflict) = self.commit_rows(rows, &around, prepared).await? else {
                return Ok(written);
            };
            if turn.is_none() {
                turn = Some(self.database.tenant.conflicts.turn(conflict.table, &conflict.key).await);
            }
        }
        Err(SqlError::serialization_failure())
    }

    /// What a writing statement would write now, and what says so.
    fn find_writes(
        &self,
        prepared: &Prepared,
        parameters: &[Value],
        copy_data: Option<&[u8]>,
    ) -> Result<(WriteSet, Surroundings), SqlError> {
        let around = self.surroundings();
        let plan = self.current_plan(prepared, &around.catalogue)?;
        let functions = SessionFunctions::new(&self.database, &self.variables, around.view.end());
        let context = self.context(around.now, parameters, &functions);
        let written = transaction::with_source(self.transaction.as_ref(), &around.view, |source| match plan.kind() {
            PlanKind::Write(write) => craton_query::execute_write(write, source, &context),
            PlanKind::CopyIn(copy) => craton_query::copy_in(copy, copy_data.unwrap_or_default(), source, &context),
            _ => unreachable!("only writing plans come here"),
        })?;
        Ok((written, around))
    }

    /// Commits a single statement's writes; `Some` when another writer got in between.
    async fn commit_rows(
        &self,
        rows: Vec<RowWrite>,
        around: &Surroundings,
        prepared: &Prepared,
    ) -> Result<Option<Conflict>, SqlError> {
        // What is there already is no failure for `ON CONFLICT`: run again, it is seen.
        let expects_rows = matches!(prepared.plan.kind(), PlanKind::Write(write) if write.has_on_conflict());
        let first_rows = InsertedRows::of(&rows);
        let operation = Operation::Write {
            schema: Vec::new(),
            subject_keys: subject::new_keys(&rows, &around.catalogue, &around.view)?,
            rows,
            reads: Vec::new(),
            erasures_seen: Some(around.view.erasures()),
        };
        match self.propose(operation).await? {
            Outcome::Refused(Refusal::RowExists { table, key }) if !expects_rows => {
                Err(first_rows.unique_violation(around.catalogue.table_by_id(table), &key))
            }
            Outcome::Refused(Refusal::RowExists { table, key } | Refusal::RowChanged { table, key }) => {
                Ok(Some(Conflict { table, key }))
            }
            Outcome::Refused(
                Refusal::CatalogueChanged | Refusal::SubjectErased | Refusal::SubjectKeyMissing { .. },
            ) => Ok(Some(Conflict::default())),
            Outcome::Refused(refusal) | Outcome::RefusedOnRecord { refusal, .. } => Err(refusal_error(&refusal)),
            Outcome::Committed(_) | Outcome::Duplicate { .. } => Ok(None),
        }
    }

    async fn propose(&self, operation: Operation) -> Result<Outcome, SqlError> {
        let node = &self.database.node;
        let request = Request {
            tenant: self.database.tenant.id,
            actor: self.actor,
            correlation_id: CorrelationId::new(random_array(node.random.as_ref())),
            idempotency_id: IdempotencyId::NIL,
        };
        let tenant = &self.database.tenant;
        let proposed = {
            // What was read of a subject that is erased by now must not even reach the write-ahead log.
            let _gate = tenant.erasure_gate.read();
            if let Operation::Write { erasures_seen, .. } = &operation
                && erasures_seen.is_some_and(|seen| seen != tenant.head().erasures)
            {
                return Ok(Outcome::Refused(Refusal::SubjectErased));
            }
            node.propose(request, operation)
        };
        proposed.await.map_err(sql_error)
    }

    /// `CREATE TABLE` and `DROP TABLE`.
    async fn change_schema(&mut self, prepared: &Prepared) -> Result<Response, SqlError> {
        let tag = prepared.plan.tag();
        for _ in 0..CONFLICT_ATTEMPTS_MAX {
            let catalogue = self.catalogue();
            let (writes, notice) = schema_writes(prepared.plan.kind(), &catalogue)?;
            if let Some(transaction) = &mut self.transaction {
                transaction.keep_schema(writes);
                return Ok(Response::Command {
                    tag: tag.to_owned(),
                    notice,
                });
            }
            if writes.is_empty() {
                return Ok(Response::Command {
                    tag: tag.to_owned(),
                    notice,
                });
            }
            let operation = Operation::Write {
                schema: writes,
                rows: Vec::new(),
                reads: Vec::new(),
                subject_keys: Vec::new(),
                erasures_seen: None,
            };
            match self.propose(operation).await? {
                Outcome::Committed(_) | Outcome::Duplicate { .. } => {
                    return Ok(Response::Command {
                        tag: tag.to_owned(),
                        notice,
                    });
                }
                // Looked at again: the name may be taken now, or only the number.
                Outcome::Refused(Refusal::CatalogueChanged | Refusal::TableExists { .. }) => {}
                Outcome::Refused(refusal) | Outcome::RefusedOnRecord { refusal, .. } => {
                    return Err(refusal_error(&refusal));
                }
            }
        }
        Err(SqlError::serialization_failure())
    }
}

/// The row at which another writer got in between; none in particular when it was the catalogue.
#[derive(Default)]
struct Conflict {
    table: TableId,
    key: Vec<u8>,
}

/// The rows that a statement inserts, kept so that a refused one can be named.
struct InsertedRows(Vec<(Vec<u8>, Vec<Value>)>);

impl InsertedRows {
    /// Statements with more rows name the key alone.
    const ROWS_MAX: usize = 64;

    fn of(writes: &[RowWrite]) -> Self {
        let rows = writes.iter().take(Self::ROWS_MAX);
        Self(
            rows.filter_map(|write| Some((write.key.clone(), write.after.clone()?)))
                .collect(),
        )
    }

    fn unique_violation(&self, table: Option<&Arc<TableSchema>>, key: &[u8]) -> SqlError {
        let row = self
            .0
            .iter()
            .find(|(row_key, _)| row_key == key)
            .map(|(_, row)| row.as_slice());
        match table {
            Some(table) => SqlError::unique_violation(table, row.unwrap_or_default()),
            None => SqlError::serialization_failure(),
        }
    }
}

fn write_response(written: WriteSet) -> Response {
    match written.returning {
        Some(result) => Response::Rows {
            result,
            tag: written.tag,
        },
        None => Response::command(written.tag),
    }
}

/// The schema writes of a statement against a catalogue, and what the client should know.
fn schema_writes(kind: &PlanKind, catalogue: &Catalogue) -> Result<(Vec<SchemaWrite>, Option<SqlError>), SqlError> {
    match kind {
        PlanKind::CreateTable(create) if TableNames(catalogue).table(&create.schema.name).is_some() => {
            let exists = SqlError::duplicate_table(&create.schema.name);
            if create.if_not_exists {
                Ok((Vec::new(), Some(skipping(exists))))
            } else {
                Err(exists)
            }
        }
        PlanKind::CreateTable(create) => {
            let schema = TableSchema {
                id: catalogue.next_table,
                ..create.schema.clone()
            };
            Ok((vec![SchemaWrite::Create(schema)], None))
        }
        PlanKind::DropTable(drop) => {
            let mut writes = Vec::new();
            let mut notice = None;
            for name in &drop.tables {
                match catalogue.tables.get(name) {
                    Some(table) => writes.push(SchemaWrite::Drop {
                        table: table.id,
                        name: name.clone(),
                    }),
                    None if drop.if_exists => notice = Some(skipping(SqlError::undefined_table(name))),
                    None => return Err(SqlError::undefined_table(name)),
                }
            }
            Ok((writes, notice))
        }
        _ => unreachable!("only schema changes come here"),
    }
}

/// An error turned into a notice, in PostgreSQL's words.
fn skipping(mut error: SqlError) -> SqlError {
    error.message.push_str(", skipping");
    error
}

/// What a client is told when the kernel refused for a reason that no retry mends.
fn refusal_error(refusal: &Refusal) -> SqlError {
    let state = match refusal {
        Refusal::RecordTooLarge { .. }
        | Refusal::TooManyChanges { .. }
        | Refusal::SubjectName { .. }
        | Refusal::Reason { .. } => SqlState::PROGRAM_LIMIT_EXCEEDED,
        Refusal::Placement { allowed, .. } => {
            let regions: Vec<_> = allowed.iter().map(Region::as_str).collect();
            return SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, refusal.to_string())
                .with_detail("The refusal is on record.")
                .with_hint(format!("Use a cluster in {}.", regions.join(" or ")));
        }
        Refusal::SubjectUnknown { .. } => SqlState::NO_DATA_FOUND,
        Refusal::SubjectHeld { .. } => SqlState::OBJECT_IN_USE,
        Refusal::SubjectRetained { until, .. } => {
            let error = SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, refusal.to_string());
            return error.with_detail(format!("It must be kept until {}.", time_text(*until)));
        }
        Refusal::SubjectNotHeld { .. } | Refusal::NotErasable { .. } => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        _ => SqlState::INTERNAL_ERROR,
    };
    SqlError::new(state, refusal.to_string())
}

/// What a client is told of a node's trouble.
pub(crate) fn sql_error(error: EngineError) -> SqlError {
    let state = match &error {
        EngineError::Overloaded | EngineError::OverShare { .. } | EngineError::StateBehind { .. } => {
            SqlState::INSUFFICIENT_RESOURCES
        }
        EngineError::DiskFull => SqlState::DISK_FULL,
        EngineError::NotLeader | EngineError::Behind { .. } | EngineError::RecordDamaged { .. } => {
            SqlState::CANNOT_CONNECT_NOW
        }
        EngineError::FormatNotActive { .. } => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        EngineError::OutcomeUnknown => SqlState::STATEMENT_COMPLETION_UNKNOWN,
        EngineError::Stopped { .. } => SqlState::ADMIN_SHUTDOWN,
        EngineError::Refused(refusal) => return refusal_error(refusal),
        _ => SqlState::IO_ERROR,
    };
    let message = crate::applier::chain(&error);
    let retryable = error.is_retryable();
    let sql = SqlError::new(state, message);
    if retryable {
        sql.with_hint("The statement can be retried.")
    } else {
        sql
    }
}

/// The exclusive end that "after the record at this position" means.
fn end_after(position: u64) -> Option<Offset> {
    position.checked_add(1).map(Offset::new)
}
