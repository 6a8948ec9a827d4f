//! Verification of a log's entries and tree, as its tiles and entry bundles show them (c2sp.org/tlog-tiles): of an
//! export in a folder, or of what a server hands out.
//!
//! [`digest_bundle`] checks a bundle and the tile over it by themselves, so many can be checked at the same time.
//! [`TilesAssembly`] joins them in their order and computes every tile above, and at the end the root, which the caller
//! compares with what was signed. Only then is anything of it to be believed.

use craton_crypto::record_hash;
use craton_types::{HEADER_BYTES, Hash, Offset, RecordHeader, TenantId, Timestamp};

use crate::checkpoint::Checkpoint;
use crate::log_verify::Finding;
use crate::repair::{find_changed_byte, header_field_at};
use crate::tiles::{TILE_HEIGHT, TILE_WIDTH, TileContent, TilePath, decode_entry_bundle, decode_tile};
use crate::tree::Frontier;

/// The length of an entry in a bundle: its length, and a record's header.
const BUNDLED_BYTES: u64 = 2 + HEADER_BYTES as u64;
const HASH_BYTES: u64 = 32;

/// The first thing that is wrong with a log's tiles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}, byte {position}: record {offset}, field {field}: {finding}")]
pub struct TileFault {
    /// The tile or bundle.
    pub path: TilePath,
    /// Where in it.
    pub position: u64,
    /// The record; for a hash of an upper tile, the first record below it.
    pub offset: Offset,
    /// The field of the record's header; `hash` in a tile, and `entry` where an entry is none.
    pub field: &'static str,
    /// What is wrong.
    pub finding: Finding,
}

/// A bundle of entries that is right in itself and under its tile.
#[derive(Clone, Debug)]
pub struct BundleDigest {
    path: TilePath,
    leaves: Vec<Hash>,
    tenant: TenantId,
    previous_hash: Hash,
    times: (Timestamp, Timestamp),
}

/// One bundle and the tile of level 0 over it.
struct Bundle<'a> {
    path: TilePath,
    tile_path: TilePath,
    entries: Vec<&'a [u8; HEADER_BYTES]>,
    leaves: Vec<Hash>,
    hashes: Vec<Hash>,
}

/// Checks an entry bundle and the tile of level 0 over the same records: that each entry is a record's header, that they
/// are linked and in order, and that the tile has their hashes.
///
/// # Errors
/// The first byte or field that is wrong.
pub fn digest_bundle(path: &TilePath, entries: &[u8], tile: &[u8]) -> Result<BundleDigest, Box<TileFault>> {
    let bundle = Bundle::parse(*path, entries, tile)?;
    bundle.check_hashes()?;
    bundle.digest()
}

/// The tile of hashes over the records of a bundle.
fn tile_over(bundle: &TilePath) -> TilePath {
    let size = bundle.index() * u64::from(TILE_WIDTH) + u64::from(bundle.width());
    TilePath::in_tree(TileContent::Hashes(0), bundle.index(), size).expect("a tree of this size has the tile")
}

impl<'a> Bundle<'a> {
    fn parse(path: TilePath, entries: &'a [u8], tile: &[u8]) -> Result<Self, Box<TileFault>> {
        let first = Offset::new(path.index() * u64::from(TILE_WIDTH));
        let malformed = |path, position, offset, field, reason: String| {
            Box::new(TileFault {
                path,
                position,
                offset,
                field,
                finding: Finding::Malformed { reason },
            })
        };
        let split = decode_entry_bundle(&path, entries);
        let split = split.map_err(|error| malformed(path, 0, first, "entry", error.to_string()))?;
        let tile_path = tile_over(&path);
        let hashes = decode_tile(&tile_path, tile);
        let hashes = hashes.map_err(|error| malformed(tile_path, 0, first, "hash", error.to_string()))?;
        let headers = (0..).zip(split).map(|(index, entry)| {
            let offset = Offset::new(first.get() + index);
            let reason = || format!("an entry has {HEADER_BYTES} bytes, found {}", entry.len());
            let header = entry.try_into();
            header.map_err(|_| malformed(path, index * BUNDLED_BYTES, offset, "entry", reason()))
        });
        let entries: Vec<&[u8; HEADER_BYTES]> = headers.collect::<Result<_, _>>()?;
        let leaves = entries.iter().map(|entry| record_hash(entry)).collect();
        Ok(Self {
            path,
            tile_path,
            entries,
            leaves,
            hashes,
        })
    }

    fn offset(&self, index: usize) -> Offset {
        Offset::new(self.path.index() * u64::from(TILE_WIDTH) + index as u64)
    }

    /// A fault in a byte of an entry.
    fn entry_fault(&self, index: usize, byte: usize, field: &'static str, finding: Finding) -> Box<TileFault> {
        Box::new(TileFault {
            path: self.path,
            position: index as u64 * BUNDLED_BYTES + 2 + byte as u64,
            offset: self.offset(index),
            field,
            finding,
        })
    }

    fn check_hashes(&self) -> Result<(), Box<TileFault>> {
        let differs = self
            .leaves
            .iter()
            .zip(&self.hashes)
            .position(|(leaf, hash)| leaf != hash);
        let Some(index) = differs else {
            return Ok(());
        };
        let (leaf, hash) = (self.leaves[index], self.hashes[index]);
        let differs = |expected: Hash, found: Hash| Finding::Differs {
            expected: expected.to_string(),
            found: found.to_string(),
        };
        let in_tile = || TileFault {
            path: self.tile_path,
            position: index as u64 * HASH_BYTES,
            offset: self.offset(index),
            field: "hash",
            finding: differs(leaf, hash),
        };
        // The next record's link says which of the two is right.
        let link = self.entries.get(index + 1).map(|next| previous_hash(next));
        if link == Some(leaf) {
            return Err(Box::new(in_tile()));
        }
        let entry = self.entries[index];
        match find_changed_byte(entry, |candidate| record_hash(candidate) == hash) {
            Some(changed) => {
                let finding = Finding::ChangedByte {
                    expected: changed.expected,
                    found: changed.found,
                };
                Err(self.entry_fault(index, changed.index, header_field_at(changed.index).name, finding))
            }
            None if link.is_none() => Err(Box::new(in_tile())),
            None => Err(self.entry_fault(index, 0, "entry", differs(hash, leaf))),
        }
    }

    fn digest(self) -> Result<BundleDigest, Box<TileFault>> {
        let mut before: Option<(RecordHeader, Hash)> = None;
        let mut first = None;
        for (index, (entry, leaf)) in self.entries.iter().zip(&self.leaves).enumerate() {
            let header = RecordHeader::decode(entry).map_err(|error| {
                let reason = error.to_string();
                self.entry_fault(index, 0, error.field, Finding::Malformed { reason })
            })?;
            let (tenant, previous_hash, time_min) = match &before {
                Some((header, hash)) => (header.tenant, *hash, header.timestamp),
                None => (header.tenant, header.previous_hash, header.timestamp),
            };
            let offset = self.offset(index);
            let facts = [
                (
                    "offset",
                    offset.to_string(),
                    header.offset.to_string(),
                    header.offset == offset,
                ),
                (
                    "tenant",
                    tenant.to_string(),
                    header.tenant.to_string(),
                    header.tenant == tenant,
                ),
                (
                    "previous_hash",
                    previous_hash.to_string(),
                    header.previous_hash.to_string(),
                    header.previous_hash == previous_hash,
                ),
                (
                    "timestamp",
                    format!("at least {time_min} nanoseconds"),
                    header.timestamp.to_string(),
                    header.timestamp >= time_min,
                ),
            ];
            for (field, expected, found, is_right) in facts {
                if !is_right {
                    return Err(self.entry_fault(index, 0, field, Finding::Differs { expected, found }));
                }
            }
            first.get_or_insert((header.previous_hash, header.timestamp));
            before = Some((header, *leaf));
        }
        let (last, _) = before.expect("a bundle has at least one entry");
        let (previous_hash, first_time) = first.expect("a bundle has at least one entry");
        Ok(BundleDigest {
            path: self.path,
            leaves: self.leaves,
            tenant: last.tenant,
            previous_hash,
            times: (first_time, last.timestamp),
        })
    }
}

fn previous_hash(header: &[u8; HEADER_BYTES]) -> Hash {
    Hash::new(
        *header
            .last_chunk()
            .expect("the link is the last of the header's fields"),
    )
}

/// A tile as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputedTile {
    path: TilePath,
    hashes: Vec<Hash>,
}

impl ComputedTile {
    /// Which tile it is.
    #[must_use]
    pub const fn path(&self) -> &TilePath {
        &self.path
    }

    /// Compares the tile with the one that was found.
    ///
    /// # Errors
    /// The first hash that is another.
    pub fn check(&self, found: &[u8]) -> Result<(), Box<TileFault>> {
        let fault = |index: usize, finding| {
            let TileContent::Hashes(level) = self.path.content() else {
                unreachable!("tiles of hashes are computed, and nothing else");
            };
            let first = (self.path.index() * u64::from(TILE_WIDTH) + index as u64)
                << (u32::from(level) * u32::from(TILE_HEIGHT));
            Box::new(TileFault {
                path: self.path,
                position: index as u64 * HASH_BYTES,
                offset: Offset::new(first),
                field: "hash",
                finding,
            })
        };
        let hashes = decode_tile(&self.path, found).map_err(|error| {
            let reason = error.to_string();
            fault(0, Finding::Malformed { reason })
        })?;
        match self
            .hashes
            .iter()
            .zip(&hashes)
            .position(|(expected, found)| expected != found)
        {
            Some(index) => Err(fault(
                index,
                Finding::Differs {
                    expected: self.hashes[index].to_string(),
                    found: hashes[index].to_string(),
                },
            )),
            None => Ok(()),
        }
    }
}

/// Bundles in their order, checked at their seams, and the tree over them.
pub struct TilesAssembly {
    /// How many records the tree had to begin with.
    start: u64,
    tree: Frontier,
    tenant: Option<TenantId>,
    last: Option<(Hash, Timestamp)>,
    /// For each level from 1: the hashes of its last tile.
    upper: Vec<Vec<Hash>>,
}

impl TilesAssembly {
    /// Begins after the records of a tree, which end where a bundle does. The tree may be unproven: what was wrong with it
    /// makes the root at the end another one.
    ///
    /// # Panics
    /// When the tree ends within a bundle.
    #[must_use]
    pub fn new(start: Frontier) -> Self {
        assert_eq!(
            start.size() % u64::from(TILE_WIDTH),
            0,
            "bundles begin at multiples of 256"
        );
        Self {
            start: start.size(),
            tree: start,
            tenant: None,
            last: None,
            upper: Vec::new(),
        }
    }

    /// How many records the tree has now.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Appends a bundle. Gives the upper tiles that it completes, when the tree was begun with its first record.
    ///
    /// # Errors
    /// When the bundle does not continue the ones before.
    pub fn push(&mut self, bundle: &BundleDigest) -> Result<Vec<ComputedTile>, Box<TileFault>> {
        self.check_seam(bundle)?;
        let mut complete = Vec::new();
        for leaf in &bundle.leaves {
            let (upper, is_whole) = (&mut self.upper, self.start == 0);
            self.tree.push_with(*leaf, |level, index, hash| {
                if is_whole && level > 0 && level % TILE_HEIGHT == 0 {
                    complete.extend(grow(upper, level / TILE_HEIGHT, index, *hash));
                }
            });
        }
        self.tenant = Some(bundle.tenant);
        self.last = bundle.leaves.last().map(|leaf| (*leaf, bundle.times.1));
        Ok(complete)
    }

    fn check_seam(&self, bundle: &BundleDigest) -> Result<(), Box<TileFault>> {
        let tenant = self.tenant.unwrap_or(bundle.tenant);
        // Of a log's first record, the link is zero; before the first bundle that is looked at, it is not known.
        let first = (self.start == 0).then_some((Hash::ZERO, Timestamp::default()));
        let (hash, time) = self.last.or(first).unwrap_or((bundle.previous_hash, bundle.times.0));
        let facts = [
            (
                "offset",
                self.tree.size().to_string(),
                (bundle.path.index() * u64::from(TILE_WIDTH)).to_string(),
            ),
            ("tenant", tenant.to_string(), bundle.tenant.to_string()),
            ("previous_hash", hash.to_string(), bundle.previous_hash.to_string()),
            (
                "timestamp",
                time.max(bundle.times.0).to_string(),
                bundle.times.0.to_string(),
            ),
        ];
        match facts.into_iter().find(|(_, expected, found)| expected != found) {
            Some((field, expected, found)) => Err(Box::new(TileFault {
                path: bundle.path,
                position: 2,
                offset: Offset::new(self.tree.size()),
                field,
                finding: Finding::Differs { expected, found },
            })),
            None => Ok(()),
        }
    }

    /// Compares the tree with a checkpoint of as many records. Gives the upper tiles that are not full, when the tree was
    /// begun with its first record.
    ///
    /// # Errors
    /// When the records are others than the signed ones.
    ///
    /// # Panics
    /// When the checkpoint is of another number of records.
    pub fn finish(self, checkpoint: &Checkpoint) -> Result<Vec<ComputedTile>, Finding> {
        assert_eq!(
            self.tree.size(),
            checkpoint.size,
            "every bundle under the checkpoint is appended"
        );
        let found = self.tree.root();
        if found != checkpoint.root {
            return Err(Finding::NotTheSignedRecords {
                from: Offset::new(self.start),
                end: Offset::new(checkpoint.size),
                expected: checkpoint.root,
                found,
            });
        }
        let tenant = self.tenant.map(|tenant| tenant.to_string());
        let of_origin = checkpoint.origin.as_str().rsplit('/').next();
        if tenant.as_deref().is_some_and(|tenant| of_origin != Some(tenant)) {
            return Err(Finding::Differs {
                expected: format!("records of {}", checkpoint.origin),
                found: format!("records of tenant {}", tenant.unwrap_or_default()),
            });
        }
        let rest = (1..).zip(self.upper).filter(|(_, hashes)| !hashes.is_empty());
        let tiles = rest.map(|(level, hashes)| {
            let entries = checkpoint.size >> (u32::from(level) * u32::from(TILE_HEIGHT));
            let index = entries / u64::from(TILE_WIDTH);
            let path = TilePath::in_tree(TileContent::Hashes(level), index, checkpoint.size);
            ComputedTile {
                path: path.expect("the tree has the hashes of this tile"),
                hashes,
            }
        });
        Ok(tiles.collect())
    }
}

/// Appends a hash to the last tile of an upper level, and takes the tile when it is full.
fn grow(upper: &mut Vec<Vec<Hash>>, level: u8, index: u64, hash: Hash) -> Option<ComputedTile> {
    let row = usize::from(level) - 1;
    if upper.len() <= row {
        upper.resize_with(row + 1, Vec::new);
    }
    upper[row].push(hash);
    if upper[row].len() < usize::from(TILE_WIDTH) {
        return None;
    }
    let size = (index + 1) << (u32::from(level) * u32::from(TILE_HEIGHT));
    let path = TilePath::in_tree(TileContent::Hashes(level), index / u64::from(TILE_WIDTH), size);
    Some(ComputedTile {
        path: path.expect("the tree has the hashes of this tile"),
        hashes: std::mem::take(&mut upper[row]),
    })
}
