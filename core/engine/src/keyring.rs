//! The node's own keys, each wrapped by the master key, in one small file.

use std::fs;
use std::path::Path;

use craton_crypto::{Dek, Kek, MasterKeyProvider, SecretBytes, SigningKey};
use craton_types::{KeyEpoch, TenantId};
use minicbor::{Decode, Encode};

use crate::clock::random_array;
use crate::durable_file::write_durably;
use crate::{EngineError, Random};

/// The keys of an open node.
pub(crate) struct Keyring {
    /// Wraps the keys of the write-ahead log's segments.
    pub(crate) wal: SecretBytes,
    /// Signs checkpoints.
    pub(crate) signing: SigningKey,
    /// The system tenant's keys; every other tenant's travel through the system tenant's log.
    pub(crate) system: TenantKeys,
}

/// A tenant's keys.
#[derive(Clone)]
pub(crate) struct TenantKeys {
    pub(crate) kek: Kek,
    pub(crate) dek: Dek,
}

/// Wrapped keys of a new tenant.
pub(crate) struct WrappedTenantKeys {
    pub(crate) kek: Vec<u8>,
    pub(crate) dek: Vec<u8>,
}

#[derive(Encode, Decode)]
struct SavedKeyring {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    wal: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    signing_seed: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    system_kek: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    system_dek: Vec<u8>,
}

const KEYRING_VERSION: u8 = 1;
const KEYRING_FILE: &str = "keyring";
const WAL_CONTEXT: &[u8] = b"craton node write-ahead log key v1";
const SIGNING_CONTEXT: &[u8] = b"craton node checkpoint signing seed v1";

/// What a tenant's key-encryption key is wrapped for.
fn kek_context(tenant: TenantId) -> Vec<u8> {
    [b"craton tenant kek v1".as_slice(), tenant.as_bytes()].concat()
}

impl TenantKeys {
    /// Draws a new tenant's keys and wraps them.
    pub(crate) fn generate(
        tenant: TenantId,
        master: &dyn MasterKeyProvider,
        random: &dyn Random,
    ) -> Result<WrappedTenantKeys, craton_crypto::MasterKeyError> {
        let secret = SecretBytes::new(random_array(random));
        let wrapped_kek = master.wrap(&secret, &kek_context(tenant), random_array(random))?;
        let kek = Kek::new(secret);
        let dek = Dek::new(SecretBytes::new(random_array(random)));
        let wrapped_dek = kek.wrap_dek(&dek, tenant, KeyEpoch::ZERO, random_array(random));
        Ok(WrappedTenantKeys {
            kek: wrapped_kek,
            dek: wrapped_dek,
        })
    }

    /// Unwraps a tenant's keys; `None` when they do not open under this master key.
    pub(crate) fn unwrap(
        tenant: TenantId,
        master: &dyn MasterKeyProvider,
        wrapped_kek: &[u8],
        wrapped_dek: &[u8],
    ) -> Option<Self> {
        let kek = Kek::new(master.unwrap(wrapped_kek, &kek_context(tenant)).ok()?);
        let dek = kek.unwrap_dek(wrapped_dek, tenant, KeyEpoch::ZERO).ok()?;
        Some(Self { kek, dek })
    }
}

impl Keyring {
    /// Whether the directory has a keyring.
    pub(crate) fn exists(directory: &Path) -> bool {
        directory.join(KEYRING_FILE).exists()
    }

    /// Opens the directory's keyring, or creates it when the directory is new.
    pub(crate) fn open(
        directory: &Path,
        system_tenant: TenantId,
        master: &dyn MasterKeyProvider,
        random: &dyn Random,
    ) -> Result<Self, EngineError> {
        let path = directory.join(KEYRING_FILE);
        if !path.exists() {
            create(&path, system_tenant, master, random)?;
        }
        let bytes = fs::read(&path).map_err(|source| EngineError::Io {
            path: path.clone(),
            source,
        })?;
        decode(&bytes, system_tenant, master).ok_or(EngineError::Keyring { path })
    }
}

fn decode(bytes: &[u8], system_tenant: TenantId, master: &dyn MasterKeyProvider) -> Option<Keyring> {
    let saved: SavedKeyring = minicbor::decode(bytes).ok()?;
    if saved.version != KEYRING_VERSION {
        return None;
    }
    let seed = master.unwrap(&saved.signing_seed, SIGNING_CONTEXT).ok()?;
    Some(Keyring {
        wal: master.unwrap(&saved.wal, WAL_CONTEXT).ok()?,
        signing: SigningKey::from_seed(&seed),
        system: TenantKeys::unwrap(system_tenant, master, &saved.system_kek, &saved.system_dek)?,
    })
}

fn create(
    path: &Path,
    system_tenant: TenantId,
    master: &dyn MasterKeyProvider,
    random: &dyn Random,
) -> Result<(), EngineError> {
    let unusable = |_| EngineError::Keyring { path: path.to_owned() };
    let fresh = |context: &[u8]| {
        master
            .wrap(&SecretBytes::new(random_array(random)), context, random_array(random))
            .map_err(unusable)
    };
    let system = TenantKeys::generate(system_tenant, master, random).map_err(unusable)?;
    let saved = SavedKeyring {
        version: KEYRING_VERSION,
        wal: fresh(WAL_CONTEXT)?,
        signing_seed: fresh(SIGNING_CONTEXT)?,
        system_kek: system.kek,
        system_dek: system.dek,
    };
    let bytes = minicbor::to_vec(&saved).expect("writing to memory does not fail");
    write_durably(path, &bytes).map_err(|source| EngineError::Io {
        path: path.to_owned(),
        source,
    })
}
