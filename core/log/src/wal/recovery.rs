//! Opening a log: which segments belong to it, what its tail is, and the new segment that continues it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use craton_types::LogIndex;
use parking_lot::Mutex;

use super::format::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, SEGMENT_HEADER_LENGTH};
use super::scan::{Bound, Torn};
use super::segment::{Link, Segment, Storage, UnplacedRecord};
use super::{Damage, RandomFill, Wal, WalError, WalOptions};
use crate::disk::Disk;

/// What was found when the log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalRecovery {
    /// The number of the segment that this opening started; every opening has a greater one.
    pub generation: u64,
    /// The first entry there is.
    pub first_index: Option<LogIndex>,
    /// The last entry that was ever in the log; it may have been purged.
    pub last_index: Option<LogIndex>,
    /// The interrupted write that was set aside now.
    pub torn: Option<TornTail>,
    /// Those that earlier openings set aside, as far as their reports were not purged.
    pub earlier: Vec<TornTail>,
}

/// A stretch of a segment that an interrupted write left, after everything known to be synced. No append of it
/// was ever acknowledged. Its bytes are kept in the file named by [`Self::file_name`] beside the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The generation that found it.
    pub generation: u64,
    /// The segment it was in.
    pub segment: u64,
    /// Its first byte in the segment's file.
    pub start: u64,
    /// One past its last byte that is not zero.
    pub end: u64,
    /// What was wrong at its start.
    pub reason: Damage,
}

impl TornTail {
    /// The file that keeps the bytes.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{:020}.torn", self.segment)
    }
}

/// The segments that count, oldest first, and those that do not.
struct Chain {
    segments: Vec<Segment>,
    superseded: Vec<u64>,
}

impl Wal {
    /// Opens the log in `dir`, creating both where missing.
    ///
    /// Every opening starts a new segment under a new key, so that no position is ever encrypted twice under
    /// one key. The last batch is the only one that nothing proves to be synced: after a failed sync the page
    /// cache may show what the disk never got. It is therefore copied to the new segment, which is synced
    /// before it gets its name.
    ///
    /// # Errors
    /// [`WalError::Corrupt`] when anything known to be synced is damaged, [`WalError::WrongKey`],
    /// [`WalError::NoSpace`] or [`WalError::Io`]. A failed opening may be repeated.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: WalOptions,
        random: RandomFill,
    ) -> Result<(Self, WalRecovery), WalError> {
        disk.create_dir(dir).map_err(WalError::io("create", dir))?;
        let storage = Storage {
            disk,
            dir: dir.to_path_buf(),
            wrapping_key: options.wrapping_key,
            random: Mutex::new(random),
            poisoned: AtomicBool::new(false),
        };
        let sequences = storage.list()?;
        let mut chain = load_chain(&storage, &sequences)?;
        let generation = chain.segments.last().map_or(1, |newest| newest.header.sequence + 1);
        let mut recovery = WalRecovery {
            generation,
            first_index: None,
            last_index: None,
            torn: None,
            earlier: Vec::new(),
        };

        let tail = scan_chain(&mut chain.segments, &mut recovery.earlier)?;
        let mut records = Vec::new();
        let mut link = Link {
            sequence: generation,
            previous_sequence: 0,
            previous_end: 0,
            previous: None,
        };
        if let Some(newest) = chain.segments.last_mut() {
            if let Some(suspect) = tail.suspect {
                newest.cut(suspect.header.position, suspect.before);
                records.push(suspect.record);
            }
            link.previous = newest.last;
            if let Some(torn) = tail.torn {
                let torn = set_aside(&storage, newest, generation, torn)?;
                records.push(report(&torn));
                recovery.torn = Some(torn);
            }
        }
        if let Some(newest) = chain.segments.pop_if(|newest| newest.end == SEGMENT_HEADER_LENGTH) {
            // Without records it is not needed as a link either.
            link.previous_sequence = newest.header.previous_sequence;
            link.previous_end = newest.header.previous_end;
            chain.superseded.push(newest.header.sequence);
        } else if let Some(newest) = chain.segments.last() {
            link.previous_sequence = newest.header.sequence;
            link.previous_end = newest.end;
        }

        let mut active = storage.prepare_segment(&link, options.segment_bytes, records)?;
        storage.publish_segment(generation, &active.path)?;
        active.path = storage.segment_path(generation);
        active.published = true;
        for sequence in chain.superseded {
            storage.remove_segment(sequence)?;
        }
        chain.segments.push(active);
        let wal = Self::new(storage, options.segment_bytes, chain.segments);
        recovery.first_index = wal.first_index();
        recovery.last_index = wal.last_index();
        Ok((wal, recovery))
    }
}

/// Follows the links from the newest segment back to the oldest that was not purged.
fn load_chain(storage: &Storage, sequences: &[u64]) -> Result<Chain, WalError> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut next = sequences.last().copied().unwrap_or(0);
    while next != 0 && sequences.contains(&next) {
        let segment = storage.open_segment(next)?;
        if segment.header.previous_sequence >= next {
            return Err(segment.corrupt(0, Damage::SegmentHeader));
        }
        next = segment.header.previous_sequence;
        segments.push(segment);
    }
    segments.reverse();
    // Segments are purged oldest first: one that is missing after older ones was lost.
    if next != 0 && sequences.iter().any(|&sequence| sequence < next) {
        return Err(WalError::Corrupt {
            segment: next,
            position: 0,
            reason: Damage::Missing,
        });
    }
    let linked = |sequence: &u64| segments.iter().any(|segment| segment.header.sequence == *sequence);
    let superseded = sequences.iter().copied().filter(|sequence| !linked(sequence)).collect();
    Ok(Chain { segments, superseded })
}

/// What the newest segment ends with.
#[derive(Default)]
struct Tail {
    suspect: Option<Suspect>,
    torn: Option<Torn>,
}

/// The last batch, when no later record shows that it was synced.
struct Suspect {
    header: RecordHeader,
    before: Option<(LogIndex, craton_types::Term)>,
    record: UnplacedRecord,
}

fn scan_chain(segments: &mut [Segment], recoveries: &mut Vec<TornTail>) -> Result<Tail, WalError> {
    let mut tail = Tail::default();
    let mut last = None;
    for at in 0..segments.len() {
        let bound = segments
            .get(at + 1)
            .map_or(Bound::Open, |later| Bound::Synced(later.header.previous_end));
        let segment = &mut segments[at];
        if at > 0 && segment.header.previous != last {
            return Err(segment.corrupt(0, Damage::Sequence));
        }
        let scan = segment.scan(bound)?;
        recoveries.extend(scan.recoveries);
        last = segment.last;
        tail.torn = scan.torn;
        let unproven = scan
            .last_record
            .filter(|(header, _)| bound == Bound::Open && header.position >= segment.header.created_end);
        match unproven {
            Some((header, before)) if header.kind == RecordKind::Entries => {
                tail.suspect = Some(Suspect {
                    header,
                    before,
                    record: reread(segment, &header)?,
                });
            }
            // Nothing proves that the mark itself was synced, and nothing is lost without it.
            Some((header, before)) => segment.cut(header.position, before),
            None => {}
        }
    }
    Ok(tail)
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

/// Copies a torn tail to its own file, durably.
fn set_aside(storage: &Storage, segment: &Segment, generation: u64, torn: Torn) -> Result<TornTail, WalError> {
    let torn = TornTail {
        generation,
        segment: segment.header.sequence,
        start: torn.start,
        end: torn.end,
        reason: torn.reason,
    };
    let path = storage.dir.join(torn.file_name());
    let length = usize::try_from(torn.end - torn.start).expect("a segment fits in memory's address space");
    let mut bytes = vec![0; length];
    segment.read(&mut bytes, torn.start)?;
    let file = storage.disk.create(&path).map_err(WalError::io("create", &path))?;
    file.write_all_at(&bytes, 0).map_err(WalError::io("write", &path))?;
    file.sync_all().map_err(WalError::io("sync", &path))?;
    storage
        .disk
        .sync_dir(&storage.dir)
        .map_err(WalError::io("sync", &storage.dir))?;
    Ok(torn)
}

fn report(torn: &TornTail) -> UnplacedRecord {
    UnplacedRecord {
        kind: RecordKind::Recovery,
        index: LogIndex::ZERO,
        term: craton_types::Term::ZERO,
        entry_count: 0,
        text: torn.encode().to_vec(),
    }
}
