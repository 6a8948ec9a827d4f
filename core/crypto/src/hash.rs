//! SHA-256 (FIPS 180-4) and the two leaf hashes that the log and its proofs are made of.

use craton_types::{HEADER_BYTES, Hash};
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::SecretBytes;

/// The prefix of a Merkle tree leaf (RFC 6962, section 2.1).
const LEAF_PREFIX: &[u8] = &[0x00];
/// The prefix of a Merkle tree node.
const NODE_PREFIX: &[u8] = &[0x01];
/// The bytes that the hash function takes at a time.
const BLOCK_BYTES: usize = 64;
/// Blocks of a prefix and a header with its padding.
const HEADER_BLOCKS: usize = (1 + HEADER_BYTES + 9).div_ceil(BLOCK_BYTES);
/// Blocks of a prefix and two hashes with their padding.
const NODE_BLOCKS: usize = (1_usize + 2 * 32 + 9).div_ceil(BLOCK_BYTES);
/// The hash value that FIPS 180-4, section 5.3.3, begins with.
const INITIAL_STATE: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

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
    sha256_of_blocks::<HEADER_BLOCKS>(&[LEAF_PREFIX, header])
}

/// `SHA-256(0x01 ‖ left ‖ right)`: a node of a Merkle tree (RFC 6962, section 2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256_of_blocks::<NODE_BLOCKS>(&[NODE_PREFIX, left.as_bytes(), right.as_bytes()])
}

/// The digest of a message whose length, known beforehand, takes `BLOCKS` blocks with its padding (FIPS 180-4, section
/// 5.1.1). Headers and nodes are most of what is hashed, and buffering them would take a third of the time.
fn sha256_of_blocks<const BLOCKS: usize>(parts: &[&[u8]]) -> Hash {
    let mut blocks = [[0; BLOCK_BYTES]; BLOCKS];
    pad(blocks.as_flattened_mut(), parts);
    let mut state = INITIAL_STATE;
    compress256(&mut state, &blocks);
    let mut digest = [0; 32];
    write_words(&state, &mut digest);
    Hash::new(digest)
}

/// Fills blocks of zeros with a message and its padding, which must end with the last one.
fn pad(blocks: &mut [u8], parts: &[&[u8]]) {
    let mut length = 0;
    for part in parts {
        blocks[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    debug_assert_eq!(
        (length + 9).next_multiple_of(BLOCK_BYTES),
        blocks.len(),
        "the number of blocks"
    );
    blocks[length] = 0x80;
    let bits = 8 * length as u64;
    let (_, end) = blocks.split_last_chunk_mut::<8>().expect("a block is longer");
    *end = bits.to_be_bytes();
}

fn write_words(state: &[u32; 8], digest: &mut [u8; 32]) {
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
}

/// `SHA-256(counter ‖ secret ‖ info)`: the one-step key derivation of NIST SP 800-56C revision 2, section 4.1, for 32 bytes.
pub(crate) fn one_step_kdf<const INFO_BYTES: usize>(
    secret: &SecretBytes,
    counter: u32,
    info: &[u8; INFO_BYTES],
) -> SecretBytes {
    const { assert!(4 + 32 + INFO_BYTES + 9 <= BLOCK_BYTES, "the message takes one block") };
    let mut block = Zeroizing::new([0; BLOCK_BYTES]);
    pad(&mut *block, &[&counter.to_be_bytes(), secret.expose(), info]);
    let mut state = Zeroizing::new(INITIAL_STATE);
    compress256(&mut state, std::slice::from_ref(&*block));
    let mut key = SecretBytes::new([0; 32]);
    write_words(&state, key.expose_mut());
    key
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

    #[test]
    fn hashes_of_blocks_are_those_of_bytes() {
        for fill in [0x00, 0x5a, 0xff] {
            let header = [fill; HEADER_BYTES];
            assert_eq!(record_hash(&header), sha256(&[LEAF_PREFIX, &header]));
            let (left, right) = (Hash::new([fill; 32]), Hash::new([fill ^ 0x21; 32]));
            assert_eq!(
                node_hash(&left, &right),
                sha256(&[NODE_PREFIX, left.as_bytes(), right.as_bytes()])
            );
        }
    }

    #[test]
    fn a_derived_key_is_the_digest_of_the_counter_the_secret_and_the_info() {
        let secret = SecretBytes::new([0x5a; 32]);
        let digest = sha256(&[&[0, 0, 0, 2], secret.expose(), b"fifteen bytes.."]);
        assert_eq!(one_step_kdf(&secret, 2, b"fifteen bytes..").expose(), digest.as_bytes());
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
