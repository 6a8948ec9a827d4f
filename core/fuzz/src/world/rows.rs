//! A table with a few rows, to plan and run statements over.

use std::collections::BTreeMap;
use std::sync::Arc;

use craton_query::{
    Catalog, Context, CosignedCheckpoint, Direction, Functions, HistoryEntry, InsertCheck, KeyRange, RecoveryEntry,
    RowSource, Scan, SourceError, SqlError,
};
use craton_types::{Offset, PrimaryKey, Row, TableId, TableSchema, Timestamp, Value, VersionedRow};

use super::vocabulary::{people, row};

/// What a statement may hold at once.
const MEMORY_BYTES_MAX: usize = 1 << 20;

/// The table and its rows.
pub(crate) struct Rows {
    pub(crate) people: Arc<TableSchema>,
    rows: BTreeMap<Vec<u8>, VersionedRow>,
}

impl Rows {
    pub(crate) fn new() -> Self {
        let numbered = (0..).zip(["Ada", "Grace", "O'Neil", ""]);
        let rows = numbered.map(|(id, name)| {
            let row = row(id, name);
            let key = PrimaryKey::encode([&row[0]]).expect("a key");
            let version = Offset::new(id.cast_unsigned());
            (
                key.into_bytes(),
                VersionedRow {
                    version,
                    row: Arc::new(row),
                },
            )
        });
        Self {
            people: Arc::new(people()),
            rows: rows.collect(),
        }
    }

    pub(crate) fn context<'a>(&'a self, parameters: &'a [Value]) -> Context<'a> {
        Context {
            now: Timestamp::new(1_709_210_096_789_000_000),
            user: "ada",
            database: "main",
            parameters,
            functions: self,
            insert_check: InsertCheck::Now,
            memory_bytes_max: MEMORY_BYTES_MAX,
        }
    }
}

impl Catalog for Rows {
    fn table(&self, name: &str) -> Option<Arc<TableSchema>> {
        (name == self.people.name).then(|| Arc::clone(&self.people))
    }

    fn tables(&self) -> Vec<Arc<TableSchema>> {
        vec![Arc::clone(&self.people)]
    }
}

impl RowSource for Rows {
    fn get(&self, _: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, SourceError> {
        Ok(self.rows.get(key.as_bytes()).cloned())
    }

    fn scan<'a>(&'a self, _: TableId, range: KeyRange, direction: Direction) -> Result<Scan<'a>, SourceError> {
        assert!(!range.is_empty(), "an empty range need not be asked for");
        let rows = self.rows.iter().filter(move |(key, _)| range.contains(key));
        let rows = rows.map(|(key, row)| Ok((PrimaryKey::from_bytes(key.clone()), row.clone())));
        Ok(match direction {
            Direction::Forward => Box::new(rows),
            Direction::Backward => Box::new(rows.rev()),
        })
    }
}

impl Functions for Rows {
    fn receipt(&self, table: &TableSchema, _: &PrimaryKey) -> Result<String, SqlError> {
        Ok(format!("receipt of {}", table.name))
    }

    fn state_receipt(&self, table: &TableSchema, key: &Row) -> Result<String, SqlError> {
        PrimaryKey::encode(key).expect("the planner checked the types");
        Ok(format!("state of {}", table.name))
    }

    fn position(&self) -> Option<u64> {
        Some(4)
    }

    fn log_key(&self) -> String {
        "log+key".to_owned()
    }

    fn cosigned_checkpoint(&self) -> Result<Option<CosignedCheckpoint>, SqlError> {
        Ok(Some(CosignedCheckpoint {
            note: "note\n".to_owned(),
            time_stamp: Some(vec![0x30, 0]),
        }))
    }

    fn random_bytes(&self) -> [u8; 16] {
        [0xff; 16]
    }

    fn setting(&self, _: &str) -> Option<String> {
        None
    }

    fn history(&self, _: &TableSchema) -> Result<Vec<HistoryEntry>, SqlError> {
        let entry = |row: &VersionedRow| HistoryEntry {
            position: row.version.get(),
            time: Timestamp::new(1),
            actor: "ada".to_owned(),
            before: None,
            after: Some(row.row.to_vec()),
        };
        Ok(self.rows.values().map(entry).collect())
    }

    fn recoveries(&self) -> Result<Vec<RecoveryEntry>, SqlError> {
        Ok(Vec::new())
    }
}
