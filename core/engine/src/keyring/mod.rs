//! The node's keys, in one small file that can be rewritten.
//!
//! ```text
//! master key ── wraps ──> root key ── wraps ──┬─> key of the node: write-ahead log
//!                                             ├─> keys of the cluster: checkpoint signing, derivation, transport
//!                                             └─> key-encryption key (tenant) ── wraps ──┬─> secret of the tenant
//!                                                                                        └─> data keys, by number
//! ```
//!
//! # Invariants
//! - The immutable logs hold no key, wrapped or not. What is taken out of this file is gone with its copies, and with
//!   it everything that it could open.
//! - A key that the logs rely on is on the disk here before anything is encrypted under it.
//! - Every change of the file is one atomic replacement of each of its two copies; at every moment of a change the
//!   file opens under the master key of before or of after.

mod file;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod saved;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use craton_crypto::{DataKey, Dek, MasterKeyError, MasterKeyProvider, SecretBytes, SigningKey, WrapError, WrappingKey};
use craton_kernel::NewDataKey;
use craton_log::Disk;
use craton_types::{DataKeyNumber, KeyEpoch, TenantId, decode_whole};
use minicbor::{Decode, Encode};
use parking_lot::Mutex;

use crate::clock::random_array;
use crate::{EngineError, Random};
use file::Copy;
pub use shared::ClusterKeys;
pub(crate) use shared::TenantKeys;

/// The most data keys of one tenant.
pub(crate) const DATA_KEYS_MAX: usize = 4_096;

const ROOT_CONTEXT: &[u8] = b"craton root key v1";
const TRANSPORT_INFO: &[u8] = b"craton keys in commands v1";

/// Why a key could not be had or stored.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be read or written.
    #[error("the keyring in {directory} cannot be used: {source}", directory = directory.display())]
    Io {
        /// Where it is.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are logs, but no keyring.
    #[error("{directory} holds logs but no keyring: bring the keyring back from a copy", directory = directory.display())]
    Missing {
        /// Where it should be.
        directory: PathBuf,
    },
    /// No copy is whole.
    #[error("both copies of the keyring in {directory} are damaged", directory = directory.display())]
    Damaged {
        /// Where they are.
        directory: PathBuf,
    },
    /// The master key does not open it, or cannot be asked.
    #[error("the keyring does not open: {0}")]
    MasterKey(#[from] MasterKeyError),
    /// A key inside does not open.
    #[error("a key in the keyring does not open: {0}")]
    Wrap(#[from] WrapError),
    /// A tenant has no keys, or not this data key: they were destroyed, or the keyring is older than the log.
    #[error("the keyring has no data key {number} for tenant {tenant}")]
    KeyMissing {
        /// The tenant.
        tenant: TenantId,
        /// The data key.
        number: DataKeyNumber,
    },
    /// The keyring holds another key under this number: it belongs to another copy of the log.
    #[error("the keyring holds another data key {number} for tenant {tenant} than the log asks for")]
    KeyConflict {
        /// The tenant.
        tenant: TenantId,
        /// The data key.
        number: DataKeyNumber,
    },
    /// The tenant has as many data keys as it may have.
    #[error("tenant {tenant} has {DATA_KEYS_MAX} data keys, the most that it may have")]
    Full {
        /// The tenant.
        tenant: TenantId,
    },
    /// Keys in a committed command do not decode.
    #[error("the keys in a command do not decode")]
    Command(#[from] minicbor::decode::Error),
}

impl KeyringError {
    /// Whether this says that the disk is full, and nothing worse.
    pub(crate) fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Io { source, .. } if crate::disk_space::is_full(source))
    }
}

/// The node's keys. All methods may be called from any thread.
pub(crate) struct Keyring {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    random: Arc<dyn Random>,
    open: Mutex<Open>,
}

/// The keys in memory.
#[derive(Clone)]
struct Open {
    generation: u64,
    /// The root key as the master key wrapped it, so that the master key is needed at opening and rotation only.
    wrapped_root: Vec<u8>,
    root: WrappingKey,
    master_name: String,
    wal: SecretBytes,
    signing_seed: SecretBytes,
    derivation: SecretBytes,
    transport: SecretBytes,
    tenants: BTreeMap<TenantId, TenantEntry>,
}

/// A tenant's keys in memory.
#[derive(Clone)]
struct TenantEntry {
    kek: SecretBytes,
    secret: SecretBytes,
    data_keys: BTreeMap<DataKeyNumber, SecretBytes>,
}

/// The first keys of a tenant on their way through the consensus log.
#[derive(Encode, Decode)]
struct TenantKeysCommand {
    #[cbor(n(0), with = "minicbor::bytes")]
    secret: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    data_key: Vec<u8>,
}

/// Where a node's keyring came from.
pub(crate) enum Opened {
    /// It was there. These of its files were missing, damaged or old, and were written again.
    Existing(Keyring, Vec<&'static str>),
    /// The directory is new.
    Created(Keyring),
}

impl Keyring {
    /// Whether the directory has a keyring.
    pub(crate) fn exists(disk: &dyn Disk, directory: &Path) -> bool {
        file::paths(directory).iter().any(|path| disk.open(path).is_ok())
    }

    /// Opens the directory's keyring, or creates it when the directory is new.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        system_tenant: TenantId,
        master: &dyn MasterKeyProvider,
        random: Arc<dyn Random>,
        cluster_keys: Option<&ClusterKeys>,
    ) -> Result<Opened, KeyringError> {
        let io = |source| KeyringError::Io {
            directory: directory.to_owned(),
            source,
        };
        disk.create_dir(directory).map_err(io)?;
        let copies = file::read(&*disk, directory).map_err(io)?;
        let is_new = copies.iter().all(|copy| *copy == Copy::Missing);
        if is_new && has_logs(&*disk, directory).map_err(io)? {
            return Err(KeyringError::Missing {
                directory: directory.to_owned(),
            });
        }
        let (open, rewritten) = match is_new {
            true => {
                let created = Open::create(system_tenant, master, random.as_ref())?;
                let created = match cluster_keys {
                    Some(keys) => created.joining(keys, system_tenant)?,
                    None => created,
                };
                (created, Vec::new())
            }
            false => Open::unwrap_newest(directory, copies, master)?,
        };
        let keyring = Self {
            disk,
            directory: directory.to_owned(),
            random,
            open: Mutex::new(open),
        };
        if is_new || !rewritten.is_empty() {
            keyring.change(|_| Ok(()))?;
        }
        Ok(match is_new {
            true => Opened::Created(keyring),
            false => Opened::Existing(keyring, rewritten),
        })
    }

    /// The key that wraps the keys of the write-ahead log's segments.
    pub(crate) fn wal(&self) -> SecretBytes {
        self.open.lock().wal.clone()
    }

    /// The key that signs checkpoints.
    pub(crate) fn signing(&self) -> SigningKey {
        SigningKey::from_seed(&self.open.lock().signing_seed)
    }

    /// A secret of this node for the purpose named by `info`, the same each time.
    pub(crate) fn derive(&self, info: &str) -> SecretBytes {
        let prefix = b"craton node derived key v1 ";
        craton_crypto::derive(&self.open.lock().derivation, &[prefix, info.as_bytes()])
    }

    /// Which master key the keyring is wrapped by.
    pub(crate) fn master_name(&self) -> String {
        self.open.lock().master_name.clone()
    }

    /// Whether the tenant has keys.
    pub(crate) fn knows(&self, tenant: TenantId) -> bool {
        self.open.lock().tenants.contains_key(&tenant)
    }

    /// A key of the tenant for the use that `info` names: its view, for one. It lasts as long as the tenant's
    /// key-encryption key is not destroyed, and rotations leave it as it is.
    pub(crate) fn tenant_key(&self, tenant: TenantId, info: &[u8]) -> Result<SecretBytes, KeyringError> {
        let open = self.open.lock();
        let entry = open.tenants.get(&tenant).ok_or(KeyringError::KeyMissing {
            tenant,
            number: DataKeyNumber::ZERO,
        })?;
        Ok(craton_crypto::derive(&entry.secret, &[b"craton tenant key v1 ", info]))
    }

    /// The key of one epoch of a tenant.
    pub(crate) fn dek(
        &self,
        tenant: TenantId,
        number: DataKeyNumber,
        epoch: KeyEpoch,
        salt: &[u8; 32],
    ) -> Result<Dek, KeyringError> {
        let open = self.open.lock();
        let entry = open.tenants.get(&tenant);
        let secret = entry.and_then(|entry| entry.data_keys.get(&number));
        let secret = secret.ok_or(KeyringError::KeyMissing { tenant, number })?;
        Ok(DataKey::new(secret.clone()).dek(tenant, epoch, salt))
    }

    /// Draws the first keys of a new tenant, wrapped for a command.
    pub(crate) fn draw_tenant(&self, tenant: TenantId) -> Vec<u8> {
        let transport = self.transport();
        let draw = |context: &[u8]| {
            let secret = SecretBytes::new(random_array(self.random.as_ref()));
            transport.wrap(&secret, context, random_array(self.random.as_ref()))
        };
        let command = TenantKeysCommand {
            secret: draw(&saved::secret_context(tenant)),
            data_key: draw(&saved::data_key_context(tenant, DataKeyNumber::ZERO)),
        };
        minicbor::to_vec(&command).expect("writing to memory does not fail")
    }

    /// Stores the keys of a committed command. Nothing happens when the tenant has keys: the command is applied again
    /// after a crash.
    pub(crate) fn install_tenant(&self, tenant: TenantId, keys: &[u8]) -> Result<(), KeyringError> {
        if self.knows(tenant) {
            return Ok(());
        }
        let transport = self.transport();
        let command: TenantKeysCommand = decode_whole(keys)?;
        let data_key_context = saved::data_key_context(tenant, DataKeyNumber::ZERO);
        let entry = TenantEntry {
            kek: SecretBytes::new(random_array(self.random.as_ref())),
            secret: transport.unwrap(&command.secret, &saved::secret_context(tenant))?,
            data_keys: BTreeMap::from([(
                DataKeyNumber::ZERO,
                transport.unwrap(&command.data_key, &data_key_context)?,
            )]),
        };
        self.change(|open| {
            open.tenants.insert(tenant, entry);
            Ok(())
        })
    }

    /// Draws a data key with the tenant's next number, wrapped for a command.
    pub(crate) fn draw_data_key(&self, tenant: TenantId) -> Result<NewDataKey, KeyringError> {
        let number = {
            let open = self.open.lock();
            let entry = open.tenants.get(&tenant);
            let newest = entry.and_then(|entry| entry.data_keys.last_key_value());
            if entry.is_some_and(|entry| entry.data_keys.len() >= DATA_KEYS_MAX) {
                return Err(KeyringError::Full { tenant });
            }
            newest.map_or(DataKeyNumber::ZERO, |(number, _)| number.next())
        };
        let secret = SecretBytes::new(random_array(self.random.as_ref()));
        let context = saved::data_key_context(tenant, number);
        let wrapped = self
            .transport()
            .wrap(&secret, &context, random_array(self.random.as_ref()));
        Ok(NewDataKey { number, wrapped })
    }

    /// Stores the data key of a committed command. Nothing happens when it is there: the command is applied again
    /// after a crash.
    pub(crate) fn install_data_key(&self, tenant: TenantId, new: &NewDataKey) -> Result<(), KeyringError> {
        let number = new.number;
        let context = saved::data_key_context(tenant, number);
        let secret = self.transport().unwrap(&new.wrapped, &context)?;
        let known = {
            let open = self.open.lock();
            let entry = open.tenants.get(&tenant);
            entry.and_then(|entry| entry.data_keys.get(&number).cloned())
        };
        match known {
            Some(known) if known == secret => Ok(()),
            Some(_) => Err(KeyringError::KeyConflict { tenant, number }),
            None => self.change(|open| {
                let entry = open.tenants.get_mut(&tenant);
                let entry = entry.ok_or(KeyringError::KeyMissing { tenant, number })?;
                entry.data_keys.insert(number, secret);
                Ok(())
            }),
        }
    }

    /// Replaces a tenant's key-encryption key: what it wrapped is wrapped by a new one.
    pub(crate) fn rotate_kek(&self, tenant: TenantId) -> Result<(), KeyringError> {
        let kek = SecretBytes::new(random_array(self.random.as_ref()));
        self.change(|open| {
            let entry = open.tenants.get_mut(&tenant).ok_or(KeyringError::KeyMissing {
                tenant,
                number: DataKeyNumber::ZERO,
            })?;
            entry.kek = kek;
            Ok(())
        })
    }

    /// Puts everything under a new root key and that under `master`. Blocks for as long as the provider takes.
    pub(crate) fn rotate_master(&self, master: &dyn MasterKeyProvider) -> Result<(), KeyringError> {
        let secret = SecretBytes::new(random_array(self.random.as_ref()));
        let wrapped_root = wrap_root(&secret, master, self.random.as_ref())?;
        // A provider that wraps but does not unwrap would lock the node out at its next start.
        if master.unwrap(&wrapped_root, ROOT_CONTEXT)? != secret {
            return Err(WrapError::Authentication.into());
        }
        self.change(|open| {
            open.wrapped_root = wrapped_root;
            open.root = WrappingKey::new(&secret);
            open.master_name = master.name();
            Ok(())
        })
    }

    /// What wraps keys in commands. No rotation replaces it: a command is readable for as long as the log that holds it.
    fn transport(&self) -> WrappingKey {
        WrappingKey::new(&craton_crypto::derive(&self.open.lock().transport, &[TRANSPORT_INFO]))
    }

    /// Changes the keys on disk, then in memory; neither when the change or the write fails.
    fn change(&self, change: impl FnOnce(&mut Open) -> Result<(), KeyringError>) -> Result<(), KeyringError> {
        let mut open = self.open.lock();
        // A write that failed may have left its generation on the disk: the next one must be higher still.
        open.generation += 1;
        let mut changed = open.clone();
        change(&mut changed)?;
        let saved = changed.save(self.random.as_ref());
        file::write(&*self.disk, &self.directory, &saved).map_err(|source| KeyringError::Io {
            directory: self.directory.clone(),
            source,
        })?;
        *open = changed;
        Ok(())
    }
}

/// Whether something was ever encrypted under keys of this directory.
fn has_logs(disk: &dyn Disk, directory: &Path) -> io::Result<bool> {
    match disk.list(&directory.join("wal")) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.exists(&directory.join("tenants")),
        Err(error) => Err(error),
    }
}

fn wrap_root(
    secret: &SecretBytes,
    master: &dyn MasterKeyProvider,
    random: &dyn Random,
) -> Result<Vec<u8>, MasterKeyError> {
    master.wrap(secret, ROOT_CONTEXT, random_array(random))
}

impl From<KeyringError> for EngineError {
    fn from(error: KeyringError) -> Self {
        Self::Keyring(Box::new(error))
    }
}
