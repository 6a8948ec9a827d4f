//! Keys that the members of a cluster share, on their way from one to another.
//!
//! A member that joins is given the cluster's keys over a connection on which both have shown who they are. Tenants' keys
//! follow wrapped under the transport key, which is among them.

use std::collections::BTreeMap;

use craton_crypto::{SecretBytes, SubjectKey, SubjectKeysKey};
use craton_types::{DataKeyNumber, FormatVersion, SubjectKeyId, TenantId, decode_whole};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use super::saved::{data_key_context, secret_context};
use super::{Keyring, KeyringError, Open, TenantEntry};
use crate::clock::random_array;

const SUBJECTS_INFO: &[u8] = b"craton keys of data subjects between nodes v1";

/// The keys of a cluster, for a node that joins it. Whoever has them can read everything that the cluster stores.
#[derive(Clone)]
pub struct ClusterKeys {
    bytes: Zeroizing<Vec<u8>>,
    format: FormatVersion,
}

impl ClusterKeys {
    /// Keys as [`Self::as_bytes`] gave them, and the version of its formats that the cluster uses.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>, format: FormatVersion) -> Self {
        Self {
            bytes: Zeroizing::new(bytes),
            format,
        }
    }

    /// The version of its formats that the cluster uses.
    #[must_use]
    pub const fn format(&self) -> FormatVersion {
        self.format
    }

    /// The keys as bytes, in the clear.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKeys")
    }
}

#[derive(Encode, Decode)]
struct Shared {
    #[cbor(n(0), with = "minicbor::bytes")]
    signing_seed: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    derivation: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    transport: [u8; 32],
    /// The system tenant's keys, wrapped under the transport key.
    #[n(3)]
    system: TenantKeys,
}

impl Drop for Shared {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.signing_seed.zeroize();
        self.derivation.zeroize();
        self.transport.zeroize();
    }
}

/// A tenant's keys, wrapped under the transport key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct TenantKeys {
    #[cbor(n(0), with = "minicbor::bytes")]
    secret: Vec<u8>,
    #[n(1)]
    data_keys: Vec<WrappedDataKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct WrappedDataKey {
    #[n(0)]
    number: DataKeyNumber,
    #[cbor(n(1), with = "minicbor::bytes")]
    wrapped: Vec<u8>,
}

impl Keyring {
    /// The keys for a node that joins the cluster.
    pub(crate) fn cluster_keys(
        &self,
        system_tenant: TenantId,
        format: FormatVersion,
    ) -> Result<ClusterKeys, KeyringError> {
        let system = self.export_tenant(system_tenant)?;
        let shared = {
            let open = self.open.lock();
            Shared {
                signing_seed: *open.signing_seed.expose(),
                derivation: *open.derivation.expose(),
                transport: *open.transport.expose(),
                system,
            }
        };
        let bytes = minicbor::to_vec(&shared).expect("writing to memory does not fail");
        Ok(ClusterKeys::from_bytes(bytes, format))
    }

    /// A tenant's keys for another member.
    pub(crate) fn export_tenant(&self, tenant: TenantId) -> Result<TenantKeys, KeyringError> {
        let transport = self.transport();
        let open = self.open.lock();
        let entry = open.tenants.get(&tenant).ok_or(KeyringError::KeyMissing {
            tenant,
            number: DataKeyNumber::ZERO,
        })?;
        let wrap = |key: &SecretBytes, context: &[u8]| transport.wrap(key, context, random_array(self.random.as_ref()));
        let data_keys = entry.data_keys.iter().map(|(number, key)| WrappedDataKey {
            number: *number,
            wrapped: wrap(key, &data_key_context(tenant, *number)),
        });
        Ok(TenantKeys {
            secret: wrap(&entry.secret, &secret_context(tenant)),
            data_keys: data_keys.collect(),
        })
    }

    /// Takes a tenant's keys from another member. Those that are known must be the same.
    pub(crate) fn import_tenant(&self, tenant: TenantId, keys: &TenantKeys) -> Result<(), KeyringError> {
        let kek = SecretBytes::new(random_array(self.random.as_ref()));
        let (secret, data_keys) = unwrap(&self.transport(), tenant, keys)?;
        let conflict = |number| KeyringError::KeyConflict { tenant, number };
        {
            let open = self.open.lock();
            if let Some(known) = open.tenants.get(&tenant) {
                let differs = |(number, key): (&DataKeyNumber, &SecretBytes)| {
                    data_keys
                        .get(number)
                        .is_none_or(|imported| imported != key)
                        .then_some(*number)
                };
                if known.secret != secret {
                    return Err(conflict(DataKeyNumber::ZERO));
                }
                if let Some(number) = known.data_keys.iter().find_map(differs) {
                    return Err(conflict(number));
                }
                if known.data_keys.len() == data_keys.len() {
                    return Ok(());
                }
            }
        }
        self.change(|open| {
            let entry = open.tenants.entry(tenant).or_insert(TenantEntry {
                kek,
                secret,
                data_keys: BTreeMap::new(),
            });
            entry.data_keys.extend(data_keys);
            Ok(())
        })
    }

    /// Wraps the key of a data subject for another member.
    pub(crate) fn wrap_subject_key(&self, tenant: TenantId, key: &SubjectKey) -> Vec<u8> {
        self.subjects(tenant).wrap(key, random_array(self.random.as_ref()))
    }

    /// Unwraps what [`Self::wrap_subject_key`] of another member made.
    pub(crate) fn unwrap_subject_key(
        &self,
        tenant: TenantId,
        id: SubjectKeyId,
        wrapped: &[u8],
    ) -> Result<SubjectKey, KeyringError> {
        Ok(self.subjects(tenant).unwrap(wrapped, id)?)
    }

    fn subjects(&self, tenant: TenantId) -> SubjectKeysKey {
        let secret = craton_crypto::derive(&self.open.lock().transport, &[SUBJECTS_INFO]);
        SubjectKeysKey::new(&secret, tenant)
    }
}

impl Open {
    /// New keys of a node, with those of the cluster that it joins.
    pub(super) fn joining(mut self, keys: &ClusterKeys, system_tenant: TenantId) -> Result<Self, KeyringError> {
        let shared: Shared = decode_whole(keys.as_bytes())?;
        self.signing_seed = SecretBytes::new(shared.signing_seed);
        self.derivation = SecretBytes::new(shared.derivation);
        self.transport = SecretBytes::new(shared.transport);
        let transport =
            craton_crypto::WrappingKey::new(&craton_crypto::derive(&self.transport, &[super::TRANSPORT_INFO]));
        let (secret, data_keys) = unwrap(&transport, system_tenant, &shared.system)?;
        let system = self
            .tenants
            .get_mut(&system_tenant)
            .expect("a new node has a system tenant");
        system.secret = secret;
        system.data_keys = data_keys;
        Ok(self)
    }
}

type Unwrapped = (SecretBytes, BTreeMap<DataKeyNumber, SecretBytes>);

fn unwrap(
    transport: &craton_crypto::WrappingKey,
    tenant: TenantId,
    keys: &TenantKeys,
) -> Result<Unwrapped, KeyringError> {
    let secret = transport.unwrap(&keys.secret, &secret_context(tenant))?;
    let data_keys = keys.data_keys.iter().map(|key| {
        let context = data_key_context(tenant, key.number);
        Ok((key.number, transport.unwrap(&key.wrapped, &context)?))
    });
    Ok((secret, data_keys.collect::<Result<_, KeyringError>>()?))
}
