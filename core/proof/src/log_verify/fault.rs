//! What is wrong with a log, and where.

use std::fmt;
use std::io;

use craton_types::{Hash, Offset};

use crate::CheckpointError;

/// The part of a segment file that is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPart {
    /// The header of the segment that begins with the named record.
    SegmentHeader,
    /// A record.
    Record,
    /// The footer of the segment that ends before the named record.
    SegmentFooter,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Exactly one byte was changed.
    ChangedByte {
        /// What it was.
        expected: u8,
        /// What it is.
        found: u8,
    },
    /// A value is not the one it has to be.
    Differs {
        /// What it has to be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The file ends too early.
    Truncated {
        /// How many bytes the part has.
        expected_bytes: u64,
        /// How many there are.
        found_bytes: u64,
    },
    /// The bytes do not have the form they must have.
    Malformed {
        /// What is wrong with them.
        reason: String,
    },
    /// The records are linked to each other, but not the ones that were signed.
    NotTheSignedRecords {
        /// The first record that may be another.
        from: Offset,
        /// One past the last.
        end: Offset,
        /// The signed root.
        expected: Hash,
        /// The root of these records.
        found: Hash,
    },
    /// The checkpoint is malformed, of another log, or not signed by the key.
    Checkpoint(CheckpointError),
}

/// The first thing that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFault {
    /// The bad record's position in the log, or for a segment's header or footer that of the record after it.
    pub offset: Offset,
    /// Whether the record itself or the segment around it is at fault.
    pub part: LogPart,
    /// The field, named as in the tables of `craton_types`; `header_crc`, `payload` and `checkpoint …` for the rest.
    pub field: &'static str,
    /// The segment file's name.
    pub file: String,
    /// Where in the file the changed byte or the field begins.
    pub position: u64,
    /// What is wrong.
    pub finding: Finding,
}

/// The field of a fault where the log contradicts a checkpoint that was seen before.
pub(crate) const PINNED_FIELD: &str = "pinned checkpoint root";

/// Why a log does not verify.
#[derive(Debug, thiserror::Error)]
pub enum LogVerifyError {
    /// Something is wrong with a record or segment.
    #[error("{0}")]
    Fault(Box<LogFault>),
    /// No segment was given.
    #[error("there are no segment files")]
    NoSegments,
    /// A key was given, but it vouches for nothing here.
    #[error("none of the {records} records is covered by a checkpoint, so the key vouches for nothing in this log")]
    NothingSigned {
        /// How many records there are.
        records: u64,
    },
    /// The checkpoint obtained elsewhere is itself not to be believed.
    #[error("the given checkpoint: {0}")]
    GivenCheckpoint(#[from] CheckpointError),
    /// The checkpoint obtained elsewhere covers more than there is.
    #[error("the log ends after {records} records, but the given checkpoint covers {size}: the newest were cut off")]
    ShorterThanCheckpoint {
        /// How many records there are.
        records: u64,
        /// How many the checkpoint covers.
        size: u64,
    },
    /// A checkpoint that was seen before covers more than there is.
    #[error(
        "the log ends after {records} records, but a checkpoint of {size} records with root {root} was seen before: it was \
         rolled back"
    )]
    RolledBack {
        /// How many records there are.
        records: u64,
        /// How many the checkpoint covers.
        size: u64,
        /// The checkpoint's root.
        root: Hash,
    },
    /// Witnesses are asked for, and too few of them cosigned any checkpoint in the log.
    #[error("no checkpoint in the log is cosigned by {quorum} of the known witnesses")]
    NothingCosigned {
        /// How many were asked for.
        quorum: usize,
    },
    /// A file cannot be read.
    #[error("{file} cannot be read at byte {position}: {source}")]
    Read {
        /// The file's name.
        file: String,
        /// Where reading failed.
        position: u64,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl From<LogFault> for LogVerifyError {
    fn from(fault: LogFault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl fmt::Display for LogFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            LogPart::Record => write!(f, "record {}", self.offset)?,
            LogPart::SegmentHeader => write!(f, "segment header before record {}", self.offset)?,
            LogPart::SegmentFooter => write!(f, "segment footer before record {}", self.offset)?,
        }
        let Self {
            field,
            file,
            position,
            finding,
            ..
        } = self;
        write!(f, ", field {field} ({file}, byte {position}): {finding}")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangedByte { expected, found } => {
                write!(f, "this byte was changed from {expected:#04x} to {found:#04x}")
            }
            Self::Differs { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::Truncated {
                expected_bytes,
                found_bytes,
            } => {
                write!(f, "the file ends after {found_bytes} of {expected_bytes} bytes")
            }
            Self::Malformed { reason } => f.write_str(reason),
            Self::NotTheSignedRecords {
                from,
                end,
                expected,
                found,
            } => write!(
                f,
                "records {from} to {} are not the ones that were signed: expected root {expected}, found {found}",
                end.get().saturating_sub(1)
            ),
            Self::Checkpoint(error) => error.fmt(f),
        }
    }
}

impl LogVerifyError {
    /// Whether the log contradicts a checkpoint that was seen before.
    #[must_use]
    pub fn contradicts_pinned(&self) -> bool {
        match self {
            Self::Fault(fault) => fault.field == PINNED_FIELD,
            Self::RolledBack { .. } => true,
            _ => false,
        }
    }
}
