//! Reading a segment through, and telling a torn tail from corruption.

use craton_types::planted::{Bug, is_planted};
use craton_types::{LogIndex, Term};

use super::entries::split_entries;
use super::format::{RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader, RecordKind, SEGMENT_HEADER_LENGTH};
use super::recovery::TornTail;
use super::segment::{Found, Segment};
use super::superblock::Vote;
use super::terms::Terms;
use super::{Damage, WalError};

/// How much is read at once when looking for what follows damage.
const CHUNK_BYTES: usize = 256 * 1024;

/// How far a segment's records reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// To exactly this position: the next segment says so, and everything before it was synced.
    Synced(u64),
    /// To exactly this position: what is behind is damaged.
    Kept(u64),
    /// The newest segment: its headers say, and not before this position, which is known to be synced.
    Open {
        /// The position.
        synced_end: u64,
    },
}

/// What a segment holds.
pub(super) struct Scan {
    /// The last record and the last entry before it.
    pub(super) last_record: Option<(RecordHeader, Option<(LogIndex, Term)>)>,
    /// The terms of its entries.
    pub(super) terms: Terms,
    /// Entries up to here are known to be committed.
    pub(super) committed: LogIndex,
    /// The last vote.
    pub(super) vote: Option<Vote>,
    /// The stretch after the last record, when something was written there.
    pub(super) torn: Option<Torn>,
}

/// An interrupted write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) reason: Damage,
}

impl Segment {
    /// Reads all records, checks and decrypts them, and sets the segment's end, first and last entry and reports.
    pub(super) fn scan(&mut self, bound: Bound) -> Result<Scan, WalError> {
        let mut scan = Scan {
            last_record: None,
            terms: Terms::default(),
            committed: LogIndex::ZERO,
            vote: None,
            torn: None,
        };
        let capacity = self.header.capacity;
        let (limit, synced_end) = match bound {
            Bound::Synced(end) => (end, end.max(self.header.created_end)),
            Bound::Kept(end) => (end, end),
            Bound::Open { synced_end } => (capacity, synced_end.max(self.header.created_end)),
        };
        if synced_end > capacity {
            return Err(self.corrupt(synced_end, Damage::End));
        }
        let mut payload = Vec::new();
        self.end = SEGMENT_HEADER_LENGTH;
        while bound != Bound::Synced(self.end) && bound != Bound::Kept(self.end) {
            match self.read_record(self.end, limit, &mut payload)? {
                Found::Record(header) => self.take(header, &mut payload, &mut scan)?,
                Found::Damage { reason, .. } if is_planted(Bug::TruncateOnDamage) => {
                    scan.torn = Some(Torn {
                        start: self.end,
                        end: self.end + 1,
                        reason,
                    });
                    return Ok(scan);
                }
                Found::Damage { reason, may_be_torn } => {
                    if !may_be_torn || self.end < synced_end {
                        return Err(self.corrupt(self.end, reason));
                    }
                    scan.torn = self.classify_tail(reason)?;
                    break;
                }
            }
        }
        if self.end < synced_end {
            return Err(self.corrupt(self.end, Damage::End));
        }
        Ok(scan)
    }

    fn take(&mut self, header: RecordHeader, payload: &mut [u8], scan: &mut Scan) -> Result<(), WalError> {
        let before = self.last;
        let text = self.open_record(&header, payload)?;
        let malformed = || self.corrupt(header.position, Damage::Payload);
        match header.kind {
            RecordKind::Entries => {
                let entries = split_entries(header.index, header.entry_count, text).ok_or_else(malformed)?;
                let mut last = before;
                for entry in entries {
                    if !entry.follows(last) {
                        return Err(self.corrupt(header.position, Damage::Sequence));
                    }
                    last = Some((entry.index, entry.term));
                    scan.terms.note(entry.index, entry.term);
                }
                self.note_entries(header.position, header.index, last.ok_or_else(malformed)?);
            }
            RecordKind::Recovery => {
                let torn = TornTail::decode(text).ok_or_else(malformed)?;
                self.reports.push((header.position, torn));
            }
            RecordKind::Vote => {
                let vote = Vote::decode(text).ok_or_else(malformed)?;
                if scan.vote.is_some_and(|last| !vote.may_follow(&last)) {
                    return Err(self.corrupt(header.position, Damage::Vote));
                }
                scan.vote = Some(vote);
            }
        }
        if header.committed > self.last.unwrap_or_default().0 {
            return Err(self.corrupt(header.position, Damage::Sequence));
        }
        scan.committed = scan.committed.max(header.committed);
        self.end = header.end();
        scan.last_record = Some((header, before));
        Ok(())
    }

    /// There is no record at the end of what was read: says whether nothing was written there, or a write was
    /// interrupted. A record further on shows that it is neither: since a record is written only after
    /// everything before it was synced, that is corruption.
    fn classify_tail(&self, reason: Damage) -> Result<Option<Torn>, WalError> {
        let left = usize::try_from(self.header.capacity - self.end).unwrap_or(usize::MAX);
        let mut chunk = vec![0; left.min(CHUNK_BYTES + RECORD_HEADER_BYTES)];
        let zeros = chunk.clone();
        let mut end = None;
        let mut start = self.end;
        while start < self.header.capacity {
            let left = usize::try_from(self.header.capacity - start).unwrap_or(usize::MAX);
            // Chunks overlap by a header, so that none is missed at a boundary.
            let length = left.min(chunk.len());
            let chunk = &mut chunk[..length];
            self.read(chunk, start)?;
            // Comparing is far quicker than searching, and nearly all of the segment is zeros.
            if *chunk != zeros[..chunk.len()] {
                let last = chunk.iter().rposition(|&byte| byte != 0);
                end = last.map(|at| start + at as u64 + 1).or(end);
                if self.has_record(chunk, start) {
                    return Err(self.corrupt(self.end, reason));
                }
            }
            start += CHUNK_BYTES as u64;
        }
        Ok(end.map(|end| Torn {
            start: self.end,
            end,
            reason,
        }))
    }

    /// Whether a record header of this segment stands in a chunk, at its own position and after the damage.
    fn has_record(&self, chunk: &[u8], chunk_start: u64) -> bool {
        let headers = chunk.windows(RECORD_HEADER_BYTES).enumerate();
        let mut candidates = headers.filter(|(_, window)| window.starts_with(&RECORD_MAGIC));
        candidates.any(|(at, window)| {
            let position = chunk_start + at as u64;
            let bytes = window.first_chunk().expect("a window is as long as a header");
            position > self.end
                && RecordHeader::decode(bytes)
                    .is_ok_and(|header| header.position == position && header.salt == self.header.salt)
        })
    }
}
