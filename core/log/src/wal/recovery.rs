//! Opening a log: which segments belong to it, what its tail is, and the new segment that continues it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use craton_types::{LogIndex, NodeId, Term};
use parking_lot::Mutex;

use super::format::{RECORD_HEADER_BYTES, RecordHeader, RecordKind};
use super::heads::{HeadsFiles, LogHead};
use super::scan::{Bound, Torn};
use super::segment::{Link, Segment, Storage, UnplacedRecord, list_segments};
use super::superblock::{RepairedCopy, SUPERBLOCK_NAME, Superblock, SuperblockDamage, SuperblockFile, Vote};
use super::terms::Terms;
use super::{Contents, Damage, RandomFill, Wal, WalError, WalOptions};
use crate::disk::Disk;

/// What was found when the log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalRecovery {
    /// How often the log was opened, this time included.
    pub generation: u64,
    /// The first entry there is.
    pub first_index: Option<LogIndex>,
    /// The last entry that was ever in the log; it may have been purged.
    pub last_index: Option<LogIndex>,
    /// The interrupted write that was set aside now.
    pub torn: Option<TornTail>,
    /// Those that earlier openings set aside, as far as their reports were not purged.
    pub earlier: Vec<TornTail>,
    /// Copies of the superblock that were written again.
    pub superblock: Vec<RepairedCopy>,
    /// The last entry that was forgotten; zero for none.
    pub purged_through: LogIndex,
    /// How long the tenants' logs were when something was last forgotten.
    pub heads: Vec<LogHead>,
    /// Files of the heads that were written again.
    pub heads_rewritten: Vec<&'static str>,
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
    /// The last entry that was forgotten.
    purged: Option<(LogIndex, Term)>,
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
    /// [`WalError::Corrupt`] when anything known to be synced is damaged or missing, [`WalError::Superblock`] when it is
    /// not known what belongs to the log, [`WalError::Heads`], [`WalError::WrongKey`],
    /// [`WalError::NoSpace`] or [`WalError::Io`]. A failed opening may be repeated.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: WalOptions,
        mut random: RandomFill,
    ) -> Result<(Self, WalRecovery), WalError> {
        disk.create_dir(dir).map_err(WalError::io("create", dir))?;
        let sequences = list_segments(&*disk, dir)?;
        let (superblock, repaired) = open_superblock(&*disk, dir, &sequences, options.node, &mut *random)?;
        let known = *superblock.get();
        let expected = (known.log_id, known.purged_through());
        let (heads, heads_rewritten) = HeadsFiles::open(&*disk, dir, expected, &options.wrapping_key)?;
        let storage = Storage {
            disk,
            dir: dir.to_path_buf(),
            wrapping_key: options.wrapping_key,
            random: Mutex::new(random),
            superblock: Mutex::new(superblock),
            heads: Mutex::new(heads),
            spare: Mutex::new(None),
            poisoned: AtomicBool::new(false),
        };
        storage.recover_spare(options.segment_bytes)?;
        let mut chain = load_chain(&storage, &sequences, &known)?;
        let purged_through = chain.purged.unwrap_or_default().0;
        storage.heads.lock().check_covers(purged_through)?;
        let mut recovery = WalRecovery {
            generation: known.generation + 1,
            first_index: None,
            last_index: None,
            torn: None,
            earlier: Vec::new(),
            superblock: repaired,
            purged_through,
            heads: storage.heads.lock().get().to_vec(),
            heads_rewritten,
        };

        let tail = scan_chain(&mut chain, &known)?;
        let reports = chain.segments.iter().flat_map(|segment| &segment.reports);
        recovery.earlier.extend(reports.map(|(_, torn)| torn));
        let newest_sequence = sequences.last().copied().unwrap_or(0);
        storage.update_superblock(|superblock| {
            superblock.generation = recovery.generation;
            superblock.vote = tail.vote;
            if newest_sequence > known.newest_segment {
                // The crash came between publishing that segment and saying so here.
                superblock.newest_segment = newest_sequence;
                superblock.synced_end = 0;
            }
        })?;
        let mut records = Vec::new();
        let mut link = Link {
            sequence: newest_sequence + 1,
            previous_sequence: 0,
            previous_end: 0,
            previous: None,
        };
        if let Some(newest) = chain.segments.last_mut() {
            if let Some(suspect) = tail.suspect {
                newest.cut(suspect.header.position, suspect.before);
                records.extend(suspect.entries);
            }
            link.previous = newest.last;
            if newest.first.is_none() {
                // It will be left out, and what it reports with it.
                let reports = newest.reports.iter().map(|(_, torn)| torn.encode().to_vec());
                records.extend(reports.map(|text| UnplacedRecord::plain(RecordKind::Recovery, text)));
            }
            if let Some(torn) = tail.torn {
                let torn = set_aside(&storage, newest, recovery.generation, torn)?;
                records.push(UnplacedRecord::plain(RecordKind::Recovery, torn.encode().to_vec()));
                recovery.torn = Some(torn);
            }
        }
        if tail.vote != Vote::default() {
            records.push(UnplacedRecord::plain(RecordKind::Vote, tail.vote.encode().to_vec()));
        }
        if let Some(newest) = chain.segments.pop_if(|newest| newest.first.is_none()) {
            // Without entries it is not needed as a link either: a node that fails at every start leaves one segment.
            link.previous_sequence = newest.header.previous_sequence;
            link.previous_end = newest.header.previous_end;
            chain.superseded.push(newest.header.sequence);
        } else if let Some(newest) = chain.segments.last() {
            link.previous_sequence = newest.header.sequence;
            link.previous_end = newest.end;
        }

        let active = storage.prepare_segment(&link, options.segment_bytes, tail.committed, records)?;
        chain.segments.push(storage.publish_prepared(active)?);
        let oldest = chain.segments[0].header;
        storage.update_superblock(|superblock| {
            superblock.oldest_segment = oldest.sequence;
            superblock.purged = chain.purged;
            superblock.committed = tail.committed;
            superblock.newest_segment = link.sequence;
            superblock.synced_end = chain.segments.last().map_or(0, |active| active.end);
        })?;
        storage.remove_segments(&chain.superseded)?;
        let contents = Contents {
            segments: chain.segments,
            vote: tail.vote,
            terms: tail.terms,
            purged: chain.purged,
            committed: tail.committed,
        };
        let wal = Self::new(storage, options.segment_bytes, contents);
        recovery.first_index = wal.first_index();
        recovery.last_index = wal.last_index();
        Ok((wal, recovery))
    }
}

/// Opens the superblock, or creates it for a log without segments.
fn open_superblock(
    disk: &dyn Disk,
    dir: &Path,
    sequences: &[u64],
    node: NodeId,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<(SuperblockFile, Vec<RepairedCopy>), WalError> {
    let damaged = |reason| {
        let path = dir.join(SUPERBLOCK_NAME);
        Err(WalError::Superblock { path, reason })
    };
    let (file, repaired) = match SuperblockFile::open(disk, dir)? {
        Some(opened) => opened,
        None if !sequences.is_empty() => return damaged(SuperblockDamage::Missing),
        None => {
            let mut log_id = [0; 16];
            random(&mut log_id);
            let first = Superblock::first(log_id, node);
            (SuperblockFile::create(disk, dir, first)?, Vec::new())
        }
    };
    let known = *file.get();
    if known.node != node {
        let (found, expected) = (known.node, node);
        return damaged(SuperblockDamage::OtherNode { found, expected });
    }
    // A segment is published before the superblock says so, and only one at a time.
    let found = sequences.last().copied().unwrap_or(0);
    if found > known.newest_segment + 1 {
        let known = known.newest_segment;
        return damaged(SuperblockDamage::Stale { known, found });
    }
    if found < known.newest_segment {
        return Err(missing(known.newest_segment));
    }
    Ok((file, repaired))
}

fn missing(segment: u64) -> WalError {
    WalError::Corrupt {
        segment,
        position: 0,
        reason: Damage::Missing,
    }
}

/// Follows the links from the newest segment back to the oldest that was not purged.
fn load_chain(storage: &Storage, sequences: &[u64], known: &Superblock) -> Result<Chain, WalError> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut next = sequences.last().copied().unwrap_or(0);
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
    let superseded = sequences.iter().copied().filter(|sequence| !linked(sequence)).collect();
    Ok(Chain {
        segments,
        superseded,
        purged,
    })
}

/// What the newest segment ends with.
#[derive(Default)]
struct Tail {
    suspect: Option<Suspect>,
    torn: Option<Torn>,
    vote: Vote,
    terms: Terms,
    committed: LogIndex,
}

/// The last record, when nothing shows that it was synced.
struct Suspect {
    header: RecordHeader,
    before: Option<(LogIndex, Term)>,
    /// Its entries. A vote is written to every new segment anyway.
    entries: Option<UnplacedRecord>,
}

fn scan_chain(chain: &mut Chain, known: &Superblock) -> Result<Tail, WalError> {
    let segments = &mut chain.segments;
    let mut tail = Tail {
        vote: known.vote,
        committed: known.committed,
        ..Tail::default()
    };
    let mut last = None;
    let mut last_vote: Option<Vote> = None;
    for at in 0..segments.len() {
        let bound = bound_of(segments, at, known);
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
            return Err(newest.corrupt(newest.end, Damage::Sequence));
        }
    }
    let last = last.unwrap_or_default().0;
    tail.committed = tail.committed.max(chain.purged.unwrap_or_default().0).min(last);
    Ok(tail)
}

/// How far a segment's records reach: the next one says so; what the newest is known to hold, the superblock.
fn bound_of(segments: &[Segment], at: usize, known: &Superblock) -> Bound {
    match segments.get(at + 1) {
        Some(later) => Bound::Synced(later.header.previous_end),
        None if segments[at].header.sequence == known.newest_segment => Bound::Open {
            synced_end: known.synced_end,
        },
        None => Bound::Open { synced_end: 0 },
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
