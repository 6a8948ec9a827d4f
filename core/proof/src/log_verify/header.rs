//! Checking record headers, and naming the field when one is damaged.

use craton_crypto::record_hash;
use craton_types::{HEADER_BYTES, Hash, Offset, RECORD_CRC_BYTES, RecordHeader, TenantId, Timestamp};

use super::fault::Finding;
use crate::repair::{ChangedByte, changed_bytes_by_crc, find_changed_byte, header_field_at};

/// Bytes of a header with its CRC.
pub(super) const FRAMED_HEADER_BYTES: usize = HEADER_BYTES + RECORD_CRC_BYTES;

/// What is wrong with a header: the field, where it (or its changed byte) begins in the header, and how.
pub(super) struct HeaderFault {
    pub(super) field: &'static str,
    pub(super) index: usize,
    pub(super) finding: Finding,
}

impl HeaderFault {
    /// Whether exactly one changed byte explains everything.
    pub(super) const fn is_one_byte(&self) -> bool {
        matches!(self.finding, Finding::ChangedByte { .. })
    }
}

impl From<ChangedByte> for HeaderFault {
    fn from(changed: ChangedByte) -> Self {
        Self {
            field: header_field_at(changed.index).name,
            index: changed.index,
            finding: Finding::ChangedByte {
                expected: changed.expected,
                found: changed.found,
            },
        }
    }
}

/// What the records before say about the next one.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) tenant: TenantId,
    pub(super) offset: Offset,
    pub(super) previous_hash: Hash,
    pub(super) timestamp_min: Timestamp,
}

impl Expected {
    fn holds(&self, header: &RecordHeader) -> bool {
        header.tenant == self.tenant
            && header.offset == self.offset
            && header.previous_hash == self.previous_hash
            && header.timestamp >= self.timestamp_min
    }
}

/// Splits a framed header whose CRC matches and whose form is right.
pub(super) fn intact(framed: &[u8; FRAMED_HEADER_BYTES]) -> Option<RecordHeader> {
    let (bytes, crc) = split(framed);
    (crc32c::crc32c(bytes) == crc).then(|| RecordHeader::decode(bytes).ok())?
}

/// Names the damaged field of a framed header that is not [`intact`].
pub(super) fn diagnose(framed: &[u8; FRAMED_HEADER_BYTES], expected: &Expected) -> HeaderFault {
    let (bytes, crc) = split(framed);
    let computed = crc32c::crc32c(bytes);
    if computed == crc {
        // Written like this on purpose, or by another version.
        let field = RecordHeader::decode(bytes)
            .err()
            .map_or("header_crc", |error| error.field);
        return HeaderFault {
            field,
            index: field_start(field),
            finding: Finding::Malformed {
                reason: "no record has this value here".to_owned(),
            },
        };
    }
    one_changed_byte(framed, expected).unwrap_or_else(|| several_changed_bytes(bytes, crc, computed, expected))
}

/// The one changed byte of a framed header, if one explains the CRC. Where several would, the one that fits the
/// records before is taken.
pub(super) fn one_changed_byte(framed: &[u8; FRAMED_HEADER_BYTES], expected: &Expected) -> Option<HeaderFault> {
    let (bytes, crc) = split(framed);
    let decodes = |changed: &ChangedByte| {
        let mut candidate = *bytes;
        candidate[changed.index] = changed.expected;
        RecordHeader::decode(&candidate).ok().map(|header| (*changed, header))
    };
    let candidates: Vec<_> = changed_bytes_by_crc(bytes, crc).iter().filter_map(decodes).collect();
    if let Some((changed, _)) = candidates.iter().find(|(_, header)| expected.holds(header)) {
        return Some((*changed).into());
    }
    let computed = crc32c::crc32c(bytes).to_be_bytes();
    let stored = crc.to_be_bytes();
    let mut changed = (0..RECORD_CRC_BYTES).filter(|index| stored[*index] != computed[*index]);
    if let (Some(index), None) = (changed.next(), changed.next())
        && RecordHeader::decode(bytes).is_ok()
    {
        return Some(HeaderFault {
            field: "header_crc",
            index: HEADER_BYTES + index,
            finding: Finding::ChangedByte {
                expected: computed[index],
                found: stored[index],
            },
        });
    }
    None
}

fn several_changed_bytes(bytes: &[u8; HEADER_BYTES], crc: u32, computed: u32, expected: &Expected) -> HeaderFault {
    let form = RecordHeader::decode(bytes);
    let field = match &form {
        Err(error) => Some(error.field),
        Ok(header) => mismatch(header, expected).map(|fault| fault.field),
    };
    HeaderFault {
        field: field.unwrap_or("header_crc"),
        index: field.map_or(HEADER_BYTES, field_start),
        finding: Finding::Differs {
            expected: format!("a header with CRC {crc:08x}"),
            found: format!("{computed:08x}: several bytes of the header were changed"),
        },
    }
}

/// The first field of an intact header that the records before contradict.
pub(super) fn mismatch(header: &RecordHeader, expected: &Expected) -> Option<HeaderFault> {
    let fault = |field, expected: String, found: String| {
        Some(HeaderFault {
            field,
            index: field_start(field),
            finding: Finding::Differs { expected, found },
        })
    };
    if header.tenant != expected.tenant {
        return fault("tenant", expected.tenant.to_string(), header.tenant.to_string());
    }
    if header.offset != expected.offset {
        return fault("offset", expected.offset.to_string(), header.offset.to_string());
    }
    if header.previous_hash != expected.previous_hash {
        let found = header.previous_hash.to_string();
        return fault("previous_hash", expected.previous_hash.to_string(), found);
    }
    None
}

/// The one byte of a header by which its record hash would be `linked`.
pub(super) fn changed_byte_by_link(header: &[u8; HEADER_BYTES], linked: Hash) -> Option<HeaderFault> {
    find_changed_byte(header, |candidate| record_hash(candidate) == linked).map(HeaderFault::from)
}

pub(super) fn field_start(field: &str) -> usize {
    let field = craton_types::HEADER_FIELDS.iter().find(|named| named.name == field);
    field.map_or(HEADER_BYTES, |field| field.start)
}

fn split(framed: &[u8; FRAMED_HEADER_BYTES]) -> (&[u8; HEADER_BYTES], u32) {
    let bytes = framed.first_chunk().expect("a framed header begins with the header");
    let crc = framed.last_chunk().expect("a framed header ends with the CRC");
    (bytes, u32::from_be_bytes(*crc))
}
