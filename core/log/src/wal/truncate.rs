//! Cutting the log: entries that conflict with a leader's (Raft, section 5.3), and all of it after a snapshot.
//!
//! Nothing is overwritten. A new segment is made that follows the log at an earlier place, as every segment says where the
//! one before it ends; what stands behind that place does not count from the moment at which the new segment has its name. So a
//! crash leaves the log as it was or as it was to be, and no position is written twice under one key. Entries that stay
//! and share a batch with one that goes are repeated in the new segment.

use craton_types::planted::{Bug, is_planted};
use craton_types::{LogIndex, Term};

use super::entries::{join_slices, split_entries};
use super::format::RecordKind;
use super::recovery::TornTail;
use super::segment::{Found, Link, Segment, UnplacedRecord};
use super::superblock::Vote;
use super::terms::Terms;
use super::{Damage, LogHead, Wal, WalError};

/// Where the log is cut.
struct Cut {
    /// How many segments stay.
    segments: usize,
    /// Where the last of them ends.
    end: u64,
    /// Entries behind that place that stay; they are written again.
    repeated: Option<UnplacedRecord>,
}

impl Cut {
    const BEFORE_EVERYTHING: Self = Self {
        segments: 0,
        end: 0,
        repeated: None,
    };
}

impl Wal {
    /// Durably removes the entries from `index` on. Without such entries it has no effect.
    ///
    /// # Errors
    /// [`WalError::Purged`] and [`WalError::Committed`] when one of them must stay: nothing is removed then, as with
    /// [`WalError::NoSpace`]. [`WalError::Corrupt`] when what stays cannot be read. [`WalError::Io`] leaves unknown
    /// whether they are removed, and poisons the log.
    ///
    /// # Panics
    /// When a batch was placed and not noted as written: it would follow what is removed.
    pub fn truncate_from(&mut self, index: LogIndex) -> Result<(), WalError> {
        self.storage.check_poison()?;
        self.check_nothing_placed();
        if index <= self.purged_through() {
            let first = self.purged_through().next();
            return Err(WalError::Purged { index, first });
        }
        let committed = self.committed();
        if index <= committed {
            if !is_planted(Bug::TruncateCommitted) {
                return Err(WalError::Committed { index, committed });
            }
            self.committed = LogIndex::new(index.get() - 1);
        }
        if index >= self.next_index() {
            return Ok(());
        }
        let mut cut = self.find_cut(index)?;
        let first_gone = cut.repeated.as_ref().map_or(index, |record| record.index);
        let mut link = Link {
            sequence: self.next_sequence(),
            previous_sequence: 0,
            previous_end: 0,
            previous: self.entry_before(first_gone),
        };
        match cut.segments.checked_sub(1).map(|last| &self.segments[last]) {
            Some(last) => (link.previous_sequence, link.previous_end) = (last.header.sequence, cut.end),
            None => {
                let oldest = self.segments.first().expect("never empty").header;
                (link.previous_sequence, link.previous_end) = (oldest.previous_sequence, oldest.previous_end);
            }
        }
        let active = self.begin_after(&link, &mut cut, self.committed())?;
        self.terms.truncate_from(index);
        self.go_on_in(active, &cut, link.previous)
    }

    /// Durably forgets every entry, as after a snapshot was installed: the log goes on after `last`, which counts as
    /// purged and committed. `heads` says how far the tenants' logs reach with the snapshot; they must be synced.
    ///
    /// # Errors
    /// [`WalError::Purged`] and [`WalError::Committed`] when the log is further already: nothing is forgotten then, as
    /// with [`WalError::NoSpace`]. [`WalError::Io`] leaves unknown whether they are forgotten, and poisons the log.
    ///
    /// # Panics
    /// When a batch was placed and not noted as written, or when `last` has index zero.
    pub fn reset(&mut self, last: (LogIndex, Term), heads: Vec<LogHead>) -> Result<(), WalError> {
        self.storage.check_poison()?;
        self.check_nothing_placed();
        assert!(last.0 > LogIndex::ZERO, "entries are counted from one");
        if last.0 < self.purged_through() {
            let first = self.purged_through().next();
            return Err(WalError::Purged { index: last.0, first });
        }
        let committed = self.committed();
        if last.0 < committed {
            let index = last.0.next();
            return Err(WalError::Committed { index, committed });
        }
        let written = self.storage.heads.lock().write(last.0, heads);
        self.storage.poison_unless_full(written)?;
        let link = Link {
            sequence: self.next_sequence(),
            previous_sequence: 0,
            previous_end: 0,
            previous: Some(last),
        };
        let mut cut = Cut::BEFORE_EVERYTHING;
        let active = self.begin_after(&link, &mut cut, last.0)?;
        self.terms = Terms::default();
        self.purged = Some(last);
        self.committed = last.0;
        self.go_on_in(active, &cut, link.previous)
    }

    /// Finds the place behind which the log does not count once the entries from `index` on are removed.
    fn find_cut(&self, index: LogIndex) -> Result<Cut, WalError> {
        let holds_before = |segment: &Segment| segment.first.is_some_and(|first| first < index);
        let Some(at) = self.segments.iter().rposition(holds_before) else {
            return Ok(Cut::BEFORE_EVERYTHING);
        };
        let segment = &self.segments[at];
        let (end, repeated) = segment.find_cut(index)?;
        // A segment that keeps no entry is not needed as a link either.
        let is_emptied = repeated
            .as_ref()
            .is_some_and(|record| Some(record.index) == segment.first);
        Ok(match at.checked_sub(1) {
            _ if !is_emptied => Cut {
                segments: at + 1,
                end,
                repeated,
            },
            before => Cut {
                segments: at,
                end: before.map_or(0, |before| self.segments[before].end),
                repeated,
            },
        })
    }

    /// Writes the segment that follows the log at the cut, with what must not be lost of what is removed.
    fn begin_after(&self, link: &Link, cut: &mut Cut, committed: LogIndex) -> Result<Segment, WalError> {
        let kept_end = |at: usize| match cut.segments.checked_sub(at + 1) {
            None => 0,
            Some(0) => cut.end,
            Some(_) => u64::MAX,
        };
        let reports = self.segments.iter().enumerate().flat_map(|(at, segment)| {
            let gone = move |(position, _): &&(u64, TornTail)| *position >= kept_end(at);
            segment.reports.iter().filter(gone).map(|(_, torn)| *torn)
        });
        let mut records: Vec<UnplacedRecord> = cut.repeated.take().into_iter().collect();
        records.extend(reports.map(|torn| UnplacedRecord::plain(RecordKind::Recovery, torn.encode().to_vec())));
        if self.vote != Vote::default() {
            let vote = self.vote.encode().to_vec();
            records.push(UnplacedRecord::plain(RecordKind::Vote, vote));
        }
        let prepared = self
            .storage
            .prepare_segment(link, self.segment_bytes, committed, records);
        let published = self
            .storage
            .poison_unless_full(prepared)
            .and_then(|prepared| self.storage.publish_prepared(prepared));
        self.storage.poison_unless_full(published)
    }

    /// Takes a segment that has its name into the log, and removes what does not count any more. `before` is the last
    /// entry before the segment.
    fn go_on_in(&mut self, active: Segment, cut: &Cut, before: Option<(LogIndex, Term)>) -> Result<(), WalError> {
        let (sequence, end) = (active.header.sequence, active.end);
        let removed: Vec<u64> = self
            .segments
            .drain(cut.segments..)
            .map(|gone| gone.header.sequence)
            .collect();
        let oldest_segment = match self.segments.last_mut() {
            Some(last) => {
                last.cut(cut.end, before);
                0
            }
            None => sequence,
        };
        self.segments.push(active);
        self.sealed = false;
        self.place_after_written();
        let (purged, committed) = (self.purged, self.committed());
        self.storage.update_superblock(|superblock| {
            // A purge that is under way may have said of a later one already that it is the oldest.
            superblock.oldest_segment = superblock.oldest_segment.max(oldest_segment);
            superblock.purged = superblock.purged.max(purged);
            superblock.committed = committed;
            superblock.newest_segment = sequence;
            superblock.synced_end = end;
        })?;
        let removal = self.storage.remove_segments(&removed);
        self.storage.poison_unless_full(removal)
    }

    fn check_nothing_placed(&self) {
        let active = self.active();
        let is_last = self.segments.last().is_some_and(|last| last.published);
        assert!(
            is_last && self.placed.end == active.end,
            "batches that are placed are written before the log is cut"
        );
    }

    fn next_sequence(&self) -> u64 {
        self.segments.last().expect("never empty").header.sequence + 1
    }

    /// The entry before `index`, forgotten or not, as the segments link to it.
    fn entry_before(&self, index: LogIndex) -> Option<(LogIndex, Term)> {
        let oldest = self.segments.first().expect("never empty").header.previous;
        let before = LogIndex::new(index.get() - 1);
        let in_log = || self.terms.at(before).map(|term| (before, term));
        oldest.filter(|(index, _)| *index == before).or_else(in_log)
    }
}

impl Segment {
    /// The position behind which nothing is needed of the entries before `index`, and those behind it that stay. The
    /// entry before `index` is in the segment.
    fn find_cut(&self, index: LogIndex) -> Result<(u64, Option<UnplacedRecord>), WalError> {
        if self.last.is_some_and(|(last, _)| last < index) {
            return Ok((self.end, None));
        }
        let mut payload = Vec::new();
        let mut position = self.position_before(index);
        while position < self.end {
            let header = match self.read_record(position, self.end, &mut payload)? {
                Found::Record(header) => header,
                Found::Damage { reason, .. } => return Err(self.corrupt(position, reason)),
            };
            let end = header.index.get().saturating_add(u64::from(header.entry_count));
            if header.kind != RecordKind::Entries || end <= index.get() {
                position = header.end();
                continue;
            }
            if header.index >= index {
                return Ok((position, None));
            }
            let text = self.open_record(&header, &mut payload)?;
            let mut entries = split_entries(header.index, header.entry_count, text)
                .ok_or_else(|| self.corrupt(position, Damage::Payload))?;
            entries.retain(|entry| entry.index < index);
            let mut text = Vec::new();
            join_slices(&entries, &mut text);
            let repeated = UnplacedRecord {
                kind: RecordKind::Entries,
                index: header.index,
                term: header.term,
                entry_count: u32::try_from(entries.len()).expect("there are fewer than there were"),
                text,
            };
            return Ok((position, Some(repeated)));
        }
        Err(self.corrupt(position, Damage::End))
    }
}
