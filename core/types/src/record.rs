//! The tenant log's record: a fixed header and a body of encrypted chunks.
//!
//! The header is the Merkle leaf's entry and the chain's link at once (`SHA-256(0x00 ‖ header)`), so a
//! proof never needs the body. All integers are big-endian.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..4 | magic | `CRTR` |
//! | 4 | version | 1 |
//! | 5 | kind | see [`RecordKind`] |
//! | 6..8 | reserved | zero |
//! | 8..24 | tenant | |
//! | 24..32 | stream | |
//! | 32..40 | offset | position in the tenant's log |
//! | 40..48 | stream_sequence | position in the stream |
//! | 48..56 | timestamp | nanoseconds since the Unix epoch, never decreasing |
//! | 56..72 | actor | |
//! | 72..88 | correlation_id | |
//! | 88..104 | idempotency_id | nil when the client gave none |
//! | 104..108 | key_epoch | data-encryption key of the chunks |
//! | 108..112 | chunk_count | chunks in the body |
//! | 112..116 | payload_length | bytes of the body |
//! | 116..148 | payload_hash | RFC 6962 Merkle tree hash over the chunks |
//! | 148..180 | previous_hash | record hash of the previous record; zero for offset 0 |
//!
//! The body is `chunk_count` times (`u32` length ‖ bytes). Hashing the chunks as a tree instead of as one
//! string lets a receipt disclose one row of a large record without the others.

use crate::{
    ActorId, CorrelationId, Hash, IdempotencyId, KeyEpoch, Offset, StreamId, StreamSequence, TenantId, Timestamp,
};

/// The first four bytes of every record.
pub const HEADER_MAGIC: [u8; 4] = *b"CRTR";
/// The version of the layout above.
pub const HEADER_VERSION: u8 = 1;
/// The header's length in bytes.
pub const HEADER_BYTES: usize = 180;
/// The longest body in bytes: what one transaction may write.
pub const BODY_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// The most chunks in one record: its summary and one per row change.
pub const CHUNKS_MAX: u32 = 1_048_576;

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RecordKind {
    /// Row changes, schema changes or application events.
    Data = 1,
    /// A signed checkpoint (C2SP tlog-checkpoint) over records before this one, and what it says about the rows: two
    /// chunks, both plain.
    Checkpoint = 2,
    /// A checkpoint in the log before this record, as witnesses cosigned it (C2SP tlog-cosignature): its first chunk is
    /// the cosigned note, a second one a time stamp over that note (RFC 3161). Both are plain.
    Cosignature = 3,
    /// A data subject was erased, or its erasure refused; a legal hold began or ended; a rule for how long data must be
    /// kept changed. Sealed like data.
    Erasure = 4,
    /// A rule for what follows. A record whose key epoch is not the one before announces that epoch in one plain
    /// chunk, a [`crate::KeysRotated`] change.
    Policy = 5,
    /// What the node mended by itself: one plain chunk, a [`crate::Recovered`] change.
    Recovery = 6,
    /// Application events of a named stream, one in each chunk, and no summary: the stream's first record, a data
    /// record, names it.
    Events = 7,
}

impl RecordKind {
    /// Parses the header's kind byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Data),
            2 => Some(Self::Checkpoint),
            3 => Some(Self::Cosignature),
            4 => Some(Self::Erasure),
            5 => Some(Self::Policy),
            6 => Some(Self::Recovery),
            7 => Some(Self::Events),
            _ => None,
        }
    }

    /// The index of the chunk with the record's first change, for the kinds that hold changes: except for events, the
    /// record's summary comes before it.
    #[must_use]
    pub const fn first_change(self) -> Option<u32> {
        match self {
            Self::Data | Self::Erasure => Some(1),
            Self::Events => Some(0),
            Self::Checkpoint | Self::Cosignature | Self::Policy | Self::Recovery => None,
        }
    }
}

/// A record's header, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the record is for.
    pub kind: RecordKind,
    /// Whose log it is in.
    pub tenant: TenantId,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its position in the tenant's log.
    pub offset: Offset,
    /// Its position in its stream.
    pub stream_sequence: StreamSequence,
    /// When it was proposed.
    pub timestamp: Timestamp,
    /// Who made the change.
    pub actor: ActorId,
    /// The request that caused it.
    pub correlation_id: CorrelationId,
    /// The client's deduplication id, or nil.
    pub idempotency_id: IdempotencyId,
    /// The data-encryption key of its chunks.
    pub key_epoch: KeyEpoch,
    /// How many chunks the body has.
    pub chunk_count: u32,
    /// The body's length in bytes.
    pub payload_length: u32,
    /// The Merkle tree hash over the chunks.
    pub payload_hash: Hash,
    /// The record hash of the previous record.
    pub previous_hash: Hash,
}

/// A named range of the header, for error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderField {
    /// The field's name as in the table of this module.
    pub name: &'static str,
    /// Its first byte.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
}

/// The header's fields in order; together they cover every byte.
pub const HEADER_FIELDS: [HeaderField; 17] = [
    HeaderField {
        name: "magic",
        start: 0,
        end: 4,
    },
    HeaderField {
        name: "version",
        start: 4,
        end: 5,
    },
    HeaderField {
        name: "kind",
        start: 5,
        end: 6,
    },
    HeaderField {
        name: "reserved",
        start: 6,
        end: 8,
    },
    HeaderField {
        name: "tenant",
        start: 8,
        end: 24,
    },
    HeaderField {
        name: "stream",
        start: 24,
        end: 32,
    },
    HeaderField {
        name: "offset",
        start: 32,
        end: 40,
    },
    HeaderField {
        name: "stream_sequence",
        start: 40,
        end: 48,
    },
    HeaderField {
        name: "timestamp",
        start: 48,
        end: 56,
    },
    HeaderField {
        name: "actor",
        start: 56,
        end: 72,
    },
    HeaderField {
        name: "correlation_id",
        start: 72,
        end: 88,
    },
    HeaderField {
        name: "idempotency_id",
        start: 88,
        end: 104,
    },
    HeaderField {
        name: "key_epoch",
        start: 104,
        end: 108,
    },
    HeaderField {
        name: "chunk_count",
        start: 108,
        end: 112,
    },
    HeaderField {
        name: "payload_length",
        start: 112,
        end: 116,
    },
    HeaderField {
        name: "payload_hash",
        start: 116,
        end: 148,
    },
    HeaderField {
        name: "previous_hash",
        start: 148,
        end: 180,
    },
];

/// Why 180 bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("header field {field} is not valid")]
pub struct HeaderDecodeError {
    /// The first field that is wrong.
    pub field: &'static str,
}

impl RecordHeader {
    /// Encodes the header; the result is what is hashed.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&HEADER_MAGIC);
        bytes[4] = HEADER_VERSION;
        bytes[5] = self.kind as u8;
        bytes[8..24].copy_from_slice(self.tenant.as_bytes());
        bytes[24..32].copy_from_slice(&self.stream.get().to_be_bytes());
        bytes[32..40].copy_from_slice(&self.offset.get().to_be_bytes());
        bytes[40..48].copy_from_slice(&self.stream_sequence.get().to_be_bytes());
        bytes[48..56].copy_from_slice(&self.timestamp.get().to_be_bytes());
        bytes[56..72].copy_from_slice(self.actor.as_bytes());
        bytes[72..88].copy_from_slice(self.correlation_id.as_bytes());
        bytes[88..104].copy_from_slice(self.idempotency_id.as_bytes());
        bytes[104..108].copy_from_slice(&self.key_epoch.get().to_be_bytes());
        bytes[108..112].copy_from_slice(&self.chunk_count.to_be_bytes());
        bytes[112..116].copy_from_slice(&self.payload_length.to_be_bytes());
        bytes[116..148].copy_from_slice(self.payload_hash.as_bytes());
        bytes[148..180].copy_from_slice(self.previous_hash.as_bytes());
        bytes
    }

    /// Decodes a header. Checks form only: links and hashes are the verifier's business.
    ///
    /// # Errors
    /// Names the first field whose bytes no encoder produces.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderDecodeError> {
        let fail = |field| Err(HeaderDecodeError { field });
        if bytes[0..4] != HEADER_MAGIC {
            return fail("magic");
        }
        if bytes[4] != HEADER_VERSION {
            return fail("version");
        }
        let Some(kind) = RecordKind::from_byte(bytes[5]) else {
            return fail("kind");
        };
        if bytes[6..8] != [0, 0] {
            return fail("reserved");
        }
        let header = Self {
            kind,
            tenant: TenantId::new(array(bytes, 8)),
            stream: StreamId::new(u64::from_be_bytes(array(bytes, 24))),
            offset: Offset::new(u64::from_be_bytes(array(bytes, 32))),
            stream_sequence: StreamSequence::new(u64::from_be_bytes(array(bytes, 40))),
            timestamp: Timestamp::new(u64::from_be_bytes(array(bytes, 48))),
            actor: ActorId::new(array(bytes, 56)),
            correlation_id: CorrelationId::new(array(bytes, 72)),
            idempotency_id: IdempotencyId::new(array(bytes, 88)),
            key_epoch: KeyEpoch::new(u32::from_be_bytes(array(bytes, 104))),
            chunk_count: u32::from_be_bytes(array(bytes, 108)),
            payload_length: u32::from_be_bytes(array(bytes, 112)),
            payload_hash: Hash::new(array(bytes, 116)),
            previous_hash: Hash::new(array(bytes, 148)),
        };
        if header.chunk_count > CHUNKS_MAX {
            return fail("chunk_count");
        }
        if header.payload_length > BODY_BYTES_MAX {
            return fail("payload_length");
        }
        Ok(header)
    }
}

fn array<const N: usize>(bytes: &[u8; HEADER_BYTES], start: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[start..start + N]);
    out
}

/// A record: its header and its encrypted chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The header.
    pub header: RecordHeader,
    /// The chunks in order.
    pub chunks: Vec<Vec<u8>>,
}

impl Record {
    /// The body's length in bytes for these chunks: four bytes of length and the bytes, for each.
    #[must_use]
    pub fn body_length(chunks: &[Vec<u8>]) -> usize {
        chunks.iter().map(|chunk| 4 + chunk.len()).sum()
    }

    /// Appends the body to `out`.
    pub fn encode_body(&self, out: &mut Vec<u8>) {
        for chunk in &self.chunks {
            let length = u32::try_from(chunk.len()).expect("a body is shorter than 4 GiB");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(chunk);
        }
    }

    /// Splits a body into chunks.
    ///
    /// # Errors
    /// Names `chunk_count` or `payload_length` when the body does not divide as the header says.
    pub fn decode_body(header: &RecordHeader, body: &[u8]) -> Result<Vec<Vec<u8>>, HeaderDecodeError> {
        let malformed = HeaderDecodeError {
            field: "payload_length",
        };
        if body.len() != header.payload_length as usize {
            return Err(malformed);
        }
        let mut chunks = Vec::new();
        let mut rest = body;
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > tail.len() {
                return Err(malformed);
            }
            let (chunk, tail) = tail.split_at(length);
            chunks.push(chunk.to_vec());
            rest = tail;
        }
        if !rest.is_empty() {
            return Err(malformed);
        }
        if chunks.len() != header.chunk_count as usize {
            return Err(HeaderDecodeError { field: "chunk_count" });
        }
        Ok(chunks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> RecordHeader {
        RecordHeader {
            kind: RecordKind::Data,
            tenant: TenantId::new([1; 16]),
            stream: StreamId::new(2),
            offset: Offset::new(3),
            stream_sequence: StreamSequence::new(4),
            timestamp: Timestamp::new(5),
            actor: ActorId::new([6; 16]),
            correlation_id: CorrelationId::new([7; 16]),
            idempotency_id: IdempotencyId::new([8; 16]),
            key_epoch: KeyEpoch::new(9),
            chunk_count: 2,
            payload_length: 13,
            payload_hash: Hash::new([10; 32]),
            previous_hash: Hash::new([11; 32]),
        }
    }

    #[test]
    fn fields_cover_the_header_without_gap() {
        let mut next = 0;
        for field in HEADER_FIELDS {
            assert_eq!(field.start, next, "{}", field.name);
            next = field.end;
        }
        assert_eq!(next, HEADER_BYTES);
    }

    #[test]
    fn every_byte_of_the_header_is_significant() {
        let bytes = header().encode();
        for index in 0..HEADER_BYTES {
            let mut flipped = bytes;
            flipped[index] ^= 0x01;
            match RecordHeader::decode(&flipped) {
                Ok(decoded) => assert_ne!(decoded, header(), "byte {index}"),
                Err(error) => {
                    let field = HEADER_FIELDS
                        .iter()
                        .find(|field| field.start <= index && index < field.end);
                    assert_eq!(Some(error.field), field.map(|field| field.name));
                }
            }
        }
    }

    #[test]
    fn limits_are_refused_one_past_the_edge() {
        let mut at_edge = header();
        at_edge.chunk_count = CHUNKS_MAX;
        at_edge.payload_length = BODY_BYTES_MAX;
        assert!(RecordHeader::decode(&at_edge.encode()).is_ok());
        at_edge.payload_length += 1;
        assert_eq!(
            RecordHeader::decode(&at_edge.encode()),
            Err(HeaderDecodeError {
                field: "payload_length"
            })
        );
    }

    proptest! {
        #[test]
        fn bodies_survive_a_round_trip(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let mut header = header();
            header.chunk_count = u32::try_from(chunks.len()).expect("few chunks");
            header.payload_length = u32::try_from(Record::body_length(&chunks)).expect("a short body");
            let record = Record { header, chunks };
            let mut body = Vec::new();
            record.encode_body(&mut body);
            prop_assert_eq!(Record::decode_body(&record.header, &body), Ok(record.chunks));
        }

        #[test]
        fn arbitrary_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut header = header();
            header.payload_length = u32::try_from(body.len()).expect("a short body");
            let _ = Record::decode_body(&header, &body);
        }
    }
}
