//! The segment's key: random, wrapped by the node's, one (key, position) for one record.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use craton_crypto::SecretBytes;
use zeroize::Zeroizing;

use super::RandomFill;
use super::format::{KEY_NONCE_BYTES, RECORD_ASSOCIATED_BYTES, SEGMENT_ASSOCIATED_BYTES, TAG_BYTES, WrappedKey};

/// Seals and opens the records of one segment.
pub(super) struct SegmentCipher(Aes256Gcm);

impl SegmentCipher {
    /// Makes a random key and wraps it.
    pub(super) fn create(
        wrapping_key: &SecretBytes,
        associated: &[u8; SEGMENT_ASSOCIATED_BYTES],
        random: &mut RandomFill,
    ) -> (Self, WrappedKey) {
        let mut key = Zeroizing::new([0; 32]);
        random(&mut *key);
        let cipher = Self(Aes256Gcm::new((&*key).into()));
        let mut nonce = [0; KEY_NONCE_BYTES];
        random(&mut nonce);
        let tag = Aes256Gcm::new(wrapping_key.expose().into())
            .encrypt_inout_detached(&Nonce::from(nonce), associated, key.as_mut_slice().into())
            .expect("32 bytes are within the limit of AES-GCM");
        let mut sealed = [0; 32 + TAG_BYTES];
        sealed[..32].copy_from_slice(&*key);
        sealed[32..].copy_from_slice(&tag);
        (cipher, WrappedKey { nonce, sealed })
    }

    /// Unwraps the key that a segment header holds; `None` when it was wrapped by another key.
    pub(super) fn unwrap(
        wrapping_key: &SecretBytes,
        associated: &[u8; SEGMENT_ASSOCIATED_BYTES],
        wrapped: &WrappedKey,
    ) -> Option<Self> {
        let (sealed, tag) = wrapped.sealed.split_first_chunk::<32>()?;
        let tag: [u8; TAG_BYTES] = tag.try_into().ok()?;
        let mut key = Zeroizing::new(*sealed);
        Aes256Gcm::new(wrapping_key.expose().into())
            .decrypt_inout_detached(
                &Nonce::from(wrapped.nonce),
                associated,
                key.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .ok()?;
        Some(Self(Aes256Gcm::new((&*key).into())))
    }

    /// Encrypts in place the record at `position`. It is called once for a position.
    pub(super) fn seal(
        &self,
        position: u64,
        associated: &[u8; RECORD_ASSOCIATED_BYTES],
        text: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        self.0
            .encrypt_inout_detached(&nonce(position), associated, text.into())
            .expect("a batch is within the 64 GiB limit of AES-GCM")
            .into()
    }

    /// Decrypts in place a payload with its tag and returns the plaintext; `None` when it is not what was sealed.
    pub(super) fn open<'a>(
        &self,
        position: u64,
        associated: &[u8; RECORD_ASSOCIATED_BYTES],
        payload: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let (text, tag) = payload.split_last_chunk_mut::<TAG_BYTES>()?;
        self.0
            .decrypt_inout_detached(&nonce(position), associated, (&mut *text).into(), &Tag::from(*tag))
            .ok()?;
        Some(text)
    }
}

fn nonce(position: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&position.to_be_bytes());
    Nonce::from(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> RandomFill {
        let mut next = 0u8;
        Box::new(move |bytes| {
            next += 1;
            bytes.fill(next);
        })
    }

    #[test]
    fn records_open_only_where_they_were_sealed() {
        let wrapping_key = SecretBytes::new([9; 32]);
        let segment = [1; SEGMENT_ASSOCIATED_BYTES];
        let (cipher, wrapped) = SegmentCipher::create(&wrapping_key, &segment, &mut random());
        let mut payload = b"text".to_vec();
        let tag = cipher.seal(7, &[2; RECORD_ASSOCIATED_BYTES], &mut payload);
        assert_ne!(payload, b"text");
        payload.extend_from_slice(&tag);

        let reopened = SegmentCipher::unwrap(&wrapping_key, &segment, &wrapped).expect("unwrapped");
        let open = |position, associated: u8, payload: &[u8]| {
            let mut payload = payload.to_vec();
            reopened
                .open(position, &[associated; RECORD_ASSOCIATED_BYTES], &mut payload)
                .map(|text| text.to_vec())
        };
        assert_eq!(open(7, 2, &payload).as_deref(), Some(&b"text"[..]));
        assert_eq!(open(8, 2, &payload), None, "another position");
        assert_eq!(open(7, 3, &payload), None, "another header");
        assert_eq!(open(7, 2, &payload[..15]), None, "shorter than a tag");

        assert!(SegmentCipher::unwrap(&SecretBytes::new([8; 32]), &segment, &wrapped).is_none());
        assert!(SegmentCipher::unwrap(&wrapping_key, &[3; SEGMENT_ASSOCIATED_BYTES], &wrapped).is_none());
    }
}
