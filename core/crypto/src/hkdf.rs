//! Key derivation: HKDF with SHA-256 (RFC 5869).

use hkdf::Hkdf;
use sha2::Sha256;

use crate::SecretBytes;

/// Derives a 32-byte key from `secret` (no salt) for the use named by the concatenation of `info`.
///
/// The first part of `info` must be a constant that no other use begins with; every later part must have a
/// fixed length, so that two different lists never concatenate to the same bytes.
#[must_use]
pub fn derive(secret: &SecretBytes, info: &[&[u8]]) -> SecretBytes {
    expand_key(&Hkdf::<Sha256>::new(None, secret.expose()), info)
}

pub(crate) fn expand_key(schedule: &Hkdf<Sha256>, info: &[&[u8]]) -> SecretBytes {
    let mut key = SecretBytes::new([0; 32]);
    schedule
        .expand_multi_info(info, key.expose_mut())
        .expect("32 bytes are fewer than the 8,160 that HKDF-SHA256 can give");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|index| u8::from_str_radix(&hex[index..index + 2], 16).expect("hex"))
            .collect()
    }

    /// RFC 5869, appendix A, test cases 1 to 3.
    #[test]
    fn rfc_5869_vectors() {
        let long_input: Vec<u8> = (0x00..=0x4f).collect();
        let long_salt: Vec<u8> = (0x60..=0xaf).collect();
        let long_info: Vec<u8> = (0xb0..=0xff).collect();
        for (input, salt, info, output) in [
            (
                vec![0x0b; 22],
                bytes("000102030405060708090a0b0c"),
                bytes("f0f1f2f3f4f5f6f7f8f9"),
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                long_input,
                long_salt,
                long_info,
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
            ),
            (
                vec![0x0b; 22],
                vec![],
                vec![],
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            ),
        ] {
            let mut derived = vec![0; output.len() / 2];
            Hkdf::<Sha256>::new(Some(&salt), &input)
                .expand(&info, &mut derived)
                .expect("a short output");
            assert_eq!(derived, bytes(output));
        }
    }

    #[test]
    fn info_parts_are_concatenated_and_separate_uses() {
        let secret = SecretBytes::new([1; 32]);
        assert_eq!(derive(&secret, &[b"ab", b"c"]), derive(&secret, &[b"a", b"bc"]));
        assert_ne!(derive(&secret, &[b"one"]), derive(&secret, &[b"two"]));
        assert_ne!(
            derive(&secret, &[b"one"]),
            derive(&SecretBytes::new([2; 32]), &[b"one"])
        );
    }
}
