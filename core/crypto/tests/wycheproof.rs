//! Project Wycheproof's vectors for the primitives that the log and its proofs rest on.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use craton_crypto::{SIGNATURE_BYTES, VerifyingKey};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use wycheproof::TestResult;

/// The key and nonce lengths that this crate uses.
const KEY_BITS: usize = 256;
const NONCE_BITS: usize = 96;
const TAG_BITS: usize = 128;

#[test]
fn ed25519() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).expect("the vectors");
    let mut seen = 0;
    for group in &set.test_groups {
        let key: [u8; 32] = group.key.pk.as_slice().try_into().expect("32 bytes");
        let key = VerifyingKey::from_bytes(&key).expect("no vector has a malformed or weak key");
        for test in &group.tests {
            let signature: Option<&[u8; SIGNATURE_BYTES]> = test.sig.as_slice().try_into().ok();
            let verified = signature.is_some_and(|signature| key.verify(&test.msg, signature).is_ok());
            let expected = test.result == TestResult::Valid;
            assert_eq!(
                verified, expected,
                "test {} {:?}: {}",
                test.tc_id, test.flags, test.comment
            );
            seen += 1;
        }
    }
    assert_eq!(seen, set.number_of_tests);
}

#[test]
fn aes_256_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).expect("the vectors");
    let mut seen = 0;
    for group in &set.test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (KEY_BITS, NONCE_BITS, TAG_BITS) {
            continue;
        }
        for test in &group.tests {
            let cipher = Aes256Gcm::new_from_slice(&test.key).expect("32 bytes");
            let nonce = Nonce::try_from(test.nonce.as_slice()).expect("12 bytes");
            let sealed = [test.ct.as_slice(), &test.tag].concat();
            let payload = Payload {
                msg: &sealed,
                aad: &test.aad,
            };
            let opened = cipher.decrypt(&nonce, payload).ok();
            let expected = (test.result == TestResult::Valid).then(|| test.pt.to_vec());
            assert_eq!(
                opened, expected,
                "test {} {:?}: {}",
                test.tc_id, test.flags, test.comment
            );
            if expected.is_some() {
                let payload = Payload {
                    msg: &test.pt,
                    aad: &test.aad,
                };
                assert_eq!(
                    cipher.encrypt(&nonce, payload).expect("short"),
                    sealed,
                    "test {}",
                    test.tc_id
                );
            }
            seen += 1;
        }
    }
    assert!(seen >= 50, "{seen} vectors");
}

#[test]
fn hmac_sha_256() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).expect("the vectors");
    let mut seen = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let mut mac = Hmac::<Sha256>::new_from_slice(&test.key).expect("any length");
            mac.update(&test.msg);
            let verified = mac.verify_truncated_left(&test.tag).is_ok() && test.tag.len() == group.tag_size / 8;
            assert_eq!(verified, test.result == TestResult::Valid, "test {}", test.tc_id);
            seen += 1;
        }
    }
    assert_eq!(seen, set.number_of_tests);
}
