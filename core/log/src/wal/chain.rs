//! Reading the segments that belong to the log, in order, when it is opened.

use craton_types::{LogIndex, Term};

use super::format::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, SEGMENT_HEADER_LENGTH};
use super::scan::{Bound, Torn};
use super::segment::{Segment, Storage, UnplacedRecord};
use super::superblock::{Superblock, Vote};
use super::terms::Terms;
use super::{Damage, WalError};

/// The segments that count, oldest first, and those that do not.
pub(super) struct Chain {
    pub(super) segments: Vec<Segment>,
    pub(super) superseded: Vec<u64>,
    /// The last entry that was forgotten.
    pub(super) purged: Option<(LogIndex, Term)>,
}

/// How much of the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All that belongs to it; damage is an error.
    Everything,
    /// What precedes damage in this segment at this position, which is zero when all of the segment is lost.
    Before {
        /// The segment's number.
        segment: u64,
        /// The position in its file.
        position: u64,
    },
}

impl Reach {
    /// The segment that is read last; zero for none.
    fn newest(self, sequences: &[u64], known: &Superblock) -> u64 {
        let newest = match self {
            Self::Everything => sequences.last(),
            Self::Before { segment, position } => {
                let is_kept = |sequence: &&u64| {
                    **sequence < segment || (**sequence == segment && position >= SEGMENT_HEADER_LENGTH)
                };
                let kept = sequences.iter().rev().find(is_kept);
                kept.filter(|sequence| **sequence >= known.oldest_segment)
            }
        };
        newest.copied().unwrap_or(0)
    }
}

/// Reads the segments and checks every record.
pub(super) fn read_log(
    storage: &Storage,
    sequences: &[u64],
    known: &Superblock,
    reach: Reach,
) -> Result<(Chain, Tail), WalError> {
    if reach == Reach::Everything && sequences.last().copied().unwrap_or(0) < known.newest_segment {
        return Err(missing(known.newest_segment));
    }
    let mut chain = load_chain(storage, sequences, known, reach.newest(sequences, known))?;
    let tail = scan_chain(&mut chain, known, reach)?;
    Ok((chain, tail))
}

fn missing(segment: u64) -> WalError {
    WalError::Corrupt {
        segment,
        position: 0,
        reason: Damage::Missing,
    }
}

/// Follows the links from the newest segment back to the oldest that was not purged.
fn load_chain(storage: &Storage, sequences: &[u64], known: &Superblock, newest: u64) -> Result<Chain, WalError> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut next = newest;
    while next != 0 && next >= known.oldest_segment {
        if !sequences.contains(&next) {
            return Err(missing(next));
        }
        let segment = storage.open_segment(next)?;
        if segment.header.previous_sequence >= next {
            return Err(segment.corrupt(0, Damage::SegmentHeader));
        }
        next = segment.header.previous_sequence;
        segments.push(segment);
    }
    segments.reverse();
    let mut purged = known.purged;
    if let Some(oldest) = segments.first() {
        let is_newer = oldest.header.sequence > known.newest_segment;
        if is_newer && oldest.header.previous_sequence == 0 {
            // The log was reset, and the crash came before the superblock said so.
            purged = purged.max(oldest.header.previous);
        }
        // Less than what was forgotten may be gone, and never more.
        if oldest.header.previous > purged {
            return Err(oldest.corrupt(0, Damage::Sequence));
        }
    }
    let linked = |sequence: &u64| segments.iter().any(|segment| segment.header.sequence == *sequence);
    let superseded = sequences
        .iter()
        .copied()
        .filter(|sequence| *sequence <= newest && !linked(sequence))
        .collect();
    Ok(Chain {
        segments,
        superseded,
        purged,
    })
}

/// What the newest segment ends with.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) suspect: Option<Suspect>,
    pub(super) torn: Option<Torn>,
    pub(super) vote: Vote,
    pub(super) terms: Terms,
    pub(super) committed: LogIndex,
}

/// The last record, when nothing shows that it was synced.
pub(super) struct Suspect {
    pub(super) header: RecordHeader,
    pub(super) before: Option<(LogIndex, Term)>,
    /// Its entries. A vote is written to every new segment anyway.
    pub(super) entries: Option<UnplacedRecord>,
}

fn scan_chain(chain: &mut Chain, known: &Superblock, reach: Reach) -> Result<Tail, WalError> {
    let segments = &mut chain.segments;
    let mut tail = Tail {
        vote: known.vote,
        ..Tail::default()
    };
    if reach == Reach::Everything {
        // Before damage there may be entries again that were cut off: what the superblock says may be said of others. What
        // the records before it say is not, since a committed entry is never cut off.
        tail.committed = known.committed;
    }
    let mut last = None;
    let mut last_vote: Option<Vote> = None;
    for at in 0..segments.len() {
        let bound = bound_of(segments, at, known, reach);
        let segment = &mut segments[at];
        if at > 0 && segment.header.previous != last {
            return Err(segment.corrupt(0, Damage::Sequence));
        }
        let scan = segment.scan(bound)?;
        tail.terms.extend(&scan.terms);
        tail.committed = tail.committed.max(scan.committed);
        last = segment.last;
        tail.torn = scan.torn;
        if let Some(vote) = scan.vote {
            if last_vote.is_some_and(|before| vote != before && !vote.may_follow(&before)) {
                return Err(segment.corrupt(0, Damage::Vote));
            }
            last_vote = Some(vote);
        }
        let Bound::Open { synced_end } = bound else { continue };
        let synced_end = synced_end.max(segment.header.created_end);
        if let Some((header, before)) = scan.last_record.filter(|(header, _)| header.position >= synced_end) {
            let is_batch = header.kind == RecordKind::Entries;
            let entries = is_batch.then(|| reread(segment, &header)).transpose()?;
            tail.suspect = Some(Suspect {
                header,
                before,
                entries,
            });
        }
    }
    // The superblock may be ahead of the votes in the segments, since those are purged, and behind them.
    if let Some(vote) = last_vote.filter(|vote| vote.may_follow(&known.vote)) {
        tail.vote = vote;
    }
    if let (Some(purged), Some(newest)) = (chain.purged, segments.last()) {
        let oldest = segments[0].header.previous;
        let is_there = oldest == Some(purged) || tail.terms.at(purged.0) == Some(purged.1);
        if !is_there || last < Some(purged) {
            if reach == Reach::Everything {
                return Err(newest.corrupt(newest.end, Damage::Sequence));
            }
            // All that is left was forgotten.
            let forgotten = chain.segments.drain(..).map(|segment| segment.header.sequence);
            chain.superseded.extend(forgotten);
            (tail.suspect, tail.torn, tail.terms) = (None, None, Terms::default());
        }
    }
    if chain.segments.is_empty() {
        last = chain.purged;
    }
    let last = last.unwrap_or_default().0;
    tail.committed = tail.committed.max(chain.purged.unwrap_or_default().0).min(last);
    Ok(tail)
}

/// How far a segment's records reach: the next one says so; what the newest is known to hold, the superblock.
fn bound_of(segments: &[Segment], at: usize, known: &Superblock, reach: Reach) -> Bound {
    if let Some(later) = segments.get(at + 1) {
        return Bound::Synced(later.header.previous_end);
    }
    let sequence = segments[at].header.sequence;
    match reach {
        Reach::Before { segment, position } if segment == sequence => Bound::Kept(position),
        Reach::Everything if sequence == known.newest_segment => Bound::Open {
            synced_end: known.synced_end,
        },
        Reach::Everything | Reach::Before { .. } => Bound::Open { synced_end: 0 },
    }
}

fn reread(segment: &Segment, header: &RecordHeader) -> Result<UnplacedRecord, WalError> {
    let mut payload = vec![0; header.payload_length as usize];
    segment.read(&mut payload, header.position + RECORD_HEADER_BYTES as u64)?;
    Ok(UnplacedRecord {
        kind: header.kind,
        index: header.index,
        term: header.term,
        entry_count: header.entry_count,
        text: segment.open_record(header, &mut payload)?.to_vec(),
    })
}
