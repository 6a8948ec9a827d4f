//! A verified state receipt as text for people.

use std::fmt;

use super::receipt::VerifiedStateReceipt;
use crate::calendar::timestamp_text;
use crate::receipt_text::{ReceiptSection, proved_by, write_sections};
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

impl VerifiedStateReceipt {
    /// What the receipt says, for people.
    #[must_use]
    pub fn sections(&self) -> Vec<ReceiptSection> {
        let mut state = ReceiptSection::new("The state");
        state.line("table", &printable(&self.table.name));
        state.line("primary key", &self.key_text());
        state.line("row", &self.claim());
        state.line("checkpointed", &self.committed_time_text());
        state.line("by record", &self.committed_by.offset);
        let mut sections = vec![state];
        match &self.row {
            Some(record) => sections.extend(record.sections()),
            None => sections.push(proved_by(&self.checkpoint, &self.log_key, &self.cosignatures)),
        }
        sections
    }
}

impl fmt::Display for VerifiedStateReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_sections(f, &self.sections())
    }
}
