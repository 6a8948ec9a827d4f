//! The keyring's file, parsed for fuzzing.

use craton_crypto::{EnvironmentMasterKey, sha256};
use craton_types::{TenantId, decode_whole};

use super::{Open, TenantKeysCommand, file};
use crate::Random;

/// A copy of the keyring without its checksum.
#[must_use]
pub fn keyring_file(bytes: &[u8]) -> bool {
    let stored = [bytes, sha256(&[bytes]).as_bytes()].concat();
    let decoded = file::decode(&stored);
    if let Some(saved) = &decoded {
        let again = file::decode(&file::encode(saved));
        assert_eq!(again.as_ref(), Some(saved));
    }
    decoded.is_some()
}

/// The keys of a new tenant in a command.
#[must_use]
pub fn tenant_keys(bytes: &[u8]) -> bool {
    decode_whole::<TenantKeysCommand>(bytes).is_ok()
}

struct NotRandom;

impl Random for NotRandom {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// A copy of a keyring without its checksum, to begin fuzzing with.
#[must_use]
pub fn keyring_file_of(tenant: TenantId) -> Vec<u8> {
    let master = EnvironmentMasterKey::parse("KEY", &"ab".repeat(32)).expect("64 digits");
    let open = Open::create(tenant, &master, &NotRandom).expect("a key in memory wraps");
    let mut bytes = file::encode(&open.save(&NotRandom));
    bytes.truncate(bytes.len() - 32);
    bytes
}

/// The keys of a tenant in a command, to begin fuzzing with.
#[must_use]
pub fn tenant_keys_of() -> Vec<u8> {
    let command = TenantKeysCommand {
        secret: vec![1; 69],
        data_key: vec![2; 69],
    };
    minicbor::to_vec(&command).expect("in memory")
}
