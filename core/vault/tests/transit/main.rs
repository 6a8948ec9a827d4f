//! The master key in Vault, against a fake of Vault's HTTP API behind real TLS.

mod fake;

use std::error::Error as _;
use std::time::Duration;

use craton_crypto::{MasterKeyError, MasterKeyProvider, SecretBytes};
use craton_vault::{VaultError, VaultMasterKey, VaultOptions};
use fake::{Answer, FakeVault, TOKEN};

const CONTEXT: &[u8] = b"craton root key v1";

fn secret() -> SecretBytes {
    SecretBytes::new([7; 32])
}

fn wrap(key: &VaultMasterKey) -> Result<Vec<u8>, MasterKeyError> {
    key.wrap(&secret(), CONTEXT, [0; 12])
}

/// What a call that must fail failed with.
fn vault_error<T>(result: Result<T, MasterKeyError>) -> Box<VaultError> {
    match result.err() {
        Some(MasterKeyError::Provider { source, .. }) => source.downcast().expect("an error of Vault"),
        other => panic!("expected an error of Vault, got {other:?}"),
    }
}

#[test]
fn a_key_unwraps_in_its_context_only_and_vault_sees_the_documented_requests() {
    let vault = FakeVault::start();
    let key = vault.key();
    let wrapped = wrap(&key).expect("wrapped");
    assert!(wrapped.starts_with(b"vault:v1:"));
    assert_eq!(key.unwrap(&wrapped, CONTEXT).expect("unwrapped"), secret());
    let error = vault_error(key.unwrap(&wrapped, b"another context"));
    assert!(matches!(*error, VaultError::Refused { status: 400, .. }), "{error}");

    let received = vault.received();
    let paths: Vec<&str> = received.iter().map(|request| request.path.as_str()).collect();
    let (encrypt, decrypt) = (
        "/v1/secrets/transit/encrypt/hospital",
        "/v1/secrets/transit/decrypt/hospital",
    );
    assert_eq!(paths, [encrypt, decrypt, decrypt], "what Vault refuses is asked once");
    for request in &received {
        assert_eq!(request.header("x-vault-token"), Some(TOKEN));
        assert_eq!(request.header("x-vault-namespace"), Some("team/craton"));
        assert_eq!(request.header("x-vault-request"), Some("true"));
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
    assert_eq!(received[0].body["associated_data"], "Y3JhdG9uIHJvb3Qga2V5IHYx");
    assert_eq!(
        received[0].body["plaintext"],
        "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
    );
}

#[test]
fn earlier_versions_of_the_transit_key_stay_readable_after_its_rotation() {
    let vault = FakeVault::start();
    let key = vault.key();
    let old = wrap(&key).expect("wrapped");
    vault.rotate();
    let new = wrap(&key).expect("wrapped");
    assert!(old.starts_with(b"vault:v1:") && new.starts_with(b"vault:v2:"));
    for wrapped in [old, new] {
        assert_eq!(key.unwrap(&wrapped, CONTEXT).expect("unwrapped"), secret());
    }
}

#[test]
fn refusals_are_told_apart_and_only_passing_troubles_are_tried_again() {
    let vault = FakeVault::start();
    let key = vault.key();
    let errors = |text: &str| format!("{{\"errors\":[\"{text}\"]}}");
    type Expected = fn(&VaultError) -> bool;
    let cases: [(u16, Expected, usize); 10] = [
        (403, |error| matches!(error, VaultError::Denied { .. }), 1),
        (404, |error| matches!(error, VaultError::Missing { .. }), 1),
        (400, |error| matches!(error, VaultError::Refused { status: 400, .. }), 1),
        (301, |error| matches!(error, VaultError::Refused { status: 301, .. }), 1),
        (204, |error| matches!(error, VaultError::Refused { status: 204, .. }), 1),
        (
            429,
            |error| matches!(error, VaultError::Unavailable { status: 429, .. }),
            3,
        ),
        (
            473,
            |error| matches!(error, VaultError::Unavailable { status: 473, .. }),
            3,
        ),
        (
            500,
            |error| matches!(error, VaultError::Unavailable { status: 500, .. }),
            3,
        ),
        (
            502,
            |error| matches!(error, VaultError::Unavailable { status: 502, .. }),
            3,
        ),
        (
            503,
            |error| matches!(error, VaultError::Unavailable { status: 503, .. }),
            3,
        ),
    ];
    for (status, expected, attempts) in cases {
        let body = if status == 204 {
            String::new()
        } else {
            errors("Vault is sealed")
        };
        vault.answer_with(std::iter::repeat_n(Answer::Fixed(status, body), attempts));
        let error = vault_error(wrap(&key));
        assert!(expected(&error), "{status}: {error}");
        assert_eq!(vault.received().len(), attempts, "{status}");
        assert!(
            status == 204 || error.to_string().contains("Vault is sealed"),
            "{error}"
        );
    }
}

#[test]
fn a_passing_trouble_costs_a_retry_and_nothing_else() {
    let vault = FakeVault::start();
    let key = vault.key();
    let sealed = || Answer::Fixed(503, "{\"errors\":[\"Vault is sealed\"]}".to_owned());
    for answers in [vec![sealed(), sealed()], vec![Answer::Cut], vec![Answer::Cut, sealed()]] {
        let attempts = answers.len() + 1;
        vault.answer_with(answers);
        assert!(wrap(&key).is_ok());
        assert_eq!(vault.received().len(), attempts);
    }
}

#[test]
fn a_vault_that_does_not_answer_is_given_up_after_its_attempts() {
    let vault = FakeVault::start();
    let options = VaultOptions {
        timeout: Duration::from_millis(300),
        attempts_max: 2,
        ..vault.options()
    };
    let key = VaultMasterKey::new(options).expect("the options are right");
    vault.answer_with([Answer::Nothing, Answer::Nothing, Answer::Proper]);
    let error = vault_error(wrap(&key));
    assert!(matches!(*error, VaultError::Unreachable(_)), "{error}");
    assert_eq!(vault.received().len(), 2);
}

#[test]
fn answers_that_vault_does_not_give_are_refused() {
    let vault = FakeVault::start();
    let key = vault.key();
    let wrapped = wrap(&key).expect("wrapped");
    for body in [
        "",
        "[]",
        "{\"data\":{}}",
        "{\"data\":{\"ciphertext\":\"other:v1:AAAA\"}}",
        "{\"data\":{\"ciphertext\":\"vault:v1:\"}}",
        "<html>",
    ] {
        vault.answer_with([Answer::Fixed(200, body.to_owned())]);
        let error = vault_error(wrap(&key));
        assert!(matches!(*error, VaultError::Answer(_)), "{body:?}: {error}");
    }
    for plaintext in ["", "AAAA", "no base64!"] {
        let body = format!("{{\"data\":{{\"plaintext\":\"{plaintext}\"}}}}");
        vault.answer_with([Answer::Fixed(200, body)]);
        let error = vault_error(key.unwrap(&wrapped, CONTEXT));
        assert!(matches!(*error, VaultError::Answer(_)), "{plaintext:?}: {error}");
    }
    vault.received();
    for wrapped in [&b"\x01binary"[..], b"vault:v0:AAAA", b""] {
        assert!(matches!(key.unwrap(wrapped, CONTEXT), Err(MasterKeyError::Wrap(_))));
    }
    assert!(
        vault.received().is_empty(),
        "what is no ciphertext of Vault's is not sent to it"
    );
}

#[test]
fn the_token_is_read_for_every_call_from_a_file_that_others_cannot_read() {
    let vault = FakeVault::start();
    let key = vault.key();
    for (token, mode, accepted) in [
        (TOKEN, 0o600, true),
        (TOKEN, 0o400, true),
        (TOKEN, 0o640, false),
        (TOKEN, 0o604, false),
        ("", 0o600, false),
        ("two\nlines", 0o600, false),
        ("hvs.CAESIJtoken\n", 0o600, true),
    ] {
        let _ = std::fs::remove_file(vault.token_file());
        vault.write_token(token, mode);
        let result = wrap(&key);
        assert_eq!(result.is_ok(), accepted, "{token:?} {mode:o}: {result:?}");
    }
    vault.received();
    let _ = std::fs::remove_file(vault.token_file());
    assert!(matches!(*vault_error(wrap(&key)), VaultError::Token { .. }));
    vault.write_token("hvs.revoked", 0o600);
    assert!(matches!(*vault_error(wrap(&key)), VaultError::Denied { .. }));
    vault.write_token(TOKEN, 0o600);
    assert!(wrap(&key).is_ok());
}

#[test]
fn a_certificate_of_another_authority_is_refused_before_anything_is_sent() {
    let vault = FakeVault::start();
    let other = FakeVault::start();
    let options = VaultOptions {
        ca_file: other.options().ca_file,
        ..vault.options()
    };
    let key = VaultMasterKey::new(options).expect("the options are right");
    assert!(matches!(*vault_error(wrap(&key)), VaultError::Unreachable(_)));
    assert!(vault.received().is_empty());
}

#[test]
fn neither_token_nor_key_is_shown() {
    let vault = FakeVault::start();
    let key = vault.key();
    vault.answer_with([Answer::Fixed(403, "{\"errors\":[\"permission denied\"]}".to_owned())]);
    let error = wrap(&key).expect_err("denied");
    let mut shown = format!("{key:?} {} {error} {error:?}", key.name());
    let mut source = error.source();
    while let Some(error) = source {
        shown += &format!(" {error} {error:?}");
        source = error.source();
    }
    assert!(!shown.contains(TOKEN) && !shown.contains("BwcHBw"), "{shown}");
    assert!(shown.contains("secrets/transit/hospital"), "{shown}");
}
