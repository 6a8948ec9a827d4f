//! A database in memory: the kernel's and the engine's part in as few lines as show what the query layer needs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use craton_query::{
    AsOf, Catalog, Context, Direction, Functions, HistoryEntry, InsertCheck, KeyRange, Plan, PlanKind, RecoveryEntry,
    ResultSet, RowSource, Scan, SourceError, SqlError, SqlState, Statement, Variables, limits, text,
};
use craton_types::{
    ColumnType, Expected, Offset, PrimaryKey, RowWrite, TableId, TableSchema, Timestamp, Value, VersionedRow,
};

/// 2024-02-29 12:34:56.789 UTC.
pub(crate) const NOW: Timestamp = Timestamp::new(1_709_210_096_789_000_000);

type Rows = BTreeMap<(TableId, Vec<u8>), VersionedRow>;

#[derive(Default)]
pub(crate) struct Database {
    pub(crate) tables: BTreeMap<String, Arc<TableSchema>>,
    pub(crate) rows: Rows,
    pub(crate) history: BTreeMap<TableId, Vec<HistoryEntry>>,
    pub(crate) variables: Variables,
    pub(crate) position: u64,
    pub(crate) memory_bytes_max: usize,
    /// How many rows the source gave out since the last statement began.
    pub(crate) rows_read: Cell<usize>,
}

impl Catalog for Database {
    fn table(&self, name: &str) -> Option<Arc<TableSchema>> {
        self.tables.get(name).cloned()
    }

    fn tables(&self) -> Vec<Arc<TableSchema>> {
        self.tables.values().cloned().collect()
    }
}

impl RowSource for Database {
    fn get(&self, table: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, SourceError> {
        self.rows_read.set(self.rows_read.get() + 1);
        Ok(self.rows.get(&(table, key.as_bytes().to_vec())).cloned())
    }

    fn scan<'a>(&'a self, table: TableId, range: KeyRange, direction: Direction) -> Result<Scan<'a>, SourceError> {
        assert!(!range.is_empty(), "an empty range need not be asked for");
        let start = (table, range.start.clone());
        let rows = self
            .rows
            .range(start..)
            .take_while(move |((of, _), _)| *of == table)
            .filter(move |((_, key), _)| range.contains(key))
            .map(|((_, key), row)| {
                self.rows_read.set(self.rows_read.get() + 1);
                Ok((PrimaryKey::from_bytes(key.clone()), row.clone()))
            });
        Ok(match direction {
            Direction::Forward => Box::new(rows),
            Direction::Backward => Box::new(rows.collect::<Vec<_>>().into_iter().rev()),
        })
    }
}

impl Functions for Database {
    fn receipt(&self, table: &TableSchema, key: &PrimaryKey) -> Result<String, SqlError> {
        match self.rows.get(&(table.id, key.as_bytes().to_vec())) {
            Some(row) => Ok(format!("receipt of {} at {}", table.name, row.version)),
            None => Err(SqlError::new(SqlState::NO_DATA_FOUND, "no such row")),
        }
    }

    fn state_receipt(&self, table: &TableSchema, key: &craton_types::Row) -> Result<String, SqlError> {
        let encoded = PrimaryKey::encode(key).expect("the planner checked the types");
        let row = self.rows.get(&(table.id, encoded.as_bytes().to_vec()));
        let claim = if row.is_some() { "latest" } else { "absent" };
        Ok(format!("{claim} in {}", table.name))
    }

    fn position(&self) -> Option<u64> {
        self.position.checked_sub(1)
    }

    fn log_key(&self) -> String {
        "log+key".to_owned()
    }

    fn cosigned_checkpoint(&self) -> Result<Option<craton_query::CosignedCheckpoint>, SqlError> {
        Ok(Some(craton_query::CosignedCheckpoint {
            note: "a note".to_owned(),
            time_stamp: Some(vec![0x30]),
        }))
    }

    fn random_bytes(&self) -> [u8; 16] {
        [0xFF; 16]
    }

    fn setting(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(str::to_owned)
    }

    fn history(&self, table: &TableSchema) -> Result<Vec<HistoryEntry>, SqlError> {
        Ok(self.history.get(&table.id).cloned().unwrap_or_default())
    }

    fn recoveries(&self) -> Result<Vec<RecoveryEntry>, SqlError> {
        Ok(Vec::new())
    }
}

impl Database {
    pub(crate) fn new() -> Self {
        Self {
            memory_bytes_max: limits::MEMORY_BYTES_DEFAULT,
            ..Self::default()
        }
    }

    /// A database after some statements, each of which must succeed.
    pub(crate) fn with(sql: &str) -> Self {
        let mut database = Self::new();
        for statement in craton_query::parse(sql).expect("parses") {
            database.execute(&statement, &[]).expect("executes");
        }
        database
    }

    pub(crate) fn context<'a>(&'a self, parameters: &'a [Value]) -> Context<'a> {
        Context {
            now: NOW,
            user: "ada",
            database: "main",
            parameters,
            functions: self,
            insert_check: InsertCheck::AtApply,
            memory_bytes_max: self.memory_bytes_max,
        }
    }

    pub(crate) fn plan(&self, sql: &str, types: &[Option<ColumnType>]) -> Result<Plan, SqlError> {
        let statements = craton_query::parse(sql)?;
        let [statement] = statements.as_slice() else {
            panic!("one statement is expected: {sql}")
        };
        craton_query::plan(statement, self, types)
    }

    /// Runs one statement, as its own transaction, and shows what comes of it.
    pub(crate) fn execute(&mut self, statement: &Statement, parameters: &[Value]) -> Result<String, SqlError> {
        let plan = craton_query::plan(statement, self, &[])?;
        self.rows_read.set(0);
        match plan.kind() {
            PlanKind::Select(select) => {
                let result = craton_query::execute_select(select, self, &self.context(parameters))?;
                assert_eq!(plan.columns(), Some(&result.columns));
                let as_of = plan.as_of(&self.context(parameters))?;
                Ok(match as_of {
                    AsOf::Now => show(&result),
                    past => format!("{past:?}\n{}", show(&result)),
                })
            }
            PlanKind::Write(write) => {
                let set = craton_query::execute_write(write, self, &self.context(parameters))?;
                self.apply(set.writes)?;
                Ok(match set.returning {
                    None => set.tag,
                    Some(result) => format!("{}\n{}", set.tag, show(&result)),
                })
            }
            PlanKind::CreateTable(create) => {
                if self.tables.contains_key(&create.schema.name) {
                    return match create.if_not_exists {
                        true => Ok(plan.tag().to_owned()),
                        false => Err(SqlError::duplicate_table(&create.schema.name)),
                    };
                }
                let mut schema = create.schema.clone();
                schema.id = TableId::new(16 + u32::try_from(self.tables.len()).expect("few tables"));
                self.tables.insert(schema.name.clone(), Arc::new(schema));
                Ok(plan.tag().to_owned())
            }
            PlanKind::DropTable(drop) => {
                for name in &drop.tables {
                    if self.tables.remove(name).is_none() && !drop.if_exists {
                        return Err(SqlError::undefined_table(name));
                    }
                }
                Ok(plan.tag().to_owned())
            }
            PlanKind::Set(set) => {
                self.variables.set(set)?;
                Ok(plan.tag().to_owned())
            }
            PlanKind::ResetAll => {
                self.variables.reset_all();
                Ok(plan.tag().to_owned())
            }
            PlanKind::Show(name) => self.variables.show(name.as_deref()).map(|result| show(&result)),
            PlanKind::CopyOut(copy) => {
                let (data, rows) = craton_query::copy_out(copy, self, &self.context(parameters))?;
                Ok(format!("COPY {rows}\n{}", String::from_utf8(data).expect("text")))
            }
            _ => Ok(plan.tag().to_owned()),
        }
    }

    /// The kernel's part: checks what the writer saw, then writes.
    pub(crate) fn apply(&mut self, writes: Vec<RowWrite>) -> Result<(), SqlError> {
        for write in &writes {
            let existing = self.rows.get(&(write.table, write.key.clone()));
            let schema = self
                .tables
                .values()
                .find(|table| table.id == write.table)
                .expect("a table");
            match (write.expected, existing) {
                (Expected::Absent, None) => {}
                (Expected::Absent, Some(_)) => {
                    return Err(SqlError::unique_violation(
                        schema,
                        write.after.as_ref().expect("an insert"),
                    ));
                }
                (Expected::Version(version), Some(row)) if row.version == version => {}
                (Expected::Version(_), _) => return Err(SqlError::serialization_failure()),
            }
        }
        for write in writes {
            let key = (write.table, write.key);
            let before = self.rows.get(&key).map(|row| row.row.to_vec());
            self.history.entry(write.table).or_default().push(HistoryEntry {
                position: self.position,
                time: NOW,
                actor: "ada".to_owned(),
                before,
                after: write.after.clone(),
            });
            match write.after {
                Some(row) => self.rows.insert(
                    key,
                    VersionedRow {
                        version: Offset::new(self.position),
                        row: Arc::new(row),
                    },
                ),
                None => self.rows.remove(&key),
            };
        }
        self.position += 1;
        Ok(())
    }

    /// The answer to a text of statements: results one after the other, ending with the first error.
    pub(crate) fn answer(&mut self, sql: &str) -> String {
        self.answer_with(sql, &[])
    }

    pub(crate) fn answer_with(&mut self, sql: &str, parameters: &[Value]) -> String {
        let statements = match craton_query::parse(sql) {
            Ok(statements) => statements,
            Err(error) => return show_error(&error),
        };
        let mut answers = Vec::new();
        for statement in statements {
            match self.execute(&statement, parameters) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    answers.push(show_error(&error));
                    break;
                }
            }
        }
        answers.join("\n")
    }

    #[track_caller]
    pub(crate) fn check(&mut self, sql: &str, expect: &str) {
        let answer = self.answer(sql);
        assert_eq!(answer.trim_end(), expect, "{sql}");
    }
}

/// Rows as `psql -At` shows them, with `null` for NULL.
pub(crate) fn show(result: &ResultSet) -> String {
    let mut lines = Vec::new();
    for row in &result.rows {
        assert_eq!(row.len(), result.columns.len());
        let fields: Vec<String> = row
            .iter()
            .zip(result.columns.iter())
            .map(|(value, column)| match value {
                Value::Null => "null".to_owned(),
                value => text::format(value, column.column_type),
            })
            .collect();
        lines.push(fields.join("|"));
    }
    lines.join("\n")
}

pub(crate) fn show_error(error: &SqlError) -> String {
    let mut shown = format!("{}: {}", error.sqlstate, error.message);
    if let Some(detail) = &error.detail {
        write!(shown, " [{detail}]").expect("a string");
    }
    shown
}

/// Checks scalar expressions: `SELECT <expression>`.
#[track_caller]
pub(crate) fn check_expressions(table: &[(&str, &str)]) {
    let mut database = Database::new();
    for (expression, expect) in table {
        let answer = database.answer(&format!("SELECT {expression}"));
        assert_eq!(&answer, expect, "{expression}");
    }
}
