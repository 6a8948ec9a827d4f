//! SHA-256 (FIPS 180-4) and the two leaf hashes that the log and its proofs are made of.

use craton_types::{HEADER_BYTES, Hash};
use sha2::{Digest, Sha256};

/// The prefix of a Merkle tree leaf (RFC 6962, section 2.1).
const LEAF_PREFIX: &[u8] = &[0x00];

/// The digest of the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    Hash::new(digest.finalize().into())
}

/// `SHA-256(0x00 ‖ header)`: a record's chain link and its RFC 6962 Merkle leaf at once.
#[must_use]
pub fn record_hash(header: &[u8; HEADER_BYTES]) -> Hash {
    sha256(&[LEAF_PREFIX, header])
}

/// `SHA-256(0x00 ‖ chunk)`: a chunk's leaf in the tree that a record's `payload_hash` is the root of.
#[must_use]
pub fn chunk_hash(chunk: &[u8]) -> Hash {
    sha256(&[LEAF_PREFIX, chunk])
}

/// A digest that is fed piece by piece, for input that is not in memory as a whole.
#[derive(Clone, Default)]
pub struct Sha256Writer(Sha256);

impl Sha256Writer {
    /// A digest of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A digest that has been fed the prefix of [`chunk_hash`].
    #[must_use]
    pub fn chunk() -> Self {
        let mut writer = Self::new();
        writer.update(LEAF_PREFIX);
        writer
    }

    /// Feeds more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything fed.
    #[must_use]
    pub fn finish(self) -> Hash {
        Hash::new(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4 example vectors.
    #[test]
    fn known_digests() {
        for (input, digest) in [
            (
                &b""[..],
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                b"abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ] {
            assert_eq!(sha256(&[input]).to_string(), digest);
            let (left, right) = input.split_at(input.len() / 2);
            assert_eq!(sha256(&[left, right]).to_string(), digest, "parts are concatenated");
            let mut writer = Sha256Writer::new();
            writer.update(left);
            writer.update(right);
            assert_eq!(writer.finish().to_string(), digest, "pieces are concatenated");
        }
    }

    /// RFC 6962 leaf of the empty entry, as used by every Certificate Transparency test suite.
    #[test]
    fn leaves_are_prefixed() {
        assert_eq!(
            chunk_hash(b"").to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        let header = [7; HEADER_BYTES];
        assert_eq!(record_hash(&header), chunk_hash(&header));
        let mut writer = Sha256Writer::chunk();
        writer.update(&header);
        assert_eq!(writer.finish(), chunk_hash(&header));
    }
}
