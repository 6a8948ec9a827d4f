//! The sparse index beside a closed segment, derived from it and rebuilt when it is missing or damaged.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic, `CRTIDX`, 0, and the version, 1 |
//! | 8..16 | first offset |
//! | 16..24 | record count |
//! | 24.. | the log's Merkle frontier after the segment's last record: its size and roots |
//! | | the file position of every 64th record, from the first on, 8 bytes each |
//! | last 4 | CRC32C of all before |

use craton_proof::Frontier;

use super::TenantLogError;
use super::files::{Files, NamedFile, index_name};
use super::records::with_crc;

/// One position is kept for this many records.
pub(super) const INDEX_INTERVAL: u64 = 64;
const MAGIC: [u8; 8] = *b"CRTIDX\x00\x01";
const FIXED_BYTES: usize = 24;

/// A closed segment's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClosedSegment {
    pub(super) first: u64,
    pub(super) record_count: u64,
}

impl ClosedSegment {
    /// One past its last offset.
    pub(super) const fn end(self) -> u64 {
        self.first + self.record_count
    }

    fn frontier_bytes(self) -> usize {
        8 + 32 * self.end().count_ones() as usize
    }
}

/// Writes a closed segment's index, durably.
pub(super) fn write_index(
    files: &Files,
    segment: ClosedSegment,
    frontier: &Frontier,
    positions: &[u64],
) -> Result<(), TenantLogError> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&segment.first.to_be_bytes());
    bytes.extend_from_slice(&segment.record_count.to_be_bytes());
    bytes.extend_from_slice(&frontier.to_bytes());
    for position in positions {
        bytes.extend_from_slice(&position.to_be_bytes());
    }
    files.create_whole(&index_name(segment.first), &with_crc(&bytes))?;
    Ok(())
}

/// The frontier that a whole index of this segment holds; `None` when the index must be rebuilt.
pub(super) fn read_frontier(file: &NamedFile, segment: ClosedSegment) -> Result<Option<Frontier>, TenantLogError> {
    let positions = usize::try_from(segment.record_count.div_ceil(INDEX_INTERVAL)).unwrap_or(usize::MAX);
    let length = FIXED_BYTES + segment.frontier_bytes() + positions * 8 + 4;
    if file.length()? != length as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    let whole = file.fill(&mut bytes, 0)?;
    let covered = &bytes[..length - 4];
    let fixed = [MAGIC, segment.first.to_be_bytes(), segment.record_count.to_be_bytes()].concat();
    if !whole || !covered.starts_with(&fixed) || with_crc(covered) != bytes {
        return Ok(None);
    }
    let frontier = Frontier::from_bytes(&covered[FIXED_BYTES..FIXED_BYTES + segment.frontier_bytes()]);
    Ok(frontier.ok().filter(|frontier| frontier.size() == segment.end()))
}

/// The position of the `entry`th indexed record, unchecked: the record found there tells whether it is right.
pub(super) fn read_position(
    file: &NamedFile,
    segment: ClosedSegment,
    entry: u64,
) -> Result<Option<u64>, TenantLogError> {
    let mut bytes = [0; 8];
    let whole = file.fill(&mut bytes, (FIXED_BYTES + segment.frontier_bytes()) as u64 + entry * 8)?;
    Ok(whole.then(|| u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use craton_types::Hash;
    use proptest::prelude::*;

    use super::*;
    use crate::disk::MemoryDisk;

    proptest! {
        #[test]
        fn indexes_survive_a_round_trip_and_no_flip(
            first in 0u64..200, record_count in 1u64..300, at in any::<proptest::sample::Index>(), bit in 0..8,
        ) {
            let disk = MemoryDisk::new();
            let files = Files::create_dir(Arc::new(disk.clone()), Path::new("/d")).expect("created");
            let segment = ClosedSegment { first, record_count };
            let mut frontier = Frontier::new();
            (0..segment.end()).for_each(|_| frontier.push(Hash::new([3; 32])));
            let positions: Vec<u64> = (0..record_count.div_ceil(INDEX_INTERVAL)).map(|entry| entry * 1_000).collect();
            write_index(&files, segment, &frontier, &positions).expect("written");

            let file = files.open(&index_name(first)).expect("opened");
            prop_assert_eq!(read_frontier(&file, segment).expect("readable"), Some(frontier));
            for (entry, position) in (0..).zip(positions) {
                prop_assert_eq!(read_position(&file, segment, entry).expect("readable"), Some(position));
            }
            let other = ClosedSegment { record_count: record_count + 1, ..segment };
            prop_assert_eq!(read_frontier(&file, other).expect("readable"), None);
            disk.tamper(&disk.paths()[0], |bytes| {
                let at = at.index(bytes.len());
                bytes[at] ^= 1u8 << bit;
            });
            prop_assert_eq!(read_frontier(&file, segment).expect("readable"), None);
        }
    }
}
