//! A log by its tiles and entries: what is intact leads to the signed root, and whatever was changed is named.

use craton_crypto::record_hash;
use craton_proof::{
    Checkpoint, ComputedTile, Finding, Frontier, KeyName, TILE_LEVEL_MAX, TileContent, TileFault, TilePath,
    TilesAssembly, digest_bundle, encode_entry_bundle, merkle_tree_hash,
};
use craton_types::{Hash, Offset, RecordHeader, StreamSequence, TenantId, Timestamp};

use crate::support::Log;

const SIZE: u64 = 700;

fn headers() -> Vec<RecordHeader> {
    let first = Log::new().records[0].header.clone();
    let mut headers: Vec<RecordHeader> = Vec::new();
    for offset in 0..SIZE {
        headers.push(RecordHeader {
            offset: Offset::new(offset),
            stream_sequence: StreamSequence::new(offset),
            timestamp: Timestamp::new(1_000 + offset / 3),
            previous_hash: headers.last().map_or(Hash::ZERO, hash),
            ..first.clone()
        });
    }
    headers
}

fn hash(header: &RecordHeader) -> Hash {
    record_hash(&header.encode())
}

/// A log as it is served.
struct Tiles {
    headers: Vec<RecordHeader>,
    leaves: Vec<Hash>,
}

impl Tiles {
    /// The tiles over headers, whatever these are.
    fn over(headers: Vec<RecordHeader>) -> Self {
        let leaves = headers.iter().map(hash).collect();
        Self { headers, leaves }
    }

    fn checkpoint(&self) -> Checkpoint {
        let tenant = Log::new().records[0].header.tenant;
        Checkpoint {
            origin: KeyName::parse(&format!("cluster.example/{tenant}")).expect("a name"),
            size: self.leaves.len() as u64,
            root: merkle_tree_hash(&self.leaves),
        }
    }

    fn read(&self, path: &TilePath) -> Vec<u8> {
        let start = usize::try_from(path.index()).expect("small") * 256;
        let entries = start..start + usize::from(path.width());
        match path.content() {
            TileContent::Entries => {
                let encoded: Vec<_> = self.headers[entries].iter().map(RecordHeader::encode).collect();
                encode_entry_bundle(encoded.iter().map(<[u8; _]>::as_slice)).expect("short entries")
            }
            TileContent::Hashes(level) => {
                let below = 256_usize.pow(level.into());
                let hashes = entries.map(|index| merkle_tree_hash(&self.leaves[index * below..(index + 1) * below]));
                hashes.flat_map(|hash| *hash.as_bytes()).collect()
            }
        }
    }

    /// Verifies everything as it is read.
    fn verify(&self, read: impl Fn(&TilePath) -> Vec<u8>, checkpoint: &Checkpoint) -> Result<Vec<TilePath>, String> {
        let size = self.leaves.len() as u64;
        let mut assembly = TilesAssembly::new(Frontier::new());
        let mut seen = Vec::new();
        let mut compare = |tiles: Vec<ComputedTile>| {
            seen.extend(tiles.iter().map(|tile| *tile.path()));
            tiles.iter().try_for_each(|tile| tile.check(&read(tile.path())))
        };
        let text = |fault: Box<TileFault>| fault.to_string();
        for path in (0..).map_while(|index| TilePath::in_tree(TileContent::Entries, index, size)) {
            let tile = TilePath::in_tree(TileContent::Hashes(0), path.index(), size).expect("a tile");
            let digest = digest_bundle(&path, &read(&path), &read(&tile)).map_err(text)?;
            compare(assembly.push(&digest).map_err(text)?).map_err(text)?;
        }
        compare(assembly.finish(checkpoint).map_err(|finding| finding.to_string())?).map_err(text)?;
        Ok(seen)
    }
}

#[test]
fn an_intact_log_verifies_and_every_upper_tile_is_compared() {
    let log = Tiles::over(headers());
    let seen = log.verify(|path| log.read(path), &log.checkpoint()).expect("intact");
    let uppers = (1..=TILE_LEVEL_MAX).filter_map(|level| TilePath::in_tree(TileContent::Hashes(level), 0, SIZE));
    assert_eq!(seen, uppers.collect::<Vec<_>>());
}

/// Bytes of the first and last entries and hashes of each kind of file.
#[test]
fn a_changed_byte_is_named_with_its_file() {
    let log = Tiles::over(headers());
    let path = |text: &str| -> TilePath { text.parse().expect("a path") };
    for (file, positions) in [
        ("tile/entries/000", (0..182).chain(255 * 182..256 * 182)),
        ("tile/entries/002.p/188", (0..182).chain(187 * 182..188 * 182)),
        ("tile/0/000", (0..40).chain(8_150..8_192)),
        ("tile/0/002.p/188", (0..40).chain(187 * 32..188 * 32)),
        ("tile/1/000.p/2", (0..32).chain(32..64)),
    ] {
        let file = path(file);
        for position in positions.step_by(11) {
            let read = |path: &TilePath| {
                let mut bytes = log.read(path);
                if *path == file {
                    bytes[position] ^= 0x04;
                }
                bytes
            };
            let error = log.verify(read, &log.checkpoint()).expect_err("a changed byte");
            assert!(
                error.starts_with(&format!("{file}, byte ")),
                "{file} {position}: {error}"
            );
            let is_entry_byte = file.content() == TileContent::Entries && position % 182 >= 2;
            let is_exact = error.starts_with(&format!("{file}, byte {position}: "));
            assert!(is_exact || !is_entry_byte, "{file} {position}: {error}");
        }
    }
}

/// Whoever changes entries and tiles alike is found by the links, or by the root at the latest.
#[test]
fn what_was_rewritten_consistently_is_not_what_was_signed() {
    let genuine = Tiles::over(headers());
    let edited = |edit: &dyn Fn(&mut Vec<RecordHeader>)| {
        let mut headers = headers();
        edit(&mut headers);
        Tiles::over(headers)
    };
    let relink = |headers: &mut Vec<RecordHeader>, from: usize| {
        for index in from..headers.len() {
            headers[index].previous_hash = hash(&headers[index - 1]);
        }
    };
    let relinked = |headers: &mut Vec<RecordHeader>| {
        headers[300].actor = craton_types::ActorId::NIL;
        relink(headers, 301);
    };
    let begun = |headers: &mut Vec<RecordHeader>| {
        headers[0].previous_hash = Hash::new([1; 32]);
        relink(headers, 1);
    };
    let cut = |headers: &mut Vec<RecordHeader>| {
        headers[256].previous_hash = Hash::ZERO;
        relink(headers, 257);
    };
    for (log, part) in [
        (
            edited(&|headers| headers[300].actor = craton_types::ActorId::NIL),
            "record 301, field previous_hash",
        ),
        (edited(&|headers| headers.swap(10, 11)), "record 10, field offset"),
        (edited(&cut), "record 256, field previous_hash"),
        (edited(&begun), "record 0, field previous_hash"),
        (
            edited(&|headers| headers[699].timestamp = Timestamp::new(1)),
            "record 699, field timestamp",
        ),
        (
            edited(&|headers| headers[699].tenant = TenantId::new([1; 16])),
            "record 699, field tenant",
        ),
        (edited(&relinked), "records 0 to 699"),
    ] {
        let error = log
            .verify(|path| log.read(path), &genuine.checkpoint())
            .expect_err(part);
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn files_of_another_length_are_named() {
    let log = Tiles::over(headers());
    for file in ["tile/entries/001", "tile/0/001", "tile/1/000.p/2"] {
        let file: TilePath = file.parse().expect("a path");
        for length in [0, 1, 31, 33] {
            let read = |path: &TilePath| {
                let mut bytes = log.read(path);
                if *path == file {
                    bytes.resize(length, 0);
                }
                bytes
            };
            let error = log.verify(read, &log.checkpoint()).expect_err("another length");
            assert!(error.starts_with(&format!("{file}, byte 0: ")), "{error}");
        }
    }
}

#[test]
fn entries_can_be_read_from_a_later_bundle_on() {
    let log = Tiles::over(headers());
    let mut start = Frontier::new();
    log.leaves[..256].iter().for_each(|leaf| start.push(*leaf));
    let mut wrong = Frontier::new();
    log.leaves[1..257].iter().for_each(|leaf| wrong.push(*leaf));
    for (start, is_right) in [(start, true), (wrong, false)] {
        let mut assembly = TilesAssembly::new(start);
        for index in 1..3 {
            let path = TilePath::in_tree(TileContent::Entries, index, SIZE).expect("a bundle");
            let tile = TilePath::in_tree(TileContent::Hashes(0), index, SIZE).expect("a tile");
            let digest = digest_bundle(&path, &log.read(&path), &log.read(&tile)).expect("intact");
            assert_eq!(assembly.push(&digest), Ok(vec![]));
        }
        let finished = assembly.finish(&log.checkpoint());
        assert_eq!(finished.is_ok(), is_right);
        assert!(is_right || matches!(finished, Err(Finding::NotTheSignedRecords { .. })));
    }
}
