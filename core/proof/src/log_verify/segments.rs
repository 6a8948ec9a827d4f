//! Checking a segment's header and footer.
//!
//! Everything they hold is known from the records, save the first segment's tenant. So they are compared
//! with the bytes that belong there, and the first that differs names the field.

use craton_types::{
    HeaderField, RECORD_CRC_BYTES, SEGMENT_FOOTER_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SegmentFooter,
    SegmentHeader, TenantId,
};

use super::fault::Finding;
use super::header::HeaderFault;
use crate::repair::{changed_bytes_by_crc, field_at};
use crate::value_text::hex;

const HEADER: [HeaderField; 5] = [
    field("segment_magic", 0, 8),
    field("tenant", 8, 24),
    field("first_offset", 24, 32),
    field("previous_hash", 32, 64),
    field("segment_header_crc", 64, SEGMENT_HEADER_BYTES),
];

const FOOTER: [HeaderField; 5] = [
    field("footer_magic", 0, 4),
    field("record_count", 4, 12),
    field("records_root", 12, 44),
    field("last_hash", 44, 76),
    field("footer_crc", 76, SEGMENT_FOOTER_BYTES),
];

const TENANT_START: usize = 8;

const fn field(name: &'static str, start: usize, end: usize) -> HeaderField {
    HeaderField { name, start, end }
}

/// The tenant that a segment's header names, right or wrong.
pub(super) fn tenant_of(found: &[u8; SEGMENT_HEADER_BYTES]) -> TenantId {
    let mut tenant = [0; 16];
    tenant.copy_from_slice(&found[TENANT_START..TENANT_START + 16]);
    TenantId::new(tenant)
}

/// Compares a segment's header with what it has to be. `tenant_is_known` is false for the first segment, whose
/// tenant is then only as good as the CRC.
pub(super) fn check_header(
    found: &[u8; SEGMENT_HEADER_BYTES],
    expected: &SegmentHeader,
    tenant_is_known: bool,
) -> Option<HeaderFault> {
    debug_assert_eq!(expected.encode_without_crc()[..8], SEGMENT_MAGIC);
    let (bytes, crc) = found.split_last_chunk::<RECORD_CRC_BYTES>()?;
    let changed_tenant = (!tenant_is_known)
        .then(|| changed_bytes_by_crc(bytes, u32::from_be_bytes(*crc)))
        .and_then(|changes| {
            changes
                .into_iter()
                .find(|changed| HEADER[1].start <= changed.index && changed.index < HEADER[1].end)
        });
    match changed_tenant {
        Some(changed) if bytes[..8] == SEGMENT_MAGIC && bytes[24..] == expected.encode_without_crc()[24..] => {
            Some(HeaderFault {
                field: HEADER[1].name,
                index: changed.index,
                finding: Finding::ChangedByte {
                    expected: changed.expected,
                    found: changed.found,
                },
            })
        }
        _ => compare(found, &expected.encode_without_crc(), &HEADER),
    }
}

/// Compares a segment's footer with what it has to be.
pub(super) fn check_footer(found: &[u8; SEGMENT_FOOTER_BYTES], expected: &SegmentFooter) -> Option<HeaderFault> {
    compare(found, &expected.encode_without_crc(), &FOOTER)
}

/// Whether bytes that do not begin like a footer are one all the same, with a changed byte.
pub(super) fn is_damaged_footer(found: &[u8; SEGMENT_FOOTER_BYTES], expected: &SegmentFooter) -> bool {
    found[4..SEGMENT_FOOTER_BYTES - RECORD_CRC_BYTES] == expected.encode_without_crc()[4..]
}

fn compare(found: &[u8], expected: &[u8], fields: &[HeaderField; 5]) -> Option<HeaderFault> {
    let crc = crc32c::crc32c(expected).to_be_bytes();
    let expected = [expected, &crc].concat();
    let different: Vec<usize> = (0..found.len())
        .filter(|index| found[*index] != expected[*index])
        .collect();
    let &index = different.first()?;
    if different.len() == 1 {
        return Some(HeaderFault {
            field: field_at(fields, index).name,
            index,
            finding: Finding::ChangedByte {
                expected: expected[index],
                found: found[index],
            },
        });
    }
    let field = field_at(fields, index);
    Some(HeaderFault {
        field: field.name,
        index: field.start,
        finding: Finding::Differs {
            expected: hex(&expected[field.start..field.end]),
            found: hex(&found[field.start..field.end]),
        },
    })
}
