//! The layout of a tenant log's segment files, shared by the log that writes them and the verifier that
//! reads them without it.
//!
//! A segment is a [`SegmentHeader`], then records, then, once the segment is closed, a [`SegmentFooter`].
//! A record on disk is its header (180 bytes), the CRC32C of the header (4 bytes, big-endian, outside every
//! hash) and its body. The file is named after its first offset: `00000000000000000000.segment`.
//! The CRC tells a damaged header from a rewritten one; only the hashes are evidence.

use crate::{Hash, Offset, TenantId};

/// The first eight bytes of a segment file; the last of them is the version.
pub const SEGMENT_MAGIC: [u8; 8] = *b"CRTSEG\x00\x01";
/// The first four bytes of a footer, where the next record's magic would stand.
pub const FOOTER_MAGIC: [u8; 4] = *b"CRTF";
/// The header's length: magic, tenant, first offset, previous hash, CRC32C of all before.
pub const SEGMENT_HEADER_BYTES: usize = 8 + 16 + 8 + 32 + 4;
/// The footer's length: magic, record count, Merkle tree hash, last record's hash, CRC32C of all before.
pub const SEGMENT_FOOTER_BYTES: usize = 4 + 8 + 32 + 32 + 4;
/// The bytes between a record's header and its body.
pub const RECORD_CRC_BYTES: usize = 4;

/// What a segment file begins with, without its magic and CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose log it is.
    pub tenant: TenantId,
    /// The offset of the segment's first record.
    pub first_offset: Offset,
    /// The record hash before the first record; zero for offset 0.
    pub previous_hash: Hash,
}

/// What a closed segment ends with, without its magic and CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFooter {
    /// How many records the segment holds.
    pub record_count: u64,
    /// The RFC 6962 Merkle tree hash over the record hashes of this segment alone.
    pub records_root: Hash,
    /// The record hash of the last record.
    pub last_hash: Hash,
}

impl SegmentHeader {
    /// The bytes that the CRC32C covers; the caller appends it, big-endian.
    #[must_use]
    pub fn encode_without_crc(&self) -> [u8; SEGMENT_HEADER_BYTES - 4] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES - 4];
        bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..24].copy_from_slice(self.tenant.as_bytes());
        bytes[24..32].copy_from_slice(&self.first_offset.get().to_be_bytes());
        bytes[32..64].copy_from_slice(self.previous_hash.as_bytes());
        bytes
    }

    /// Parses bytes whose CRC the caller has checked; `None` when the magic is another.
    #[must_use]
    pub fn decode_without_crc(bytes: &[u8; SEGMENT_HEADER_BYTES - 4]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (tenant, rest) = rest.split_first_chunk::<16>()?;
        let (first_offset, rest) = rest.split_first_chunk::<8>()?;
        let previous_hash = rest.first_chunk::<32>()?;
        (*magic == SEGMENT_MAGIC).then(|| Self {
            tenant: TenantId::new(*tenant),
            first_offset: Offset::new(u64::from_be_bytes(*first_offset)),
            previous_hash: Hash::new(*previous_hash),
        })
    }
}

impl SegmentFooter {
    /// The bytes that the CRC32C covers; the caller appends it, big-endian.
    #[must_use]
    pub fn encode_without_crc(&self) -> [u8; SEGMENT_FOOTER_BYTES - 4] {
        let mut bytes = [0; SEGMENT_FOOTER_BYTES - 4];
        bytes[0..4].copy_from_slice(&FOOTER_MAGIC);
        bytes[4..12].copy_from_slice(&self.record_count.to_be_bytes());
        bytes[12..44].copy_from_slice(self.records_root.as_bytes());
        bytes[44..76].copy_from_slice(self.last_hash.as_bytes());
        bytes
    }

    /// Parses bytes whose CRC the caller has checked; `None` when the magic is another.
    #[must_use]
    pub fn decode_without_crc(bytes: &[u8; SEGMENT_FOOTER_BYTES - 4]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (record_count, rest) = rest.split_first_chunk::<8>()?;
        let (records_root, rest) = rest.split_first_chunk::<32>()?;
        let last_hash = rest.first_chunk::<32>()?;
        (*magic == FOOTER_MAGIC).then(|| Self {
            record_count: u64::from_be_bytes(*record_count),
            records_root: Hash::new(*records_root),
            last_hash: Hash::new(*last_hash),
        })
    }
}

/// The file name of the segment that begins at `first_offset`.
#[must_use]
pub fn segment_file_name(first_offset: Offset) -> String {
    format!("{:020}.segment", first_offset.get())
}
