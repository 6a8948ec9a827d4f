//! Entries, and reading them back.

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
        let length = u32::try_from(entry.payload.len()).expect("a batch is limited to far less than 4 GiB");
        text.extend_from_slice(&entry.term.get().to_be_bytes());
        text.extend_from_slice(&length.to_be_bytes());
        text.extend_from_slice(&entry.payload);
    }
}

/// The entries from an index on, in order, see [`Wal::entries_from`]. Holds one batch in memory; ends after
/// the first error.
pub struct WalEntries<'a> {
    segments: &'a [Segment],
    position: u64,
    from: LogIndex,
    payload: Vec<u8>,
    batch: std::vec::IntoIter<WalEntry>,
}

impl<'a> WalEntries<'a> {
    pub(super) fn new(wal: &'a Wal, from: LogIndex) -> Self {
        let before = |segment: &&Segment| segment.last.is_none_or(|(last, _)| last < from);
        let skipped = wal.segments.iter().take_while(before).count();
        let segments = &wal.segments[skipped..];
        let position = segments.first().map(|segment| segment.position_before(from));
        Self {
            segments,
            position: position.unwrap_or(SEGMENT_HEADER_LENGTH),
            from,
            payload: Vec::new(),
            batch: Vec::new().into_iter(),
        }
    }

    /// Reads the next batch that reaches `from`; `None` at the end of the log.
    fn next_batch(&mut self) -> Result<Option<Vec<WalEntry>>, WalError> {
        while let Some((segment, later)) = self.segments.split_first() {
            if self.position == segment.end {
                self.segments = later;
                self.position = SEGMENT_HEADER_LENGTH;
                continue;
            }
            let header = match segment.read_record(self.position, segment.end, &mut self.payload)? {
                Found::Record(header) => header,
                Found::Damage { reason, .. } => return Err(segment.corrupt(self.position, reason)),
            };
            self.position = header.end();
            let end = header.index.get().saturating_add(u64::from(header.entry_count));
            if header.kind != RecordKind::Entries || end <= self.from.get() {
                continue;
            }
            let text = segment.open_record(&header, &mut self.payload)?;
            let entries = split_entries(header.index, header.entry_count, text)
                .ok_or_else(|| segment.corrupt(header.position, Damage::Payload))?;
            let wanted = entries.into_iter().filter(|entry| entry.index >= self.from);
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

impl Iterator for WalEntries<'_> {
    type Item = Result<WalEntry, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.batch.next() {
            return Some(Ok(entry));
        }
        match self.next_batch() {
            Ok(batch) => {
                self.batch = batch?.into_iter();
                self.batch.next().map(Ok)
            }
            Err(error) => {
                self.segments = &[];
                Some(Err(error))
            }
        }
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
