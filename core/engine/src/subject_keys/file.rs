//! The layout of a tenant's subject key file. All integers are big-endian.
//!
//! A header of 128 bytes, then a slot of 96 bytes for each key, found by its number.
//!
//! | bytes of the header | field |
//! |---|---|
//! | 0..8 | magic `CRTSUBK` and version, 1 |
//! | 8..24 | tenant |
//! | 24..93 | the key that wraps the subjects' keys, wrapped under a key that derives from the tenant's secret |
//! | 93..97 | CRC32C of all before |
//! | 97..128 | zero |
//!
//! | bytes of a slot | field |
//! |---|---|
//! | 0..4 | CRC32C of all behind it |
//! | 4 | 1: a key, 2: a destroyed key |
//! | 5..8 | zero |
//! | 8..16 | the key's number |
//! | 16..85 | the wrapped key; zero once it is destroyed |
//! | 85..96 | zero |
//!
//! Unlike everything else on disk, slots are overwritten in place: that is what destroys a key.

use craton_crypto::WRAPPED_KEY_BYTES;
use craton_types::{SubjectKeyId, TenantId};

const MAGIC: [u8; 8] = *b"CRTSUBK\x01";
/// The header's length.
pub(super) const HEADER_BYTES: usize = 128;
/// A slot's length.
pub(super) const SLOT_BYTES: usize = 96;
const HEADER_CRC_AT: usize = 24 + WRAPPED_KEY_BYTES;
const STATE_KEY: u8 = 1;
const STATE_DESTROYED: u8 = 2;

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A wrapped key.
    Key(Vec<u8>),
    /// The key was destroyed.
    Destroyed,
}

pub(super) fn encode_header(tenant: TenantId, wrapped: &[u8]) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..24].copy_from_slice(tenant.as_bytes());
    bytes[24..HEADER_CRC_AT].copy_from_slice(wrapped);
    let crc = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
    bytes[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The wrapped key of a header; `None` when the bytes are not this tenant's header.
pub(super) fn decode_header(bytes: &[u8; HEADER_BYTES], tenant: TenantId) -> Option<&[u8]> {
    let wrapped = &bytes[24..HEADER_CRC_AT];
    (encode_header(tenant, wrapped) == *bytes).then_some(wrapped)
}

pub(super) fn encode_slot(id: SubjectKeyId, slot: &Slot) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    match slot {
        Slot::Key(wrapped) => {
            bytes[4] = STATE_KEY;
            bytes[16..16 + WRAPPED_KEY_BYTES].copy_from_slice(wrapped);
        }
        Slot::Destroyed => bytes[4] = STATE_DESTROYED,
    }
    bytes[8..16].copy_from_slice(&id.get().to_be_bytes());
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// What a slot holds; `None` when it is damaged, empty or another key's.
pub(super) fn decode_slot(bytes: &[u8; SLOT_BYTES], id: SubjectKeyId) -> Option<Slot> {
    let slot = match bytes[4] {
        STATE_KEY => Slot::Key(bytes[16..16 + WRAPPED_KEY_BYTES].to_vec()),
        STATE_DESTROYED => Slot::Destroyed,
        _ => return None,
    };
    (encode_slot(id, &slot) == *bytes).then_some(slot)
}

/// Where a key's slot begins.
pub(super) const fn slot_position(id: SubjectKeyId) -> u64 {
    HEADER_BYTES as u64 + id.get() * SLOT_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId::new([7; 16]);
    const ID: SubjectKeyId = SubjectKeyId::new(3);

    #[test]
    fn every_byte_of_a_slot_counts() {
        for slot in [Slot::Key(vec![9; WRAPPED_KEY_BYTES]), Slot::Destroyed] {
            let bytes = encode_slot(ID, &slot);
            assert_eq!(decode_slot(&bytes, ID), Some(slot));
            assert_eq!(decode_slot(&bytes, SubjectKeyId::new(4)), None);
            for index in 0..SLOT_BYTES {
                let mut damaged = bytes;
                damaged[index] ^= 1;
                assert_eq!(decode_slot(&damaged, ID), None, "byte {index}");
            }
        }
        assert_eq!(decode_slot(&[0; SLOT_BYTES], ID), None);
    }

    #[test]
    fn every_byte_of_the_header_counts() {
        let bytes = encode_header(TENANT, &[5; WRAPPED_KEY_BYTES]);
        assert_eq!(decode_header(&bytes, TENANT), Some(&[5; WRAPPED_KEY_BYTES][..]));
        assert_eq!(decode_header(&bytes, TenantId::NIL), None);
        for index in 0..HEADER_BYTES {
            let mut damaged = bytes;
            damaged[index] ^= 1;
            assert_eq!(decode_header(&damaged, TENANT), None, "byte {index}");
        }
    }
}
