//! Encryption and authentication of the file's pages.
//!
//! Pages are encrypted with AES-256-XTS (IEEE 1619, NIST SP 800-38E), the page's number being the tweak, and each
//! carries HMAC-SHA-256 over its number and ciphertext (encrypt, then authenticate), cut to 128 bits (RFC 2104,
//! section 5). XTS alone turns a flipped bit into sixteen wrong bytes that nobody notices; the tag makes it an error.
//! A tag does not say how old a page is: somebody who can write the file can put an older version of a page back. The
//! log's proofs, not this view, are what stands against such a person.

use aes::Aes256;
use aes::cipher::{Array, KeyInit};
use craton_crypto::{SecretBytes, constant_time_equal};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use xts_mode::{Xts128, get_tweak_default};
use zeroize::Zeroizing;

/// The size of a page, which is redb's.
pub(crate) const PAGE_BYTES: usize = 4_096;
/// The size of a tag.
pub(crate) const TAG_BYTES: usize = 16;

const CIPHER_INFO: &[u8] = b"craton projection pages v1";
const TAG_INFO: &[u8] = b"craton projection page tags v1";
const KEY_CHECK_INFO: &[u8] = b"craton projection key check v1";

/// Seals and opens pages under one tenant's key.
pub(crate) struct PageCipher {
    xts: Xts128<Aes256>,
    tags: Hmac<Sha256>,
    key_check: [u8; TAG_BYTES],
}

impl PageCipher {
    pub(crate) fn new(key: &SecretBytes) -> Self {
        let keys = Hkdf::<Sha256>::new(None, key.expose());
        let expand = |info: &[u8], out: &mut [u8]| {
            keys.expand(info, out).expect("HKDF-SHA-256 gives up to 8160 bytes");
        };
        let mut pair = Zeroizing::new([0; 64]);
        expand(CIPHER_INFO, &mut *pair);
        let (data_key, tweak_key) = pair.split_at(32);
        let cipher = |key: &[u8]| Aes256::new_from_slice(key).expect("half of 64 bytes is an AES-256 key");
        let mut tag_key = Zeroizing::new([0; 32]);
        expand(TAG_INFO, &mut *tag_key);
        let mut key_check = [0; TAG_BYTES];
        expand(KEY_CHECK_INFO, &mut key_check);
        Self {
            xts: Xts128::new(cipher(data_key), cipher(tweak_key)),
            tags: KeyInit::new_from_slice(&*tag_key).expect("HMAC takes keys of any length"),
            key_check,
        }
    }

    /// Says which key this is without giving it away.
    pub(crate) const fn key_check(&self) -> &[u8; TAG_BYTES] {
        &self.key_check
    }

    /// Encrypts a page in place and returns its tag. `context` is authenticated with it.
    pub(crate) fn seal(&self, page_number: u64, context: u64, page: &mut [u8]) -> [u8; TAG_BYTES] {
        assert_eq!(page.len(), PAGE_BYTES, "pages have one size");
        self.xts.encrypt_sector(page, tweak(page_number));
        self.tag(page_number, context, page)
    }

    /// Checks a page against its tag and decrypts it in place; `false`, and the page untouched, when it does not match.
    #[must_use]
    pub(crate) fn open(&self, page_number: u64, context: u64, page: &mut [u8], tag: &[u8]) -> bool {
        assert_eq!(page.len(), PAGE_BYTES, "pages have one size");
        if !constant_time_equal(&self.tag(page_number, context, page), tag) {
            return false;
        }
        self.xts.decrypt_sector(page, tweak(page_number));
        true
    }

    fn tag(&self, page_number: u64, context: u64, ciphertext: &[u8]) -> [u8; TAG_BYTES] {
        let mut tags = self.tags.clone();
        tags.update(&page_number.to_be_bytes());
        tags.update(&context.to_be_bytes());
        tags.update(ciphertext);
        let full = tags.finalize().into_bytes();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&full[..TAG_BYTES]);
        tag
    }
}

fn tweak(page_number: u64) -> Array<u8, aes::cipher::consts::U16> {
    get_tweak_default(u128::from(page_number))
}
