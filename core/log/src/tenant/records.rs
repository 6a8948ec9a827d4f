//! Reading records from a segment file and checking them.

use craton_crypto::{LinkedRecord, chunk_hash, record_hash};
use craton_proof::merkle_tree_hash;
use craton_types::{
    FOOTER_MAGIC, HEADER_BYTES, Hash, RECORD_CRC_BYTES, Record, RecordHeader, SEGMENT_FOOTER_BYTES,
    SEGMENT_HEADER_BYTES, SegmentFooter, SegmentHeader, TenantId,
};

use super::TenantLogError;
use super::files::NamedFile;

const STORED_HEADER_BYTES: usize = HEADER_BYTES + RECORD_CRC_BYTES;

/// Where a segment's first record begins.
pub(super) const RECORDS_START: u64 = SEGMENT_HEADER_BYTES as u64;

/// A record's header as it is stored.
pub(super) struct StoredHeader {
    pub(super) header: RecordHeader,
    pub(super) bytes: [u8; HEADER_BYTES],
}

/// What stands where a record may begin.
pub(super) enum Found {
    Record(Box<StoredHeader>),
    /// What begins like a footer.
    Footer,
    /// The end of the file.
    End,
    /// Something else; names the field that is wrong.
    Damage(&'static str),
}

impl StoredHeader {
    pub(super) fn hash(&self) -> Hash {
        record_hash(&self.bytes)
    }

    /// The bytes that the record occupies.
    pub(super) fn stored_bytes(&self) -> u64 {
        STORED_HEADER_BYTES as u64 + u64::from(self.header.payload_length)
    }
}

/// The bytes that a record with a body of `payload_length` occupies.
pub(super) const fn stored_bytes(payload_length: u32) -> u64 {
    STORED_HEADER_BYTES as u64 + payload_length as u64
}

/// Appends a record as it is stored.
pub(super) fn encode_record(linked: &LinkedRecord, out: &mut Vec<u8>) {
    let header_bytes = linked.header_bytes();
    out.extend_from_slice(header_bytes);
    out.extend_from_slice(&crc32c::crc32c(header_bytes).to_be_bytes());
    linked.record().encode_body(out);
}

/// A record as it is stored, from its parts.
pub(super) fn encode_stored(header: &StoredHeader, body: &[u8]) -> Vec<u8> {
    let checksum = crc32c::crc32c(&header.bytes).to_be_bytes();
    [&header.bytes[..], &checksum, body].concat()
}

/// Reads what stands at `position` and checks the header's form, tenant and offset.
pub(super) fn read_header(
    file: &NamedFile,
    position: u64,
    tenant: TenantId,
    offset: u64,
) -> Result<Found, TenantLogError> {
    let mut stored = [0; STORED_HEADER_BYTES];
    let read = file.read(&mut stored, position)?;
    if read == 0 {
        return Ok(Found::End);
    }
    if stored[..read].starts_with(&FOOTER_MAGIC) {
        return Ok(Found::Footer);
    }
    if read < stored.len() {
        return Ok(Found::Damage("header_end"));
    }
    let (bytes, checksum) = stored
        .split_first_chunk::<HEADER_BYTES>()
        .expect("the header comes first");
    let decoded = RecordHeader::decode(bytes);
    if checksum != crc32c::crc32c(bytes).to_be_bytes() {
        return Ok(Found::Damage(
            decoded.err().map_or("header_checksum", |error| error.field),
        ));
    }
    let header = match decoded {
        Ok(header) => header,
        Err(error) => return Ok(Found::Damage(error.field)),
    };
    if header.tenant != tenant {
        return Ok(Found::Damage("tenant"));
    }
    if header.offset.get() != offset {
        return Ok(Found::Damage("offset"));
    }
    Ok(Found::Record(Box::new(StoredHeader { header, bytes: *bytes })))
}

/// Reads a record's body into `body`; `false` when the file ends before.
pub(super) fn read_body(
    file: &NamedFile,
    position: u64,
    header: &RecordHeader,
    body: &mut Vec<u8>,
) -> Result<bool, TenantLogError> {
    body.resize(header.payload_length as usize, 0);
    file.fill(body, position + STORED_HEADER_BYTES as u64)
}

/// Divides a body into chunks and checks them against the header's `payload_hash`.
///
/// # Errors
/// The name of the header's field that the body does not fit.
pub fn check_body(header: &RecordHeader, body: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let chunks = Record::decode_body(header, body).map_err(|error| error.field)?;
    let leaves: Vec<Hash> = chunks.iter().map(|chunk| chunk_hash(chunk)).collect();
    if merkle_tree_hash(&leaves) == header.payload_hash {
        Ok(chunks)
    } else {
        Err("payload_hash")
    }
}

/// Reads and checks a segment's header; names the field that is wrong.
pub(super) fn read_segment_header(
    file: &NamedFile,
    tenant: TenantId,
    first: u64,
) -> Result<SegmentHeader, TenantLogError> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let whole = file.fill(&mut bytes, 0)?;
    let header = checked(&bytes)
        .filter(|_| whole)
        .and_then(SegmentHeader::decode_without_crc)
        .ok_or(TenantLogError::corrupt(first, "segment_header"))?;
    if header.tenant != tenant {
        return Err(TenantLogError::corrupt(first, "tenant"));
    }
    if header.first_offset.get() != first {
        return Err(TenantLogError::corrupt(first, "first_offset"));
    }
    Ok(header)
}

/// Reads the footer at `position`, which must be the end of the file; `None` when it is not whole.
pub(super) fn read_footer(file: &NamedFile, position: u64) -> Result<Option<SegmentFooter>, TenantLogError> {
    // One more byte than a footer has shows whether the file goes on.
    let mut bytes = [0; SEGMENT_FOOTER_BYTES + 1];
    let whole = file.read(&mut bytes, position)? == SEGMENT_FOOTER_BYTES;
    let bytes = bytes.first_chunk::<SEGMENT_FOOTER_BYTES>().filter(|_| whole);
    Ok(bytes.and_then(checked).and_then(SegmentFooter::decode_without_crc))
}

/// The bytes before a CRC32C that ends the array; `None` when it does not match.
fn checked<const WITH_CRC: usize, const WITHOUT: usize>(bytes: &[u8; WITH_CRC]) -> Option<&[u8; WITHOUT]> {
    let (covered, checksum) = bytes.split_first_chunk::<WITHOUT>()?;
    (checksum == crc32c::crc32c(covered).to_be_bytes()).then_some(covered)
}

pub(super) fn with_crc(covered: &[u8]) -> Vec<u8> {
    [covered, &crc32c::crc32c(covered).to_be_bytes()].concat()
}
