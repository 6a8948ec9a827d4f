//! Reading the published part of a tenant's log, from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use craton_proof::{HashReader, merkle_tree_hash};
use craton_types::{Hash, Offset, Record, RecordHeader, TenantId};
use parking_lot::{Mutex, RwLock};

use super::TenantLogError;
use super::files::{Files, NamedFile, index_name, segment_name};
use super::index::{ClosedSegment, INDEX_INTERVAL, read_position};
use super::mark::Mark;
use super::records::{Found, RECORDS_START, StoredHeader, check_body, read_body, read_header};
use super::tiles::{
    Levels, TILE_ENTRIES, TILE_HEIGHT, TileAt, TileCache, TileSource, UncheckedEntry, read_entries, read_tile,
    write_tile,
};

/// What the log and its readers share.
pub(super) struct Shared {
    pub(super) files: Files,
    pub(super) tenant: TenantId,
    pub(super) state: RwLock<State>,
    pub(super) mark: Mutex<Mark>,
    pub(super) poisoned: AtomicBool,
    pub(super) tiles: TileCache,
    pub(super) tiles_mended: AtomicU64,
    /// Held while something is written again.
    pub(super) repairing: Mutex<()>,
}

/// What is in the files.
pub(super) struct State {
    /// How many records readers may see.
    pub(super) published: u64,
    /// How many records are in the files.
    pub(super) written: u64,
    pub(super) closed: Vec<ClosedSegment>,
    pub(super) active: ActiveSegment,
    pub(super) levels: Levels,
}

/// The segment that is written to.
pub(super) struct ActiveSegment {
    pub(super) file: NamedFile,
    pub(super) first: u64,
    /// The position of every 64th record, as in the index of a closed segment.
    pub(super) positions: Vec<u64>,
    /// Offsets and positions of records that follow a damaged one, which cannot be walked over. Ascending.
    pub(super) anchors: Vec<(u64, u64)>,
}

/// A place in a segment file, between records.
pub(super) struct Cursor {
    file: NamedFile,
    tenant: TenantId,
    position: u64,
    /// The offset of the record at `position`.
    pub(super) offset: u64,
    /// One past the last offset that this file can be asked for.
    pub(super) end: u64,
}

impl Cursor {
    pub(super) fn new(file: NamedFile, tenant: TenantId, first: u64, end: u64) -> Self {
        Self {
            file,
            tenant,
            position: RECORDS_START,
            offset: first,
            end,
        }
    }

    /// The header of the record here, which the log says exists.
    pub(super) fn header(&self) -> Result<Box<StoredHeader>, TenantLogError> {
        match read_header(&self.file, self.position, self.tenant, self.offset)? {
            Found::Record(header) => Ok(header),
            Found::Footer | Found::End => Err(TenantLogError::corrupt(self.offset, "missing")),
            Found::Damage(field) => Err(TenantLogError::corrupt(self.offset, field)),
        }
    }

    /// The body of the record here, as it is stored.
    pub(super) fn body(&self, header: &StoredHeader, body: &mut Vec<u8>) -> Result<(), TenantLogError> {
        if read_body(&self.file, self.position, &header.header, body)? {
            Ok(())
        } else {
            Err(TenantLogError::corrupt(self.offset, "body_end"))
        }
    }

    /// Goes to the next record.
    pub(super) fn advance(&mut self, header: &StoredHeader) {
        self.position += header.stored_bytes();
        self.offset += 1;
    }

    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    pub(super) const fn file(&self) -> &NamedFile {
        &self.file
    }

    fn advance_to(&mut self, offset: u64) -> Result<(), TenantLogError> {
        while self.offset < offset {
            let header = self.header()?;
            self.advance(&header);
        }
        Ok(())
    }
}

/// The positions of every 64th record of a segment that is read through.
pub(super) fn note_position(positions: &mut Vec<u64>, first: u64, offset: u64, position: u64) {
    if (offset - first).is_multiple_of(INDEX_INTERVAL) {
        positions.push(position);
    }
}

impl Shared {
    /// Goes to a record that is in the files.
    pub(super) fn locate(&self, offset: u64) -> Result<Cursor, TenantLogError> {
        let state = self.state.read();
        let mut cursor = if offset >= state.active.first {
            let active = &state.active;
            let entry = (offset - active.first) / INDEX_INTERVAL;
            let mut cursor = Cursor::new(active.file.clone(), self.tenant, active.first, state.written);
            let at = usize::try_from(entry)
                .ok()
                .and_then(|entry| active.positions.get(entry));
            cursor.position = *at.expect("the records in the active segment have their positions");
            cursor.offset = active.first + entry * INDEX_INTERVAL;
            let mut anchors = active.anchors.iter().rev();
            let nearest = anchors.find(|(anchored, _)| (cursor.offset..=offset).contains(anchored));
            if let Some(&(anchored, position)) = nearest {
                (cursor.offset, cursor.position) = (anchored, position);
            }
            drop(state);
            cursor
        } else {
            let at = state.closed.partition_point(|segment| segment.end() <= offset);
            let segment = state.closed[at];
            drop(state);
            self.near(segment, offset)?
        };
        cursor.advance_to(offset)?;
        Ok(cursor)
    }

    /// A place in a closed segment at most 63 records before `offset`, or its start when the index is of no use.
    fn near(&self, segment: ClosedSegment, offset: u64) -> Result<Cursor, TenantLogError> {
        let file = self.files.open(&segment_name(segment.first))?;
        let start = Cursor::new(file, self.tenant, segment.first, segment.end());
        let entry = (offset - segment.first) / INDEX_INTERVAL;
        let Ok(index) = self.files.open(&index_name(segment.first)) else {
            return Ok(start);
        };
        let Some(position) = read_position(&index, segment, entry)? else {
            return Ok(start);
        };
        let indexed = Cursor {
            file: start.file.clone(),
            position,
            offset: segment.first + entry * INDEX_INTERVAL,
            ..start
        };
        Ok(if indexed.header().is_ok() { indexed } else { start })
    }

    /// Checks a record's hash against the stored one. What is stored is mended or proven right before it
    /// is believed against the record.
    pub(super) fn check_hash(&self, header: &StoredHeader) -> Result<(), TenantLogError> {
        let offset = header.header.offset.get();
        let hash = header.hash();
        let entry = self.state.read().levels.entry_unchecked(offset);
        let stored = match entry {
            Some(UncheckedEntry::Known(known)) => Some(known),
            Some(UncheckedEntry::Stored(file)) => {
                read_entries(&file, offset, offset + 1)?.and_then(|entries| entries.first().copied())
            }
            None => None,
        };
        if stored == Some(hash) {
            return Ok(());
        }
        if self.entry(0, offset)? == hash {
            self.mend_tile(TileAt {
                level: 0,
                index: offset / TILE_ENTRIES,
            })?;
            return Ok(());
        }
        Err(TenantLogError::corrupt(offset, "record_hash"))
    }

    /// Writes a tile's file again when it does not hold what the tile is known to be, as when that was read before the
    /// file was damaged.
    fn mend_tile(&self, at: TileAt) -> Result<(), TenantLogError> {
        let source = self.state.read().levels.tile(at);
        let Some(TileSource::File(file)) = source else {
            return Ok(());
        };
        let entries = self.tile(at)?;
        if read_tile(&file, at.index)?.as_ref() != Some(&*entries) {
            self.write_tile_again(&file, at, &entries);
        }
        Ok(())
    }

    /// Where the file cannot be mended, the tile is derived again the next time.
    fn write_tile_again(&self, file: &NamedFile, at: TileAt, entries: &[Hash]) {
        if write_tile(file, at.index, entries).is_ok() {
            self.tiles_mended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An entry of a tile level, checked.
    pub(super) fn entry(&self, level: usize, index: u64) -> Result<Hash, TenantLogError> {
        let at = TileAt {
            level,
            index: index / TILE_ENTRIES,
        };
        let within = usize::try_from(index % TILE_ENTRIES).expect("fewer than 256");
        let missing = TenantLogError::corrupt(first_record(at), "hash_tile");
        self.tile(at)?.get(within).copied().ok_or(missing)
    }

    /// A tile's entries, checked.
    fn tile(&self, at: TileAt) -> Result<Arc<Vec<Hash>>, TenantLogError> {
        let source = self.state.read().levels.tile(at);
        let file = match source {
            Some(TileSource::Edge(entries)) => return Ok(Arc::new(entries)),
            Some(TileSource::File(file)) => file,
            None => return Err(TenantLogError::corrupt(first_record(at), "hash_tile")),
        };
        if let Some(entries) = self.tiles.get(at) {
            return Ok(entries);
        }
        let root = self.entry(at.level + 1, at.index)?;
        let stored = read_tile(&file, at.index)?.filter(|entries| merkle_tree_hash(entries) == root);
        let entries = match stored {
            Some(entries) => entries,
            None => {
                let derived = self.derive_tile(at)?;
                if merkle_tree_hash(&derived) != root {
                    return Err(TenantLogError::corrupt(first_record(at), "hash_tile"));
                }
                self.write_tile_again(&file, at, &derived);
                derived
            }
        };
        let entries = Arc::new(entries);
        self.tiles.put(at, Arc::clone(&entries));
        Ok(entries)
    }

    /// A full tile as it is in its file, unchecked; `None` when the file does not hold it.
    fn stored_tile(&self, at: TileAt) -> Result<Option<Vec<Hash>>, TenantLogError> {
        let source = self.state.read().levels.tile(at);
        match source {
            Some(TileSource::File(file)) => read_tile(&file, at.index),
            _ => Ok(None),
        }
    }

    /// Computes a tile from what it was made of: the records, or the tiles below. A tile below that agrees with the
    /// stored entry is believed, since both would have to be damaged alike; another one is computed in turn.
    fn derive_tile(&self, at: TileAt) -> Result<Vec<Hash>, TenantLogError> {
        let indexes = at.index * TILE_ENTRIES..(at.index + 1) * TILE_ENTRIES;
        if at.level > 0 {
            let level = at.level - 1;
            let stored = self.stored_tile(at)?;
            let mut roots = Vec::new();
            for (number, index) in indexes.enumerate() {
                let below = TileAt { level, index };
                let root = self.stored_tile(below)?.map(|entries| merkle_tree_hash(&entries));
                let agreed = stored
                    .as_ref()
                    .is_none_or(|entries| entries.get(number) == root.as_ref());
                roots.push(match root.filter(|_| agreed) {
                    Some(root) => root,
                    None => merkle_tree_hash(&self.derive_tile(below)?),
                });
            }
            return Ok(roots);
        }
        let mut hashes = Vec::new();
        let mut cursor = self.locate(indexes.start)?;
        for offset in indexes {
            if offset == cursor.end {
                cursor = self.locate(offset)?;
            }
            let header = cursor.header()?;
            hashes.push(header.hash());
            cursor.advance(&header);
        }
        Ok(hashes)
    }
}

/// The first record under a tile.
fn first_record(at: TileAt) -> u64 {
    let shift = (u32::try_from(at.level).unwrap_or(u32::MAX)).saturating_add(1) * u32::from(TILE_HEIGHT);
    at.index.checked_shl(shift).unwrap_or(u64::MAX)
}

/// Reads what was published of a tenant's log. Cheap to clone; does not hinder the writer.
#[derive(Clone)]
pub struct LogReader(pub(super) Arc<Shared>);

impl LogReader {
    /// The offset after the last published record.
    #[must_use]
    pub fn published(&self) -> Offset {
        Offset::new(self.0.state.read().published)
    }

    /// Reads the record at `offset`; `None` when it is not published yet.
    ///
    /// # Errors
    /// [`TenantLogError::Corrupt`] when the record's header, body or hash is not what was written;
    /// [`TenantLogError::Io`].
    pub fn read(&self, offset: Offset) -> Result<Option<Record>, TenantLogError> {
        Ok(self.read_range(offset, 1, 0)?.pop())
    }

    /// Reads records from `from` on: at most `records_max`, and as many as fit into `bytes_max` bytes as they are
    /// stored, but one at least if there is one, so that a long record does not stop a reader.
    ///
    /// # Errors
    /// As for [`Self::read`]; records before the damaged one are to be had by asking for fewer.
    pub fn read_range(&self, from: Offset, records_max: usize, bytes_max: u64) -> Result<Vec<Record>, TenantLogError> {
        let published = self.published().get();
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut cursor: Option<Cursor> = None;
        let mut body = Vec::new();
        for offset in (from.get()..published).take(records_max) {
            let cursor = match &mut cursor {
                Some(cursor) if offset < cursor.end => cursor,
                none_or_ended => none_or_ended.insert(self.0.locate(offset)?),
            };
            let header = cursor.header()?;
            bytes += header.stored_bytes();
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            self.0.check_hash(&header)?;
            cursor.body(&header, &mut body)?;
            let chunks = check_body(&header.header, &body).map_err(|field| TenantLogError::corrupt(offset, field))?;
            cursor.advance(&header);
            records.push(Record {
                header: header.header,
                chunks,
            });
        }
        Ok(records)
    }

    /// Reads the headers of `count` records from `from` on, checked against the log's hashes, without their bodies;
    /// fewer when fewer are published.
    ///
    /// # Errors
    /// [`TenantLogError::Corrupt`] when a header or its hash is not what was written; [`TenantLogError::Io`].
    pub fn read_headers(&self, from: Offset, count: usize) -> Result<Vec<RecordHeader>, TenantLogError> {
        let published = self.published().get();
        let mut headers = Vec::new();
        let mut cursor: Option<Cursor> = None;
        for offset in (from.get()..published).take(count) {
            let cursor = match &mut cursor {
                Some(cursor) if offset < cursor.end => cursor,
                none_or_ended => none_or_ended.insert(self.0.locate(offset)?),
            };
            let header = cursor.header()?;
            self.0.check_hash(&header)?;
            cursor.advance(&header);
            headers.push(header.header);
        }
        Ok(headers)
    }

    /// Whether a write or sync of the log failed, see [`TenantLogError::Poisoned`].
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.0.poisoned.load(Ordering::Acquire)
    }
}

/// The hashes of complete subtrees of the published log.
impl HashReader for LogReader {
    type Error = TenantLogError;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, TenantLogError> {
        let size = self.published().get();
        let end = u32::from(level);
        let complete = index
            .checked_add(1)
            .is_some_and(|next| next <= size.checked_shr(end).unwrap_or(0));
        if !complete {
            return Err(TenantLogError::BeyondEnd { level, index, size });
        }
        let within = level % TILE_HEIGHT;
        let first = index << within;
        let tile = self.0.tile(TileAt {
            level: usize::from(level / TILE_HEIGHT),
            index: first / TILE_ENTRIES,
        })?;
        let start = usize::try_from(first % TILE_ENTRIES).expect("fewer than 256");
        let entries = tile.get(start..start + (1 << within));
        let missing = TenantLogError::corrupt(index << level, "hash_tile");
        Ok(merkle_tree_hash(entries.ok_or(missing)?))
    }
}

impl Shared {
    /// Reads through a closed segment's headers, for what is derived from them.
    pub(super) fn read_through(
        files: &Files,
        tenant: TenantId,
        segment: ClosedSegment,
        mut each: impl FnMut(&StoredHeader, u64) -> Result<(), TenantLogError>,
    ) -> Result<(), TenantLogError> {
        let file = files.open(&segment_name(segment.first))?;
        let mut cursor = Cursor::new(file, tenant, segment.first, segment.end());
        while cursor.offset < segment.end() {
            let header = cursor.header()?;
            each(&header, cursor.position())?;
            cursor.advance(&header);
        }
        Ok(())
    }
}
