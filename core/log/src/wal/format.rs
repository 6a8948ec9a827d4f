//! The bytes of a segment file. All integers are big-endian, all checksums CRC32C.
//!
//! Segment header:
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..8 | magic | `CRTWAL`, 0, and the version, 2 |
//! | 8..16 | sequence | the segment's number, never used twice in one log |
//! | 16..24 | salt | random; records carry it too |
//! | 24..32 | capacity | bytes reserved for the file |
//! | 32..40 | previous_sequence | the segment before; 0 for none |
//! | 40..48 | previous_end | where the records of the segment before end; what follows there does not count |
//! | 48..56 | previous_index | the last entry before this segment; 0 for none |
//! | 56..64 | previous_term | its term |
//! | 64..72 | created_end | where the records end that were written and synced before the file got its name |
//! | 72..88 | log_id | of the log that the segment belongs to, as the superblock has it |
//! | 88..100 | key nonce | random |
//! | 100..148 | wrapped key | the segment's key, encrypted with AES-256-GCM under the node's; bytes 0..88 are associated |
//! | 148..152 | checksum | of bytes 0..148 |
//!
//! Record header, followed by the payload (ciphertext and 16-byte tag; the nonce is the position, bytes 0..56
//! are associated):
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..4 | magic | `CRTW` |
//! | 4 | version | 2 |
//! | 5 | kind | see [`RecordKind`] |
//! | 6..8 | reserved | zero |
//! | 8..16 | salt | the segment's |
//! | 16..24 | position | of this header in its file |
//! | 24..32 | index | of the first entry |
//! | 32..40 | term | of the first entry |
//! | 40..44 | entry_count | |
//! | 44..48 | payload_length | in bytes |
//! | 48..56 | committed | entries up to here were known to be committed when the record was written |
//! | 56..60 | payload_checksum | |
//! | 60..64 | checksum | of bytes 0..60 |
//!
//! The plaintext of an entries record is, for each entry, its term (8 bytes), length (4 bytes) and bytes; that of a
//! vote its term and the node voted for (8 bytes each), and 1 when a quorum granted it, otherwise 0 (1 byte).

use craton_types::{LogIndex, NodeId, Term};

use super::recovery::TornTail;
use super::superblock::Vote;

pub(super) const SEGMENT_HEADER_BYTES: usize = 152;
pub(super) const SEGMENT_HEADER_LENGTH: u64 = 152;
pub(super) const WRAPPED_KEY_BYTES: usize = 48;
pub(super) const KEY_NONCE_BYTES: usize = 12;
/// The bytes of a segment header that the wrapped key is bound to.
pub(super) const SEGMENT_ASSOCIATED_BYTES: usize = 88;
const SEGMENT_MAGIC: [u8; 8] = *b"CRTWAL\x00\x02";

pub(super) const RECORD_HEADER_BYTES: usize = 64;
pub(super) const TAG_BYTES: usize = 16;
/// The bytes of a record header that its payload is bound to.
pub(super) const RECORD_ASSOCIATED_BYTES: usize = 56;
pub(super) const RECORD_MAGIC: [u8; 4] = *b"CRTW";
/// Where a record header's own checksum stands.
pub(super) const RECORD_CHECKSUM_START: usize = 60;
const RECORD_VERSION: u8 = 2;
/// The bytes before each entry of an entries record.
pub(super) const ENTRY_HEADER_BYTES: usize = 12;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RecordKind {
    /// One batch of entries.
    Entries = 1,
    /// The report on a torn tail that was set aside, see [`TornTail`].
    Recovery = 2,
    /// The node's vote, see [`Vote`].
    Vote = 3,
}

/// A segment header without magic, key and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) sequence: u64,
    pub(super) salt: [u8; 8],
    pub(super) capacity: u64,
    pub(super) previous_sequence: u64,
    pub(super) previous_end: u64,
    pub(super) previous: Option<(LogIndex, Term)>,
    pub(super) created_end: u64,
    pub(super) log_id: [u8; 16],
}

/// A segment's key as its header holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrappedKey {
    pub(super) nonce: [u8; KEY_NONCE_BYTES],
    pub(super) sealed: [u8; WRAPPED_KEY_BYTES],
}

impl SegmentHeader {
    pub(super) fn associated(&self) -> [u8; SEGMENT_ASSOCIATED_BYTES] {
        let mut bytes = [0; SEGMENT_ASSOCIATED_BYTES];
        let (previous_index, previous_term) = self.previous.unwrap_or_default();
        bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.salt);
        bytes[24..32].copy_from_slice(&self.capacity.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.previous_sequence.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.previous_end.to_be_bytes());
        bytes[48..56].copy_from_slice(&previous_index.get().to_be_bytes());
        bytes[56..64].copy_from_slice(&previous_term.get().to_be_bytes());
        bytes[64..72].copy_from_slice(&self.created_end.to_be_bytes());
        bytes[72..88].copy_from_slice(&self.log_id);
        bytes
    }

    pub(super) fn encode(&self, key: &WrappedKey) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..88].copy_from_slice(&self.associated());
        bytes[88..100].copy_from_slice(&key.nonce);
        bytes[100..148].copy_from_slice(&key.sealed);
        let checksum = crc32c::crc32c(&bytes[..148]);
        bytes[148..152].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// `None` when the bytes are no whole header.
    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Option<(Self, WrappedKey)> {
        let checksum = u32::from_be_bytes(array(bytes, 148));
        if bytes[0..8] != SEGMENT_MAGIC || checksum != crc32c::crc32c(&bytes[..148]) {
            return None;
        }
        let integer = |start| u64::from_be_bytes(array(bytes, start));
        let (previous_index, previous_term) = (LogIndex::new(integer(48)), Term::new(integer(56)));
        let previous = (previous_index != LogIndex::ZERO).then_some((previous_index, previous_term));
        // Without an entry before there is no term either.
        if previous.is_none() && previous_term != Term::ZERO {
            return None;
        }
        let header = Self {
            sequence: integer(8),
            salt: array(bytes, 16),
            capacity: integer(24),
            previous_sequence: integer(32),
            previous_end: integer(40),
            previous,
            created_end: integer(64),
            log_id: array(bytes, 72),
        };
        let key = WrappedKey {
            nonce: array(bytes, 88),
            sealed: array(bytes, 100),
        };
        Some((header, key))
    }
}

/// A record header without magic and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: RecordKind,
    pub(super) salt: [u8; 8],
    pub(super) position: u64,
    pub(super) index: LogIndex,
    pub(super) term: Term,
    pub(super) entry_count: u32,
    pub(super) payload_length: u32,
    pub(super) committed: LogIndex,
    pub(super) payload_checksum: u32,
}

/// Why bytes are no record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordHeaderError {
    /// The magic is another.
    Magic,
    /// The checksum does not match, as after a torn write.
    Checksum,
    /// The checksum matches but a field has no meaning here.
    Field,
}

impl RecordHeader {
    /// The bytes that the payload is bound to; they do not depend on the payload's checksum.
    pub(super) fn associated(&self) -> [u8; RECORD_ASSOCIATED_BYTES] {
        let mut bytes = [0; RECORD_ASSOCIATED_BYTES];
        bytes[0..4].copy_from_slice(&RECORD_MAGIC);
        bytes[4] = RECORD_VERSION;
        bytes[5] = self.kind as u8;
        bytes[8..16].copy_from_slice(&self.salt);
        bytes[16..24].copy_from_slice(&self.position.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.index.get().to_be_bytes());
        bytes[32..40].copy_from_slice(&self.term.get().to_be_bytes());
        bytes[40..44].copy_from_slice(&self.entry_count.to_be_bytes());
        bytes[44..48].copy_from_slice(&self.payload_length.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.committed.get().to_be_bytes());
        bytes
    }

    pub(super) fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[0..56].copy_from_slice(&self.associated());
        bytes[56..60].copy_from_slice(&self.payload_checksum.to_be_bytes());
        let checksum = crc32c::crc32c(&bytes[..RECORD_CHECKSUM_START]);
        bytes[RECORD_CHECKSUM_START..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; RECORD_HEADER_BYTES]) -> Result<Self, RecordHeaderError> {
        if bytes[0..4] != RECORD_MAGIC {
            return Err(RecordHeaderError::Magic);
        }
        let checksum = crc32c::crc32c(&bytes[..RECORD_CHECKSUM_START]);
        if u32::from_be_bytes(array(bytes, RECORD_CHECKSUM_START)) != checksum {
            return Err(RecordHeaderError::Checksum);
        }
        let kind = match bytes[5] {
            1 => RecordKind::Entries,
            2 => RecordKind::Recovery,
            3 => RecordKind::Vote,
            _ => return Err(RecordHeaderError::Field),
        };
        if bytes[4] != RECORD_VERSION || bytes[6..8] != [0, 0] {
            return Err(RecordHeaderError::Field);
        }
        Ok(Self {
            kind,
            salt: array(bytes, 8),
            position: u64::from_be_bytes(array(bytes, 16)),
            index: LogIndex::new(u64::from_be_bytes(array(bytes, 24))),
            term: Term::new(u64::from_be_bytes(array(bytes, 32))),
            entry_count: u32::from_be_bytes(array(bytes, 40)),
            payload_length: u32::from_be_bytes(array(bytes, 44)),
            committed: LogIndex::new(u64::from_be_bytes(array(bytes, 48))),
            payload_checksum: u32::from_be_bytes(array(bytes, 56)),
        })
    }

    /// Where the record ends.
    pub(super) fn end(&self) -> u64 {
        self.position + RECORD_HEADER_BYTES as u64 + u64::from(self.payload_length)
    }
}

/// The plaintext of a recovery record.
pub(super) const TORN_TAIL_BYTES: usize = 34;
/// The plaintext of a vote.
pub(super) const VOTE_BYTES: usize = 17;

impl TornTail {
    pub(super) fn encode(&self) -> [u8; TORN_TAIL_BYTES] {
        let mut bytes = [0; TORN_TAIL_BYTES];
        bytes[0..8].copy_from_slice(&self.generation.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.segment.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.start.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.end.to_be_bytes());
        bytes[32] = self.reason as u8;
        bytes[33] = u8::from(self.was_synced);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; TORN_TAIL_BYTES] = bytes.try_into().ok()?;
        if bytes[33] > 1 {
            return None;
        }
        Some(Self {
            generation: u64::from_be_bytes(array(bytes, 0)),
            segment: u64::from_be_bytes(array(bytes, 8)),
            start: u64::from_be_bytes(array(bytes, 16)),
            end: u64::from_be_bytes(array(bytes, 24)),
            reason: super::Damage::from_byte(bytes[32])?,
            was_synced: bytes[33] == 1,
        })
    }
}

impl Vote {
    pub(super) fn encode(&self) -> [u8; VOTE_BYTES] {
        let mut bytes = [0; VOTE_BYTES];
        bytes[0..8].copy_from_slice(&self.term.get().to_be_bytes());
        bytes[8..16].copy_from_slice(&self.voted_for.get().to_be_bytes());
        bytes[16] = u8::from(self.committed);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; VOTE_BYTES] = bytes.try_into().ok()?;
        let vote = Self {
            term: Term::new(u64::from_be_bytes(array(bytes, 0))),
            voted_for: NodeId::new(u64::from_be_bytes(array(bytes, 8))),
            committed: bytes[16] == 1,
        };
        (bytes[16] <= 1 && vote.is_meaningful()).then_some(vote)
    }
}

/// The `N` bytes from `start` on, which the caller knows to be there.
pub(super) fn array<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[start..start + N]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn segment_header()(
            integers in any::<[u64; 6]>(), salt in any::<[u8; 8]>(), index in 0u64..3, log_id in any::<[u8; 16]>(),
        ) -> SegmentHeader {
            let [sequence, capacity, previous_sequence, previous_end, term, created_end] = integers;
            let previous = (index > 0).then(|| (LogIndex::new(index), Term::new(term)));
            SegmentHeader { sequence, salt, capacity, previous_sequence, previous_end, previous, created_end, log_id }
        }
    }

    prop_compose! {
        fn record_header()(
            kind in prop_oneof![Just(RecordKind::Entries), Just(RecordKind::Recovery), Just(RecordKind::Vote)],
            salt in any::<[u8; 8]>(), integers in any::<[u64; 4]>(), counts in any::<[u32; 3]>(),
        ) -> RecordHeader {
            RecordHeader {
                kind, salt,
                position: integers[0], index: LogIndex::new(integers[1]), term: Term::new(integers[2]),
                entry_count: counts[0], payload_length: counts[1], committed: LogIndex::new(integers[3]),
                payload_checksum: counts[2],
            }
        }
    }

    proptest! {
        #[test]
        fn segment_headers_survive_a_round_trip_and_no_flip(
            header in segment_header(), nonce in any::<[u8; 12]>(), at in 0..SEGMENT_HEADER_BYTES, bit in 0..8,
        ) {
            let key = WrappedKey { nonce, sealed: [7; WRAPPED_KEY_BYTES] };
            let mut bytes = header.encode(&key);
            prop_assert_eq!(SegmentHeader::decode(&bytes), Some((header, key)));
            bytes[at] ^= 1u8 << bit;
            prop_assert_eq!(SegmentHeader::decode(&bytes), None);
        }

        #[test]
        fn record_headers_survive_a_round_trip_and_no_flip(
            header in record_header(), at in 0..RECORD_HEADER_BYTES, bit in 0..8,
        ) {
            let mut bytes = header.encode();
            prop_assert_eq!(RecordHeader::decode(&bytes), Ok(header));
            bytes[at] ^= 1u8 << bit;
            prop_assert!(RecordHeader::decode(&bytes).is_err());
        }

        #[test]
        fn torn_tails_survive_a_round_trip(
            integers in any::<[u64; 4]>(), reason in 0u8..14, was_synced in any::<bool>(),
        ) {
            let [generation, segment, start, end] = integers;
            if let Some(reason) = crate::wal::Damage::from_byte(reason) {
                let torn = TornTail { generation, segment, start, end, reason, was_synced };
                prop_assert_eq!(TornTail::decode(&torn.encode()), Some(torn));
            }
        }
    }

    #[test]
    fn a_term_without_an_entry_is_no_header() {
        let header = SegmentHeader {
            sequence: 1,
            salt: [2; 8],
            capacity: 4096,
            previous_sequence: 0,
            previous_end: 0,
            previous: None,
            created_end: 152,
            log_id: [3; 16],
        };
        let key = WrappedKey {
            nonce: [4; KEY_NONCE_BYTES],
            sealed: [5; WRAPPED_KEY_BYTES],
        };
        let mut bytes = header.encode(&key);
        bytes[63] = 1;
        let checksum = crc32c::crc32c(&bytes[..148]);
        bytes[148..152].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), None);
    }

    #[test]
    fn votes_survive_a_round_trip() {
        for committed in [false, true] {
            let vote = Vote {
                term: Term::new(3),
                voted_for: NodeId::new(u64::MAX),
                committed,
            };
            let bytes = vote.encode();
            assert_eq!(Vote::decode(&bytes), Some(vote));
            assert_eq!(Vote::decode(&bytes[1..]), None);
            let unknown = [&bytes[..16], &[2]].concat();
            assert_eq!(Vote::decode(&unknown), None);
        }
        let for_nobody = [&[0; 16][..], &[1]].concat();
        assert_eq!(Vote::decode(&for_nobody), None, "a quorum voted for somebody");
    }

    #[test]
    fn whole_headers_with_unknown_fields_are_told_from_torn_ones() {
        let header = RecordHeader {
            kind: RecordKind::Vote,
            salt: [1; 8],
            position: 2,
            index: LogIndex::new(3),
            term: Term::new(4),
            entry_count: 0,
            payload_length: 16,
            committed: LogIndex::new(2),
            payload_checksum: 5,
        };
        for (at, value) in [(4, 3), (5, 0), (5, 4), (6, 1), (7, 1)] {
            let mut bytes = header.encode();
            bytes[at] = value;
            assert_eq!(RecordHeader::decode(&bytes), Err(RecordHeaderError::Checksum));
            let checksum = crc32c::crc32c(&bytes[..RECORD_CHECKSUM_START]);
            bytes[RECORD_CHECKSUM_START..].copy_from_slice(&checksum.to_be_bytes());
            assert_eq!(RecordHeader::decode(&bytes), Err(RecordHeaderError::Field), "byte {at}");
        }
    }
}
