//! Encryption and authentication of the file's pages.
//!
//! Pages are encrypted with AES-256-XTS (IEEE 1619, NIST SP 800-38E), the page's number being the tweak, and each
//! carries HMAC-SHA-256 over its number and ciphertext (encrypt, then authenticate), cut to 128 bits (RFC 2104,
//! section 5). XTS alone turns a flipped bit into sixteen wrong bytes that nobody notices; the tag makes it an error.
//! A tag does not say how old a page is: somebody who can write the file can put an older version of a page back. The
//! log's proofs, not this view, are what stands against such a person.

use aes::Aes256;
use aes::cipher::{Array, Block, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use craton_crypto::{SecretBytes, constant_time_equal};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
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
    xts: Xts,
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
            xts: Xts {
                data: cipher(data_key),
                tweak: cipher(tweak_key),
            },
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
        self.xts.encrypt(page_number, page);
        self.tag(page_number, context, page)
    }

    /// Checks a page against its tag and decrypts it in place; `false`, and the page untouched, when it does not match.
    #[must_use]
    pub(crate) fn open(&self, page_number: u64, context: u64, page: &mut [u8], tag: &[u8]) -> bool {
        assert_eq!(page.len(), PAGE_BYTES, "pages have one size");
        if !constant_time_equal(&self.tag(page_number, context, page), tag) {
            return false;
        }
        self.xts.decrypt(page_number, page);
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

/// AES-256-XTS of whole pages. All blocks of a page go to the cipher at once, which is several times as fast as one
/// after the other.
struct Xts {
    data: Aes256,
    tweak: Aes256,
}

type Tweaks = [u128; PAGE_BYTES / 16];

impl Xts {
    fn encrypt(&self, page_number: u64, page: &mut [u8]) {
        let tweaks = self.tweaks(page_number);
        let blocks = blocks_of(page);
        add(blocks, &tweaks);
        self.data.encrypt_blocks(blocks);
        add(blocks, &tweaks);
    }

    fn decrypt(&self, page_number: u64, page: &mut [u8]) {
        let tweaks = self.tweaks(page_number);
        let blocks = blocks_of(page);
        add(blocks, &tweaks);
        self.data.decrypt_blocks(blocks);
        add(blocks, &tweaks);
    }

    /// The tweak of each block: the encrypted page number times a power of x in GF(2^128) (IEEE 1619, section 5.2).
    fn tweaks(&self, page_number: u64) -> Tweaks {
        let mut first: Block<Aes256> = u128::from(page_number).to_le_bytes().into();
        self.tweak.encrypt_block(&mut first);
        let mut next = u128::from_le_bytes(first.into());
        let mut tweaks = [0; PAGE_BYTES / 16];
        for tweak in &mut tweaks {
            *tweak = next;
            let carry = next >> 127;
            next = (next << 1) ^ (carry * 0x87);
        }
        tweaks
    }
}

fn blocks_of(page: &mut [u8]) -> &mut [Block<Aes256>] {
    let (blocks, rest) = Array::slice_as_chunks_mut(page);
    assert!(rest.is_empty(), "a page is a whole number of blocks");
    blocks
}

fn add(blocks: &mut [Block<Aes256>], tweaks: &Tweaks) {
    for (block, tweak) in blocks.iter_mut().zip(tweaks) {
        let sum = u128::from_le_bytes((*block).into()) ^ tweak;
        *block = sum.to_le_bytes().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xts_mode::{Xts128, get_tweak_default};

    /// Against another implementation of the mode.
    #[test]
    fn pages_are_encrypted_as_the_standard_says() {
        let cipher = |byte: u8| Aes256::new_from_slice(&[byte; 32]).expect("32 bytes");
        let ours = Xts {
            data: cipher(1),
            tweak: cipher(2),
        };
        let standard = Xts128::new(cipher(1), cipher(2));
        let plain: Vec<u8> = (0..=250u8).cycle().take(PAGE_BYTES).collect();
        for page_number in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let mut page = plain.clone();
            ours.encrypt(page_number, &mut page);
            let mut expected = plain.clone();
            standard.encrypt_sector(&mut expected, get_tweak_default(u128::from(page_number)));
            assert_eq!(page, expected, "page {page_number}");
            ours.decrypt(page_number, &mut page);
            assert_eq!(page, plain, "page {page_number}");
        }
    }
}
