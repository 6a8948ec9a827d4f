//! The log's Merkle hashes in the order of C2SP tlog-tiles (height 8), one flat file per tile level.
//!
//! Entry `i` of level `l` is the root of the complete subtree of `256^l` records beginning at `i · 256^l`; level 0
//! are the record hashes. 256 aligned entries are a tile, and a full tile's root is an entry of the next
//! level. The entries of the last, partial tile of each level are in memory, checked against the log's
//! frontier when it was opened; a full tile read from a file is checked against the entry above it, up to those.
//! So a damaged file is noticed, and since everything here follows from the records, it is mended.

use std::collections::VecDeque;
use std::sync::Arc;

use craton_proof::{Frontier, merkle_tree_hash};
use craton_types::Hash;
use parking_lot::Mutex;

use super::TenantLogError;
use super::files::{Files, NamedFile, hashes_name};

/// Levels of the tree within one tile.
pub(super) const TILE_HEIGHT: u8 = 8;
/// Entries of a full tile.
pub(super) const TILE_ENTRIES: u64 = 1 << TILE_HEIGHT;
const HASH_BYTES: usize = 32;
/// The same, as a file position.
const HASH_LENGTH: u64 = 32;
/// Checked tiles that are kept: 8 KiB each.
const TILES_CACHED_MAX: usize = 32;

/// One tile level.
#[derive(Clone)]
pub(super) struct Level {
    file: NamedFile,
    /// How many entries the file holds.
    count: u64,
    /// Those of the last, partial tile.
    edge: Vec<Hash>,
}

/// All tile levels that have entries.
#[derive(Clone, Default)]
pub(super) struct Levels(Vec<Level>);

/// Entries that are not in the files yet, by level.
#[derive(Default)]
pub(super) struct PendingEntries(Vec<Vec<Hash>>);

/// Full tiles that were read and checked lately.
#[derive(Default)]
pub(super) struct TileCache(Mutex<VecDeque<(TileAt, Arc<Vec<Hash>>)>>);

/// Which tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TileAt {
    pub(super) level: usize,
    pub(super) index: u64,
}

/// Where a tile's entries are.
pub(super) enum TileSource {
    /// In memory, and right.
    Edge(Vec<Hash>),
    /// In a file, to be checked.
    File(NamedFile),
}

impl PendingEntries {
    /// Appends a record hash to the tree and keeps the entries that it completes.
    pub(super) fn push(&mut self, tree: &mut Frontier, leaf: Hash) {
        tree.push_with(leaf, |tree_level, _, hash| {
            if tree_level % TILE_HEIGHT == 0 {
                let level = usize::from(tree_level / TILE_HEIGHT);
                if level == self.0.len() {
                    self.0.push(Vec::new());
                }
                self.0[level].push(*hash);
            }
        });
    }

    /// Writes the entries to the files, behind the `first` records that are there already. Repeating it after a
    /// failure writes the same bytes to the same places.
    pub(super) fn write(&self, files: &Files, levels: &mut Levels, first: u64) -> Result<(), TenantLogError> {
        for (level, entries) in self.0.iter().enumerate() {
            if entries.is_empty() {
                continue;
            }
            if level == levels.0.len() {
                levels.0.push(Level {
                    file: files.create(&hashes_name(level))?,
                    count: 0,
                    edge: Vec::new(),
                });
            }
            let bytes: Vec<u8> = entries.iter().flat_map(|hash| hash.as_bytes()).copied().collect();
            levels.0[level]
                .file
                .write(&bytes, entries_before(level, first) * HASH_LENGTH)?;
        }
        Ok(())
    }

    /// Counts the entries that [`Self::write`] wrote as part of the levels.
    pub(super) fn commit(&mut self, levels: &mut Levels) {
        for (level, entries) in levels.0.iter_mut().zip(&mut self.0) {
            for entry in entries.drain(..) {
                level.count += 1;
                level.edge.push(entry);
                if level.count.is_multiple_of(TILE_ENTRIES) {
                    level.edge.clear();
                }
            }
        }
    }
}

/// How many entries of a level `records` records complete.
fn entries_before(level: usize, records: u64) -> u64 {
    let shift = u32::try_from(level).expect("at most eight levels") * u32::from(TILE_HEIGHT);
    records.checked_shr(shift).unwrap_or(0)
}

impl Levels {
    /// Opens the files of a log whose closed segments end at the tree's size. `None` when the files do not hold
    /// that tree's hashes and must be rebuilt.
    pub(super) fn open(files: &Files, names: &[String], tree: &Frontier) -> Result<Option<Self>, TenantLogError> {
        let mut levels = Self::default();
        for level in 0.. {
            let count = entries_before(level, tree.size());
            let name = hashes_name(level);
            if !names.contains(&name) {
                // A level without entries needs no file.
                return Ok((count == 0).then_some(levels));
            }
            let file = files.open(&name)?;
            let edge_start = count - count % TILE_ENTRIES;
            let Some(edge) = read_entries(&file, edge_start, count)? else {
                return Ok(None);
            };
            if !edge_matches(&edge, level, tree) {
                return Ok(None);
            }
            levels.0.push(Level { file, count, edge });
        }
        unreachable!("levels are opened until one is missing")
    }

    /// The files as they are, holding nothing: to be rebuilt.
    pub(super) fn open_empty(files: &Files, names: &[String]) -> Result<Self, TenantLogError> {
        let existing = (0..).map(hashes_name).take_while(|name| names.contains(name));
        let open = |name: String| {
            Ok(Level {
                file: files.open(&name)?,
                count: 0,
                edge: Vec::new(),
            })
        };
        Ok(Self(existing.map(open).collect::<Result<_, TenantLogError>>()?))
    }

    pub(super) fn sync(&self) -> Result<(), TenantLogError> {
        self.0.iter().try_for_each(|level| level.file.sync())
    }

    /// Where to read a tile from; `None` when it has no entries yet.
    pub(super) fn tile(&self, at: TileAt) -> Option<TileSource> {
        let level = self.0.get(at.level)?;
        let last = level.count / TILE_ENTRIES;
        match at.index.cmp(&last) {
            std::cmp::Ordering::Less => Some(TileSource::File(level.file.clone())),
            std::cmp::Ordering::Equal => Some(TileSource::Edge(level.edge.clone())),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// One entry as it is stored, unchecked unless it is in memory.
    pub(super) fn entry_unchecked(&self, index: u64) -> Option<UncheckedEntry> {
        let level = self.0.first()?;
        let edge_start = level.count - level.count % TILE_ENTRIES;
        if index >= edge_start {
            let at = usize::try_from(index - edge_start).ok()?;
            return level.edge.get(at).map(|hash| UncheckedEntry::Known(*hash));
        }
        Some(UncheckedEntry::Stored(level.file.clone()))
    }
}

/// A record hash before it is compared.
pub(super) enum UncheckedEntry {
    Known(Hash),
    Stored(NamedFile),
}

/// Reads a full tile.
pub(super) fn read_tile(file: &NamedFile, index: u64) -> Result<Option<Vec<Hash>>, TenantLogError> {
    read_entries(file, index * TILE_ENTRIES, (index + 1) * TILE_ENTRIES)
}

/// Writes a full tile again.
pub(super) fn write_tile(file: &NamedFile, index: u64, entries: &[Hash]) -> Result<(), TenantLogError> {
    let bytes: Vec<u8> = entries.iter().flat_map(|hash| hash.as_bytes()).copied().collect();
    file.write(&bytes, index * TILE_ENTRIES * HASH_LENGTH)
}

/// Reads the entries `start..end`; `None` when the file ends before.
pub(super) fn read_entries(file: &NamedFile, start: u64, end: u64) -> Result<Option<Vec<Hash>>, TenantLogError> {
    let count = usize::try_from(end - start).expect("at most a tile");
    let mut bytes = vec![0; count * HASH_BYTES];
    let whole = file.fill(&mut bytes, start * HASH_LENGTH)?;
    let hashes = bytes.as_chunks::<HASH_BYTES>().0;
    Ok(whole.then(|| hashes.iter().map(|hash| Hash::new(*hash)).collect()))
}

/// Whether a partial tile's entries are the ones that the frontier was made of. The frontier holds the roots of
/// the complete subtrees; those of `256^level` to `128 · 256^level` records divide the tile among them.
fn edge_matches(edge: &[Hash], level: usize, tree: &Frontier) -> bool {
    let bytes = tree.to_bytes();
    let roots = bytes[8..].as_chunks::<32>().0;
    let mut rest = edge;
    let bits = (0..u64::BITS).rev().filter(|bit| tree.size() >> bit & 1 == 1);
    for (bit, root) in bits.zip(roots) {
        let within = (bit as usize).checked_sub(level * usize::from(TILE_HEIGHT));
        let Some(within) = within.filter(|within| *within < usize::from(TILE_HEIGHT)) else {
            continue;
        };
        let Some((subtree, others)) = rest.split_at_checked(1 << within) else {
            return false;
        };
        if merkle_tree_hash(subtree).as_bytes() != root {
            return false;
        }
        rest = others;
    }
    rest.is_empty()
}

impl TileCache {
    pub(super) fn get(&self, at: TileAt) -> Option<Arc<Vec<Hash>>> {
        let tiles = self.0.lock();
        tiles
            .iter()
            .find(|(cached, _)| *cached == at)
            .map(|(_, entries)| Arc::clone(entries))
    }

    pub(super) fn put(&self, at: TileAt, entries: Arc<Vec<Hash>>) {
        let mut tiles = self.0.lock();
        if tiles.len() == TILES_CACHED_MAX {
            tiles.pop_front();
        }
        tiles.push_back((at, entries));
    }
}
