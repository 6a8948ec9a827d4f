//! Finding the one byte that was changed, so that damage is named by field instead of by a hash that differs.
//!
//! A CRC or a hash only says that *something* in 180 bytes is different. Damage is nearly always one byte, and
//! 180 bytes have only 45,900 neighbours that differ in one: trying them all takes milliseconds, and the
//! one that fits the hash is, but for a collision of SHA-256, the original.

use craton_types::{HEADER_BYTES, HEADER_FIELDS, HeaderField};

/// One byte that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangedByte {
    pub(crate) index: usize,
    pub(crate) expected: u8,
    pub(crate) found: u8,
}

/// The one-byte change that makes `accept` hold, if there is one.
pub(crate) fn find_changed_byte(
    header: &[u8; HEADER_BYTES],
    mut accept: impl FnMut(&[u8; HEADER_BYTES]) -> bool,
) -> Option<ChangedByte> {
    let mut candidate = *header;
    for (index, &found) in header.iter().enumerate() {
        for difference in 1..=u8::MAX {
            candidate[index] = found ^ difference;
            if accept(&candidate) {
                return Some(ChangedByte {
                    index,
                    expected: candidate[index],
                    found,
                });
            }
        }
        candidate[index] = found;
    }
    None
}

/// Every one-byte change of `bytes` that gives them the CRC32C `crc`. Nearly always none or one.
///
/// A CRC is linear: a change flips the same bits of it whatever the other bytes are, and a change of several
/// bits flips the sum of what each flips. So eight CRCs for each byte stand for its 255 changes.
pub(crate) fn changed_bytes_by_crc(bytes: &[u8], crc: u32) -> Vec<ChangedByte> {
    let syndrome = crc32c::crc32c(bytes) ^ crc;
    let mut error = vec![0; bytes.len()];
    let zero = crc32c::crc32c(&error);
    let mut changes = Vec::new();
    for (index, &found) in bytes.iter().enumerate() {
        let mut effects = [0; 256];
        for difference in 1..=u8::MAX {
            let lowest_bit = difference & difference.wrapping_neg();
            let effect = if lowest_bit == difference {
                error[index] = difference;
                crc32c::crc32c(&error) ^ zero
            } else {
                effects[usize::from(difference ^ lowest_bit)] ^ effects[usize::from(lowest_bit)]
            };
            effects[usize::from(difference)] = effect;
            if effect == syndrome {
                changes.push(ChangedByte {
                    index,
                    expected: found ^ difference,
                    found,
                });
            }
        }
        error[index] = 0;
    }
    changes
}

/// The header field that holds the byte at `index`.
pub(crate) fn header_field_at(index: usize) -> HeaderField {
    *field_at(&HEADER_FIELDS, index)
}

/// The field that holds the byte at `index`; `fields` cover every index.
pub(crate) fn field_at(fields: &[HeaderField], index: usize) -> &HeaderField {
    fields
        .iter()
        .find(|field| (field.start..field.end).contains(&index))
        .expect("fields cover every byte")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_changed_byte_is_found(
            original in proptest::collection::vec(any::<u8>(), HEADER_BYTES),
            index in 0..HEADER_BYTES,
            difference in 1u8..,
        ) {
            let original: [u8; HEADER_BYTES] = original.try_into().expect("as many bytes");
            let mut changed = original;
            changed[index] ^= difference;
            let expected = ChangedByte { index, expected: original[index], found: changed[index] };
            prop_assert_eq!(find_changed_byte(&changed, |candidate| *candidate == original), Some(expected));
            let by_crc = changed_bytes_by_crc(&changed, crc32c::crc32c(&original));
            prop_assert!(by_crc.contains(&expected));
            for candidate in by_crc {
                let mut repaired = changed;
                repaired[candidate.index] = candidate.expected;
                prop_assert_eq!(crc32c::crc32c(&repaired), crc32c::crc32c(&original));
            }
        }
    }

    #[test]
    fn nothing_is_found_when_more_than_a_byte_changed() {
        assert_eq!(
            find_changed_byte(&[0; HEADER_BYTES], |candidate| candidate[..2] == [1, 1]),
            None
        );
    }
}
