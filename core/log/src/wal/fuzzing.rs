//! What is on disk of a write-ahead log, parsed for fuzzing. Checksums are made to match first: they find accidents, and
//! what lies behind them must stand whatever it is.

use craton_types::LogIndex;

use super::WalEntry;
use super::entries::{join_entries, split_entries};
use super::format::{RECORD_CHECKSUM_START, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::recovery::TornTail;
use super::superblock::{BODY_START, CHECKSUM_START, COPY_BYTES, DIGEST_START, Superblock, Vote};

/// Puts the CRC32C of the bytes before `at` there.
fn with_checksum<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    let mut bytes = *bytes.first_chunk::<N>()?;
    let checksum = crc32c::crc32c(&bytes[..at]);
    bytes[at..at + 4].copy_from_slice(&checksum.to_be_bytes());
    Some(bytes)
}

/// A segment's header.
#[must_use]
pub fn wal_segment_header(bytes: &[u8]) -> bool {
    let Some(bytes) = with_checksum::<SEGMENT_HEADER_BYTES>(bytes, 148) else {
        return false;
    };
    let decoded = SegmentHeader::decode(&bytes);
    if let Some((header, key)) = &decoded {
        assert_eq!(header.encode(key), bytes, "a segment header has one form");
    }
    decoded.is_some()
}

/// A record's header.
#[must_use]
pub fn wal_record_header(bytes: &[u8]) -> bool {
    let Some(bytes) = with_checksum::<RECORD_HEADER_BYTES>(bytes, RECORD_CHECKSUM_START) else {
        return false;
    };
    let decoded = RecordHeader::decode(&bytes);
    if let Ok(header) = &decoded {
        assert_eq!(header.encode(), bytes, "a record header has one form");
    }
    decoded.is_ok()
}

/// The plaintext of an entries record, after the index of its first entry (8 bytes) and their number (4 bytes).
#[must_use]
pub fn wal_entries(bytes: &[u8]) -> bool {
    let Some((first, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    let Some((count, text)) = rest.split_first_chunk::<4>() else {
        return false;
    };
    let (first, count) = (u64::from_be_bytes(*first), u32::from_be_bytes(*count));
    let Some(slices) = split_entries(LogIndex::new(first), count, text) else {
        return false;
    };
    assert_eq!(slices.len(), count as usize);
    let owned = slices.iter().map(|slice| WalEntry {
        index: slice.index,
        term: slice.term,
        payload: slice.payload.to_vec(),
    });
    let mut joined = Vec::new();
    join_entries(&owned.collect::<Vec<_>>(), &mut joined);
    assert_eq!(joined, text, "entries have one form");
    true
}

/// The plaintext of a recovery record.
#[must_use]
pub fn wal_torn_tail(bytes: &[u8]) -> bool {
    let decoded = TornTail::decode(bytes);
    if let Some(torn) = &decoded {
        assert_eq!(torn.encode(), bytes, "a torn tail has one form");
    }
    decoded.is_some()
}

/// The plaintext of a vote.
#[must_use]
pub fn wal_vote(bytes: &[u8]) -> bool {
    let decoded = Vote::decode(bytes);
    if let Some(vote) = &decoded {
        assert_eq!(vote.encode(), bytes, "a vote has one form");
    }
    decoded.is_some()
}

/// A copy of the superblock, whichever it says that it is.
#[must_use]
pub fn wal_superblock(bytes: &[u8]) -> bool {
    let Some(mut bytes) = bytes.first_chunk::<COPY_BYTES>().copied() else {
        return false;
    };
    let digest = craton_crypto::sha256(&[&bytes[BODY_START..DIGEST_START]]);
    bytes[DIGEST_START..CHECKSUM_START].copy_from_slice(digest.as_bytes());
    let Some(bytes) = with_checksum::<COPY_BYTES>(&bytes, CHECKSUM_START) else {
        return false;
    };
    let copy = bytes[8];
    let decoded = Superblock::decode(&bytes, copy);
    if let Some(superblock) = &decoded {
        assert_eq!(superblock.encode(copy), bytes, "a superblock has one form");
    }
    assert_eq!(
        Superblock::decode(&bytes, copy.wrapping_add(1)),
        None,
        "a misplaced copy"
    );
    decoded.is_some()
}
