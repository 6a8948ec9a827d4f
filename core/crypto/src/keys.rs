//! The keys of a tenant's log: stored data keys, a data-encryption key per epoch, a change key per chunk.
//!
//! ```text
//! DataKey ── HKDF (epoch, salt) ──> Dek ── HKDF (offset, chunk index) ──> ChangeKey
//! ```
//! Who wraps the data keys is in `craton-engine`'s keyring.
//!
//! A chunk is `commitment (32) ‖ ciphertext ‖ tag (16)`. AES-GCM does not commit to its key: for a given
//! ciphertext one can construct two keys that both open it, to different plaintexts. The commitment, derived
//! from the change key beside the cipher key and compared before opening, binds a chunk to one key, so a
//! disclosed change key opens the chunk to exactly one plaintext.
//!
//! Both are derived by the one-step key derivation of NIST SP 800-56C revision 2, section 4, with SHA-256: `SHA-256(counter
//! (4) ‖ change key ‖ "craton chunk v1")`, the cipher key with the counter 1, the commitment with 2.

use aes::Aes256Enc;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{AesGcm, Nonce, Tag};
use craton_types::{KeyEpoch, Offset, TenantId};
use hkdf::Hkdf;
use sha2::Sha256;

use crate::hash::one_step_kdf;
use crate::hkdf::expand_key;
use crate::{NONCE_BYTES, SecretBytes, constant_time_equal, derive};

/// The length of the key commitment at the start of a chunk.
pub const CHUNK_COMMITMENT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// How much longer a chunk is than its plaintext.
pub const CHUNK_OVERHEAD_BYTES: usize = CHUNK_COMMITMENT_BYTES + TAG_BYTES;

const CHANGE_KEY_INFO: &[u8] = b"craton change key v1";
const CHUNK_INFO: &[u8; 15] = b"craton chunk v1";
const EPOCH_KEY_INFO: &[u8] = b"craton epoch key v1";

/// A stored data key of a tenant. It never meets a cipher itself: the key of each epoch is derived from it.
#[derive(Clone)]
pub struct DataKey(SecretBytes);

impl DataKey {
    /// Takes 32 random or unwrapped bytes.
    #[must_use]
    pub const fn new(secret: SecretBytes) -> Self {
        Self(secret)
    }

    /// The secret, to be wrapped.
    #[must_use]
    pub const fn secret(&self) -> &SecretBytes {
        &self.0
    }

    /// The key of one epoch: `HKDF-SHA256(data key, "craton epoch key v1" ‖ tenant ‖ epoch ‖ salt)`.
    #[must_use]
    pub fn dek(&self, tenant: TenantId, epoch: KeyEpoch, salt: &[u8; 32]) -> Dek {
        let info = [EPOCH_KEY_INFO, tenant.as_bytes(), &epoch.get().to_be_bytes(), salt];
        Dek::new(derive(&self.0, &info))
    }
}

/// The data-encryption key of one epoch: every chunk's change key is derived from it.
#[derive(Clone)]
pub struct Dek {
    /// HKDF-Extract of the secret, done once instead of for each chunk.
    schedule: Hkdf<Sha256>,
}

impl Dek {
    /// Takes 32 random or unwrapped bytes.
    #[must_use]
    pub fn new(secret: SecretBytes) -> Self {
        let schedule = Hkdf::new(None, secret.expose());
        drop(secret);
        Self { schedule }
    }

    /// The key of one chunk: `HKDF-SHA256(DEK, "craton change key v1" ‖ tenant ‖ offset ‖ chunk index)`.
    #[must_use]
    pub fn change_key(&self, tenant: TenantId, offset: Offset, chunk_index: u32) -> ChangeKey {
        let info = [
            CHANGE_KEY_INFO,
            tenant.as_bytes(),
            &offset.get().to_be_bytes(),
            &chunk_index.to_be_bytes(),
        ];
        ChangeKey {
            secret: expand_key(&self.schedule, &info),
            nonce: chunk_nonce(offset, chunk_index),
        }
    }
}

/// Why a chunk does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The chunk is shorter than a commitment and a tag.
    #[error("a chunk has at least {CHUNK_OVERHEAD_BYTES} bytes, found {found}")]
    Length {
        /// How many bytes there are.
        found: usize,
    },
    /// The chunk was sealed under another key.
    #[error("the chunk's commitment is to another key")]
    Commitment,
    /// The ciphertext or its tag is damaged.
    #[error("the chunk does not authenticate")]
    Authentication,
}

/// The key of one chunk of one record. Disclosing it discloses that chunk and nothing else.
#[derive(Clone)]
pub struct ChangeKey {
    secret: SecretBytes,
    nonce: [u8; NONCE_BYTES],
}

impl ChangeKey {
    /// A disclosed key for the chunk at `chunk_index` of the record at `offset`.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32], offset: Offset, chunk_index: u32) -> Self {
        Self {
            secret: SecretBytes::new(bytes),
            nonce: chunk_nonce(offset, chunk_index),
        }
    }

    /// The key's bytes, for disclosure in a receipt.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.secret.expose()
    }

    /// Encrypts the chunk's plaintext. Deterministic: replicas seal the same plaintext to the same chunk.
    #[must_use]
    pub fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        ChunkSealer::default().seal(self, plaintext)
    }

    /// Decrypts a chunk.
    ///
    /// # Errors
    /// When the chunk is too short, committed to another key, or damaged.
    pub fn open(&self, chunk: &[u8]) -> Result<Vec<u8>, ChunkError> {
        let malformed = ChunkError::Length { found: chunk.len() };
        let (commitment, rest) = chunk.split_first_chunk::<CHUNK_COMMITMENT_BYTES>().ok_or(malformed)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(malformed)?;
        if !constant_time_equal(commitment, self.commitment().expose()) {
            return Err(ChunkError::Commitment);
        }
        let mut plaintext = ciphertext.to_vec();
        self.cipher()
            .decrypt_inout_detached(
                &Nonce::from(self.nonce),
                &[],
                plaintext.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| ChunkError::Authentication)?;
        Ok(plaintext)
    }

    fn cipher(&self) -> ChunkCipher {
        let key = one_step_kdf(&self.secret, 1, CHUNK_INFO);
        ChunkCipher::new(key.expose().into())
    }

    fn commitment(&self) -> SecretBytes {
        one_step_kdf(&self.secret, 2, CHUNK_INFO)
    }
}

/// AES-256-GCM. GCM never runs the block cipher backwards.
type ChunkCipher = AesGcm<Aes256Enc, U12>;

/// Seals many chunks, each under its own key.
///
/// A cipher is a kilobyte, and wiping it byte by byte takes as long as the encryption. So each chunk's cipher is
/// overwritten by the next one's, and the last one is wiped.
#[derive(Default)]
pub struct ChunkSealer(Option<Box<ChunkCipher>>);

impl ChunkSealer {
    /// As [`ChangeKey::seal`].
    #[must_use]
    pub fn seal(&mut self, key: &ChangeKey, plaintext: &[u8]) -> Vec<u8> {
        let mut chunk = Vec::with_capacity(plaintext.len() + CHUNK_OVERHEAD_BYTES);
        chunk.extend_from_slice(key.commitment().expose());
        chunk.extend_from_slice(plaintext);
        let tag = self
            .load(key.cipher())
            .encrypt_inout_detached(
                &Nonce::from(key.nonce),
                &[],
                (&mut chunk[CHUNK_COMMITMENT_BYTES..]).into(),
            )
            .expect("a chunk is shorter than the 64 GiB that AES-GCM takes");
        chunk.extend_from_slice(tag.as_slice());
        chunk
    }

    fn load(&mut self, cipher: ChunkCipher) -> &ChunkCipher {
        match &mut self.0 {
            Some(place) => std::mem::forget(std::mem::replace(&mut **place, cipher)),
            None => self.0 = Some(Box::new(cipher)),
        }
        self.0.as_deref().expect("it was put there")
    }
}

/// `offset (8) ‖ chunk index (4)`, big-endian.
fn chunk_nonce(offset: Offset, chunk_index: u32) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&offset.get().to_be_bytes());
    nonce[8..].copy_from_slice(&chunk_index.to_be_bytes());
    nonce
}

macro_rules! redacted {
    ($($name:ident),+) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        })+
    };
}

redacted!(DataKey, Dek, ChangeKey);

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId::new([7; 16]);

    fn dek() -> Dek {
        Dek::new(SecretBytes::new([5; 32]))
    }

    #[test]
    fn chunks_open_with_their_own_key_only() {
        let offset = Offset::new(3);
        let key = dek().change_key(TENANT, offset, 1);
        for plaintext in [&b""[..], b"x", &[0xa5; 1000]] {
            let chunk = key.seal(plaintext);
            assert_eq!(chunk.len(), plaintext.len() + CHUNK_OVERHEAD_BYTES);
            assert_eq!(chunk, key.seal(plaintext), "replicas seal to identical bytes");
            assert_eq!(key.open(&chunk).as_deref(), Ok(plaintext));
            assert_eq!(
                ChangeKey::from_bytes(*key.as_bytes(), offset, 1)
                    .open(&chunk)
                    .as_deref(),
                Ok(plaintext)
            );
            for other in [
                dek().change_key(TENANT, offset, 2),
                dek().change_key(TENANT, Offset::new(4), 1),
                dek().change_key(TenantId::new([8; 16]), offset, 1),
                Dek::new(SecretBytes::new([6; 32])).change_key(TENANT, offset, 1),
            ] {
                assert_eq!(other.open(&chunk), Err(ChunkError::Commitment));
            }
        }
    }

    #[test]
    fn a_sealer_seals_as_each_key_alone() {
        let mut sealer = ChunkSealer::default();
        for index in 0..3 {
            let key = dek().change_key(TENANT, Offset::ZERO, index);
            assert_eq!(sealer.seal(&key, b"plaintext"), key.seal(b"plaintext"));
        }
    }

    #[test]
    fn every_byte_of_a_chunk_is_authenticated() {
        let key = dek().change_key(TENANT, Offset::ZERO, 0);
        let chunk = key.seal(b"plaintext");
        for index in 0..chunk.len() {
            let mut damaged = chunk.clone();
            damaged[index] ^= 0x80;
            let expected = if index < CHUNK_COMMITMENT_BYTES {
                ChunkError::Commitment
            } else {
                ChunkError::Authentication
            };
            assert_eq!(key.open(&damaged), Err(expected), "byte {index}");
        }
        let short = &chunk[..CHUNK_OVERHEAD_BYTES - 1];
        assert_eq!(
            key.open(short),
            Err(ChunkError::Length {
                found: CHUNK_OVERHEAD_BYTES - 1
            })
        );
    }

    /// The derivation is part of the receipt format: these bytes may never change.
    #[test]
    fn golden_chunk() {
        let key = dek().change_key(TENANT, Offset::new(258), 3);
        assert_eq!(crate::sha256(&[key.as_bytes()]).to_string(), GOLDEN_KEY_DIGEST);
        assert_eq!(crate::sha256(&[&key.seal(b"golden")]).to_string(), GOLDEN_CHUNK_DIGEST);
    }

    const GOLDEN_KEY_DIGEST: &str = "3a92598ea4254eba1192e3c193686d41a4a6ab7f2b0946104286fe28dddf37c7";
    const GOLDEN_CHUNK_DIGEST: &str = "b9b6f793e0fd754d791174bbe1c3d5486e4829893c5202350362303116987a55";

    #[test]
    fn epochs_and_salts_have_keys_of_their_own() {
        let data_key = DataKey::new(SecretBytes::new([5; 32]));
        let chunk = |data_key: &DataKey, tenant, epoch, salt| {
            let dek = data_key.dek(tenant, KeyEpoch::new(epoch), &[salt; 32]);
            dek.change_key(TENANT, Offset::ZERO, 0).seal(b"x")
        };
        let first = chunk(&data_key, TENANT, 1, 1);
        assert_eq!(first, chunk(&data_key, TENANT, 1, 1));
        for other in [
            chunk(&data_key, TENANT, 2, 1),
            chunk(&data_key, TENANT, 1, 2),
            chunk(&data_key, TenantId::NIL, 1, 1),
            chunk(&DataKey::new(SecretBytes::new([6; 32])), TENANT, 1, 1),
        ] {
            assert_ne!(first[..CHUNK_COMMITMENT_BYTES], other[..CHUNK_COMMITMENT_BYTES]);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!(
            "{:?} {:?} {:?} {:?}",
            DataKey::new(SecretBytes::new([0x11; 32])),
            dek(),
            dek().change_key(TENANT, Offset::ZERO, 0),
            SecretBytes::new([0x11; 32])
        );
        assert_eq!(
            shown,
            "DataKey(redacted) Dek(redacted) ChangeKey(redacted) SecretBytes(redacted)"
        );
    }
}
