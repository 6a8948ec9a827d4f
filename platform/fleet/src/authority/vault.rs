//! Secrets on disk: AES-256-GCM under a key derived from the platform's master key, one file each, mode 0600.
//!
//! A file is `version (1) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`; the associated data is the file's name, so that files
//! cannot be exchanged.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aes_gcm::{
    Aes256Gcm,
    aead::{Aead as _, KeyInit as _, Payload},
};
use craton_crypto::FileMasterKey;
use craton_platform_kernel::Environment;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;

/// Why a secret could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is damaged, was written under another name, or under another master key.
    #[error("{0} does not open with the platform's master key")]
    Sealed(PathBuf),
}

/// A directory of secrets and the public files beside them.
pub(crate) struct Vault {
    directory: PathBuf,
    cipher: Aes256Gcm,
    environment: Environment,
}

impl Vault {
    pub(crate) fn open(
        directory: &Path,
        master_key: &FileMasterKey,
        environment: Environment,
    ) -> Result<Self, VaultError> {
        let key = master_key.derive("fleet vault v1");
        let cipher = Aes256Gcm::new(key.expose().into());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| VaultError::File {
                path: directory.to_owned(),
                source,
            })?;
        Ok(Self {
            directory: directory.to_owned(),
            cipher,
            environment,
        })
    }

    /// Seals a secret under a name, replacing what was there.
    pub(crate) fn seal(&self, name: &str, secret: &[u8]) -> Result<(), VaultError> {
        let nonce = self.environment.random_bytes::<NONCE_BYTES>();
        let payload = Payload {
            msg: secret,
            aad: name.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt((&nonce).into(), payload)
            .map_err(|_| VaultError::Sealed(self.path(name)))?;
        self.write(name, &[&[VERSION][..], &nonce, &sealed].concat())
    }

    /// Opens a secret; `None` when there is none.
    pub(crate) fn unseal(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let open = || {
            let (version, rest) = bytes.split_first()?;
            let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
            let payload = Payload {
                msg: sealed,
                aad: name.as_bytes(),
            };
            (*version == VERSION).then(|| self.cipher.decrypt(nonce.into(), payload).ok())?
        };
        open()
            .map(|secret| Some(Zeroizing::new(secret)))
            .ok_or_else(|| VaultError::Sealed(self.path(name)))
    }

    /// Reads a public file; `None` when there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VaultError::File {
                path: self.path(name),
                source,
            }),
        }
    }

    /// Writes a file: a reader sees the old content or the new one, also after a power cut.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
        let path = self.path(name);
        let temporary = self.path(&format!("{name}.new"));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|source| VaultError::File {
            path: path.clone(),
            source,
        })
    }

    /// Removes a file; nothing happens when there is none.
    pub(crate) fn remove(&self, name: &str) -> Result<(), VaultError> {
        match fs::remove_file(self.path(name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(VaultError::File {
                path: self.path(name),
                source,
            }),
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use craton_crypto::{FileMasterKey, SecretBytes};
    use craton_platform_kernel::testing;

    use super::*;

    pub(crate) fn vault(directory: &Path, key: u8) -> Vault {
        let path = directory.join(format!("master-{key}"));
        let master_key = FileMasterKey::open(&path)
            .or_else(|_| FileMasterKey::generate(&path, SecretBytes::new([key; 32])))
            .unwrap();
        Vault::open(&directory.join("vault"), &master_key, testing::environment()).unwrap()
    }

    #[test]
    fn a_secret_opens_under_its_name_and_key_only() {
        let directory = tempfile::tempdir().unwrap();
        let ours = vault(directory.path(), 1);
        ours.seal("a.key", b"secret").unwrap();
        assert_eq!(ours.unseal("a.key").unwrap().unwrap().as_slice(), b"secret");
        assert!(ours.unseal("b.key").unwrap().is_none());

        let file = directory.path().join("vault/a.key");
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        ours.write("b.key", &bytes).unwrap();
        assert!(
            matches!(ours.unseal("b.key"), Err(VaultError::Sealed(_))),
            "moved to another name"
        );
        assert!(
            matches!(vault(directory.path(), 2).unseal("a.key"), Err(VaultError::Sealed(_))),
            "another key"
        );
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            ours.write("a.key", &damaged).unwrap();
            assert!(
                matches!(ours.unseal("a.key"), Err(VaultError::Sealed(_))),
                "byte {index}"
            );
        }
        for length in [0, 1, 12, 13, 28] {
            ours.write("a.key", &bytes[..length]).unwrap();
            assert!(
                matches!(ours.unseal("a.key"), Err(VaultError::Sealed(_))),
                "{length} bytes"
            );
        }
        ours.remove("a.key").unwrap();
        ours.remove("a.key").unwrap();
    }
}
