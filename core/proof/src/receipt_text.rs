//! A verified receipt as text for people.

use std::fmt;

use craton_types::{Change, Region, Row, RowChange, StreamId, TableSummary};

use crate::calendar::timestamp_text;
use crate::checkpoint::Checkpoint;
use crate::cosignature::Cosignature;
use crate::receipt::VerifiedReceipt;
use crate::value_text::{hex, printable, value_text};
use crate::verifier_key::VerifierKey;

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

/// A part of what a receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptSection {
    /// What the part is about.
    pub title: String,
    /// Its content.
    pub lines: Vec<ReceiptLine>,
}

/// A name and a value. Neither holds control characters, whatever the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptLine {
    /// What the value is.
    pub name: String,
    /// The value.
    pub value: String,
    /// Whether it is a part of the line before: a column of a row.
    pub is_indented: bool,
}

impl ReceiptSection {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            lines: Vec::new(),
        }
    }

    pub(crate) fn line(&mut self, name: &str, value: &dyn fmt::Display) {
        self.push(name, value, false);
    }

    fn reason(&mut self, reason: Option<&str>) {
        if let Some(reason) = reason {
            self.line("reason", &printable(reason));
        }
    }

    fn region(&mut self, region: Option<&Region>) {
        if let Some(region) = region {
            self.line("region", region);
        }
    }

    fn column(&mut self, name: &str, value: &dyn fmt::Display) {
        self.push(name, value, true);
    }

    fn push(&mut self, name: &str, value: &dyn fmt::Display, is_indented: bool) {
        self.lines.push(ReceiptLine {
            name: name.to_owned(),
            value: value.to_string(),
            is_indented,
        });
    }
}

impl VerifiedReceipt {
    /// What the receipt says, for people.
    #[must_use]
    pub fn sections(&self) -> Vec<ReceiptSection> {
        let header = &self.header;
        let mut record = ReceiptSection::new("The record");
        record.line("position", &header.offset);
        record.line("time", &self.time_text());
        record.line("actor", &header.actor);
        record.line("correlation id", &header.correlation_id);
        match &self.summary.stream {
            Some(stream) => record.line("stream", &printable(stream)),
            // The record that named the stream is another one.
            None if header.stream != StreamId::ZERO => record.line("stream number", &header.stream),
            None => {}
        }
        record.line("record hash", &self.record_hash);
        let mut sections = vec![record];
        let first_change = header.kind.first_change().unwrap_or_default();
        for change in &self.changes {
            let number = change.chunk_index + 1 - first_change;
            let count = header.chunk_count.saturating_sub(first_change);
            let mut section = ReceiptSection::new(format!("Change {number} of {count}"));
            self.describe_change(&mut section, &change.change);
            sections.push(section);
        }
        sections.push(proved_by(&self.checkpoint, &self.key, &self.cosignatures));
        sections
    }
}

impl fmt::Display for VerifiedReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_sections(f, &self.sections())
    }
}

/// What a receipt rests on.
pub(crate) fn proved_by(checkpoint: &Checkpoint, key: &VerifierKey, cosignatures: &[Cosignature]) -> ReceiptSection {
    let mut proof = ReceiptSection::new("Proved by");
    proof.line("checkpoint", &format!("of {} records", checkpoint.size));
    proof.line("root", &checkpoint.root);
    proof.line("log", &checkpoint.origin);
    proof.line("key", key);
    cosignatures.iter().for_each(|witness| proof.line("witness", witness));
    proof
}

pub(crate) fn write_sections(f: &mut fmt::Formatter<'_>, sections: &[ReceiptSection]) -> fmt::Result {
    for (number, section) in sections.iter().enumerate() {
        let gap = if number == 0 { "" } else { "\n" };
        writeln!(f, "{gap}{}", section.title)?;
        for ReceiptLine {
            name,
            value,
            is_indented,
        } in &section.lines
        {
            if *is_indented {
                writeln!(f, "    {name:<13} {value}")?;
            } else {
                writeln!(f, "  {name:<15} {value}")?;
            }
        }
    }
    Ok(())
}

impl VerifiedReceipt {
    fn describe_change(&self, section: &mut ReceiptSection, change: &Change) {
        match change {
            Change::Row(row) => match self.table(row) {
                Some(table) => describe_row(section, table, row),
                None => section.line("table", &row.table),
            },
            Change::CreateTable(schema) => {
                section.line("created table", &printable(&schema.name));
                let columns: Vec<_> = schema.columns.iter().map(|column| printable(&column.name)).collect();
                section.line("columns", &columns.join(", "))
            }
            Change::DropTable { name, .. } => section.line("dropped table", &printable(name)),
            Change::Event(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => section.line("event", &printable(text)),
                Err(_) => section.line("event", &format!("\\x{}", hex(bytes))),
            },
            Change::CreateDatabase(database) => {
                section.line("created database", &printable(&database.name));
                section.line("tenant", &database.tenant)
            }
            Change::PutUser(user) => {
                section.line("user", &printable(&user.name));
                section.line("user's actor", &user.actor)
            }
            Change::DropUser { name } => section.line("dropped user", &printable(name)),
            Change::FormatRaised { to } => section.line("raised format version", &to.to_string()),
            Change::Recovered(recovered) => {
                section.line("recovered", &recovered.area.as_str());
                section.line("file", &printable(&recovered.file));
                section.line("reason", &printable(&recovered.reason))
            }
            Change::KeysRotated(rotated) => section.line("began key epoch", &rotated.epoch),
            Change::SubjectErased { subject, key, reason } => {
                section.line("erased subject", &printable(subject));
                section.line("key", key);
                section.reason(reason.as_deref())
            }
            Change::ErasureRefused {
                subject,
                held,
                retained_until,
                reason,
            } => {
                section.line("not erased", &printable(subject));
                if let Some(held) = held {
                    section.line("held", &printable(held));
                }
                if let Some(until) = retained_until {
                    section.line("kept until", &timestamp_text(*until));
                }
                section.reason(reason.as_deref())
            }
            Change::SubjectHeld { subject, reason } => {
                section.line("held subject", &printable(subject));
                section.reason(Some(reason))
            }
            Change::SubjectReleased { subject, reason } => {
                section.line("released", &printable(subject));
                section.reason(Some(reason))
            }
            Change::PlacementSet(placement) => {
                section.line("placement", &placement.rules);
                section.region(placement.region.as_ref());
            }
            Change::PlacementRefused { class, region, name } => {
                section.line("not placed", &printable(name));
                section.line("data class", class);
                section.region(region.as_ref());
            }
            Change::RetentionSet { name, retention, .. } => {
                section.line(
                    "retention of",
                    &name.as_deref().map_or("every table".to_owned(), printable),
                );
                match retention {
                    Some(retention) => section.line("kept for", retention),
                    None => section.line("kept for", &"no time in particular"),
                }
            }
        }
    }
}

fn describe_row(section: &mut ReceiptSection, table: &TableSummary, change: &RowChange) {
    let (action, row) = match (&change.before, &change.after) {
        (None, Some(after)) => ("inserted", after),
        (Some(_), Some(after)) => ("updated", after),
        (Some(before), None) => ("deleted", before),
        (None, None) => return section.line("table", &printable(&table.name)),
    };
    section.line("table", &printable(&table.name));
    section.line("primary key", &primary_key_text(table, row));
    section.line("row", &action);
    let cell = |row: &Option<Row>, column: usize| row.as_ref().and_then(|row| row.get(column)).map(value_text);
    for (position, name) in table.columns.iter().enumerate() {
        let name = printable(name);
        let text = match (cell(&change.before, position), cell(&change.after, position)) {
            (Some(before), Some(after)) if before != after => format!("{before} -> {after}"),
            (before, after) => after.or(before).unwrap_or_default(),
        };
        section.column(&name, &text);
    }
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
