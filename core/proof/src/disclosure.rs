//! What a receipt discloses of a record, in the `extra` line of the proof.
//!
//! A version byte, then CBOR (RFC 8949, deterministic): `[header, chunks]`, where `header` is the record's 180
//! bytes and each chunk is `[index, change key (32 bytes), chunk, path]`, `path` being the RFC 6962 inclusion path of
//! the chunk in the tree that `payload_hash` is the root of, in ascending order.
//!
//! A change of a row with sealed cells, whose values are of a data subject, has a fifth element: `[[row, column, cell
//! key (32 bytes)], …]`, ascending, where `row` is 0 for the row before and 1 for the row after the change. Each key
//! opens the sealed cell at that place as a change key opens a chunk; cells without one are erased or withheld.

use craton_types::{HEADER_BYTES, Hash};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};

/// The version byte.
pub(crate) const DISCLOSURE_VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Disclosure {
    #[n(0)]
    pub(crate) header: ByteArray<HEADER_BYTES>,
    #[n(1)]
    pub(crate) chunks: Vec<DisclosedChunk>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct DisclosedChunk {
    #[n(0)]
    pub(crate) index: u32,
    #[n(1)]
    pub(crate) change_key: ByteArray<32>,
    #[n(2)]
    pub(crate) chunk: ByteVec,
    #[n(3)]
    pub(crate) path: Vec<Hash>,
    /// Absent when no cell's key is disclosed, never empty.
    #[n(4)]
    pub(crate) cells: Option<Vec<DisclosedCell>>,
}

/// The key of a sealed cell of a row change.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct DisclosedCell {
    /// 0: the row before, 1: the row after.
    #[n(0)]
    pub(crate) row: u8,
    #[n(1)]
    pub(crate) column: u16,
    #[n(2)]
    pub(crate) key: ByteArray<32>,
}

/// Why the `extra` line is no disclosure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisclosureError {
    /// The proof has no `extra` line.
    #[error("there is no extra line, so nothing is disclosed")]
    Missing,
    /// The version byte is unknown.
    #[error("disclosure version {found} is unknown, expected {expected}")]
    Version {
        /// The version that belongs here.
        expected: u8,
        /// The byte found.
        found: u8,
    },
    /// The CBOR does not decode.
    #[error("the disclosure is not the expected CBOR: {reason}")]
    Cbor {
        /// What the decoder found.
        reason: String,
    },
    /// The CBOR decodes, but is not how it would be encoded.
    #[error("the disclosure is not in its one canonical encoding")]
    NotCanonical,
    /// The chunks are not in order.
    #[error("the disclosed chunks are not in ascending order")]
    ChunkOrder,
    /// Cell keys are listed but there is none, or they are not in order.
    #[error("the cell keys of chunk {chunk} are not one or more in ascending order")]
    CellOrder {
        /// The chunk's index.
        chunk: u32,
    },
}

/// A version byte and the one encoding of what is disclosed.
pub(crate) fn encode_disclosure<T: Encode<()>>(version: u8, disclosed: &T) -> Vec<u8> {
    let mut bytes = vec![version];
    minicbor::encode(disclosed, &mut bytes).expect("writing to memory does not fail");
    bytes
}

/// Reads what [`encode_disclosure`] wrote and nothing else.
pub(crate) fn decode_disclosure<T>(version: u8, bytes: &[u8]) -> Result<T, DisclosureError>
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    let (&found, cbor) = bytes.split_first().ok_or(DisclosureError::Missing)?;
    if found != version {
        return Err(DisclosureError::Version {
            expected: version,
            found,
        });
    }
    let disclosed: T = minicbor::decode(cbor).map_err(|error| DisclosureError::Cbor {
        reason: error.to_string(),
    })?;
    // One receipt, one text: whatever a decoder tolerates (longer integers, further elements) is refused.
    if encode_disclosure(version, &disclosed) != bytes {
        return Err(DisclosureError::NotCanonical);
    }
    Ok(disclosed)
}

impl Disclosure {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        encode_disclosure(DISCLOSURE_VERSION, self)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, DisclosureError> {
        let disclosure: Self = decode_disclosure(DISCLOSURE_VERSION, bytes)?;
        disclosure.check_order()?;
        Ok(disclosure)
    }

    /// Checks that chunks, and the cells of each, are in ascending order.
    pub(crate) fn check_order(&self) -> Result<(), DisclosureError> {
        let indexes = self.chunks.iter().map(|chunk| chunk.index);
        if !indexes.is_sorted_by(|a, b| a < b) {
            return Err(DisclosureError::ChunkOrder);
        }
        for chunk in &self.chunks {
            let Some(cells) = &chunk.cells else { continue };
            let places = cells.iter().map(|cell| (cell.row, cell.column));
            if cells.is_empty() || !places.is_sorted_by(|a, b| a < b) {
                return Err(DisclosureError::CellOrder { chunk: chunk.index });
            }
        }
        Ok(())
    }
}

/// The `extra` line of a receipt, for fuzzing.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn disclosure(bytes: &[u8]) -> bool {
    let decoded = Disclosure::from_bytes(bytes);
    if let Ok(disclosure) = &decoded {
        assert_eq!(disclosure.to_bytes(), bytes, "a disclosure has one form");
    }
    decoded.is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disclosure(indexes: &[u32]) -> Disclosure {
        let chunk = |index: &u32| DisclosedChunk {
            index: *index,
            change_key: [1; 32].into(),
            chunk: vec![2; 60].into(),
            path: vec![Hash::ZERO],
            cells: None,
        };
        Disclosure {
            header: [3; HEADER_BYTES].into(),
            chunks: indexes.iter().map(chunk).collect(),
        }
    }

    #[test]
    fn disclosures_survive_a_round_trip_and_are_ordered() {
        for (indexes, accepted) in [
            (&[0][..], true),
            (&[0, 7], true),
            (&[0, 1, 2], true),
            (&[], true),
            (&[1], true),
            (&[0, 2, 1], false),
            (&[0, 1, 1], false),
            (&[0, 0], false),
        ] {
            let disclosure = disclosure(indexes);
            let decoded = Disclosure::from_bytes(&disclosure.to_bytes());
            let expected = if accepted {
                Ok(disclosure)
            } else {
                Err(DisclosureError::ChunkOrder)
            };
            assert_eq!(decoded, expected, "{indexes:?}");
        }
    }

    #[test]
    fn cell_keys_are_ordered() {
        for (places, accepted) in [
            (&[(0, 1)][..], true),
            (&[(0, 1), (0, 2), (1, 1)], true),
            (&[], false),
            (&[(1, 1), (0, 1)], false),
            (&[(0, 1), (0, 1)], false),
        ] {
            let mut disclosure = disclosure(&[0, 1]);
            let cell = |place: &(u8, u16)| DisclosedCell {
                row: place.0,
                column: place.1,
                key: [4; 32].into(),
            };
            disclosure.chunks[1].cells = Some(places.iter().map(cell).collect());
            let decoded = Disclosure::from_bytes(&disclosure.to_bytes());
            let expected = if accepted {
                Ok(disclosure)
            } else {
                Err(DisclosureError::CellOrder { chunk: 1 })
            };
            assert_eq!(decoded, expected, "{places:?}");
        }
    }

    #[test]
    fn other_encodings_are_refused() {
        let bytes = disclosure(&[0]).to_bytes();
        assert_eq!(Disclosure::from_bytes(&[]), Err(DisclosureError::Missing));
        assert_eq!(
            Disclosure::from_bytes(&[2]),
            Err(DisclosureError::Version { expected: 1, found: 2 })
        );
        let trailing = [&bytes[..], &[0]].concat();
        assert_eq!(Disclosure::from_bytes(&trailing), Err(DisclosureError::NotCanonical));
        assert!(matches!(
            Disclosure::from_bytes(&bytes[..bytes.len() - 1]),
            Err(DisclosureError::Cbor { .. })
        ));
        let indefinite = [&[1, 0x9f], &bytes[2..], &[0xff]].concat();
        assert_eq!(Disclosure::from_bytes(&indefinite), Err(DisclosureError::NotCanonical));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Disclosure::from_bytes(&bytes);
            let _ = Disclosure::from_bytes(&[&[1, 0x82][..], &bytes].concat());
        }
    }
}
