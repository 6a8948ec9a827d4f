//! The root of a node's keys: where the key that wraps every tenant's key-encryption key comes from.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::wrap::WrappingKey;
use crate::{NONCE_BYTES, SecretBytes, WrapError, derive};

/// Wraps and unwraps keys under a master key that may live elsewhere.
pub trait MasterKeyProvider: Send + Sync + fmt::Debug {
    /// Encrypts `key`. `context` says what the key is for and must be given again to unwrap it; `nonce` is
    /// random and never used twice with one master key.
    ///
    /// # Errors
    /// When the provider cannot be reached or refuses.
    fn wrap(&self, key: &SecretBytes, context: &[u8], nonce: [u8; NONCE_BYTES]) -> Result<Vec<u8>, MasterKeyError>;

    /// Decrypts what [`Self::wrap`] gave for the same `context`.
    ///
    /// # Errors
    /// When the bytes are damaged, or wrapped by another master key or for another context.
    fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Result<SecretBytes, MasterKeyError>;

    /// Which key this is, for people: never a part of the key.
    fn name(&self) -> String;
}

/// Why there is no master key, or why it does not unwrap.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file cannot be read or created.
    #[error("master key file {}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file may be read or written by others than its owner.
    #[error("master key file {} has mode {mode:04o}; use 0600 or 0400", path.display())]
    Permissions {
        /// Its path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key is not 64 hexadecimal digits.
    #[error("the master key in {place} is not 64 hexadecimal digits")]
    Malformed {
        /// The file or variable it was read from.
        place: String,
    },
    /// The wrapped key does not unwrap.
    #[error("what the master key protects does not open: {0}")]
    Wrap(#[from] WrapError),
    /// The process that holds the key could not be asked, or refused.
    #[error("master key {name}: {source}")]
    Provider {
        /// Which key.
        name: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A master key held in memory, whatever place it came from.
#[derive(Clone)]
struct HeldKey {
    secret: SecretBytes,
    wrapping: WrappingKey,
}

impl HeldKey {
    fn new(secret: SecretBytes) -> Self {
        let wrapping = WrappingKey::new(&secret);
        Self { secret, wrapping }
    }

    fn parse(text: &str, place: impl FnOnce() -> String) -> Result<Self, MasterKeyError> {
        decode_hex(text.trim_ascii())
            .map(Self::new)
            .ok_or_else(|| MasterKeyError::Malformed { place: place() })
    }
}

macro_rules! provide_from_held_key {
    ($name:ident, $kind:literal) => {
        impl MasterKeyProvider for $name {
            fn wrap(
                &self,
                key: &SecretBytes,
                context: &[u8],
                nonce: [u8; NONCE_BYTES],
            ) -> Result<Vec<u8>, MasterKeyError> {
                Ok(self.key.wrapping.wrap(key, context, nonce))
            }

            fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Result<SecretBytes, MasterKeyError> {
                Ok(self.key.wrapping.unwrap(wrapped, context)?)
            }

            fn name(&self) -> String {
                format!("{} {}", $kind, self.key.wrapping.id())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(key {})"), self.key.wrapping.id())
            }
        }
    };
}

/// A master key in a file of 64 hexadecimal digits that only its owner can read.
#[derive(Clone)]
pub struct FileMasterKey {
    key: HeldKey,
}

provide_from_held_key!(FileMasterKey, "file key");

/// A master key of 64 hexadecimal digits in an environment variable. Whoever may read the process's environment reads
/// the key (the same user, and root), for as long as the process lives: a file is the better place where there is one.
#[derive(Clone)]
pub struct EnvironmentMasterKey {
    key: HeldKey,
}

provide_from_held_key!(EnvironmentMasterKey, "environment key");

impl EnvironmentMasterKey {
    /// Takes a variable's name and value, which the caller has read.
    ///
    /// # Errors
    /// When the value is no key.
    pub fn parse(variable: &str, value: &str) -> Result<Self, MasterKeyError> {
        let key = HeldKey::parse(value, || format!("environment variable {variable}"))?;
        Ok(Self { key })
    }
}

/// More than a key and its line end; a longer file is no key file.
const FILE_BYTES_MAX: u64 = 128;

impl FileMasterKey {
    /// Reads the key.
    ///
    /// # Errors
    /// When the file cannot be read, may be accessed by group or others, or holds no key.
    pub fn open(path: &Path) -> Result<Self, MasterKeyError> {
        let io = |source| MasterKeyError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(MasterKeyError::Permissions {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        let key = HeldKey::parse(&text, || path.display().to_string())?;
        Ok(Self { key })
    }

    /// A key for the purpose named by `info`, the same each time.
    #[must_use]
    pub fn derive(&self, info: &str) -> SecretBytes {
        derive(&self.key.secret, &[b"craton master derived key v1 ", info.as_bytes()])
    }

    /// Creates the file, mode 0600, holding `secret`, which is random. Durable when this returns; a crash leaves
    /// the whole file or none.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn generate(path: &Path, secret: SecretBytes) -> Result<Self, MasterKeyError> {
        write_new(path, encode_hex(&secret).as_bytes()).map_err(|source| MasterKeyError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            key: HeldKey::new(secret),
        })
    }
}

/// Writes a file beside `path` and then links it there, which fails when `path` exists.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // What a crash left behind is of no use: nothing was ever encrypted under it.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    linked?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn decode_hex(text: &str) -> Option<SecretBytes> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut secret = SecretBytes::new([0; 32]);
    for (byte, pair) in secret.expose_mut().iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).expect("two hexadecimal digits are one byte");
    }
    Some(secret)
}

fn encode_hex(secret: &SecretBytes) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in secret.expose() {
        for digit in [byte >> 4, byte & 0x0f] {
            text.push(char::from_digit(digit.into(), 16).expect("four bits are a hexadecimal digit"));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SecretBytes {
        SecretBytes::new(std::array::from_fn(|index| u8::try_from(index * 8).expect("small")))
    }

    #[test]
    fn a_generated_file_is_private_and_gives_the_same_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("master.key");
        let generated = FileMasterKey::generate(&path, secret()).expect("a new file");
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let opened = FileMasterKey::open(&path).expect("a key file");
        let wrapped = generated
            .wrap(&SecretBytes::new([1; 32]), b"kek", [2; 12])
            .expect("held");
        assert_eq!(
            opened.unwrap(&wrapped, b"kek").expect("same key"),
            SecretBytes::new([1; 32])
        );
        assert!(opened.unwrap(&wrapped, b"another").is_err());
        assert_eq!(opened.derive("a"), generated.derive("a"));
        assert_ne!(opened.derive("a"), opened.derive("b"));
        assert!(
            matches!(
                FileMasterKey::generate(&path, secret()),
                Err(MasterKeyError::File { .. })
            ),
            "an existing key is never replaced"
        );
    }

    #[test]
    fn files_that_others_may_access_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("master.key");
        FileMasterKey::generate(&path, secret()).expect("a new file");
        for (mode, accepted) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o620, false),
            (0o601, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("owner");
            match FileMasterKey::open(&path) {
                Ok(_) => assert!(accepted, "{mode:o}"),
                Err(MasterKeyError::Permissions { mode: found, .. }) => {
                    assert!(!accepted, "{mode:o}");
                    assert_eq!(found, mode);
                }
                Err(error) => panic!("{mode:o}: {error}"),
            }
        }
    }

    #[test]
    fn malformed_keys_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("master.key");
        for (text, accepted) in [
            ("00".repeat(32), true),
            ("Ab".repeat(32) + "\n", true),
            ("00".repeat(31), false),
            ("00".repeat(33), false),
            ("0g".repeat(32), false),
            ("+0".repeat(32), false),
            (String::new(), false),
        ] {
            fs::write(&path, &text).expect("writable");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("owner");
            assert_eq!(FileMasterKey::open(&path).is_ok(), accepted, "{text:?}");
        }
        assert!(matches!(
            FileMasterKey::open(&directory.path().join("absent")),
            Err(MasterKeyError::File { .. })
        ));
    }

    #[test]
    fn a_key_in_the_environment_is_the_key_of_a_file_with_the_same_digits() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = FileMasterKey::generate(&directory.path().join("key"), secret()).expect("a new file");
        let value = encode_hex(&secret());
        let environment = EnvironmentMasterKey::parse("CRATON_MASTER_KEY", &value).expect("64 digits");
        let wrapped = file.wrap(&SecretBytes::new([1; 32]), b"c", [2; 12]).expect("held");
        assert!(environment.unwrap(&wrapped, b"c").is_ok());
        let error = EnvironmentMasterKey::parse("CRATON_MASTER_KEY", &value[1..]).expect_err("63 digits");
        assert_eq!(
            error.to_string(),
            "the master key in environment variable CRATON_MASTER_KEY is not 64 hexadecimal digits"
        );
    }

    #[test]
    fn keys_are_not_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = FileMasterKey::generate(&directory.path().join("key"), secret()).expect("a new file");
        let shown = format!("{key:?}");
        assert!(!shown.contains("000810182028"), "{shown}");
        assert!(!key.name().contains("000810182028"), "{}", key.name());
    }
}
