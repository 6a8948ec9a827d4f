//! What a verified log contains.

use std::fmt;

use craton_types::{Hash, TenantId, Timestamp};

use super::checkpoints::{Checkpoints, Cosigned};
use super::{LogVerifyError, LogVerifyOptions};
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
    /// The signed note of the last of them.
    pub last_note: Option<String>,
    /// The newest of them that as many known witnesses cosigned as are asked for; `None` when none are known.
    pub cosigned: Option<Cosigned>,
    /// The key that signed all of them; `None` when no key was given and the signatures were not checked.
    pub key: Option<VerifierKey>,
    /// The size of the checkpoint obtained elsewhere, when one was given; the log contains all it covers.
    pub given_checkpoint_size: Option<u64>,
    /// Bytes of an incomplete last record, when they are allowed.
    pub torn_bytes: u64,
    /// Streams whose sequences were not checked, because there are more than a verifier keeps track of.
    pub untracked_streams: bool,
}

/// What a pass over a log counted.
pub(super) struct Totals {
    pub(super) tenant: Option<TenantId>,
    pub(super) segments: u64,
    pub(super) first_time: Option<Timestamp>,
    pub(super) last_time: Option<Timestamp>,
    pub(super) last_hash: Hash,
    pub(super) torn_bytes: u64,
    pub(super) untracked_streams: bool,
}

impl Totals {
    /// The result of a pass that found nothing wrong.
    pub(super) fn conclude(
        self,
        checkpoints: Checkpoints<'_>,
        options: &LogVerifyOptions,
    ) -> Result<LogSummary, LogVerifyError> {
        let records = checkpoints.records();
        let tenant = self.tenant.ok_or(LogVerifyError::NoSegments)?;
        if let Some(size) = checkpoints.given_but_not_reached() {
            return Err(LogVerifyError::ShorterThanCheckpoint { records, size });
        }
        if let Some(pin) = checkpoints.rolled_back_from() {
            return Err(LogVerifyError::RolledBack {
                records,
                size: pin.size,
                root: pin.root,
            });
        }
        let quorum = options.witnesses.quorum();
        if quorum > 0 && checkpoints.cosigned.is_none() {
            return Err(LogVerifyError::NothingCosigned { quorum });
        }
        let last_note = String::from_utf8(checkpoints.last_note.clone()).ok();
        let summary = LogSummary {
            tenant,
            segments: self.segments,
            records,
            first_time: self.first_time,
            last_time: self.last_time,
            root: checkpoints.root(),
            last_hash: self.last_hash,
            checkpoints: checkpoints.count,
            given_checkpoint_size: checkpoints.given_size(),
            last_note: last_note.filter(|_| checkpoints.last.is_some()),
            last_checkpoint: checkpoints.last,
            cosigned: checkpoints.cosigned,
            key: options.key.clone(),
            torn_bytes: self.torn_bytes,
            untracked_streams: self.untracked_streams,
        };
        if summary.key.is_some() && records > 0 && summary.signed_records() == 0 {
            return Err(LogVerifyError::NothingSigned { records });
        }
        Ok(summary)
    }
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
        if let Some(Cosigned { size, by }) = &self.cosigned {
            line("cosigned", &format!("{size} records"))?;
            by.iter().try_for_each(|witness| line("witness", witness))?;
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
