//! Opening a log: which segments belong to it, what its tail is, and the new segment that continues it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use craton_types::{LogIndex, NodeId};
use parking_lot::Mutex;

use super::aside::read_prefix;
use super::chain::{Reach, read_log};
use super::format::RecordKind;
use super::heads::{HeadsFiles, LogHead};
use super::scan::Torn;
use super::segment::{Link, Segment, Storage, UnplacedRecord, list_segments};
use super::superblock::{RepairedCopy, SUPERBLOCK_NAME, Superblock, SuperblockDamage, SuperblockFile, Vote};
use super::{Contents, Damage, OnDamage, RandomFill, Wal, WalError, WalOptions};
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
    /// What was known to be synced, is damaged, and was set aside now, see [`OnDamage::SetAside`].
    pub set_aside: Vec<TornTail>,
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

/// A stretch of a segment that was set aside: an interrupted write left it, after everything known to be synced, and no
/// append of it was ever acknowledged; or, when it says so, it was synced and is damaged or behind damage. Its bytes are
/// kept in the file named by [`Self::file_name`] beside the segments, unless the segment was missing.
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
    /// What was wrong at its start, or before it.
    pub reason: Damage,
    /// Whether it was known to be synced: entries may have been acknowledged that are lost with it.
    pub was_synced: bool,
}

impl TornTail {
    /// The file that keeps the bytes.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self.was_synced {
            false => format!("{:020}.torn", self.segment),
            true => format!("{:020}.{}.aside", self.segment, self.generation),
        }
    }
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
    /// [`WalError::Corrupt`] when anything known to be synced is damaged or missing, unless the options say to set it
    /// aside, [`WalError::Superblock`] when it is
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
        let read = read_log(&storage, &sequences, &known, Reach::Everything);
        let (mut chain, tail, damage) = match (read, options.on_damage) {
            (Ok((chain, tail)), _) => (chain, tail, None),
            (Err(error), OnDamage::SetAside) => {
                let (damage, chain, tail) = read_prefix(&storage, &sequences, &known, error)?;
                (chain, tail, Some(damage))
            }
            (Err(error), OnDamage::Refuse) => return Err(error),
        };
        let purged_through = chain.purged.unwrap_or_default().0;
        storage.heads.lock().check_covers(purged_through)?;
        let mut recovery = WalRecovery {
            generation: known.generation + 1,
            first_index: None,
            last_index: None,
            torn: None,
            set_aside: Vec::new(),
            earlier: Vec::new(),
            superblock: repaired,
            purged_through,
            heads: storage.heads.lock().get().to_vec(),
            heads_rewritten,
        };

        let reports = chain.segments.iter().flat_map(|segment| &segment.reports);
        recovery.earlier.extend(reports.map(|(_, torn)| torn));
        let newest_sequence = sequences.last().copied().unwrap_or(0).max(known.newest_segment);
        storage.update_superblock(|superblock| {
            superblock.generation = recovery.generation;
            superblock.vote = tail.vote;
            superblock.incomplete |= damage.is_some();
            if newest_sequence > known.newest_segment {
                // The crash came between publishing that segment and saying so here.
                superblock.newest_segment = newest_sequence;
                superblock.synced_end = 0;
            }
        })?;
        if let Some(damage) = &damage {
            recovery.set_aside = damage.set_aside(&storage, recovery.generation)?;
        }
        let mut records = Vec::new();
        let mut link = Link {
            sequence: newest_sequence + 1,
            previous_sequence: 0,
            previous_end: 0,
            previous: chain.purged,
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
        let reports = recovery.set_aside.iter().map(|torn| torn.encode().to_vec());
        records.extend(reports.map(|text| UnplacedRecord::plain(RecordKind::Recovery, text)));
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
    Ok((file, repaired))
}

/// Copies a torn tail to its own file, durably.
fn set_aside(storage: &Storage, segment: &Segment, generation: u64, torn: Torn) -> Result<TornTail, WalError> {
    let torn = TornTail {
        generation,
        segment: segment.header.sequence,
        start: torn.start,
        end: torn.end,
        reason: torn.reason,
        was_synced: false,
    };
    let length = usize::try_from(torn.end - torn.start).expect("a segment fits in memory's address space");
    let mut bytes = vec![0; length];
    segment.read(&mut bytes, torn.start)?;
    keep_aside(storage, &torn, &bytes)?;
    Ok(torn)
}

/// Writes the file with a stretch that is set aside, durably.
pub(super) fn keep_aside(storage: &Storage, torn: &TornTail, bytes: &[u8]) -> Result<(), WalError> {
    let path = storage.dir.join(torn.file_name());
    let file = storage.disk.create(&path).map_err(WalError::io("create", &path))?;
    file.write_all_at(bytes, 0).map_err(WalError::io("write", &path))?;
    file.sync_all().map_err(WalError::io("sync", &path))?;
    storage
        .disk
        .sync_dir(&storage.dir)
        .map_err(WalError::io("sync", &storage.dir))
}
