//! From the keys in memory to their wrapped form on disk, and back.

use craton_crypto::{MasterKeyError, MasterKeyProvider, SecretBytes, WrapError, WrappingKey};
use craton_types::{DataKeyNumber, TenantId};

use super::file::{Copy, FILES, SavedDataKey, SavedKeyring, SavedTenant};
use super::{KeyringError, Open, ROOT_CONTEXT, TenantEntry, wrap_root};
use crate::Random;
use crate::clock::random_array;
use std::path::Path;

const WAL_CONTEXT: &[u8] = b"craton node write-ahead log key v1";
const SIGNING_CONTEXT: &[u8] = b"craton node checkpoint signing seed v1";
const DERIVATION_CONTEXT: &[u8] = b"craton node derivation secret v1";
const TRANSPORT_CONTEXT: &[u8] = b"craton transport key v1";

/// What a tenant's key-encryption key is wrapped for.
fn kek_context(tenant: TenantId) -> Vec<u8> {
    [b"craton tenant key-encryption key v1".as_slice(), tenant.as_bytes()].concat()
}

/// What a tenant's secret is wrapped for.
pub(super) fn secret_context(tenant: TenantId) -> Vec<u8> {
    [b"craton tenant secret v1".as_slice(), tenant.as_bytes()].concat()
}

/// What a tenant's data key is wrapped for.
pub(super) fn data_key_context(tenant: TenantId, number: DataKeyNumber) -> Vec<u8> {
    let prefix = b"craton tenant data key v1".as_slice();
    [prefix, tenant.as_bytes(), &number.get().to_be_bytes()].concat()
}

impl Open {
    /// New keys for a new node.
    pub(super) fn create(
        system_tenant: TenantId,
        master: &dyn MasterKeyProvider,
        random: &dyn Random,
    ) -> Result<Self, KeyringError> {
        let draw = || SecretBytes::new(random_array(random));
        let root = draw();
        let system = TenantEntry {
            kek: draw(),
            secret: draw(),
            data_keys: [(DataKeyNumber::ZERO, draw())].into(),
        };
        Ok(Self {
            generation: 0,
            wrapped_root: wrap_root(&root, master, random)?,
            root: WrappingKey::new(&root),
            master_name: master.name(),
            wal: draw(),
            signing_seed: draw(),
            derivation: draw(),
            transport: draw(),
            tenants: [(system_tenant, system)].into(),
        })
    }

    /// Opens the newest copy that the master key opens: after a crash in the middle of a master key's rotation, one
    /// copy may be under the old master key and the other under the new one. Names the files that are not that copy.
    pub(super) fn unwrap_newest(
        directory: &Path,
        copies: [Copy; 2],
        master: &dyn MasterKeyProvider,
    ) -> Result<(Self, Vec<&'static str>), KeyringError> {
        let mut whole: Vec<&SavedKeyring> = copies.iter().filter_map(Copy::whole).collect();
        whole.sort_by_key(|saved| std::cmp::Reverse(saved.generation));
        let newest = whole.first().ok_or_else(|| KeyringError::Damaged {
            directory: directory.to_owned(),
        })?;
        let mut first_error = None;
        for saved in &whole {
            match Self::unwrap(saved, master) {
                Ok(open) => {
                    let others = FILES
                        .iter()
                        .zip(&copies)
                        .filter(|(_, copy)| copy.whole() != Some(saved));
                    let generation = newest.generation;
                    return Ok((Self { generation, ..open }, others.map(|(name, _)| *name).collect()));
                }
                // Only a copy under another master key makes the other one worth a try.
                Err(error @ KeyringError::MasterKey(MasterKeyError::Wrap(_))) => {
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first_error.expect("there was a copy, and it did not open"))
    }

    fn unwrap(saved: &SavedKeyring, master: &dyn MasterKeyProvider) -> Result<Self, KeyringError> {
        let root = WrappingKey::new(&master.unwrap(&saved.root, ROOT_CONTEXT)?);
        let tenants = saved
            .tenants
            .iter()
            .map(|tenant| Ok((tenant.tenant, unwrap_tenant(&root, tenant)?)));
        Ok(Self {
            generation: saved.generation,
            wrapped_root: saved.root.clone(),
            master_name: master.name(),
            wal: root.unwrap(&saved.wal, WAL_CONTEXT)?,
            signing_seed: root.unwrap(&saved.signing_seed, SIGNING_CONTEXT)?,
            derivation: root.unwrap(&saved.derivation, DERIVATION_CONTEXT)?,
            transport: root.unwrap(&saved.transport, TRANSPORT_CONTEXT)?,
            tenants: tenants.collect::<Result<_, WrapError>>()?,
            root,
        })
    }

    /// The wrapped form, each key under a nonce of its own.
    pub(super) fn save(&self, random: &dyn Random) -> SavedKeyring {
        let wrap = |key: &SecretBytes, context: &[u8]| self.root.wrap(key, context, random_array(random));
        SavedKeyring {
            generation: self.generation,
            root: self.wrapped_root.clone(),
            wal: wrap(&self.wal, WAL_CONTEXT),
            signing_seed: wrap(&self.signing_seed, SIGNING_CONTEXT),
            derivation: wrap(&self.derivation, DERIVATION_CONTEXT),
            transport: wrap(&self.transport, TRANSPORT_CONTEXT),
            tenants: self
                .tenants
                .iter()
                .map(|(tenant, entry)| save_tenant(&self.root, *tenant, entry, random))
                .collect(),
        }
    }
}

fn unwrap_tenant(root: &WrappingKey, saved: &SavedTenant) -> Result<TenantEntry, WrapError> {
    let tenant = saved.tenant;
    let kek = root.unwrap(&saved.kek, &kek_context(tenant))?;
    let wrapping = WrappingKey::new(&kek);
    let data_keys = saved.data_keys.iter().map(|key| {
        let context = data_key_context(tenant, key.number);
        Ok((key.number, wrapping.unwrap(&key.wrapped, &context)?))
    });
    Ok(TenantEntry {
        secret: wrapping.unwrap(&saved.secret, &secret_context(tenant))?,
        data_keys: data_keys.collect::<Result<_, WrapError>>()?,
        kek,
    })
}

fn save_tenant(root: &WrappingKey, tenant: TenantId, entry: &TenantEntry, random: &dyn Random) -> SavedTenant {
    let wrapping = WrappingKey::new(&entry.kek);
    let data_keys = entry.data_keys.iter().map(|(number, key)| SavedDataKey {
        number: *number,
        wrapped: wrapping.wrap(key, &data_key_context(tenant, *number), random_array(random)),
    });
    SavedTenant {
        tenant,
        kek: root.wrap(&entry.kek, &kek_context(tenant), random_array(random)),
        secret: wrapping.wrap(&entry.secret, &secret_context(tenant), random_array(random)),
        data_keys: data_keys.collect(),
    }
}
