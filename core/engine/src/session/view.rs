//! A database's rows at one position, as the query layer asks for them.

use craton_projection::Snapshot;
use craton_query::{AsOf, Direction, EVENTS_TABLE, KeyRange, RowSource, Scan, SourceError, SqlError, SqlState};
use craton_types::{Offset, PrimaryKey, TableId, Timestamp, VersionedRow};

use super::events::EventRows;
use super::system_view::SystemView;
use super::{end_after, sql_error};
use crate::Tenant;

/// The rows below an exclusive end.
#[derive(Clone)]
pub(super) struct View {
    database: Tenant,
    snapshot: Snapshot,
    end: Offset,
    /// How many data subjects were erased before anything was read.
    erasures: u64,
    /// When the statement that reads gives up.
    deadline: Option<Timestamp>,
}

/// A scan looks at the clock each time it has read this many rows.
const ROWS_BETWEEN_CLOCK_LOOKS: usize = 256;

impl View {
    /// Everything that is published now.
    pub(super) fn now(database: Tenant) -> Self {
        let erasures = database.tenant.head().erasures;
        let snapshot = database.tenant.projection.snapshot();
        let end = snapshot.end();
        Self {
            database,
            snapshot,
            end,
            erasures,
            deadline: None,
        }
    }

    /// Makes scans fail with `57014` from this time on: the session's `statement_timeout`.
    pub(super) fn set_deadline(&mut self, deadline: Timestamp) {
        self.deadline = Some(deadline);
    }

    pub(super) fn check_deadline(&self) -> Result<(), SourceError> {
        match self.deadline {
            Some(deadline) if self.database.node.clock.now() > deadline => {
                let message = "canceling statement due to statement timeout";
                Err(SourceError::new(SqlError::new(SqlState::QUERY_CANCELED, message)))
            }
            _ => Ok(()),
        }
    }

    /// Whose rows these are.
    pub(super) const fn database(&self) -> &Tenant {
        &self.database
    }

    /// How many data subjects were erased before anything was read.
    pub(super) const fn erasures(&self) -> u64 {
        self.erasures
    }

    /// Where random bytes come from.
    pub(super) fn random(&self) -> &dyn crate::Random {
        self.database.node.random.as_ref()
    }

    /// The exclusive end.
    pub(super) const fn end(&self) -> Offset {
        self.end
    }

    /// The same rows at an earlier end.
    pub(super) fn at(&self, end: Offset) -> Self {
        Self { end, ..self.clone() }
    }

    /// The end that a time travel clause means.
    pub(super) fn resolve(&self, as_of: AsOf) -> Result<Offset, SqlError> {
        match as_of {
            AsOf::Now => Ok(self.end),
            AsOf::Position(position) => match end_after(position) {
                Some(end) if end <= self.end => Ok(end),
                _ => Err(self.beyond(position)),
            },
            AsOf::Timestamp(micros) => self.end_at(micros),
        }
    }

    fn beyond(&self, position: u64) -> SqlError {
        let message = format!("position {position} is not in the log yet");
        let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
        match self.end.get().checked_sub(1) {
            Some(last) => error.with_detail(format!("The last position is {last}.")),
            None => error.with_detail("The log is empty."),
        }
    }

    /// The end after the last record at or before a time. Times never decrease along the log, so halving finds it.
    fn end_at(&self, micros: i64) -> Result<Offset, SqlError> {
        let (mut low, mut high) = (0, self.end.get());
        while low < high {
            let middle = low + (high - low) / 2;
            let header = self.database.header(Offset::new(middle)).map_err(sql_error)?;
            if header.timestamp.as_micros() <= micros {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Offset::new(low))
    }

    /// Every row of a table.
    pub(super) fn rows(&self, table: TableId) -> Result<Vec<VersionedRow>, SqlError> {
        let rows = self.scan(table, KeyRange::all(), Direction::Forward)?;
        let rows: Result<Vec<_>, SourceError> = rows.map(|row| row.map(|(_, row)| row)).collect();
        Ok(rows?)
    }

    /// The row with its sealed values opened. Keys are looked up at every row: one that is destroyed while a scan goes
    /// on opens nothing more.
    fn opened(&self, row: VersionedRow) -> Result<VersionedRow, SourceError> {
        self.database.tenant.open_version(row).map_err(SourceError::new)
    }

    fn system_rows(&self, view: &SystemView) -> Result<Vec<(PrimaryKey, VersionedRow)>, SourceError> {
        view.rows(&self.database, self.end).map_err(SourceError::new)
    }

    fn failed(&self, source: craton_projection::ProjectionError) -> SourceError {
        SourceError::new(self.database.tenant.projection_error(source))
    }
}

impl RowSource for View {
    fn get(&self, table: TableId, key: &PrimaryKey) -> Result<Option<VersionedRow>, SourceError> {
        if let Some(view) = SystemView::by_id(table) {
            let rows = self.system_rows(view)?;
            return Ok(rows.into_iter().find(|(known, _)| known == key).map(|(_, row)| row));
        }
        if table == EVENTS_TABLE {
            let mut rows = EventRows::new(self, KeyRange::prefix(key.as_bytes()), Direction::Forward);
            return rows.next().map(|row| row.map(|(_, row)| row)).transpose();
        }
        let row = self.snapshot.get(table, key, self.end);
        row.map_err(|error| self.failed(error))?
            .map(|row| self.opened(row))
            .transpose()
    }

    fn scan<'a>(&'a self, table: TableId, range: KeyRange, direction: Direction) -> Result<Scan<'a>, SourceError> {
        if let Some(view) = SystemView::by_id(table) {
            let mut rows = self.system_rows(view)?;
            rows.retain(|(key, _)| range.contains(key.as_bytes()));
            if direction == Direction::Backward {
                rows.reverse();
            }
            return Ok(Box::new(rows.into_iter().map(Ok)));
        }
        if table == EVENTS_TABLE {
            return Ok(Box::new(EventRows::new(self, range, direction)));
        }
        let rows = self
            .snapshot
            .scan(table, range, direction, self.end)
            .map_err(|error| self.failed(error))?;
        Ok(Box::new(rows.enumerate().map(|(number, row)| {
            if number % ROWS_BETWEEN_CLOCK_LOOKS == 0 {
                self.check_deadline()?;
            }
            let (key, row) = row.map_err(|error| self.failed(error))?;
            Ok((key, self.opened(row)?))
        })))
    }
}
