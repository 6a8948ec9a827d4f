//! Every version of every row in a plain map: what a projection must answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use craton_projection::{Direction, KeyRange, Projection, RowVersion, Snapshot};
use craton_types::{Offset, PrimaryKey, Row, TableId, VersionedRow};

type Versions = Vec<(Offset, Option<Arc<Row>>)>;

#[derive(Clone, Default)]
pub(crate) struct Model {
    rows: BTreeMap<(TableId, PrimaryKey), Versions>,
}

impl Model {
    pub(crate) fn apply(&mut self, rows: &[RowVersion]) {
        for row in rows {
            let versions = self.rows.entry((row.table, row.key.clone())).or_default();
            versions.retain(|(version, _)| *version != row.version);
            versions.push((row.version, row.row.clone()));
        }
    }

    /// Forgets everything from `end` on, as losing the memory does.
    pub(crate) fn cut(&mut self, end: Offset) {
        self.rows
            .values_mut()
            .for_each(|versions| versions.retain(|(version, _)| *version < end));
        self.rows.retain(|_, versions| !versions.is_empty());
    }

    pub(crate) fn get(&self, table: TableId, key: &PrimaryKey, end: Offset) -> Option<VersionedRow> {
        newest_below(self.rows.get(&(table, key.clone()))?, end)
    }

    pub(crate) fn scan(
        &self,
        table: TableId,
        range: &KeyRange,
        direction: Direction,
        end: Offset,
    ) -> Vec<(PrimaryKey, VersionedRow)> {
        let inside = |key: &PrimaryKey| {
            key.as_bytes() >= range.start.as_slice() && range.end.as_ref().is_none_or(|end| key.as_bytes() < &end[..])
        };
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|((of, key), _)| *of == table && inside(key))
            .filter_map(|((_, key), versions)| Some((key.clone(), newest_below(versions, end)?)))
            .collect();
        if direction == Direction::Backward {
            rows.reverse();
        }
        rows
    }

    pub(crate) fn history(&self, table: TableId, key: &PrimaryKey, end: Offset) -> Versions {
        let versions = self.rows.get(&(table, key.clone())).cloned().unwrap_or_default();
        versions
            .into_iter()
            .rev()
            .filter(|(version, _)| *version < end)
            .collect()
    }

    pub(crate) fn tables(&self) -> Vec<TableId> {
        let mut tables: Vec<_> = self.rows.keys().map(|(table, _)| *table).collect();
        tables.dedup();
        tables
    }

    /// Compares everything that a snapshot shows at `end`, and the histories that it holds.
    pub(crate) fn check(&self, snapshot: &Snapshot, end: Offset) {
        for table in self.tables() {
            for direction in [Direction::Forward, Direction::Backward] {
                let scan = snapshot
                    .scan(table, KeyRange::all(), direction, end)
                    .expect("a scan begins");
                let rows: Vec<_> = scan.map(|row| row.expect("a row is read")).collect();
                assert_eq!(
                    rows,
                    self.scan(table, &KeyRange::all(), direction, end),
                    "table {table}, end {end}"
                );
            }
        }
        for (table, key) in self.rows.keys() {
            let row = snapshot.get(*table, key, end).expect("a row is read");
            assert_eq!(row, self.get(*table, key, end), "key {key:?}, end {end}");
            let history = snapshot.history(*table, key).expect("a history begins");
            let versions: Vec<_> = history.map(|entry| entry.expect("a version is read")).collect();
            let versions: Versions = versions.into_iter().map(|entry| (entry.version, entry.row)).collect();
            assert_eq!(versions, self.history(*table, key, snapshot.end()), "key {key:?}");
        }
    }

    /// Compares a projection at every position it has reached.
    pub(crate) fn check_all(&self, projection: &Projection) {
        let snapshot = projection.snapshot();
        (0..=snapshot.end().get()).for_each(|end| self.check(&snapshot, Offset::new(end)));
    }
}

fn newest_below(versions: &Versions, end: Offset) -> Option<VersionedRow> {
    let (version, row) = versions.iter().rev().find(|(version, _)| *version < end)?;
    Some(VersionedRow {
        version: *version,
        row: Arc::clone(row.as_ref()?),
    })
}
