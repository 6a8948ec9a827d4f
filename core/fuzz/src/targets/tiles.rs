//! Tiles and entry bundles of a log over HTTP, and the Merkle trees and proofs in them.

use craton_proof::{
    Frontier, TileContent, TilePath, decode_entry_bundle, decode_tile, encode_entry_bundle, verify_consistency,
    verify_inclusion,
};
use craton_types::Hash;

use super::Parser;
use crate::world::world;

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "path",
        parse: path,
        seeds: || {
            [
                "tile/0/x001/x234/067",
                "tile/entries/000.p/5",
                "tile/7/000.p/1",
                "tile/entries/255",
            ]
            .map(|path| path.as_bytes().to_vec())
            .into()
        },
    },
    Parser {
        name: "tile",
        parse: tile,
        seeds: || vec![[&[2][..], &[7; 64]].concat()],
    },
    Parser {
        name: "entry bundle",
        parse: entry_bundle,
        seeds: || vec![[&[2][..], &[0, 3], b"one", &[0, 0]].concat()],
    },
    Parser {
        name: "tree's right edge",
        parse: frontier,
        seeds: || {
            let mut tree = Frontier::new();
            world().hashes().into_iter().for_each(|hash| tree.push(hash));
            vec![Frontier::new().to_bytes(), tree.to_bytes()]
        },
    },
    Parser {
        name: "inclusion path",
        parse: inclusion,
        seeds: || vec![[&[3][..], &joined(&world().inclusion(3))].concat()],
    },
    Parser {
        name: "consistency path",
        parse: consistency,
        seeds: || vec![[&[12][..], &joined(&world().consistency())].concat()],
    },
];

fn joined(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

fn divided(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks::<32>().0.iter().map(|hash| Hash::new(*hash)).collect()
}

fn path(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let parsed = text.parse::<TilePath>();
    if let Ok(path) = &parsed {
        assert_eq!(path.to_string(), text, "a path has one form");
        let size = path.size_min().expect("some tree has it");
        assert_eq!(
            TilePath::in_tree(path.content(), path.index(), size).as_ref(),
            Some(path)
        );
        assert!(path.full().to_string().parse::<TilePath>().is_ok() || path.full().size_min().is_none());
    }
    parsed.is_ok()
}

/// The tile of a content that is as wide as the input's first byte says.
fn of_width(content: TileContent, width: u8) -> Option<TilePath> {
    TilePath::in_tree(content, 0, u64::from(width))
}

fn tile(bytes: &[u8]) -> bool {
    let Some((path, bytes)) = split_width(bytes, TileContent::Hashes(0)) else {
        return false;
    };
    let decoded = decode_tile(&path, bytes);
    if let Ok(hashes) = &decoded {
        assert_eq!(joined(hashes), bytes, "a tile has one form");
    }
    decoded.is_ok()
}

fn split_width(bytes: &[u8], content: TileContent) -> Option<(TilePath, &[u8])> {
    let (&width, bytes) = bytes.split_first()?;
    Some((of_width(content, width)?, bytes))
}

fn entry_bundle(bytes: &[u8]) -> bool {
    let Some((path, bytes)) = split_width(bytes, TileContent::Entries) else {
        return false;
    };
    let decoded = decode_entry_bundle(&path, bytes);
    if let Ok(entries) = decoded {
        assert_eq!(entries.len(), usize::from(path.width()));
        assert_eq!(
            encode_entry_bundle(entries).as_deref(),
            Some(bytes),
            "a bundle has one form"
        );
        return true;
    }
    false
}

fn frontier(bytes: &[u8]) -> bool {
    let decoded = Frontier::from_bytes(bytes);
    if let Ok(tree) = &decoded {
        assert_eq!(tree.to_bytes(), bytes, "a frontier has one form");
        let _ = tree.root();
        if tree.size() < u64::MAX {
            let mut grown = tree.clone();
            grown.push(Hash::ZERO);
            assert_eq!(grown.size(), tree.size() + 1);
        }
    }
    decoded.is_ok()
}

/// No other path shows a record, and the path shows no other record.
fn inclusion(bytes: &[u8]) -> bool {
    let Some((&index, path)) = bytes.split_first() else {
        return false;
    };
    let (index, path) = (u64::from(index), divided(path));
    let size = world().records.len() as u64;
    let root = world().root_of(size);
    let shown = verify_inclusion(world().hashes()[3], index, size, &path, &root);
    if shown.is_ok() {
        assert_eq!((index, path), (3, world().inclusion(3)), "another path verifies");
    }
    shown.is_ok()
}

/// No other path shows that the log goes on from where it was.
fn consistency(bytes: &[u8]) -> bool {
    let Some((&old_size, path)) = bytes.split_first() else {
        return false;
    };
    let (old_size, path) = (u64::from(old_size), divided(path));
    let size = world().records.len() as u64;
    let shown = verify_consistency(12, &world().root_of(12), size, &world().root_of(size), &path);
    if shown.is_ok() {
        assert_eq!(path, world().consistency(), "another path verifies");
    }
    // Sizes as a stranger may claim them.
    let _ = verify_consistency(old_size, &world().root_of(12), size, &world().root_of(size), &path);
    let _ = verify_consistency(
        old_size << 32,
        &world().root_of(12),
        u64::MAX,
        &world().root_of(size),
        &path,
    );
    shown.is_ok()
}
