//! Where the master key comes from, as operators name it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use craton_crypto::{EnvironmentMasterKey, FileMasterKey, MasterKeyError, MasterKeyProvider, SecretBytes};
use craton_vault::{VaultError, VaultMasterKey, VaultOptions};
use zeroize::Zeroizing;

/// A place of a master key: `file:PATH`, `env:VARIABLE` or `vault:KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterKeySource {
    /// A file of 64 hexadecimal digits that only its owner can read.
    File(PathBuf),
    /// An environment variable of 64 hexadecimal digits.
    Environment(String),
    /// A key of Vault's transit engine.
    Vault(String),
}

/// A text that names no place of a master key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no master key; write file:PATH, env:VARIABLE or vault:KEY")]
pub struct MasterKeySourceError {
    text: String,
}

impl FromStr for MasterKeySource {
    type Err = MasterKeySourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", variable)) if !variable.is_empty() => Ok(Self::Environment(variable.to_owned())),
            Some(("vault", key)) if !key.is_empty() => Ok(Self::Vault(key.to_owned())),
            _ => Err(MasterKeySourceError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for MasterKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Environment(variable) => write!(f, "env:{variable}"),
            Self::Vault(key) => write!(f, "vault:{key}"),
        }
    }
}

/// Where Vault is and who asks it.
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// Vault's origin, such as `https://vault.example:8200`.
    pub address: String,
    /// The transit engine's mount.
    pub mount: String,
    /// The namespace, if any.
    pub namespace: Option<String>,
    /// The file of the token.
    pub token_file: PathBuf,
    /// The authority of Vault's certificate, unless it is one of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Why a master key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyOpenError {
    /// The key is not there, or is none.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// Vault's settings are not usable.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The variable is not set, or not text.
    #[error("environment variable {variable} is not set")]
    VariableMissing {
        /// The variable.
        variable: String,
    },
    /// The server was not told where Vault is.
    #[error("a master key in Vault needs --vault-address and --vault-token-file")]
    VaultSettingsMissing,
}

impl MasterKeySource {
    /// The key at this place. Vault is not asked yet.
    ///
    /// # Errors
    /// When there is no key, or it cannot be used.
    pub fn open(&self, vault: Option<&VaultSettings>) -> Result<Arc<dyn MasterKeyProvider>, MasterKeyOpenError> {
        match self {
            Self::File(path) => Ok(Arc::new(FileMasterKey::open(path)?)),
            Self::Environment(variable) => {
                let value = std::env::var(variable).map(Zeroizing::new);
                let value = value.map_err(|_| MasterKeyOpenError::VariableMissing {
                    variable: variable.clone(),
                })?;
                Ok(Arc::new(EnvironmentMasterKey::parse(variable, &value)?))
            }
            Self::Vault(key) => {
                let settings = vault.ok_or(MasterKeyOpenError::VaultSettingsMissing)?;
                let options = VaultOptions {
                    mount: settings.mount.clone(),
                    namespace: settings.namespace.clone(),
                    ca_file: settings.ca_file.clone(),
                    ..VaultOptions::new(&settings.address, key, &settings.token_file)
                };
                Ok(Arc::new(VaultMasterKey::new(options)?))
            }
        }
    }

    /// Creates the key's file, mode 0600, from 32 random bytes, when the place is a file and there is none. Whether it
    /// was created now.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn generate_missing_file(&self, random: impl FnOnce() -> [u8; 32]) -> Result<bool, MasterKeyError> {
        match self {
            Self::File(path) if !path.exists() => {
                FileMasterKey::generate(path, SecretBytes::new(random()))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_by_their_kind() {
        for (text, expected) in [
            (
                "file:/etc/craton/master.key",
                Some(MasterKeySource::File("/etc/craton/master.key".into())),
            ),
            ("file:a:b", Some(MasterKeySource::File("a:b".into()))),
            (
                "env:CRATON_MASTER_KEY",
                Some(MasterKeySource::Environment("CRATON_MASTER_KEY".to_owned())),
            ),
            ("vault:hospital", Some(MasterKeySource::Vault("hospital".to_owned()))),
            ("file:", None),
            ("env:", None),
            ("vault:", None),
            ("kms:key", None),
            ("/etc/craton/master.key", None),
            ("", None),
        ] {
            let source = text.parse::<MasterKeySource>().ok();
            assert_eq!(source, expected, "{text:?}");
            if let Some(source) = source {
                assert_eq!(source.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let open = |text: &str| text.parse::<MasterKeySource>().expect("a place").open(None);
        let error = open("env:CRATON_NO_SUCH_VARIABLE").expect_err("it is not set");
        assert_eq!(
            error.to_string(),
            "environment variable CRATON_NO_SUCH_VARIABLE is not set"
        );
        let error = open("vault:hospital").expect_err("Vault is nowhere");
        assert!(error.to_string().contains("--vault-address"), "{error}");
        assert!(open("file:/no/such/file").is_err());
    }
}
