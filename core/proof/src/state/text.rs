//! A verified state receipt as text for people.

use std::fmt;

use super::receipt::VerifiedStateReceipt;
use crate::calendar::timestamp_text;
use crate::value_text::{printable, value_text};

impl VerifiedStateReceipt {
    /// The claim in a few words: `latest as of record 1234` or `absent as of record 1234`.
    #[must_use]
    pub fn claim(&self) -> String {
        let what = if self.row.is_some() { "latest" } else { "absent" };
        match self.size.checked_sub(1) {
            Some(last) => format!("{what} as of record {last}"),
            None => format!("{what} before the first record"),
        }
    }

    /// When the state was recorded, as RFC 3339.
    #[must_use]
    pub fn committed_time_text(&self) -> String {
        timestamp_text(self.committed_by.timestamp)
    }

    /// The names of the key's columns, each with its value as text.
    #[must_use]
    pub fn key_text(&self) -> String {
        let columns = self.table.primary_key.iter().zip(&self.key);
        let parts = columns.filter_map(|(&position, value)| {
            let column = self.table.columns.get(usize::from(position))?;
            Some(format!("{} = {}", printable(&column.name), value_text(value)))
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for VerifiedStateReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The state")?;
        line(f, "table", &printable(&self.table.name))?;
        line(f, "primary key", &self.key_text())?;
        line(f, "row", &self.claim())?;
        line(f, "checkpointed", &self.committed_time_text())?;
        line(f, "by record", &self.committed_by.offset)?;
        if let Some(record) = &self.row {
            return write!(f, "\n{record}");
        }
        writeln!(f, "\nProved by")?;
        line(f, "checkpoint", &format!("of {} records", self.checkpoint.size))?;
        line(f, "root", &self.checkpoint.root)?;
        line(f, "log", &self.checkpoint.origin)?;
        line(f, "key", &self.log_key)?;
        let mut witnesses = self.cosignatures.iter();
        witnesses.try_for_each(|witness| line(f, "witness", witness))
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<15} {value}")
}
