//! Transactions: one snapshot to read, writes kept until the commit, which becomes one record.
//!
//! Transactions are serializable: what was read is checked again when the commit is applied (optimistic
//! concurrency control; Kung and Robinson 1981). A conflict is SQLSTATE 40001.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use craton_kernel::{Catalogue, Operation, Outcome, ReadCheck, Refusal, SchemaWrite};
use craton_query::{
    Direction, KeyRange, Overlay, RowSource, Scan, SourceError, SqlError, SqlState, TransactionModes,
    TransactionWrites, Variables,
};
use craton_types::{Offset, PrimaryKey, RowWrite, TableId, Timestamp, VersionedRow};
use parking_lot::Mutex;

use super::subject;
use super::view::View;
use super::{Response, Session, Surroundings, refusal_error};

/// Rows whose reading a transaction remembers one by one; with more, the whole table is checked.
const ROW_READS_MAX: usize = 10_000;

/// A transaction under way.
pub(super) struct Transaction {
    pub(super) failed: bool,
    pub(super) read_only: bool,
    pub(super) catalogue: Arc<Catalogue>,
    /// The settings once the transaction commits, without what `SET LOCAL` said.
    pub(super) variables_after: Variables,
    /// The settings to go back to when it does not.
    variables_before: Variables,
    view: View,
    now: Timestamp,
    schema: Vec<SchemaWrite>,
    writes: TransactionWrites,
    reads: Mutex<Reads>,
}

/// What a transaction has read.
#[derive(Default)]
struct Reads {
    rows: BTreeMap<(TableId, PrimaryKey), Option<Offset>>,
    tables: BTreeSet<TableId>,
}

impl Reads {
    fn note_row(&mut self, table: TableId, key: &PrimaryKey, version: Option<Offset>) {
        if self.tables.contains(&table) {
            return;
        }
        if self.rows.len() >= ROW_READS_MAX {
            self.note_table(table);
            return;
        }
        self.rows.entry((table, key.clone())).or_insert(version);
    }

    fn note_table(&mut self, table: TableId) {
        if self.tables.insert(table) {
            self.rows.retain(|(row_table, _), _| *row_table != table);
        }
    }

    fn into_checks(self, end: Offset) -> Vec<ReadCheck> {
        let rows = self.rows.into_iter().map(|((table, key), version)| ReadCheck::Row {
            table,
            key: key.as_bytes().to_vec(),
            version,
        });
        let tables = self.tables.into_iter().map(|table| ReadCheck::Table { table, end });
        rows.chain(tables).collect()
    }
}

/// Rows as a transaction reads them, noting what it reads.
struct NotingView<'a> {
    view: &'a View,
    reads: &'a Mutex<Reads>,
}

impl RowSource for NotingView<'_> {
    fn get(&self, table: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, SourceError> {
        let row = self.view.get(table, key)?;
        self.reads
            .lock()
            .note_row(table, key, row.as_ref().map(|row| row.version));
        Ok(row)
    }

    fn scan<'a>(&'a self, table: TableId, range: KeyRange, direction: Direction) -> Result<Scan<'a>, SourceError> {
        self.reads.lock().note_table(table);
        self.view.scan(table, range, direction)
    }
}

/// Runs `read` over the transaction's rows with its own writes on top, or over the view alone.
pub(super) fn with_source<T>(
    transaction: Option<&Transaction>,
    view: &View,
    read: impl FnOnce(&dyn RowSource) -> T,
) -> T {
    match transaction {
        None => read(view),
        Some(transaction) => {
            let noting = NotingView {
                view,
                reads: &transaction.reads,
            };
            read(&Overlay::new(&noting, &transaction.writes))
        }
    }
}

impl Transaction {
    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings {
            view: self.view.clone(),
            catalogue: Arc::clone(&self.catalogue),
            now: self.now,
        }
    }

    /// Keeps a statement's writes for the commit.
    pub(super) fn keep(&mut self, writes: Vec<RowWrite>) -> Result<(), SqlError> {
        let catalogue = Arc::clone(&self.catalogue);
        self.writes
            .merge(writes, |table| catalogue.table_by_id(table).cloned())?;
        let rows_max = craton_query::limits::ROWS_WRITTEN_MAX;
        if self.writes.len() > rows_max {
            let message = format!("a transaction can change at most {rows_max} rows");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        Ok(())
    }

    /// Keeps schema changes for the commit; the transaction's later statements see them.
    pub(super) fn keep_schema(&mut self, writes: Vec<SchemaWrite>) {
        let catalogue = Arc::make_mut(&mut self.catalogue);
        for write in &writes {
            match write {
                SchemaWrite::Create(table) => {
                    catalogue.next_table = table.id.next();
                    catalogue.tables.insert(table.name.clone(), Arc::new(table.clone()));
                }
                SchemaWrite::Drop { name, .. } => {
                    catalogue.tables.remove(name);
                }
            }
        }
        self.schema.extend(writes);
    }

    /// The transaction as one operation; `None` when it changes nothing.
    fn into_operation(self) -> Result<Option<Operation>, SqlError> {
        let mut rows = self.writes.into_writes();
        // Rows written to a table that the transaction dropped went with it.
        rows.retain(|write| self.catalogue.table_by_id(write.table).is_some());
        if rows.is_empty() && self.schema.is_empty() {
            return Ok(None);
        }
        let reads = self.reads.into_inner().into_checks(self.view.end());
        let subject_keys = subject::new_keys(&rows, &self.catalogue, &self.view)?;
        Ok(Some(Operation::Write {
            schema: self.schema,
            rows,
            reads,
            subject_keys,
            erasures_seen: Some(self.view.erasures()),
        }))
    }
}

impl Session {
    pub(super) fn begin(&mut self, read_only: Option<bool>, tag: &str) -> Response {
        if self.transaction.is_some() {
            let notice = SqlError::new(
                SqlState::ACTIVE_TRANSACTION,
                "there is already a transaction in progress",
            );
            return Response::Command {
                tag: tag.to_owned(),
                notice: Some(notice),
            };
        }
        let around = self.surroundings();
        self.transaction = Some(Transaction {
            failed: false,
            read_only: read_only.unwrap_or_else(|| self.variables.default_read_only()),
            catalogue: around.catalogue,
            variables_after: self.variables.clone(),
            variables_before: self.variables.clone(),
            view: around.view,
            now: around.now,
            schema: Vec::new(),
            writes: TransactionWrites::default(),
            reads: Mutex::default(),
        });
        Response::command(tag)
    }

    pub(super) fn set_transaction(&mut self, modes: TransactionModes) -> Response {
        match (modes.read_only, &mut self.transaction) {
            (Some(read_only), _) if modes.for_session => self.variables.set_default_read_only(read_only),
            (Some(read_only), Some(transaction)) => transaction.read_only = read_only,
            (_, None) if !modes.for_session => {
                return Response::Command {
                    tag: "SET".to_owned(),
                    notice: Some(no_transaction()),
                };
            }
            _ => {}
        }
        Response::command("SET")
    }

    pub(super) async fn commit(&mut self) -> Result<Response, SqlError> {
        let Some(transaction) = self.transaction.take() else {
            return Ok(Response::Command {
                tag: "COMMIT".to_owned(),
                notice: Some(no_transaction()),
            });
        };
        if transaction.failed {
            self.variables = transaction.variables_before;
            return Ok(Response::command("ROLLBACK"));
        }
        let before = transaction.variables_before.clone();
        let after = transaction.variables_after.clone();
        let Some(operation) = transaction.into_operation()? else {
            self.variables = after;
            return Ok(Response::command("COMMIT"));
        };
        let outcome = self.propose(operation).await;
        let committed = matches!(outcome, Ok(Outcome::Committed(_) | Outcome::Duplicate { .. }));
        self.variables = if committed { after } else { before };
        match outcome? {
            Outcome::Committed(_) | Outcome::Duplicate { .. } => Ok(Response::command("COMMIT")),
            Outcome::Refused(
                Refusal::RowExists { .. }
                | Refusal::RowChanged { .. }
                | Refusal::ReadChanged { .. }
                | Refusal::CatalogueChanged
                | Refusal::SubjectErased
                | Refusal::SubjectKeyMissing { .. }
                | Refusal::TableExists { .. },
            ) => Err(SqlError::serialization_failure()),
            Outcome::Refused(refusal) | Outcome::RefusedOnRecord { refusal, .. } => Err(refusal_error(&refusal)),
        }
    }

    pub(super) fn rollback(&mut self) -> Response {
        match self.transaction.take() {
            Some(transaction) => {
                self.variables = transaction.variables_before;
                Response::command("ROLLBACK")
            }
            None => Response::Command {
                tag: "ROLLBACK".to_owned(),
                notice: Some(no_transaction()),
            },
        }
    }
}

fn no_transaction() -> SqlError {
    SqlError::new(SqlState::NO_ACTIVE_TRANSACTION, "there is no transaction in progress")
}
