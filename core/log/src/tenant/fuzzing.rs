//! What is on disk of a tenant's log, parsed for fuzzing. Checksums are made to match first: they find accidents, and
//! what lies behind them must stand whatever it is.

use std::path::Path;
use std::sync::Arc;

use craton_crypto::LinkedRecord;
use craton_types::{HEADER_BYTES, Record, SEGMENT_FOOTER_BYTES, SEGMENT_HEADER_BYTES, TenantId};

use super::files::{Files, NamedFile};
use super::index::{ClosedSegment, INDEX_INTERVAL, read_frontier, read_position};
use super::records::{
    Found, check_body, encode_record, read_body, read_footer, read_header, read_segment_header, with_crc,
};
use super::{TenantLogError, mark};
use crate::disk::MemoryDisk;

fn file(bytes: &[u8]) -> NamedFile {
    let files =
        Files::create_dir(Arc::new(MemoryDisk::new()), Path::new("/log")).expect("an empty disk takes a folder");
    files.create_whole("file", bytes).expect("an empty disk takes a file")
}

fn refused<T>(error: TenantLogError) -> Option<T> {
    assert!(matches!(error, TenantLogError::Corrupt { .. }), "{error} is no damage");
    None
}

/// A segment's header, of whichever log it says.
#[must_use]
pub fn tenant_segment_header(bytes: &[u8]) -> bool {
    let Some(covered) = bytes.first_chunk::<{ SEGMENT_HEADER_BYTES - 4 }>() else {
        return false;
    };
    let tenant = TenantId::new(*covered[8..].first_chunk().expect("64 bytes"));
    let first = u64::from_be_bytes(*covered[24..].first_chunk().expect("64 bytes"));
    let header = read_segment_header(&file(&with_crc(covered)), tenant, first).map_or_else(refused, Some);
    if let Some(header) = &header {
        assert_eq!(header.encode_without_crc(), *covered, "a segment header has one form");
    }
    header.is_some()
}

/// A closed segment's footer.
#[must_use]
pub fn tenant_segment_footer(bytes: &[u8]) -> bool {
    let Some(covered) = bytes.first_chunk::<{ SEGMENT_FOOTER_BYTES - 4 }>() else {
        return false;
    };
    let stored = with_crc(covered);
    let footer = read_footer(&file(&stored), 0).expect("a footer is no error");
    if let Some(footer) = &footer {
        assert_eq!(footer.encode_without_crc(), *covered, "a footer has one form");
    }
    let followed = read_footer(&file(&[&stored[..], &[0]].concat()), 0).expect("a footer is no error");
    assert_eq!(followed, None, "nothing follows a footer");
    footer.is_some()
}

/// A record as it is stored, without its checksum: a header and a body, of whichever log it says.
#[must_use]
pub fn tenant_record(bytes: &[u8]) -> bool {
    let Some((header_bytes, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return false;
    };
    let tenant = TenantId::new(*header_bytes[8..].first_chunk().expect("180 bytes"));
    let offset = u64::from_be_bytes(*header_bytes[32..].first_chunk().expect("180 bytes"));
    let stored = [&with_crc(header_bytes)[..], body].concat();
    let file = file(&stored);
    let Found::Record(found) = read_header(&file, 0, tenant, offset).expect("a record is no error") else {
        return false;
    };
    assert_eq!(found.header.encode(), *header_bytes, "a record header has one form");
    let mut read = Vec::new();
    // A body that the file does not have is not made room for.
    if found.stored_bytes() > stored.len() as u64 || !read_body(&file, 0, &found.header, &mut read).expect("in memory")
    {
        return false;
    }
    let mut header = found.header.clone();
    if let Ok(chunks) = Record::decode_body(&header, &read) {
        let mut encoded = Vec::new();
        let record = Record {
            header: header.clone(),
            chunks,
        };
        record.encode_body(&mut encoded);
        assert_eq!(encoded, read, "a body has one form");
        let leaves: Vec<_> = record
            .chunks
            .iter()
            .map(|chunk| craton_crypto::chunk_hash(chunk))
            .collect();
        header.payload_hash = craton_proof::merkle_tree_hash(&leaves);
        let checked = check_body(&header, &read).expect("its own hash");
        assert_eq!(checked, record.chunks);
        let mut again = Vec::new();
        encode_record(&LinkedRecord::new(record), &mut again);
        assert_eq!(again, stored[..again.len()], "a record has one form");
        return true;
    }
    assert!(
        check_body(&header, &read).is_err(),
        "a body that does not divide has no hash"
    );
    false
}

/// A sparse index, without its checksum, of whichever segment it says.
#[must_use]
pub fn tenant_index(bytes: &[u8]) -> bool {
    let (Some(first), Some(count)) = (integer(bytes, 8), integer(bytes, 16)) else {
        return false;
    };
    // A segment of more than this is not in a file that a fuzzer makes, and offsets end at 2^64.
    if count > 1 << 20 || first.checked_add(count).is_none() {
        return false;
    }
    let segment = ClosedSegment {
        first,
        record_count: count,
    };
    let file = file(&with_crc(bytes));
    let frontier = read_frontier(&file, segment).expect("in memory");
    if let Some(frontier) = &frontier {
        assert_eq!(frontier.size(), segment.end());
        for entry in 0..count.div_ceil(INDEX_INTERVAL) {
            let position = read_position(&file, segment, entry).expect("in memory");
            assert!(position.is_some(), "a whole index has every position");
        }
    }
    frontier.is_some()
}

fn integer(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A slot of the mark of how far the log is synced, without its checksum.
#[must_use]
pub fn tenant_mark(bytes: &[u8]) -> bool {
    let Some(covered) = bytes.first_chunk::<16>() else {
        return false;
    };
    let slot = with_crc(covered);
    let decoded = mark::decode(slot.first_chunk().expect("16 bytes and a checksum"));
    if let Some(synced) = decoded {
        assert_eq!(mark::encode(synced), slot, "a mark has one form");
    }
    decoded.is_some()
}
