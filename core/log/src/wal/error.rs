//! What can go wrong with the write-ahead log.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use craton_types::{LogIndex, Term};

use super::heads::HeadsDamage;
use super::superblock::{SuperblockDamage, Vote};

/// What is wrong with a stretch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Damage {
    /// No record begins here, though something was written.
    Magic = 1,
    /// The record header does not match its checksum.
    HeaderChecksum = 2,
    /// The header is whole but says what was never written here: another position, another segment's salt,
    /// an unknown version or kind, or a length that does not fit.
    Header = 3,
    /// The payload does not match its checksum.
    PayloadChecksum = 4,
    /// The checksums match but the payload does not decrypt: the bytes were replaced on purpose.
    Authentication = 5,
    /// The payload decrypts but does not divide into the entries that the header counts.
    Payload = 6,
    /// The index or term does not follow the one before.
    Sequence = 7,
    /// The segment ends before a position that is known to be synced.
    End = 8,
    /// The file is shorter than the space that was reserved for it.
    Truncated = 9,
    /// The segment's own header is damaged.
    SegmentHeader = 10,
    /// The segment's file is missing.
    Missing = 11,
    /// The segment belongs to another log.
    OtherLog = 12,
    /// A vote goes back.
    Vote = 13,
}

impl Damage {
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Magic,
            2 => Self::HeaderChecksum,
            3 => Self::Header,
            4 => Self::PayloadChecksum,
            5 => Self::Authentication,
            6 => Self::Payload,
            7 => Self::Sequence,
            8 => Self::End,
            9 => Self::Truncated,
            10 => Self::SegmentHeader,
            11 => Self::Missing,
            12 => Self::OtherLog,
            13 => Self::Vote,
            _ => return None,
        })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magic => "no record begins here",
            Self::HeaderChecksum => "the record header does not match its checksum",
            Self::Header => "the record header was not written for this place",
            Self::PayloadChecksum => "the payload does not match its checksum",
            Self::Authentication => "the payload does not decrypt",
            Self::Payload => "the payload does not divide into entries",
            Self::Sequence => "the index or term does not follow the one before",
            Self::End => "the segment ends too early",
            Self::Truncated => "the file was cut",
            Self::SegmentHeader => "the segment header is damaged",
            Self::Missing => "the segment's file is missing",
            Self::OtherLog => "the segment belongs to another log",
            Self::Vote => "a vote goes back",
        })
    }
}

/// Why the write-ahead log does not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The disk failed. Unless it happened while reading, the log is poisoned.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The disk is full. Nothing was appended; appending may be tried again when there is space.
    #[error("no space left for {}", path.display())]
    NoSpace {
        /// What there is no space for.
        path: PathBuf,
    },
    /// An earlier write or sync failed, so what the disk holds is unknown. Only opening the log again, in a
    /// new process, helps.
    #[error("the write-ahead log is poisoned by an earlier failure")]
    Poisoned,
    /// Something that was synced is damaged. The log is left as it is.
    #[error("write-ahead log segment {segment} is corrupt at position {position}: {reason}")]
    Corrupt {
        /// The segment's number.
        segment: u64,
        /// The byte position in its file.
        position: u64,
        /// What is wrong.
        reason: Damage,
    },
    /// The superblock does not say what the log is. The log is left as it is.
    #[error("the superblock {} {reason}", path.display())]
    Superblock {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        reason: SuperblockDamage,
    },
    /// The heads do not say how long the tenants' logs must be.
    #[error("the heads in {} {reason}", directory.display())]
    Heads {
        /// Where they are.
        directory: PathBuf,
        /// What is wrong.
        reason: HeadsDamage,
    },
    /// A vote does not follow the one before it, or the entries, or a quorum's vote is for nobody.
    #[error("a vote for node {} in term {} does not follow that for node {} in term {}", vote.voted_for, vote.term, last.voted_for, last.term)]
    VoteOutOfOrder {
        /// The vote.
        vote: Vote,
        /// The one before it.
        last: Vote,
    },
    /// The segment's key was wrapped by another key than the one given.
    #[error("the key of write-ahead log segment {segment} does not unwrap")]
    WrongKey {
        /// The segment's number.
        segment: u64,
    },
    /// An entry does not follow the one before it.
    #[error("entry {index} of term {term} does not follow entry {last_index} of term {last_term}")]
    OutOfOrder {
        /// The entry's index.
        index: LogIndex,
        /// The entry's term.
        term: Term,
        /// The index of the entry before it.
        last_index: LogIndex,
        /// The term of the entry before it.
        last_term: Term,
    },
    /// The entries of one append are too long together.
    #[error("a batch of {bytes} bytes is longer than {bytes_max}")]
    BatchTooLong {
        /// Their length as the log would write it.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// An entry is whole, and not of a kind that its reader knows: a newer version wrote it.
    #[error("entry {index} is of no kind that this version knows")]
    Unknown {
        /// Which one.
        index: LogIndex,
    },
    /// An entry that is to be removed is committed.
    #[error("entry {index} cannot be removed, entries up to {committed} are committed")]
    Committed {
        /// The first entry that was to be removed.
        index: LogIndex,
        /// The last entry that is known to be committed.
        committed: LogIndex,
    },
    /// The entries asked for were purged.
    #[error("entry {index} was purged, the first one left is {first}")]
    Purged {
        /// The index asked for.
        index: LogIndex,
        /// The first index there is.
        first: LogIndex,
    },
}

impl WalError {
    /// For `map_err`: names the operation. For calls after which the log cannot go on, whatever the reason.
    pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }

    /// For `map_err`: names the operation, and tells a full disk from a failing one.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Io {
                operation,
                path,
                source,
            },
        }
    }
}
