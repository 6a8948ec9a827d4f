//! The file of subjects' keys, parsed for fuzzing. Checksums are made to match first.

use craton_crypto::WRAPPED_KEY_BYTES;
use craton_types::{SubjectKeyId, TenantId};

use super::file::{HEADER_BYTES, SLOT_BYTES, Slot, decode_header, decode_slot, encode_header, encode_slot};

/// The header of a file, of whichever tenant it says.
#[must_use]
pub fn subject_keys_header(bytes: &[u8]) -> bool {
    let Some(mut bytes) = bytes.first_chunk::<HEADER_BYTES>().copied() else {
        return false;
    };
    let crc_at = 24 + WRAPPED_KEY_BYTES;
    let crc = crc32c::crc32c(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_be_bytes());
    let tenant = TenantId::new(*bytes[8..].first_chunk().expect("128 bytes"));
    let decoded = decode_header(&bytes, tenant);
    if let Some(wrapped) = decoded {
        assert_eq!(encode_header(tenant, wrapped), bytes, "a header has one form");
    }
    decoded.is_some()
}

/// A key's slot, of whichever key it says.
#[must_use]
pub fn subject_key_slot(bytes: &[u8]) -> bool {
    let Some(mut bytes) = bytes.first_chunk::<SLOT_BYTES>().copied() else {
        return false;
    };
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_be_bytes());
    let number = u64::from_be_bytes(*bytes[8..].first_chunk().expect("96 bytes"));
    let decoded = decode_slot(&bytes, SubjectKeyId::new(number));
    if let Some(slot) = &decoded {
        assert_eq!(
            encode_slot(SubjectKeyId::new(number), slot),
            bytes,
            "a slot has one form"
        );
    }
    let other = SubjectKeyId::new(number.wrapping_add(1));
    assert_eq!(decode_slot(&bytes, other), None, "a slot is of one key");
    decoded.is_some()
}

/// A header, to begin fuzzing with.
#[must_use]
pub fn subject_keys_header_of(tenant: TenantId) -> Vec<u8> {
    encode_header(tenant, &[5; WRAPPED_KEY_BYTES]).to_vec()
}

/// A slot with a key and one without, to begin fuzzing with.
#[must_use]
pub fn subject_key_slots_of(id: SubjectKeyId) -> [Vec<u8>; 2] {
    [Slot::Key(vec![9; WRAPPED_KEY_BYTES]), Slot::Destroyed].map(|slot| encode_slot(id, &slot).to_vec())
}
