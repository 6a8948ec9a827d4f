//! What comes from clients, from Vault, and from those who configure a server.

use craton_engine::SyncPolicy;
use craton_server::MasterKeySource;
use craton_server::fuzzing::{postgres_binary, postgres_message, postgres_opening};
use craton_vault::fuzzing::{transit_address, transit_answer};
use craton_witness::{Policy, ServiceUrl};

use super::Parser;
use crate::world::cosigner;

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "opening of a connection",
        parse: postgres_opening,
        seeds: || {
            let startup = [&196_608i32.to_be_bytes()[..], b"user\0ada\0database\0main\0\0"].concat();
            let cancel = [&80_877_102i32.to_be_bytes()[..], &[0, 0, 0, 7, 1, 2, 3, 4]].concat();
            vec![
                startup,
                cancel,
                80_877_103i32.to_be_bytes().to_vec(),
                80_877_104i32.to_be_bytes().to_vec(),
            ]
        },
    },
    Parser {
        name: "message of a client",
        parse: postgres_message,
        seeds: || MESSAGES.iter().map(|message| message.to_vec()).collect(),
    },
    Parser {
        name: "parameter in binary",
        parse: postgres_binary,
        seeds: binary_values,
    },
    Parser {
        name: "master key's place",
        parse: master_key_source,
        seeds: || {
            ["file:/etc/craton/key", "env:KEY", "vault:craton"]
                .map(|text| text.as_bytes().to_vec())
                .into()
        },
    },
    Parser {
        name: "Vault's answer",
        parse: transit_answer,
        seeds: || {
            vec![
                br#"{"data":{"ciphertext":"vault:v1:AAAA"}}"#.to_vec(),
                br#"{"request_id":"x","data":{"plaintext":"AAAA","key_version":1},"warnings":null}"#.to_vec(),
            ]
        },
    },
    Parser {
        name: "Vault's address and key",
        parse: transit_address,
        seeds: || {
            vec![
                b"https://vault.example:8200\ncraton".to_vec(),
                b"https://[::1]/\nk".to_vec(),
            ]
        },
    },
    Parser {
        name: "witness policy",
        parse: policy,
        seeds: || {
            let key = cosigner().cosigner_key().to_string();
            let one = format!(r#"{{"witnesses":[{{"url":"https://w.example/x","verifier_key":"{key}"}}]}}"#);
            vec![br#"{"witnesses":[]}"#.to_vec(), one.into_bytes()]
        },
    },
    Parser {
        name: "service's address",
        parse: service_url,
        seeds: || vec![b"https://w.example:8443/a/".to_vec(), b"http://[::1]:1/x".to_vec()],
    },
    Parser {
        name: "sync policy",
        parse: |bytes| std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<SyncPolicy>().is_ok()),
        seeds: || {
            ["every-batch", "every-record", "group:5"]
                .map(|text| text.as_bytes().to_vec())
                .into()
        },
    },
];

const MESSAGES: &[&[u8]] = &[
    b"QSELECT 1\0",
    b"Pname\0SELECT $1\0\x00\x01\x00\x00\x00\x17",
    b"B\0name\0\x00\x01\x00\x01\x00\x02\x00\x00\x00\x04\x00\x00\x00\x07\xff\xff\xff\xff\x00\x01\x00\x00",
    b"DSname\0",
    b"E\0\x00\x00\x00\x0a",
    b"CP\0",
    b"H",
    b"S",
    b"d1\tAda\n",
    b"c",
    b"fno\0",
    b"pSCRAM-SHA-256\0\x00\x00\x00\x08n,,n=,r=",
    b"psecret\0",
    b"X",
];

fn binary_values() -> Vec<Vec<u8>> {
    let values: [&[u8]; 16] = [
        &[1],
        &[0, 1],
        &[0, 0, 0, 1],
        &[0xff; 8],
        &[0x3f, 0x80, 0, 0],
        &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
        &[0, 2, 0, 0, 0x40, 0, 0, 2, 0, 12, 0x0d, 0x48],
        b"text",
        &[0, 0xff],
        &[0, 0, 0x22, 0xb8],
        &[0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 0, 0, 0, 0, 2],
        &[0, 0, 0, 0, 0, 0, 0, 3],
        &[0x11; 16],
        b"{}",
        b"\x01{}",
    ];
    (0u8..)
        .zip(values)
        .map(|(number, value)| [&[number], value].concat())
        .collect()
}

fn master_key_source(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let parsed = text.parse::<MasterKeySource>();
    if let Ok(source) = &parsed {
        assert_eq!(source.to_string(), text, "a place has one form");
    }
    parsed.is_ok()
}

fn policy(bytes: &[u8]) -> bool {
    let parsed = Policy::parse(bytes);
    if let Ok(policy) = &parsed {
        for witness in policy.witnesses() {
            assert!(service_url(witness.url.as_str().as_bytes()));
        }
    }
    parsed.is_ok()
}

/// An address that was accepted is encrypted or on this machine, and says no secret.
fn service_url(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let Ok(url) = text.parse::<ServiceUrl>() else {
        return false;
    };
    let again = url
        .as_str()
        .parse::<ServiceUrl>()
        .expect("what was accepted is accepted again");
    assert_eq!(again, url);
    assert!(url.as_str().starts_with("https:") || url.is_local(), "{url}");
    assert!(!url.as_str().contains(['?', '#']), "{url}");
    let behind_scheme = url.as_str().split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    let authority = behind_scheme.split('/').next().unwrap_or_default();
    assert!(!authority.contains('@'), "{url}");
    true
}
