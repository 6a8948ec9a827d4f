//! Entries, and reading them back.

use std::ops::Range;

use craton_types::{LogIndex, Term};

use super::format::{ENTRY_HEADER_BYTES, RecordKind, SEGMENT_HEADER_LENGTH};
use super::segment::{Found, Segment};
use super::{Damage, Wal, WalError};

/// One entry of the consensus log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalEntry {
    /// Its index; the next entry has the next index.
    pub index: LogIndex,
    /// The term it was proposed in; never less than the one before.
    pub term: Term,
    /// What it says.
    pub payload: Vec<u8>,
}

/// An entry within a record's plaintext.
pub(super) struct EntrySlice<'a> {
    pub(super) index: LogIndex,
    pub(super) term: Term,
    pub(super) payload: &'a [u8],
}

impl EntrySlice<'_> {
    pub(super) fn follows(&self, last: Option<(LogIndex, Term)>) -> bool {
        follows(self.index, self.term, last)
    }
}

/// Whether an entry may come after `last`. The first entry of a log may have any index from one.
pub(super) fn follows(index: LogIndex, term: Term, last: Option<(LogIndex, Term)>) -> bool {
    match last {
        Some((last_index, last_term)) => last_index.get().checked_add(1) == Some(index.get()) && term >= last_term,
        None => index > LogIndex::ZERO,
    }
}

/// Divides the plaintext of an entries record; `None` when it does not hold exactly `count` entries.
pub(super) fn split_entries(first: LogIndex, count: u32, text: &[u8]) -> Option<Vec<EntrySlice<'_>>> {
    let mut entries = Vec::new();
    let mut rest = text;
    for number in 0..u64::from(count) {
        let (header, tail) = rest.split_first_chunk::<ENTRY_HEADER_BYTES>()?;
        let (term, length) = header.split_first_chunk::<8>()?;
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
        let (payload, tail) = tail.split_at_checked(length)?;
        entries.push(EntrySlice {
            index: LogIndex::new(first.get().checked_add(number)?),
            term: Term::new(u64::from_be_bytes(*term)),
            payload,
        });
        rest = tail;
    }
    (rest.is_empty() && count > 0).then_some(entries)
}

/// Appends entries to the plaintext of an entries record.
pub(super) fn join_entries(entries: &[WalEntry], text: &mut Vec<u8>) {
    for entry in entries {
        join_entry(entry.term, &entry.payload, text);
    }
}

/// Appends entries that were divided to the plaintext of another record.
pub(super) fn join_slices(entries: &[EntrySlice<'_>], text: &mut Vec<u8>) {
    for entry in entries {
        join_entry(entry.term, entry.payload, text);
    }
}

fn join_entry(term: Term, payload: &[u8], text: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("a batch is limited to far less than 4 GiB");
    text.extend_from_slice(&term.get().to_be_bytes());
    text.extend_from_slice(&length.to_be_bytes());
    text.extend_from_slice(payload);
}

/// The entries from an index on, in order, see [`Wal::entries_from`]. Holds one batch in memory; ends after
/// the first error.
pub struct WalEntries<'a> {
    segments: &'a [Segment],
    cursor: Cursor,
}

/// Entries that can be read while the log is written to, see [`Wal::range`]. Whatever becomes of the log meanwhile, they are
/// those that were in it when they were asked for. Holds one batch in memory.
pub struct WalRange {
    segments: Vec<Segment>,
    cursor: Cursor,
    /// An entry that was read and not given out yet.
    next: Option<WalEntry>,
}

/// A place between two entries.
struct Cursor {
    /// Which segment is read.
    at: usize,
    position: u64,
    wanted: Range<LogIndex>,
    payload: Vec<u8>,
    batch: std::vec::IntoIter<WalEntry>,
}

impl<'a> WalEntries<'a> {
    pub(super) fn new(wal: &'a Wal, from: LogIndex) -> Self {
        let wanted = from..LogIndex::new(u64::MAX);
        let segments = segments_with(&wal.segments, &wanted);
        Self {
            cursor: Cursor::new(segments, wanted),
            segments,
        }
    }
}

impl Iterator for WalEntries<'_> {
    type Item = Result<WalEntry, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next(self.segments).transpose()
    }
}

impl WalRange {
    pub(super) fn new(wal: &Wal, wanted: Range<LogIndex>) -> Self {
        let segments = segments_with(&wal.segments, &wanted);
        Self {
            cursor: Cursor::new(segments, wanted),
            segments: segments.iter().map(Segment::handle).collect(),
            next: None,
        }
    }

    /// The next entries, in order: as many as have payloads of no more than `bytes_max` bytes together, and at least one
    /// as long as there are any.
    ///
    /// # Errors
    /// [`WalError::Corrupt`] or [`WalError::Io`]; there are no more entries then.
    pub fn read(&mut self, bytes_max: usize) -> Result<Vec<WalEntry>, WalError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        loop {
            let entry = match self.next.take() {
                Some(entry) => entry,
                None => match self.cursor.next(&self.segments)? {
                    Some(entry) => entry,
                    None => return Ok(entries),
                },
            };
            bytes += entry.payload.len();
            if bytes > bytes_max && !entries.is_empty() {
                self.next = Some(entry);
                return Ok(entries);
            }
            entries.push(entry);
        }
    }
}

/// The segments that may hold wanted entries.
fn segments_with<'a>(segments: &'a [Segment], wanted: &Range<LogIndex>) -> &'a [Segment] {
    let is_before = |segment: &&Segment| segment.last.is_none_or(|(last, _)| last < wanted.start);
    let before = segments.iter().take_while(is_before).count();
    let segments = &segments[before..];
    let is_behind = |segment: &&Segment| segment.first.is_none_or(|first| first >= wanted.end);
    let behind = segments.iter().rev().take_while(is_behind).count();
    &segments[..segments.len() - behind]
}

impl Cursor {
    fn new(segments: &[Segment], wanted: Range<LogIndex>) -> Self {
        let position = segments.first().map(|segment| segment.position_before(wanted.start));
        Self {
            at: 0,
            position: position.unwrap_or(SEGMENT_HEADER_LENGTH),
            wanted,
            payload: Vec::new(),
            batch: Vec::new().into_iter(),
        }
    }

    /// The next entry; `None` at the end and after an error.
    fn next(&mut self, segments: &[Segment]) -> Result<Option<WalEntry>, WalError> {
        if let Some(entry) = self.batch.next() {
            return Ok(Some(entry));
        }
        let read = self.next_batch(segments).inspect_err(|_| self.at = segments.len())?;
        self.batch = read.unwrap_or_default().into_iter();
        Ok(self.batch.next())
    }

    /// Reads the next batch that has wanted entries; `None` at the end.
    fn next_batch(&mut self, segments: &[Segment]) -> Result<Option<Vec<WalEntry>>, WalError> {
        while let Some(segment) = segments.get(self.at) {
            if self.position == segment.end {
                self.at += 1;
                self.position = SEGMENT_HEADER_LENGTH;
                continue;
            }
            let header = match segment.read_record(self.position, segment.end, &mut self.payload)? {
                Found::Record(header) => header,
                Found::Damage { reason, .. } => return Err(segment.corrupt(self.position, reason)),
            };
            self.position = header.end();
            let end = header.index.get().saturating_add(u64::from(header.entry_count));
            if header.kind != RecordKind::Entries || end <= self.wanted.start.get() {
                continue;
            }
            if header.index >= self.wanted.end {
                self.at = segments.len();
                return Ok(None);
            }
            let text = segment.open_record(&header, &mut self.payload)?;
            let entries = split_entries(header.index, header.entry_count, text)
                .ok_or_else(|| segment.corrupt(header.position, Damage::Payload))?;
            let wanted = entries.into_iter().filter(|entry| self.wanted.contains(&entry.index));
            let batch = wanted.map(|entry| WalEntry {
                index: entry.index,
                term: entry.term,
                payload: entry.payload.to_vec(),
            });
            return Ok(Some(batch.collect()));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_survive_a_round_trip(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6)) {
            let entries: Vec<WalEntry> = (5u64..)
                .zip(payloads)
                .map(|(number, payload)| WalEntry { index: LogIndex::new(number), term: Term::new(number * 2), payload })
                .collect();
            let count = u32::try_from(entries.len()).expect("few");
            let mut text = Vec::new();
            join_entries(&entries, &mut text);
            let split: Option<Vec<WalEntry>> = split_entries(LogIndex::new(5), count, &text).map(|slices| {
                let owned = |slice: EntrySlice<'_>| WalEntry { index: slice.index, term: slice.term, payload: slice.payload.to_vec() };
                slices.into_iter().map(owned).collect()
            });
            prop_assert_eq!(split, Some(entries));
            prop_assert!(split_entries(LogIndex::new(5), count + 1, &text).is_none());
            prop_assert!(split_entries(LogIndex::new(5), count - 1, &text).is_none());
        }

        #[test]
        fn arbitrary_texts_never_panic(text in proptest::collection::vec(any::<u8>(), 0..64), first in any::<u64>(), count in any::<u32>()) {
            let _ = split_entries(LogIndex::new(first), count, &text);
        }
    }

    #[test]
    fn entries_follow_by_index_and_term() {
        let last = Some((LogIndex::new(7), Term::new(3)));
        for (index, term, last, expected) in [
            (8, 3, last, true),
            (8, 4, last, true),
            (8, 2, last, false),
            (7, 3, last, false),
            (9, 3, last, false),
            (1, 0, None, true),
            (100, 5, None, true),
            (0, 5, None, false),
            (0, 0, Some((LogIndex::new(u64::MAX), Term::ZERO)), false),
        ] {
            assert_eq!(
                follows(LogIndex::new(index), Term::new(term), last),
                expected,
                "{index} {term} {last:?}"
            );
        }
    }
}
