//! What a checkpoint record says about the rows of its tenant.

use craton_types::Hash;
use minicbor::{Decode, Encode};

/// The state commitment of a checkpoint record: its second chunk, in plain text.
///
/// | bytes | content |
/// |---|---|
/// | 0 | version, 1 |
/// | 1..9 | size: the state is that after the first so many records |
/// | 9..41 | root of the state tree |
/// | 41..73 | commitment to the key that places rows in the tree |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StateCommitment {
    /// How many records the state comes from; never more than the checkpoint itself covers.
    #[n(0)]
    pub size: u64,
    /// The root of the state tree.
    #[n(1)]
    pub root: Hash,
    /// The commitment to the key that places rows in the tree ([`craton_crypto::StateKey::commitment`]).
    #[n(2)]
    pub key: Hash,
}

/// The length of an encoded state commitment.
pub const STATE_COMMITMENT_BYTES: usize = 1 + 8 + 32 + 32;
const VERSION: u8 = 1;

/// Why bytes are no state commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateCommitmentError {
    /// The length is another.
    #[error("a state commitment has {STATE_COMMITMENT_BYTES} bytes, found {found}")]
    Length {
        /// How many bytes there are.
        found: usize,
    },
    /// The version is unknown.
    #[error("state commitment version {found} is unknown, expected {VERSION}")]
    Version {
        /// The byte found.
        found: u8,
    },
}

impl StateCommitment {
    /// The bytes of the chunk.
    #[must_use]
    pub fn to_bytes(self) -> [u8; STATE_COMMITMENT_BYTES] {
        let mut bytes = [0; STATE_COMMITMENT_BYTES];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.size.to_be_bytes());
        bytes[9..41].copy_from_slice(self.root.as_bytes());
        bytes[41..].copy_from_slice(self.key.as_bytes());
        bytes
    }

    /// Parses what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the length or the version is another.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateCommitmentError> {
        let bytes: &[u8; STATE_COMMITMENT_BYTES] = bytes
            .try_into()
            .map_err(|_| StateCommitmentError::Length { found: bytes.len() })?;
        let (version, rest) = bytes.split_first().expect("73 bytes");
        if *version != VERSION {
            return Err(StateCommitmentError::Version { found: *version });
        }
        let (size, rest) = rest.split_first_chunk::<8>().expect("72 bytes");
        let (root, key) = rest.split_first_chunk::<32>().expect("64 bytes");
        Ok(Self {
            size: u64::from_be_bytes(*size),
            root: Hash::new(*root),
            key: Hash::new(key.try_into().expect("32 bytes")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commitments_survive_a_round_trip_and_nothing_else_parses() {
        let commitment = StateCommitment {
            size: 0x0102_0304_0506_0708,
            root: Hash::new([9; 32]),
            key: Hash::new([7; 32]),
        };
        let bytes = commitment.to_bytes();
        assert_eq!(bytes[..10], [1, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(StateCommitment::from_bytes(&bytes), Ok(commitment));
        assert_eq!(
            StateCommitment::from_bytes(&bytes[1..]),
            Err(StateCommitmentError::Length { found: 72 })
        );
        assert_eq!(
            StateCommitment::from_bytes(&[&bytes[..], &[0]].concat()),
            Err(StateCommitmentError::Length { found: 74 })
        );
        let mut other = bytes;
        other[0] = 2;
        assert_eq!(
            StateCommitment::from_bytes(&other),
            Err(StateCommitmentError::Version { found: 2 })
        );
    }
}
