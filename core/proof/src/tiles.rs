//! Tiles and entry bundles (c2sp.org/tlog-tiles@v0.1.0): a log's tree and entries as static, cacheable files.
//!
//! Entry `i` of level `l` is the Merkle tree hash of the `256^l` leaves from leaf `i · 256^l` on. 256 aligned entries
//! are a tile; the last tile of each level is partial. Any proof can be computed from tiles, see [`TileHashReader`].
//!
//! | path | content |
//! |---|---|
//! | `tile/<L>/<N>` | 256 hashes of 32 bytes |
//! | `tile/<L>/<N>.p/<W>` | the first `W` of them, `W` from 1 to 255 |
//! | `tile/entries/<N>`, `tile/entries/<N>.p/<W>` | as many entries, each `length (2, big-endian) ‖ bytes` |
//!
//! `<N>` is written in groups of three digits, all but the last of which begin with an `x`: `x001/x234/067`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use craton_types::Hash;

use crate::checkpoint::parse_decimal;
use crate::tree::{Frontier, HashReader};

/// Levels of the tree within one tile.
pub const TILE_HEIGHT: u8 = 8;
/// Entries of a full tile.
pub const TILE_WIDTH: u16 = 1 << TILE_HEIGHT;
/// The highest level of tiles: no tree with a 64-bit size is higher.
pub const TILE_LEVEL_MAX: u8 = 7;
/// The longest entry: what its length in two bytes can say.
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// The longest entry bundle.
pub const ENTRY_BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (2 + ENTRY_BYTES_MAX);

const HASH_BYTES: usize = 32;
/// Tiles that a reader keeps: the ones along one path of a tree, and of another beside it.
const TILES_KEPT_MAX: usize = 2 * (TILE_LEVEL_MAX as usize + 1);

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileContent {
    /// Hashes of one level, at most [`TILE_LEVEL_MAX`].
    Hashes(u8),
    /// The entries under the level-0 tile of the same index.
    Entries,
}

/// The name of a tile or entry bundle: its path below the log's URL prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TilePath {
    content: TileContent,
    index: u64,
    width: u16,
}

/// A text that names no tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not the path of a tile or an entry bundle")]
pub struct TilePathError {
    /// The text.
    pub path: String,
}

impl TilePath {
    /// The tile `index` of a level in a tree of `size` leaves: full, or as wide as the tree makes it. `None` when the
    /// tree has no entries there.
    #[must_use]
    pub fn in_tree(content: TileContent, index: u64, size: u64) -> Option<Self> {
        let level = content.level();
        if level > TILE_LEVEL_MAX {
            return None;
        }
        let entries = size >> (u32::from(level) * u32::from(TILE_HEIGHT));
        let rest = entries.checked_sub(index.checked_mul(u64::from(TILE_WIDTH))?)?;
        let width = u16::try_from(rest).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
        (width > 0).then_some(Self { content, index, width })
    }

    /// What it holds.
    #[must_use]
    pub const fn content(&self) -> TileContent {
        self.content
    }

    /// Its index within its level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it holds: 1 to 256.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it holds fewer than 256. A full tile never changes.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.width < TILE_WIDTH
    }

    /// The same tile when it is full.
    #[must_use]
    pub const fn full(self) -> Self {
        Self {
            width: TILE_WIDTH,
            ..self
        }
    }

    /// How many leaves a tree has at least that has this tile, or `None` when none has, for want of numbers.
    #[must_use]
    pub fn size_min(&self) -> Option<u64> {
        let entries = self
            .index
            .checked_mul(u64::from(TILE_WIDTH))?
            .checked_add(u64::from(self.width))?;
        let shift = u32::from(self.content.level()) * u32::from(TILE_HEIGHT);
        let size = entries.checked_shl(shift)?;
        (size >> shift == entries).then_some(size)
    }
}

impl TileContent {
    const fn level(self) -> u8 {
        match self {
            Self::Hashes(level) => level,
            Self::Entries => 0,
        }
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            TileContent::Hashes(level) => write!(f, "tile/{level}/")?,
            TileContent::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups.iter().skip(1).rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        if self.is_partial() {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

impl FromStr for TilePath {
    type Err = TilePathError;

    fn from_str(path: &str) -> Result<Self, TilePathError> {
        parse_path(path).ok_or_else(|| TilePathError { path: path.to_owned() })
    }
}

fn parse_path(path: &str) -> Option<TilePath> {
    let (content, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let content = if content == "entries" {
        TileContent::Entries
    } else {
        let level = u8::try_from(parse_decimal(content)?).ok();
        TileContent::Hashes(level.filter(|level| *level <= TILE_LEVEL_MAX)?)
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => {
            let width = u16::try_from(parse_decimal(width)?).ok()?;
            (index, (1..TILE_WIDTH).contains(&width).then_some(width)?)
        }
        None => (rest, TILE_WIDTH),
    };
    let path = TilePath {
        content,
        index: parse_index(index)?,
        width,
    };
    path.size_min()?;
    Some(path)
}

/// Parses `x001/x234/067`; a leading group of zeroes is another name for the same tile and is refused.
fn parse_index(text: &str) -> Option<u64> {
    let (leading, last) = text
        .rsplit_once('/')
        .map_or((None, text), |(leading, last)| (Some(leading), last));
    let mut index: u64 = 0;
    for (position, group) in leading.iter().flat_map(|leading| leading.split('/')).enumerate() {
        let group = parse_group(group.strip_prefix('x')?)?;
        if position == 0 && group == 0 {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(group)?;
    }
    index.checked_mul(1000)?.checked_add(parse_group(last)?)
}

fn parse_group(text: &str) -> Option<u64> {
    let is_group = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_group)
}

/// Why bytes are not the tile or bundle that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileDecodeError {
    /// The tile has another length.
    #[error("a tile of {width} hashes has {} bytes, found {found}", usize::from(*.width) * HASH_BYTES)]
    Length {
        /// How many hashes belong in it.
        width: u16,
        /// The length found.
        found: usize,
    },
    /// The bundle ends within an entry.
    #[error("the entry bundle ends within entry {entry} of {width}")]
    Truncated {
        /// The entry, from 0.
        entry: u16,
        /// How many entries belong in the bundle.
        width: u16,
    },
    /// Bytes follow the last entry.
    #[error("{bytes} bytes follow the last entry of the bundle")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The path names an entry bundle where a tile of hashes is meant, or the other way round.
    #[error("the path names something else")]
    Content,
}

/// Splits a tile into its hashes.
///
/// # Errors
/// When it has another length than its path says.
pub fn decode_tile(path: &TilePath, bytes: &[u8]) -> Result<Vec<Hash>, TileDecodeError> {
    if path.content == TileContent::Entries {
        return Err(TileDecodeError::Content);
    }
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    if hashes.len() != usize::from(path.width) || !rest.is_empty() {
        return Err(TileDecodeError::Length {
            width: path.width,
            found: bytes.len(),
        });
    }
    Ok(hashes.iter().map(|hash| Hash::new(*hash)).collect())
}

/// Joins entries to a bundle. `None` when an entry is longer than [`ENTRY_BYTES_MAX`].
#[must_use]
pub fn encode_entry_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut bundle = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).ok()?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Some(bundle)
}

/// Splits an entry bundle into its entries.
///
/// # Errors
/// When it does not hold just as many entries as its path says.
pub fn decode_entry_bundle<'a>(path: &TilePath, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, TileDecodeError> {
    if path.content != TileContent::Entries {
        return Err(TileDecodeError::Content);
    }
    let mut entries = Vec::with_capacity(usize::from(path.width));
    let mut rest = bytes;
    for entry in 0..path.width {
        let truncated = TileDecodeError::Truncated {
            entry,
            width: path.width,
        };
        let (length, tail) = rest.split_first_chunk::<2>().ok_or(truncated)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (content, tail) = tail.split_at_checked(length).ok_or(truncated)?;
        entries.push(content);
        rest = tail;
    }
    if !rest.is_empty() {
        return Err(TileDecodeError::Trailing { bytes: rest.len() });
    }
    Ok(entries)
}

/// Computes hashes of complete subtrees from tiles, so that proofs can be made from them.
///
/// Nothing is believed by being in a tile: verify what is computed against a signed root.
pub struct TileHashReader<F> {
    size: u64,
    fetch: F,
    kept: RefCell<VecDeque<(TilePath, Vec<Hash>)>>,
}

/// Why a hash cannot be computed from tiles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileReadError<E> {
    /// The tree has no such subtree.
    #[error("a tree of size {size} has no complete subtree {index} of level {level}")]
    Outside {
        /// The tree's size.
        size: u64,
        /// The subtree's level.
        level: u8,
        /// Its index.
        index: u64,
    },
    /// The tile cannot be fetched.
    #[error("{path} cannot be fetched")]
    Fetch {
        /// The tile.
        path: TilePath,
        /// Why.
        #[source]
        source: E,
    },
    /// What was fetched is not the tile.
    #[error("{path}: {source}")]
    Decode {
        /// The tile.
        path: TilePath,
        /// Why.
        source: TileDecodeError,
    },
}

impl<E, F: Fn(&TilePath) -> Result<Vec<u8>, E>> TileHashReader<F> {
    /// Reads from the tiles of a tree of `size` leaves by `fetch`, which gives the bytes of a tile.
    pub fn new(size: u64, fetch: F) -> Self {
        Self {
            size,
            fetch,
            kept: RefCell::default(),
        }
    }

    fn tile(&self, path: TilePath) -> Result<Vec<Hash>, TileReadError<E>> {
        if let Some((_, hashes)) = self.kept.borrow().iter().find(|(kept, _)| *kept == path) {
            return Ok(hashes.clone());
        }
        let bytes = (self.fetch)(&path).map_err(|source| TileReadError::Fetch { path, source })?;
        let hashes = decode_tile(&path, &bytes).map_err(|source| TileReadError::Decode { path, source })?;
        let mut kept = self.kept.borrow_mut();
        kept.truncate(TILES_KEPT_MAX - 1);
        kept.push_front((path, hashes.clone()));
        Ok(hashes)
    }
}

impl<E, F: Fn(&TilePath) -> Result<Vec<u8>, E>> HashReader for TileHashReader<F> {
    type Error = TileReadError<E>;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let outside = TileReadError::Outside {
            size: self.size,
            level,
            index,
        };
        let in_tile = level % TILE_HEIGHT;
        let count = 1_u64 << in_tile;
        let Some(first) = index.checked_mul(count) else {
            return Err(outside);
        };
        let width = u64::from(TILE_WIDTH);
        let content = TileContent::Hashes(level / TILE_HEIGHT);
        let path = TilePath::in_tree(content, first / width, self.size);
        // The remainder of a division by 256 and a power of two up to 128 are small.
        let start = usize::from(u8::try_from(first % width).expect("below 256"));
        let end = start + (1_usize << in_tile);
        match path.filter(|path| end <= usize::from(path.width)) {
            Some(path) => {
                let mut subtree = Frontier::new();
                let hashes = self.tile(path)?;
                hashes[start..end].iter().for_each(|hash| subtree.push(*hash));
                Ok(subtree.root())
            }
            None => Err(outside),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::tree::{consistency_proof, inclusion_proof, leaf_hash, merkle_tree_hash};

    fn hashes(level: u8, index: u64, width: u16) -> TilePath {
        TilePath {
            content: TileContent::Hashes(level),
            index,
            width,
        }
    }

    /// The specification's examples: of a path, and of the tiles of a tree of 70,000 leaves and of one of 256.
    #[test]
    fn paths_and_widths_are_those_of_the_specification() {
        assert_eq!(hashes(0, 1_234_067, TILE_WIDTH).to_string(), "tile/0/x001/x234/067");
        let in_tree = |level, index, size| {
            let path = TilePath::in_tree(TileContent::Hashes(level), index, size);
            path.map(|path| path.width)
        };
        assert_eq!(in_tree(0, 272, 70_000), Some(256), "273 full tiles of level 0");
        assert_eq!(in_tree(0, 273, 70_000), Some(112));
        assert_eq!(in_tree(0, 274, 70_000), None);
        assert_eq!(in_tree(1, 0, 70_000), Some(256));
        assert_eq!(in_tree(1, 1, 70_000), Some(17));
        assert_eq!(in_tree(2, 0, 70_000), Some(1));
        assert_eq!(in_tree(3, 0, 70_000), None, "an empty tile");
        assert_eq!(in_tree(0, 0, 256), Some(256));
        assert_eq!(in_tree(1, 0, 256), Some(1));
        assert_eq!(in_tree(0, 0, 0), None);
        assert_eq!(in_tree(TILE_LEVEL_MAX, 0, u64::MAX), Some(255));
        assert_eq!(in_tree(TILE_LEVEL_MAX + 1, 0, u64::MAX), None);
        assert_eq!(in_tree(0, u64::MAX, u64::MAX), None);
    }

    #[test]
    fn paths_survive_a_round_trip() {
        for (path, text) in [
            (hashes(0, 0, TILE_WIDTH), "tile/0/000"),
            (hashes(7, 0, 1), "tile/7/000.p/1"),
            (hashes(1, 999, 255), "tile/1/999.p/255"),
            (hashes(2, 1000, TILE_WIDTH), "tile/2/x001/000"),
            (hashes(0, 5_000_006, 7), "tile/0/x005/x000/006.p/7"),
        ] {
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse(), Ok(path));
            let entries = TilePath {
                content: TileContent::Entries,
                ..path
            };
            assert_eq!(entries.to_string().parse(), Ok(entries));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/000",
            "tile/0/x000/x001/000",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/00/000",
            "tile/8/000",
            "tile/256/000",
            "tile/-1/000",
            "tile/entry/000",
            "tile/entries/+00",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/1/",
            "tile/0/000/",
            "/tile/0/000",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            // Beyond the last tile that a tree with a 64-bit size can have.
            "tile/0/x072/x057/x594/x037/x927/936",
            "tile/7/001.p/1",
        ] {
            assert_eq!(text.parse::<TilePath>(), Err(TilePathError { path: text.to_owned() }));
        }
        assert!("tile/0/x072/x057/x594/x037/x927/935.p/255".parse::<TilePath>().is_ok());
    }

    #[test]
    fn a_tile_needs_a_tree_of_some_size() {
        assert_eq!(hashes(0, 0, 1).size_min(), Some(1));
        assert_eq!(hashes(1, 2, 3).size_min(), Some((2 * 256 + 3) * 256));
        assert_eq!(hashes(7, 0, TILE_WIDTH).size_min(), None, "2^64 leaves");
        assert_eq!(hashes(7, 0, TILE_WIDTH - 1).size_min(), Some(255 << 56));
    }

    #[test]
    fn bundles_survive_a_round_trip_and_hold_as_many_entries_as_they_say() {
        let path = TilePath {
            content: TileContent::Entries,
            index: 0,
            width: 3,
        };
        let longest = vec![7; ENTRY_BYTES_MAX];
        let entries: [&[u8]; 3] = [b"one", b"", &longest];
        let bundle = encode_entry_bundle(entries).expect("short entries");
        assert_eq!(&bundle[..7], b"\x00\x03one\x00\x00");
        assert_eq!(decode_entry_bundle(&path, &bundle), Ok(entries.to_vec()));
        let too_long = vec![7; ENTRY_BYTES_MAX + 1];
        assert_eq!(encode_entry_bundle([&too_long[..]]), None);
        for (length, entry) in [(0, 0), (1, 0), (4, 0), (5, 1), (bundle.len() - 1, 2)] {
            assert_eq!(
                decode_entry_bundle(&path, &bundle[..length]),
                Err(TileDecodeError::Truncated { entry, width: 3 })
            );
        }
        let longer = [&bundle[..], b"xy"].concat();
        assert_eq!(
            decode_entry_bundle(&path, &longer),
            Err(TileDecodeError::Trailing { bytes: 2 })
        );
        assert_eq!(
            decode_entry_bundle(&hashes(0, 0, 3), &bundle),
            Err(TileDecodeError::Content)
        );
        assert_eq!(decode_tile(&path, &bundle), Err(TileDecodeError::Content));
        assert_eq!(
            decode_tile(&hashes(0, 0, 3), &[0; 95]),
            Err(TileDecodeError::Length { width: 3, found: 95 })
        );
    }

    /// A log's tiles as the definition of the specification has them.
    fn tile_of(leaves: &[Hash], path: &TilePath) -> Vec<u8> {
        let TileContent::Hashes(level) = path.content else {
            panic!("a tile of hashes");
        };
        let span = 256_usize.pow(u32::from(level));
        let first = usize::try_from(path.index).expect("small") * 256;
        let hash = |entry: usize| *merkle_tree_hash(&leaves[entry * span..(entry + 1) * span]).as_bytes();
        (first..first + usize::from(path.width)).flat_map(hash).collect()
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
    }

    #[test]
    fn proofs_from_tiles_are_those_from_leaves() {
        let all = leaves(70_000);
        for size in [1, 255, 256, 257, 511, 65_535, 65_536, 65_537, 70_000] {
            let tree = &all[..size];
            let fetch = |path: &TilePath| Ok::<_, Infallible>(tile_of(tree, path));
            let size = tree.len() as u64;
            let reader = TileHashReader::new(size, fetch);
            for index in [0, size / 3, size - 1] {
                let expected = inclusion_proof(tree, index, size).expect("in the tree");
                assert_eq!(inclusion_proof(&reader, index, size), Ok(expected), "{index} of {size}");
                let expected = consistency_proof(tree, index + 1, size).expect("a prefix");
                assert_eq!(consistency_proof(&reader, index + 1, size), Ok(expected));
            }
            let frontier = Frontier::from_reader(&reader, size).expect("in the tree");
            assert_eq!(frontier.root(), merkle_tree_hash(tree));
        }
    }

    #[test]
    fn subtrees_outside_the_tree_and_bad_tiles_are_refused() {
        let all = leaves(300);
        let reader = TileHashReader::new(300, |path: &TilePath| Ok::<_, Infallible>(tile_of(&all, path)));
        for (level, index) in [
            (0, 300),
            (2, 75),
            (8, 1),
            (9, 0),
            (0, u64::MAX),
            (63, 0),
            (71, u64::MAX),
        ] {
            assert_eq!(
                reader.hash(level, index),
                Err(TileReadError::Outside {
                    size: 300,
                    level,
                    index
                })
            );
        }
        assert_eq!(reader.hash(2, 74), Ok(merkle_tree_hash(&all[296..300])));
        let short = TileHashReader::new(300, |_: &TilePath| Ok::<_, Infallible>(vec![0; 31]));
        assert!(matches!(short.hash(0, 0), Err(TileReadError::Decode { .. })));
        let absent = TileHashReader::new(300, |_: &TilePath| Err("absent"));
        assert!(matches!(
            absent.hash(0, 0),
            Err(TileReadError::Fetch { source: "absent", .. })
        ));
    }

    #[test]
    fn each_tile_of_a_path_is_fetched_once() {
        let all = leaves(70_000);
        let fetched = RefCell::new(Vec::new());
        let reader = TileHashReader::new(70_000, |path: &TilePath| {
            fetched.borrow_mut().push(*path);
            Ok::<_, Infallible>(tile_of(&all, path))
        });
        inclusion_proof(&reader, 33_333, 70_000).expect("in the tree");
        let mut once = fetched.borrow().clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), fetched.borrow().len());
    }

    proptest! {
        #[test]
        fn arbitrary_paths_and_bundles_never_panic(
            path in "(tile/)?(entries|[0-9]{1,3})?/?(x[0-9]{3}/){0,8}[0-9]{0,4}(\\.p/[0-9]{0,4})?",
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            width in 1_u16..=256,
        ) {
            if let Ok(parsed) = path.parse::<TilePath>() {
                prop_assert_eq!(parsed.to_string(), path);
            }
            let entries = TilePath { content: TileContent::Entries, index: 0, width };
            let _ = decode_entry_bundle(&entries, &bytes);
        }
    }
}
