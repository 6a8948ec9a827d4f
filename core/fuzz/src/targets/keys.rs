//! Where keys are kept, and how they are written.

use craton_crypto::{EnvironmentMasterKey, ScramVerifier, SecretBytes, WrappingKey};
use craton_engine::fuzzing::{
    keyring_file, keyring_file_of, log_mark, subject_key_slot, subject_key_slots_of, subject_keys_header,
    subject_keys_header_of, tenant_keys, tenant_keys_of,
};
use craton_types::{SubjectKeyId, TenantId};

use super::Parser;

const TENANT: TenantId = TenantId::new([0x7e; 16]);

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "keyring",
        parse: keyring_file,
        seeds: || vec![keyring_file_of(TENANT)],
    },
    Parser {
        name: "tenant's keys in a command",
        parse: tenant_keys,
        seeds: || vec![tenant_keys_of()],
    },
    Parser {
        name: "subject keys header",
        parse: subject_keys_header,
        seeds: || vec![subject_keys_header_of(TENANT)],
    },
    Parser {
        name: "subject key slot",
        parse: subject_key_slot,
        seeds: || subject_key_slots_of(SubjectKeyId::new(3)).into(),
    },
    Parser {
        name: "log mark",
        parse: log_mark,
        seeds: || vec![vec![1; 16]],
    },
    Parser {
        name: "wrapped key",
        parse: wrapped_key,
        seeds: || vec![wrapping().wrap(&secret(), b"context", [3; 12])],
    },
    Parser {
        name: "master key's text",
        parse: master_key_text,
        seeds: || vec![b"ab".repeat(32), [&b"0F".repeat(32)[..], b"\n"].concat()],
    },
    Parser {
        name: "SCRAM verifier",
        parse: scram_verifier,
        seeds: || {
            let verifier = ScramVerifier::from_password("pencil", &[5; 16], 4_096).expect("within limits");
            vec![verifier.to_string().into_bytes()]
        },
    },
];

fn secret() -> SecretBytes {
    SecretBytes::new([8; 32])
}

fn wrapping() -> WrappingKey {
    WrappingKey::new(&SecretBytes::new([4; 32]))
}

/// Only what was wrapped opens, whatever is made of it.
fn wrapped_key(bytes: &[u8]) -> bool {
    let opened = wrapping().unwrap(bytes, b"context");
    if let Ok(opened) = &opened {
        assert!(*opened == secret(), "another key opens");
        assert_eq!(
            wrapping().wrap(opened, b"context", [3; 12]),
            bytes,
            "a wrapped key has one form"
        );
    }
    assert!(wrapping().unwrap(bytes, b"another context").is_err());
    opened.is_ok()
}

fn master_key_text(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let parsed = EnvironmentMasterKey::parse("KEY", text);
    if parsed.is_ok() {
        assert_eq!(text.trim_ascii().len(), 64);
    }
    parsed.is_ok()
}

fn scram_verifier(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let parsed = text.parse::<ScramVerifier>();
    if let Ok(verifier) = &parsed {
        assert_eq!(verifier.to_string(), text, "a verifier has one form");
    }
    parsed.is_ok()
}
