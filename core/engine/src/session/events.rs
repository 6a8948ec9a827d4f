//! `craton_events`: the log as a table, one row for each change, read as it is scanned.
//!
//! Its key is the position in the log and the number of the change in its record, so conditions on `position` limit
//! what is read.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use craton_query::{Direction, KeyRange, SourceError, prefix_end};
use craton_types::{
    Change, Offset, PrimaryKey, Record, RecordKind, RecordSummary, Row, RowChange, StreamId, Value, VersionedRow,
    subject_name,
};

use super::view::View;
use crate::EngineError;
use crate::erasure::time_text;

/// Records that are read at once when reading forward.
const RECORDS_MAX: usize = 256;
/// Bytes that are read at once; at least one record is.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The rows of a scan.
pub(super) struct EventRows<'a> {
    view: &'a View,
    range: KeyRange,
    direction: Direction,
    /// What was not read yet.
    positions: Range<u64>,
    waiting: VecDeque<(PrimaryKey, VersionedRow)>,
    names: HashMap<StreamId, Arc<str>>,
}

fn integer(value: u64) -> Value {
    Value::Int(value.cast_signed())
}

fn key(values: &[Value]) -> PrimaryKey {
    PrimaryKey::encode(values).expect("integers make a short key")
}

/// The first number below `end` for which the condition holds; it holds for all after it.
fn first_position(end: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

impl<'a> EventRows<'a> {
    pub(super) fn new(view: &'a View, range: KeyRange, direction: Direction) -> Self {
        let end = view.end().get();
        let prefix = |position| key(&[integer(position)]).into_bytes();
        let start = first_position(end, |position| {
            prefix_end(&prefix(position)).is_none_or(|after| after > range.start)
        });
        let end = match &range.end {
            Some(range_end) => first_position(end, |position| prefix(position) >= *range_end),
            None => end,
        };
        Self {
            view,
            range,
            direction,
            positions: start..end.max(start),
            waiting: VecDeque::new(),
            names: HashMap::new(),
        }
    }

    /// Reads on, when there is more to read.
    fn fill(&mut self) -> Result<(), SourceError> {
        self.view.check_deadline()?;
        let database = self.view.database();
        match self.direction {
            Direction::Forward => {
                let wanted = usize::try_from(self.positions.end - self.positions.start).unwrap_or(usize::MAX);
                let from = Offset::new(self.positions.start);
                let records = database.tenant.log.read_range(from, wanted.min(RECORDS_MAX), BYTES_MAX);
                let records = records.map_err(|source| SourceError::new(database.tenant.log_error(source)))?;
                self.positions.start = match records.last() {
                    Some(last) => last.header.offset.get() + 1,
                    None => self.positions.end,
                };
                for record in &records {
                    let rows = self.rows(record).map_err(SourceError::new)?;
                    self.waiting.extend(rows);
                }
            }
            Direction::Backward => {
                self.positions.end -= 1;
                let record = database
                    .record(Offset::new(self.positions.end))
                    .map_err(SourceError::new)?;
                let rows = self.rows(&record).map_err(SourceError::new)?;
                self.waiting.extend(rows.into_iter().rev());
            }
        }
        Ok(())
    }

    /// The rows of a record that are in the range.
    fn rows(&mut self, record: &Record) -> Result<Vec<(PrimaryKey, VersionedRow)>, EngineError> {
        let header = &record.header;
        let database = self.view.database();
        let stream = match header.stream {
            StreamId::ZERO => Value::Null,
            _ => Value::Text(database.stream_name(header, &mut self.names)?.to_string()),
        };
        let (summary, changes) = match header.kind.first_change() {
            Some(_) => database.unseal(record)?,
            None => (RecordSummary::default(), Vec::new()),
        };
        let mut described: Vec<Described> = Vec::new();
        for change in &changes {
            described.push(self.describe(&summary, change)?);
        }
        if described.is_empty() {
            described.push(Described::of(match header.kind {
                RecordKind::Checkpoint => "CHECKPOINT",
                RecordKind::Cosignature => "COSIGN",
                RecordKind::Policy => "BEGIN KEY EPOCH",
                RecordKind::Recovery => "RECOVER",
                RecordKind::Data | RecordKind::Events | RecordKind::Erasure => "NOTHING",
            }));
        }
        let rows = (0u64..).zip(described).map(|(number, described)| {
            let (position, change) = (integer(header.offset.get()), integer(number));
            let key = key(&[position.clone(), change.clone()]);
            let row: Row = vec![
                position,
                change,
                Value::TimestampTz(header.timestamp.as_micros()),
                Value::Text(kind_name(header.kind).to_owned()),
                Value::Text(header.actor.to_string()),
                stream.clone(),
                described.table.map_or(Value::Null, Value::Text),
                Value::Text(described.operation.to_owned()),
                described.subject.map_or(Value::Null, Value::Text),
                described.erased.map_or(Value::Null, Value::Bool),
                described.detail.map_or(Value::Null, Value::Text),
            ];
            let version = header.offset;
            (
                key,
                VersionedRow {
                    version,
                    row: Arc::new(row),
                },
            )
        });
        Ok(rows.filter(|(key, _)| self.range.contains(key.as_bytes())).collect())
    }

    fn describe(&self, summary: &RecordSummary, change: &Change) -> Result<Described, EngineError> {
        let named = |operation, name: &str| Described {
            table: Some(name.to_owned()),
            ..Described::of(operation)
        };
        let about = |operation, subject: &str, detail: Option<&str>| Described {
            subject: Some(subject.to_owned()),
            detail: detail.map(str::to_owned),
            ..Described::of(operation)
        };
        Ok(match change {
            Change::Row(row) => self.describe_row(summary, row)?,
            Change::CreateTable(schema) => named("CREATE TABLE", &schema.name),
            Change::DropTable { name, .. } => named("DROP TABLE", name),
            Change::Event(_) => Described::of("APPEND"),
            Change::CreateDatabase(_) => Described::of("CREATE DATABASE"),
            Change::PutUser(_) => Described::of("PUT USER"),
            Change::DropUser { .. } => Described::of("DROP USER"),
            Change::FormatRaised { .. } => Described::of("RAISE FORMAT"),
            Change::KeysRotated(_) => Described::of("BEGIN KEY EPOCH"),
            Change::Recovered(_) => Described::of("RECOVER"),
            Change::SubjectErased { subject, reason, .. } => about("ERASE", subject, reason.as_deref()),
            Change::ErasureRefused {
                subject,
                held,
                retained_until,
                ..
            } => {
                let why = match (held, retained_until) {
                    (Some(reason), _) => format!("held: {reason}"),
                    (None, Some(until)) => format!("kept until {}", time_text(*until)),
                    (None, None) => String::new(),
                };
                about("ERASE REFUSED", subject, Some(&why))
            }
            Change::SubjectHeld { subject, reason } => about("HOLD", subject, Some(reason)),
            Change::SubjectReleased { subject, reason } => about("RELEASE", subject, Some(reason)),
            Change::PlacementSet(placement) => Described {
                detail: Some(placement.rules.to_string()),
                ..Described::of("SET PLACEMENT")
            },
            Change::PlacementRefused { class, name, .. } => Described {
                table: (!name.is_empty()).then(|| name.clone()),
                detail: Some(class.to_string()),
                ..Described::of("PLACEMENT REFUSED")
            },
            Change::RetentionSet { name, retention, .. } => Described {
                table: name.clone(),
                detail: Some(retention.map_or_else(|| "none".to_owned(), |retention| retention.to_string())),
                ..Described::of("SET RETENTION")
            },
        })
    }

    fn describe_row(&self, summary: &RecordSummary, change: &RowChange) -> Result<Described, EngineError> {
        let database = self.view.database();
        let table = summary.tables.iter().find(|table| table.id == change.table);
        let catalogue = Arc::clone(&database.tenant.head().catalogue);
        let columns = catalogue
            .table_by_id(change.table)
            .and_then(|table| table.subjects.clone());
        let rows = || [&change.before, &change.after].into_iter().flatten();
        let mut subjects: Vec<String> = columns
            .iter()
            .flat_map(|columns| rows().filter_map(|row| row.get(usize::from(columns.subject))))
            .filter_map(subject_name)
            .collect();
        subjects.dedup();
        let mut erased = None;
        for value in rows().flatten() {
            if let Value::Sealed(cell) = value {
                let gone = database.tenant.subject_keys.get(cell.key)?.is_none();
                erased = Some(erased.unwrap_or(false) || gone);
            }
        }
        Ok(Described {
            table: table.map(|table| table.name.clone()),
            subject: (!subjects.is_empty()).then(|| subjects.join(", ")),
            erased,
            ..Described::of(match (&change.before, &change.after) {
                (None, _) => "INSERT",
                (Some(_), Some(_)) => "UPDATE",
                (Some(_), None) => "DELETE",
            })
        })
    }
}

impl Iterator for EventRows<'_> {
    type Item = Result<(PrimaryKey, VersionedRow), SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() && !self.positions.is_empty() {
            if let Err(error) = self.fill() {
                self.positions = 0..0;
                return Some(Err(error));
            }
        }
        self.waiting.pop_front().map(Ok)
    }
}

/// What a change is, for people who look at the log.
struct Described {
    operation: &'static str,
    table: Option<String>,
    subject: Option<String>,
    erased: Option<bool>,
    detail: Option<String>,
}

impl Described {
    const fn of(operation: &'static str) -> Self {
        Self {
            operation,
            table: None,
            subject: None,
            erased: None,
            detail: None,
        }
    }
}

const fn kind_name(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Data => "data",
        RecordKind::Checkpoint => "checkpoint",
        RecordKind::Cosignature => "cosignature",
        RecordKind::Erasure => "erasure",
        RecordKind::Policy => "policy",
        RecordKind::Events => "events",
        RecordKind::Recovery => "recovery",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_position_of_a_condition_is_found_at_both_ends() {
        for (end, from) in [(0, 0), (1, 0), (1, 1), (10, 0), (10, 7), (10, 10)] {
            assert_eq!(
                first_position(end, |position| position >= from),
                from,
                "{from} of {end}"
            );
        }
    }
}
