//! Key wrapping: one 32-byte key encrypted under another with AES-256-GCM.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | version, 1 |
//! | 1..9 | id of the wrapping key |
//! | 9..21 | nonce, random |
//! | 21..53 | the wrapped key, encrypted |
//! | 53..69 | authentication tag |
//!
//! The associated data is bytes 0..9 followed by the caller's context, which says what the key is for and
//! whose it is; a wrapped key moved to another context does not unwrap.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};

use crate::{SecretBytes, derive};

/// The version of the layout above.
const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const PREFIX_BYTES: usize = 1 + KEY_ID_BYTES;
/// The length of the random nonce that wrapping takes.
pub const NONCE_BYTES: usize = 12;
/// The length of a wrapped key.
pub const WRAPPED_KEY_BYTES: usize = PREFIX_BYTES + NONCE_BYTES + 32 + 16;

/// Why a wrapped key does not unwrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// The bytes are not as long as a wrapped key.
    #[error("a wrapped key has {WRAPPED_KEY_BYTES} bytes, found {found}")]
    Length {
        /// How many bytes there are.
        found: usize,
    },
    /// The version byte is unknown.
    #[error("wrapped key version {found} is unknown, expected {VERSION}")]
    Version {
        /// The byte found.
        found: u8,
    },
    /// The key was wrapped by another key.
    #[error("it is wrapped by key {found}, this is key {expected}")]
    OtherKey {
        /// The id of the key at hand.
        expected: KeyId,
        /// The id in the wrapped key.
        found: KeyId,
    },
    /// The tag does not match: damaged bytes or another context.
    #[error("the wrapped key does not authenticate in this context")]
    Authentication,
}

/// A public name for a wrapping key, derived from it one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A key that wraps keys.
#[derive(Clone)]
pub struct WrappingKey {
    id: KeyId,
    key: SecretBytes,
}

impl WrappingKey {
    /// Derives the wrapping key from `secret`, so that `secret` itself never meets a cipher.
    #[must_use]
    pub fn new(secret: &SecretBytes) -> Self {
        let id = derive(secret, &[b"craton wrapping key id v1"]);
        let id = id.expose().first_chunk().expect("eight of 32 bytes");
        Self {
            id: KeyId(*id),
            key: derive(secret, &[b"craton wrapping key v1"]),
        }
    }

    /// Its public name.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    fn prefix(&self) -> [u8; PREFIX_BYTES] {
        let mut prefix = [VERSION; PREFIX_BYTES];
        prefix[1..].copy_from_slice(&self.id.0);
        prefix
    }

    /// Wraps a key. `context` says what it is for and whose it is; `nonce` is random and never used twice with this
    /// wrapping key.
    #[must_use]
    pub fn wrap(&self, key: &SecretBytes, context: &[u8], nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let prefix = self.prefix();
        let mut sealed = key.clone();
        let tag = Aes256Gcm::new(self.key.expose().into())
            .encrypt_inout_detached(
                &Nonce::from(nonce),
                &[&prefix[..], context].concat(),
                sealed.expose_mut().as_mut_slice().into(),
            )
            .expect("32 bytes are within the limit of AES-GCM");
        [&prefix[..], &nonce, sealed.expose(), tag.as_slice()].concat()
    }

    /// Unwraps what [`Self::wrap`] wrapped for the same context.
    ///
    /// # Errors
    /// When the bytes are damaged, or wrapped by another key or for another context.
    pub fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Result<SecretBytes, WrapError> {
        let wrapped: &[u8; WRAPPED_KEY_BYTES] = wrapped
            .try_into()
            .map_err(|_| WrapError::Length { found: wrapped.len() })?;
        let (prefix, rest) = wrapped.split_at(PREFIX_BYTES);
        let (nonce, rest) = rest.split_at(NONCE_BYTES);
        let (sealed, tag) = rest.split_at(32);
        if prefix[0] != VERSION {
            return Err(WrapError::Version { found: prefix[0] });
        }
        if prefix[1..] != self.id.0 {
            return Err(WrapError::OtherKey {
                expected: self.id,
                found: KeyId(prefix[1..].try_into().expect("the prefix holds an id")),
            });
        }
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().expect("split at the length of a nonce");
        let tag: [u8; 16] = tag.try_into().expect("a tag is what remains");
        let mut key = SecretBytes::new(sealed.try_into().expect("split at the length of a key"));
        Aes256Gcm::new(self.key.expose().into())
            .decrypt_inout_detached(
                &Nonce::from(nonce),
                &[prefix, context].concat(),
                key.expose_mut().as_mut_slice().into(),
                &Tag::from(tag),
            )
            .map_err(|_| WrapError::Authentication)?;
        Ok(key)
    }
}

impl std::fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WrappingKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapping_key(byte: u8) -> WrappingKey {
        WrappingKey::new(&SecretBytes::new([byte; 32]))
    }

    #[test]
    fn wrapped_keys_unwrap_in_their_context_only() {
        let key = SecretBytes::new([9; 32]);
        let wrapped = wrapping_key(1).wrap(&key, b"tenant a", [3; 12]);
        assert_eq!(wrapped.len(), WRAPPED_KEY_BYTES);
        assert_eq!(wrapping_key(1).unwrap(&wrapped, b"tenant a"), Ok(key));
        assert_eq!(
            wrapping_key(1).unwrap(&wrapped, b"tenant b"),
            Err(WrapError::Authentication)
        );
        assert_eq!(
            wrapping_key(2).unwrap(&wrapped, b"tenant a"),
            Err(WrapError::OtherKey {
                expected: wrapping_key(2).id(),
                found: wrapping_key(1).id()
            })
        );
        assert_eq!(
            wrapping_key(1).unwrap(&wrapped[1..], b"tenant a"),
            Err(WrapError::Length {
                found: WRAPPED_KEY_BYTES - 1
            })
        );
    }

    #[test]
    fn every_byte_of_a_wrapped_key_is_authenticated() {
        let wrapped = wrapping_key(1).wrap(&SecretBytes::new([9; 32]), b"context", [3; 12]);
        for index in 0..wrapped.len() {
            let mut damaged = wrapped.clone();
            damaged[index] ^= 1;
            assert!(wrapping_key(1).unwrap(&damaged, b"context").is_err(), "byte {index}");
        }
    }
}
