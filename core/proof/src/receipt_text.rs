//! A verified receipt as text for people.

use std::fmt;

use craton_types::{Change, Row, RowChange, StreamId, TableSummary};

use crate::calendar::timestamp_text;
use crate::receipt::VerifiedReceipt;
use crate::value_text::{hex, printable, value_text};

impl VerifiedReceipt {
    /// When the record was made, as RFC 3339.
    #[must_use]
    pub fn time_text(&self) -> String {
        timestamp_text(self.header.timestamp)
    }

    /// The names of a table that a disclosed change refers to.
    #[must_use]
    pub fn table(&self, change: &RowChange) -> Option<&TableSummary> {
        self.summary.tables.iter().find(|table| table.id == change.table)
    }
}

impl fmt::Display for VerifiedReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = &self.header;
        writeln!(f, "The record")?;
        line(f, "position", &header.offset)?;
        line(f, "time", &self.time_text())?;
        line(f, "actor", &header.actor)?;
        line(f, "correlation id", &header.correlation_id)?;
        match &self.summary.stream {
            Some(stream) => line(f, "stream", &printable(stream))?,
            // The record that named the stream is another one.
            None if header.stream != StreamId::ZERO => line(f, "stream number", &header.stream)?,
            None => {}
        }
        line(f, "record hash", &self.record_hash)?;
        let first_change = header.kind.first_change().unwrap_or_default();
        for change in &self.changes {
            writeln!(
                f,
                "\nChange {} of {}",
                change.chunk_index + 1 - first_change,
                header.chunk_count.saturating_sub(first_change)
            )?;
            self.write_change(f, &change.change)?;
        }
        writeln!(f, "\nProved by")?;
        line(f, "checkpoint", &format!("of {} records", self.checkpoint.size))?;
        line(f, "root", &self.checkpoint.root)?;
        line(f, "log", &self.checkpoint.origin)?;
        line(f, "key", &self.key)?;
        let mut witnesses = self.cosignatures.iter();
        witnesses.try_for_each(|witness| line(f, "witness", witness))
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<15} {value}")
}

fn reason_line(f: &mut fmt::Formatter<'_>, reason: Option<&str>) -> fmt::Result {
    match reason {
        Some(reason) => line(f, "reason", &printable(reason)),
        None => Ok(()),
    }
}

impl VerifiedReceipt {
    fn write_change(&self, f: &mut fmt::Formatter<'_>, change: &Change) -> fmt::Result {
        match change {
            Change::Row(row) => match self.table(row) {
                Some(table) => write_row_change(f, table, row),
                None => line(f, "table", &row.table),
            },
            Change::CreateTable(schema) => {
                line(f, "created table", &printable(&schema.name))?;
                let columns: Vec<_> = schema.columns.iter().map(|column| printable(&column.name)).collect();
                line(f, "columns", &columns.join(", "))
            }
            Change::DropTable { name, .. } => line(f, "dropped table", &printable(name)),
            Change::Event(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => line(f, "event", &printable(text)),
                Err(_) => line(f, "event", &format!("\\x{}", hex(bytes))),
            },
            Change::CreateDatabase(database) => {
                line(f, "created database", &printable(&database.name))?;
                line(f, "tenant", &database.tenant)
            }
            Change::PutUser(user) => {
                line(f, "user", &printable(&user.name))?;
                line(f, "user's actor", &user.actor)
            }
            Change::DropUser { name } => line(f, "dropped user", &printable(name)),
            Change::Recovered(recovered) => {
                line(f, "recovered", &recovered.area.as_str())?;
                line(f, "file", &printable(&recovered.file))?;
                line(f, "reason", &printable(&recovered.reason))
            }
            Change::KeysRotated(rotated) => line(f, "began key epoch", &rotated.epoch),
            Change::SubjectErased { subject, key, reason } => {
                line(f, "erased subject", &printable(subject))?;
                line(f, "key", key)?;
                reason_line(f, reason.as_deref())
            }
            Change::ErasureRefused {
                subject,
                held,
                retained_until,
                reason,
            } => {
                line(f, "not erased", &printable(subject))?;
                if let Some(held) = held {
                    line(f, "held", &printable(held))?;
                }
                if let Some(until) = retained_until {
                    line(f, "kept until", &timestamp_text(*until))?;
                }
                reason_line(f, reason.as_deref())
            }
            Change::SubjectHeld { subject, reason } => {
                line(f, "held subject", &printable(subject))?;
                reason_line(f, Some(reason))
            }
            Change::SubjectReleased { subject, reason } => {
                line(f, "released", &printable(subject))?;
                reason_line(f, Some(reason))
            }
            Change::RetentionSet { name, retention, .. } => {
                line(
                    f,
                    "retention of",
                    &name.as_deref().map_or("every table".to_owned(), printable),
                )?;
                match retention {
                    Some(retention) => line(f, "kept for", retention),
                    None => line(f, "kept for", &"no time in particular"),
                }
            }
        }
    }
}

fn write_row_change(f: &mut fmt::Formatter<'_>, table: &TableSummary, change: &RowChange) -> fmt::Result {
    let (action, row) = match (&change.before, &change.after) {
        (None, Some(after)) => ("inserted", after),
        (Some(_), Some(after)) => ("updated", after),
        (Some(before), None) => ("deleted", before),
        (None, None) => return line(f, "table", &printable(&table.name)),
    };
    line(f, "table", &printable(&table.name))?;
    line(f, "primary key", &primary_key_text(table, row))?;
    line(f, "row", &action)?;
    let cell = |row: &Option<Row>, column: usize| row.as_ref().and_then(|row| row.get(column)).map(value_text);
    for (position, name) in table.columns.iter().enumerate() {
        let name = printable(name);
        let text = match (cell(&change.before, position), cell(&change.after, position)) {
            (Some(before), Some(after)) if before != after => format!("{before} -> {after}"),
            (before, after) => after.or(before).unwrap_or_default(),
        };
        writeln!(f, "    {name:<13} {text}")?;
    }
    Ok(())
}

/// `id = 7, region = 'north'`.
fn primary_key_text(table: &TableSummary, row: &Row) -> String {
    let parts = table.primary_key.iter().filter_map(|position| {
        let position = usize::from(*position);
        let (name, value) = (table.columns.get(position)?, row.get(position)?);
        Some(format!("{} = {}", printable(name), value_text(value)))
    });
    parts.collect::<Vec<_>>().join(", ")
}
