//! What a statement costs before and after the store: parsing, planning, and executing over rows in memory.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use craton_query::{
    Catalog, Context, Direction, Functions, HistoryEntry, InsertCheck, KeyRange, PlanKind, RecoveryEntry, RowSource,
    Scan, SourceError, SqlError, limits,
};
use craton_types::{Offset, PrimaryKey, Row, TableId, TableSchema, Timestamp, Value, VersionedRow};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: i64 = 10_000;

struct Memory {
    table: Arc<TableSchema>,
    rows: BTreeMap<Vec<u8>, VersionedRow>,
}

impl Memory {
    fn new() -> Self {
        let mut memory = Self {
            table: Arc::new(TableSchema {
                id: TableId::FIRST_USER,
                name: String::new(),
                columns: Vec::new(),
                primary_key: Vec::new(),
                subjects: None,
                data_class: None,
            }),
            rows: BTreeMap::new(),
        };
        let sql = "CREATE TABLE t (id bigint PRIMARY KEY, name text NOT NULL, score int, at timestamptz DEFAULT now())";
        let statements = craton_query::parse(sql).expect("parses");
        let plan = craton_query::plan(&statements[0], &memory, &[]).expect("plans");
        let PlanKind::CreateTable(create) = plan.kind() else {
            unreachable!("a definition")
        };
        memory.table = Arc::new(TableSchema {
            id: TableId::FIRST_USER,
            ..create.schema.clone()
        });
        for id in 0..ROWS {
            let row = vec![
                Value::Int(id),
                Value::Text(format!("name {id}")),
                Value::Int(id % 100),
                Value::TimestampTz(id),
            ];
            let key = PrimaryKey::encode([&row[0]]).expect("a key");
            let row = VersionedRow {
                version: Offset::ZERO,
                row: Arc::new(row),
            };
            memory.rows.insert(key.into_bytes(), row);
        }
        memory
    }

    fn context<'a>(&'a self, parameters: &'a [Value]) -> Context<'a> {
        Context {
            now: Timestamp::new(1_700_000_000_000_000_000),
            user: "ada",
            database: "main",
            parameters,
            functions: self,
            insert_check: InsertCheck::AtApply,
            memory_bytes_max: limits::MEMORY_BYTES_DEFAULT,
        }
    }
}

impl Catalog for Memory {
    fn table(&self, name: &str) -> Option<Arc<TableSchema>> {
        (name == self.table.name).then(|| Arc::clone(&self.table))
    }

    fn tables(&self) -> Vec<Arc<TableSchema>> {
        vec![Arc::clone(&self.table)]
    }
}

impl RowSource for Memory {
    fn get(&self, _: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, SourceError> {
        Ok(self.rows.get(key.as_bytes()).cloned())
    }

    fn scan<'a>(&'a self, _: TableId, range: KeyRange, direction: Direction) -> Result<Scan<'a>, SourceError> {
        let rows = self
            .rows
            .range(range.start..)
            .map(|(key, row)| Ok((PrimaryKey::from_bytes(key.clone()), row.clone())));
        Ok(match direction {
            Direction::Forward => Box::new(rows),
            Direction::Backward => Box::new(rows.rev()),
        })
    }
}

impl Functions for Memory {
    fn receipt(&self, _: &TableSchema, _: &PrimaryKey) -> Result<String, SqlError> {
        Ok(String::new())
    }

    fn state_receipt(&self, _: &TableSchema, _: &Row) -> Result<String, SqlError> {
        Ok(String::new())
    }

    fn position(&self) -> Option<u64> {
        None
    }

    fn log_key(&self) -> String {
        String::new()
    }

    fn cosigned_checkpoint(&self) -> Result<Option<craton_query::CosignedCheckpoint>, SqlError> {
        Ok(None)
    }

    fn random_bytes(&self) -> [u8; 16] {
        [0; 16]
    }

    fn setting(&self, _: &str) -> Option<String> {
        None
    }

    fn history(&self, _: &TableSchema) -> Result<Vec<HistoryEntry>, SqlError> {
        Ok(Vec::new())
    }

    fn recoveries(&self) -> Result<Vec<RecoveryEntry>, SqlError> {
        Ok(Vec::new())
    }
}

const INSERT: &str = "INSERT INTO t (id, name, score) VALUES ($1, $2, $3)";
const SELECT: &str = "SELECT id, name, score FROM t WHERE id = $1";

fn statements(criterion: &mut Criterion) {
    let memory = Memory::new();
    let plan = |sql: &str| {
        let statements = craton_query::parse(sql).expect("parses");
        craton_query::plan(&statements[0], &memory, &[]).expect("plans")
    };
    criterion.bench_function("parse and plan an insert", |bencher| {
        bencher.iter(|| plan(black_box(INSERT)))
    });
    criterion.bench_function("parse and plan a point read", |bencher| {
        bencher.iter(|| plan(black_box(SELECT)))
    });

    let insert = plan(INSERT);
    let PlanKind::Write(write) = insert.kind() else {
        unreachable!("an insert")
    };
    let values = [Value::Int(ROWS), Value::Text("a new name".to_owned()), Value::Int(7)];
    criterion.bench_function("execute a prepared insert", |bencher| {
        bencher.iter(|| craton_query::execute_write(write, &memory, &memory.context(&values)));
    });

    let point = plan(SELECT);
    let PlanKind::Select(select) = point.kind() else {
        unreachable!("a query")
    };
    let values = [Value::Int(ROWS / 2)];
    criterion.bench_function("execute a prepared point read", |bencher| {
        bencher.iter(|| craton_query::execute_select(select, &memory, &memory.context(&values)));
    });

    let mut scans = criterion.benchmark_group("over 10,000 rows");
    scans.throughput(Throughput::Elements(ROWS.unsigned_abs()));
    for sql in [
        "SELECT count(*) FROM t WHERE score < 50 AND name LIKE '%9%'",
        "SELECT score, count(*), avg(id) FROM t GROUP BY score",
        "SELECT id FROM t ORDER BY name DESC LIMIT 10",
    ] {
        let query = plan(sql);
        let PlanKind::Select(select) = query.kind() else {
            unreachable!("a query")
        };
        scans.bench_function(sql, |bencher| {
            bencher.iter(|| craton_query::execute_select(select, &memory, &memory.context(&[])));
        });
    }
    let copy = plan("COPY t (id, name, score) FROM STDIN (FORMAT csv)");
    let PlanKind::CopyIn(copy) = copy.kind() else {
        unreachable!("a copy")
    };
    let data: String = (0..ROWS)
        .map(|id| format!("{id},\"name {id}\",{}\n", id % 100))
        .collect();
    scans.bench_function("COPY of as many lines", |bencher| {
        bencher.iter(|| craton_query::copy_in(copy, data.as_bytes(), &memory, &memory.context(&[])));
    });
    scans.finish();
}

criterion_group!(benches, statements);
criterion_main!(benches);
