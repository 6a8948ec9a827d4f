//! Opening a tenant's log: what is there, what a crash left unfinished, and what must be derived again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use craton_proof::Frontier;
use craton_types::{HEADER_MAGIC, Hash, Offset, SegmentHeader, TenantId};
use parking_lot::{Mutex, RwLock};

use super::files::{Files, NamedFile, index_name, parse_segment_name, segment_name};
use super::index::{ClosedSegment, read_frontier, write_index};
use super::mark::{MARK_NAME, Mark};
use super::reader::{ActiveSegment, Shared, State, note_position};
use super::records::{
    Found, RECORDS_START, StoredHeader, check_body, encode_stored, read_body, read_footer, read_header,
    read_segment_header, with_crc,
};
use super::tiles::{Levels, PendingEntries, TileCache};
use super::{ActiveTail, TenantLog, TenantLogError, TenantLogOptions};
use crate::disk::Disk;

/// How many hashes are kept in memory before they are written, while reading a log through.
const PENDING_RECORDS_MAX: u64 = 16 * 1024;
/// How much of a torn tail is copied at once.
const COPY_BYTES: usize = 1024 * 1024;

/// What was found when the log was opened.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TenantLogRecovery {
    /// The unfinished end that was set aside.
    pub torn: Option<TornRecords>,
    /// Whether indexes and hash files were missing or damaged and were derived from the records again.
    pub derived_again: bool,
    /// Records and segments' ends that are damaged though they were synced, and their first field that is wrong. Only of
    /// a log that was opened with [`SyncedDamage::keep`].
    pub damaged: Vec<(Offset, &'static str)>,
}

/// What becomes of damage to what was synced. By default the log does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncedDamage {
    /// Whether it opens when the records around say what belongs there: one record of the last segment, or headers and
    /// footers of segments. Reading what is damaged gives [`TenantLogError::Corrupt`] until
    /// [`LogReader::repair`](super::LogReader::repair) and [`LogReader::mend_frames`](super::LogReader::mend_frames) have put it right.
    /// Nothing is cut off.
    pub keep: bool,
    /// Records of the last segment from here on can be appended again: from the first one that is damaged they are set aside.
    pub replaceable_from: Offset,
}

impl Default for SyncedDamage {
    fn default() -> Self {
        Self {
            keep: false,
            replaceable_from: Offset::new(u64::MAX),
        }
    }
}

/// What a crash left after the last whole record, behind everything known to be synced. The write-ahead log still
/// has what belongs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornRecords {
    /// The offset of the first record that is not whole.
    pub offset: Offset,
    /// What was wrong with it.
    pub field: &'static str,
    /// How many bytes were set aside.
    pub bytes: u64,
    /// The file in the log's directory that keeps them.
    pub file_name: String,
}

/// Record hashes on their way into the tree and the hash files.
struct TreeBuilder<'a> {
    files: &'a Files,
    tree: Frontier,
    levels: Levels,
    pending: PendingEntries,
    written: u64,
}

impl TreeBuilder<'_> {
    fn push(&mut self, leaf: Hash) -> Result<(), TenantLogError> {
        self.pending.push(&mut self.tree, leaf);
        if self.tree.size() - self.written == PENDING_RECORDS_MAX {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TenantLogError> {
        self.pending.write(self.files, &mut self.levels, self.written)?;
        self.pending.commit(&mut self.levels);
        self.written = self.tree.size();
        Ok(())
    }
}

impl TenantLog {
    /// Opens the log of `tenant` in `dir`, creating both where missing.
    ///
    /// Closed segments are checked by their headers and footers, the last one record by record. What a crash left
    /// unfinished at its end is set aside, see [`Self::recovery`]: those records were never synced and are
    /// appended again from the write-ahead log.
    ///
    /// # Errors
    /// [`TenantLogError::Corrupt`] when something that was synced is damaged or missing,
    /// [`TenantLogError::NoSpace`] or [`TenantLogError::Io`]. A failed opening may be repeated.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        tenant: TenantId,
        options: TenantLogOptions,
    ) -> Result<Self, TenantLogError> {
        Self::open_with_damage(disk, dir, tenant, options, SyncedDamage::default())
    }

    /// As [`Self::open`], but opens a log as well of which something is damaged that was synced.
    ///
    /// # Errors
    /// As [`Self::open`], for damage that `on_damage` does not allow.
    pub fn open_with_damage(
        disk: Arc<dyn Disk>,
        dir: &Path,
        tenant: TenantId,
        options: TenantLogOptions,
        on_damage: SyncedDamage,
    ) -> Result<Self, TenantLogError> {
        let files = Files::create_dir(disk, dir)?;
        let names = files.list()?;
        let mark = match names.iter().any(|name| name == MARK_NAME) {
            true => Mark::open(&files)?,
            false => Mark::create(&files)?,
        };
        let mut firsts: Vec<u64> = names.iter().filter_map(|name| parse_segment_name(name)).collect();
        if firsts.is_empty() {
            let derived = |name: &String| name.ends_with(".hashes") || name.ends_with(".index");
            if mark.synced() > 0 || names.iter().any(derived) {
                return Err(TenantLogError::corrupt(0, "missing"));
            }
            create_segment(&files, tenant, 0, Hash::default())?;
            firsts.push(0);
        }
        let mut recovery = TenantLogRecovery::default();
        let (closed, active_header) = check_segments(&files, tenant, &firsts, on_damage, &mut recovery.damaged)?;
        let mut builder = load_derived(&files, &names, tenant, &closed, &mut recovery)?;
        let mut active = ActiveScan::run(&files, tenant, active_header, mark.synced(), on_damage, &mut builder)?;
        builder.flush()?;
        recovery.damaged.append(&mut active.damaged);
        if let Some(damage) = active.damage {
            recovery.torn = Some(set_aside(&files, &names, &active, damage)?);
        }

        let next = builder.tree.size();
        let shared = Shared {
            files: files.clone(),
            tenant,
            state: RwLock::new(State {
                published: next,
                written: next,
                closed,
                active: ActiveSegment {
                    file: active.file,
                    first: active.first,
                    positions: active.positions,
                    anchors: active.anchors,
                },
                levels: builder.levels,
            }),
            mark: Mutex::new(mark),
            poisoned: AtomicBool::new(false),
            tiles: TileCache::default(),
            tiles_mended: AtomicU64::new(0),
            repairing: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            segment_bytes: options.segment_bytes,
            next,
            last_hash: active.last_hash,
            tree: builder.tree,
            active: ActiveTail {
                first: active.first,
                tree: active.tree,
                end: active.end,
            },
            buffer: Vec::new(),
            unsynced_bytes: 0,
            pending_positions: Vec::new(),
            pending_entries: PendingEntries::default(),
            replay: None,
            scratch: Vec::new(),
            recovery,
            repaired: Vec::new(),
        })
    }
}

/// Creates the segment that begins at `first`.
pub(super) fn create_segment(
    files: &Files,
    tenant: TenantId,
    first: u64,
    previous_hash: Hash,
) -> Result<NamedFile, TenantLogError> {
    let header = SegmentHeader {
        tenant,
        first_offset: Offset::new(first),
        previous_hash,
    };
    files.create_whole(&segment_name(first), &with_crc(&header.encode_without_crc()))
}

/// Checks that the segments make one log, and returns the closed ones and the header of the last. Damage that is kept is
/// added to `damaged`: names and neighbours say what the header and footer of a segment were.
fn check_segments(
    files: &Files,
    tenant: TenantId,
    firsts: &[u64],
    on_damage: SyncedDamage,
    damaged: &mut Vec<(Offset, &'static str)>,
) -> Result<(Vec<ClosedSegment>, SegmentHeader), TenantLogError> {
    let mut closed = Vec::new();
    let mut next = 0;
    // None where the footer before is damaged.
    let mut last_hash = Some(Hash::default());
    for (at, &first) in firsts.iter().enumerate() {
        if first != next {
            return Err(TenantLogError::corrupt(next, "missing"));
        }
        let file = files.open(&segment_name(first))?;
        let header = match (read_segment_header(&file, tenant, first), last_hash) {
            (Ok(header), Some(last_hash)) if header.previous_hash != last_hash => {
                return Err(TenantLogError::corrupt(first, "previous_hash"));
            }
            (Ok(header), _) => header,
            (Err(TenantLogError::Corrupt { offset, field }), Some(previous_hash)) if on_damage.keep => {
                damaged.push((offset, field));
                SegmentHeader {
                    tenant,
                    first_offset: Offset::new(first),
                    previous_hash,
                }
            }
            (Err(error), _) => return Err(error),
        };
        let Some(&end) = firsts.get(at + 1) else {
            return Ok((closed, header));
        };
        let footer_position = file.length()?.checked_sub(craton_types::SEGMENT_FOOTER_BYTES as u64);
        let footer = match footer_position {
            Some(position) => read_footer(&file, position)?,
            None => None,
        };
        let record_count = match &footer {
            Some(footer) => footer.record_count,
            None if on_damage.keep && end > first => {
                damaged.push((Offset::new(end), "footer"));
                end - first
            }
            None => return Err(diagnose(&file, tenant, &header, end)?),
        };
        let segment = ClosedSegment { first, record_count };
        next = first
            .checked_add(record_count)
            .ok_or(TenantLogError::corrupt(first, "record_count"))?;
        last_hash = footer.map(|footer| footer.last_hash);
        closed.push(segment);
    }
    unreachable!("there is at least one segment, and the last one returns")
}

/// Finds the first thing that is wrong with a closed segment whose footer is.
fn diagnose(
    file: &NamedFile,
    tenant: TenantId,
    segment: &SegmentHeader,
    end: u64,
) -> Result<TenantLogError, TenantLogError> {
    let mut position = RECORDS_START;
    let mut body = Vec::new();
    for offset in segment.first_offset.get()..end {
        let corrupt = |field| Ok(TenantLogError::corrupt(offset, field));
        match read_header(file, position, tenant, offset)? {
            Found::Record(header) => {
                if !read_body(file, position, &header.header, &mut body)? {
                    return corrupt("body_end");
                }
                if let Err(field) = check_body(&header.header, &body) {
                    return corrupt(field);
                }
                position += header.stored_bytes();
            }
            Found::Footer | Found::End => return corrupt("missing"),
            Found::Damage(field) => return corrupt(field),
        }
    }
    Ok(TenantLogError::corrupt(end, "footer"))
}

/// Loads what is derived from the closed segments, or derives all of it again when any of it is not whole.
fn load_derived<'a>(
    files: &'a Files,
    names: &[String],
    tenant: TenantId,
    closed: &[ClosedSegment],
    recovery: &mut TenantLogRecovery,
) -> Result<TreeBuilder<'a>, TenantLogError> {
    let mut tree = Some(Frontier::new());
    for &segment in closed {
        let name = index_name(segment.first);
        tree = match names.contains(&name) {
            true => read_frontier(&files.open(&name)?, segment)?,
            false => None,
        };
        if tree.is_none() {
            break;
        }
    }
    if let Some(tree) = tree
        && let Some(levels) = Levels::open(files, names, &tree)?
    {
        return Ok(TreeBuilder {
            files,
            written: tree.size(),
            tree,
            levels,
            pending: PendingEntries::default(),
        });
    }
    recovery.derived_again = true;
    derive_again(files, names, tenant, closed)
}

fn derive_again<'a>(
    files: &'a Files,
    names: &[String],
    tenant: TenantId,
    closed: &[ClosedSegment],
) -> Result<TreeBuilder<'a>, TenantLogError> {
    let mut builder = TreeBuilder {
        files,
        tree: Frontier::new(),
        levels: Levels::open_empty(files, names)?,
        pending: PendingEntries::default(),
        written: 0,
    };
    let mut last_hash = Hash::default();
    for &segment in closed {
        let mut positions = Vec::new();
        Shared::read_through(files, tenant, segment, |header, position| {
            let offset = header.header.offset.get();
            if header.header.previous_hash != last_hash {
                return Err(TenantLogError::corrupt(offset, "previous_hash"));
            }
            last_hash = header.hash();
            note_position(&mut positions, segment.first, offset, position);
            builder.push(last_hash)
        })?;
        builder.flush()?;
        builder.levels.sync()?;
        write_index(files, segment, &builder.tree, &positions)?;
    }
    Ok(builder)
}

/// The last segment, read through.
struct ActiveScan {
    file: NamedFile,
    first: u64,
    positions: Vec<u64>,
    /// Of this segment's records alone.
    tree: Frontier,
    last_hash: Hash,
    /// Where the whole records end.
    end: u64,
    /// What follows them, when that is neither the end of the file nor a whole footer.
    damage: Option<&'static str>,
    /// Records that are damaged though they were synced, and are kept.
    damaged: Vec<(Offset, &'static str)>,
    /// The records behind them.
    anchors: Vec<(u64, u64)>,
}

impl ActiveScan {
    /// Reads all records, and checks the bodies of those that are not known to be synced.
    fn run(
        files: &Files,
        tenant: TenantId,
        segment: SegmentHeader,
        synced: u64,
        on_damage: SyncedDamage,
        builder: &mut TreeBuilder<'_>,
    ) -> Result<Self, TenantLogError> {
        let first = segment.first_offset.get();
        let mut scan = Self {
            file: files.open(&segment_name(first))?,
            first,
            positions: Vec::new(),
            tree: Frontier::new(),
            last_hash: segment.previous_hash,
            end: RECORDS_START,
            damage: None,
            damaged: Vec::new(),
            anchors: Vec::new(),
        };
        let length = scan.file.length()?;
        let is_replaceable = |offset| offset >= on_damage.replaceable_from.get();
        let mut body = Vec::new();
        loop {
            let offset = first + scan.tree.size();
            let unsynced = offset >= synced;
            let wrong = match read_header(&scan.file, scan.end, tenant, offset)? {
                Found::End if unsynced || is_replaceable(offset) => return Ok(scan),
                Found::End => "missing",
                Found::Footer if scan.footer_is_whole()? => {
                    if !unsynced && !is_replaceable(offset) {
                        return Err(TenantLogError::corrupt(offset, "missing"));
                    }
                    // The crash came between closing this segment and creating the next. It is closed again
                    // by the next record.
                    scan.file.cut(scan.end)?;
                    return Ok(scan);
                }
                Found::Footer => "footer",
                Found::Damage(field) => field,
                Found::Record(header) => match scan.check(&header, length, unsynced, &mut body)? {
                    Some(field) => field,
                    None => {
                        if unsynced {
                            scan.write_again(&header, &body)?;
                        }
                        builder.push(header.hash())?;
                        scan.take(&header);
                        continue;
                    }
                },
            };
            if !unsynced {
                if on_damage.keep
                    && let Some((next, position)) = scan.find(offset + 1, tenant, length)?
                {
                    scan.step_over(wrong, &next, position, builder)?;
                    continue;
                }
                if !is_replaceable(offset) {
                    return Err(TenantLogError::corrupt(offset, wrong));
                }
            }
            scan.damage = Some(wrong);
            return Ok(scan);
        }
    }

    fn check(
        &self,
        header: &StoredHeader,
        length: u64,
        unsynced: bool,
        body: &mut Vec<u8>,
    ) -> Result<Option<&'static str>, TenantLogError> {
        if header.header.previous_hash != self.last_hash {
            return Ok(Some("previous_hash"));
        }
        if self.end + header.stored_bytes() > length {
            return Ok(Some("body_end"));
        }
        if !unsynced {
            // Damage to it is found when it is read.
            return Ok(None);
        }
        read_body(&self.file, self.end, &header.header, body)?;
        Ok(check_body(&header.header, body).err())
    }

    /// Looks for the whole header of a record behind a damaged one, and where it is.
    fn find(
        &self,
        offset: u64,
        tenant: TenantId,
        length: u64,
    ) -> Result<Option<(Box<StoredHeader>, u64)>, TenantLogError> {
        let mut chunk = vec![0; COPY_BYTES];
        let mut start = self.end + 1;
        while start < length {
            let read = self.file.read(&mut chunk, start)?;
            let places = chunk[..read].windows(HEADER_MAGIC.len()).enumerate();
            for (at, _) in places.filter(|(_, bytes)| *bytes == HEADER_MAGIC) {
                let position = start + at as u64;
                if let Found::Record(header) = read_header(&self.file, position, tenant, offset)? {
                    return Ok(Some((header, position)));
                }
            }
            // The magic may lie across the end of what was read.
            let step = read.saturating_sub(HEADER_MAGIC.len() - 1).max(1);
            start += step as u64;
        }
        Ok(None)
    }

    /// Counts a damaged record in: the one behind it names its hash.
    fn step_over(
        &mut self,
        field: &'static str,
        next: &StoredHeader,
        position: u64,
        builder: &mut TreeBuilder<'_>,
    ) -> Result<(), TenantLogError> {
        let offset = self.first + self.tree.size();
        let hash = next.header.previous_hash;
        note_position(&mut self.positions, self.first, offset, self.end);
        builder.push(hash)?;
        self.tree.push(hash);
        self.last_hash = hash;
        self.end = position;
        self.damaged.push((Offset::new(offset), field));
        self.anchors.push((offset + 1, position));
        Ok(())
    }

    fn take(&mut self, header: &StoredHeader) {
        let offset = header.header.offset.get();
        note_position(&mut self.positions, self.first, offset, self.end);
        self.last_hash = header.hash();
        self.tree.push(self.last_hash);
        self.end += header.stored_bytes();
    }

    /// Writes a record over itself. After a failed sync the page cache may hold, marked clean, what the disk never
    /// got; only what is written again is written by the next sync.
    fn write_again(&self, header: &StoredHeader, body: &[u8]) -> Result<(), TenantLogError> {
        self.file.write(&encode_stored(header, body), self.end)
    }

    fn footer_is_whole(&self) -> Result<bool, TenantLogError> {
        let footer = read_footer(&self.file, self.end)?;
        Ok(footer.is_some_and(|footer| {
            footer.record_count == self.tree.size()
                && footer.records_root == self.tree.root()
                && footer.last_hash == self.last_hash
        }))
    }
}

/// Copies what follows the last whole record to a file of its own, durably, and cuts it off.
fn set_aside(
    files: &Files,
    names: &[String],
    scan: &ActiveScan,
    field: &'static str,
) -> Result<TornRecords, TenantLogError> {
    let offset = scan.first + scan.tree.size();
    let earlier = names.iter().filter(|name| name.ends_with(".torn")).count();
    let file_name = format!("{offset:020}.{earlier}.torn");
    let torn = files.create(&file_name)?;
    let mut chunk = vec![0; COPY_BYTES];
    let mut copied = 0;
    loop {
        let read = scan.file.read(&mut chunk, scan.end + copied)?;
        if read == 0 {
            break;
        }
        torn.write(&chunk[..read], copied)?;
        copied += read as u64;
    }
    torn.sync()?;
    scan.file.cut(scan.end)?;
    Ok(TornRecords {
        offset: Offset::new(offset),
        field,
        bytes: copied,
        file_name,
    })
}
