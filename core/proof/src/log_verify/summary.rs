//! What a verified log contains.

use std::fmt;

use craton_types::{Hash, TenantId, Timestamp};

use crate::{Checkpoint, VerifierKey, timestamp_text};

/// A log that verified. `Display` renders it for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    /// Whose log it is.
    pub tenant: TenantId,
    /// How many segment files it has.
    pub segments: u64,
    /// How many records.
    pub records: u64,
    /// The time of the first record.
    pub first_time: Option<Timestamp>,
    /// The time of the last.
    pub last_time: Option<Timestamp>,
    /// The Merkle tree hash over all records.
    pub root: Hash,
    /// The record hash of the last record; zero when there is none.
    pub last_hash: Hash,
    /// How many checkpoints the log contains; each has the root of the records here.
    pub checkpoints: u64,
    /// The last of them.
    pub last_checkpoint: Option<Checkpoint>,
    /// The key that signed all of them; `None` when no key was given and the signatures were not checked.
    pub key: Option<VerifierKey>,
    /// The size of the checkpoint obtained elsewhere, when one was given; the log contains all it covers.
    pub given_checkpoint_size: Option<u64>,
    /// Bytes of an incomplete last record, when they are allowed.
    pub torn_bytes: u64,
    /// Streams whose sequences were not checked, because there are more than a verifier keeps track of.
    pub untracked_streams: bool,
}

impl LogSummary {
    /// How many records, from the first, the key vouches for: those that a verified checkpoint covers.
    #[must_use]
    pub fn signed_records(&self) -> u64 {
        let last = self.last_checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
        match self.key {
            Some(_) => last.max(self.given_checkpoint_size.unwrap_or(0)),
            None => 0,
        }
    }

    /// How many records, at the end, are linked to the others but not covered by a verified checkpoint.
    #[must_use]
    pub fn unsigned_records(&self) -> u64 {
        self.records - self.signed_records()
    }
}

impl fmt::Display for LogSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "  {name:<15} {value}");
        line("tenant", &self.tenant)?;
        line("records", &format!("{} in {} segments", self.records, self.segments))?;
        if let (Some(first), Some(last)) = (self.first_time, self.last_time) {
            line("first record", &timestamp_text(first))?;
            line("last record", &timestamp_text(last))?;
        }
        line("root", &self.root)?;
        line("last hash", &self.last_hash)?;
        match &self.key {
            Some(key) => {
                line("checkpoints", &format!("{}, all signed by the key", self.checkpoints))?;
                line("key", key)?;
                let unsigned = self.unsigned_records();
                line("signed", &format!("{} records", self.signed_records()))?;
                line(
                    "unsigned",
                    &format!("{unsigned} records after the last checkpoint, linked only"),
                )?;
            }
            None => {
                line(
                    "checkpoints",
                    &format!("{}, signatures not checked: no key was given", self.checkpoints),
                )?;
            }
        }
        if let Some(size) = self.given_checkpoint_size {
            line("given checkpoint", &format!("of {size} records, all of them here"))?;
        }
        if self.torn_bytes > 0 {
            line(
                "torn tail",
                &format!("{} bytes of an incomplete record were left out", self.torn_bytes),
            )?;
        }
        if self.untracked_streams {
            line(
                "streams",
                &"more than are kept track of; some sequences were not checked",
            )?;
        }
        Ok(())
    }
}
