//! Names and public keys of those who sign notes: "vkeys" of c2sp.org/signed-note@v1.0.0.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use craton_crypto::{VerifyingKey, sha256};

/// The signature type of plain Ed25519 over a note's text: what a log signs with.
pub const ED25519_TYPE: u8 = 0x01;
/// The signature type of a timestamped Ed25519 cosignature (c2sp.org/tlog-cosignature): what a witness signs with.
pub const COSIGNATURE_TYPE: u8 = 0x04;

/// The name of a key: not empty, without spaces, control characters and plus signs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

/// A text that cannot name a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot name a key: it is empty or holds a space, a control character or a plus sign")]
pub struct KeyNameError {
    /// The refused text.
    pub name: String,
}

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty or holds a Unicode space, a control character or `+`.
    pub fn parse(name: &str) -> Result<Self, KeyNameError> {
        let refused = |character: char| character.is_whitespace() || character.is_control() || character == '+';
        if name.is_empty() || name.contains(refused) {
            return Err(KeyNameError { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first four bytes of `SHA-256(name ‖ 0x0A ‖ signature type ‖ public key)`. A hint, not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NoteKeyId(pub(crate) [u8; 4]);

impl fmt::Display for NoteKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An Ed25519 public key with its name, for signatures of one type, written
/// `<name>+<key id in hexadecimal>+<base64 of signature type ‖ public key>`.
///
/// The type is a part of the key, so that a log's key cannot be mistaken for a witness's: see [`VerifierKey`] and
/// [`CosignerKey`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey<const SIGNATURE_TYPE: u8> {
    name: KeyName,
    id: NoteKeyId,
    key: VerifyingKey,
}

/// The key that a log signs its checkpoints with; its name is the log's origin.
pub type VerifierKey = NoteKey<ED25519_TYPE>;

/// The key that a witness cosigns checkpoints with.
pub type CosignerKey = NoteKey<COSIGNATURE_TYPE>;

/// Why a text is no verifier key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    /// It does not have three parts.
    #[error("a verifier key has the form <name>+<key id>+<base64>")]
    Form,
    /// Its name is not allowed.
    #[error(transparent)]
    Name(#[from] KeyNameError),
    /// The key id is not eight lower-case hexadecimal digits.
    #[error("key id {found:?} of the verifier key is not 8 hexadecimal digits")]
    Id {
        /// The text found.
        found: String,
    },
    /// The last part is not base64 of a type byte and 32 bytes.
    #[error("the last part of the verifier key is not base64 of a type byte and a 32-byte Ed25519 public key")]
    Key,
    /// The key is of another type.
    #[error("the verifier key is {}, expected {}", type_name(*.found), type_name(*.expected))]
    Type {
        /// The type byte of the keys that belong here.
        expected: u8,
        /// The type byte found.
        found: u8,
    },
    /// The key id is that of another name or key: a mistake in copying.
    #[error("key id {found} of the verifier key does not belong to its name and key, expected {expected}")]
    IdMismatch {
        /// The id that belongs to name and key.
        expected: NoteKeyId,
        /// The id found.
        found: NoteKeyId,
    },
}

impl<const SIGNATURE_TYPE: u8> NoteKey<SIGNATURE_TYPE> {
    /// Names a public key.
    #[must_use]
    pub fn new(name: KeyName, key: VerifyingKey) -> Self {
        let digest = sha256(&[name.0.as_bytes(), b"\n", &[SIGNATURE_TYPE], key.as_bytes()]);
        let id = digest.as_bytes().first_chunk().expect("four of 32 bytes");
        Self {
            name,
            id: NoteKeyId(*id),
            key,
        }
    }

    /// The key's name; for a log, its origin; for a witness, by custom its URL without the scheme.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The key's id.
    #[must_use]
    pub const fn id(&self) -> NoteKeyId {
        self.id
    }

    /// The public key alone.
    #[must_use]
    pub const fn public_key(&self) -> &VerifyingKey {
        &self.key
    }
}

impl<const SIGNATURE_TYPE: u8> fmt::Display for NoteKey<SIGNATURE_TYPE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = [SIGNATURE_TYPE; 33];
        typed[1..].copy_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id, BASE64.encode(typed))
    }
}

impl<const SIGNATURE_TYPE: u8> FromStr for NoteKey<SIGNATURE_TYPE> {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeyError::Form);
        };
        let name = KeyName::parse(name)?;
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let found = Some(id)
            .filter(|id| id.len() == 8 && id.bytes().all(lower_hex))
            .and_then(|id| u32::from_str_radix(id, 16).ok())
            .map(|id| NoteKeyId(id.to_be_bytes()))
            .ok_or_else(|| VerifierKeyError::Id { found: id.to_owned() })?;
        let typed = BASE64.decode(key).map_err(|_| VerifierKeyError::Key)?;
        let (&key_type, key) = typed.split_first().ok_or(VerifierKeyError::Key)?;
        if key_type != SIGNATURE_TYPE {
            return Err(VerifierKeyError::Type {
                expected: SIGNATURE_TYPE,
                found: key_type,
            });
        }
        let key: &[u8; 32] = key.try_into().map_err(|_| VerifierKeyError::Key)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| VerifierKeyError::Key)?;
        let verifier = Self::new(name, key);
        if verifier.id != found {
            return Err(VerifierKeyError::IdMismatch {
                expected: verifier.id,
                found,
            });
        }
        Ok(verifier)
    }
}

fn type_name(signature_type: u8) -> String {
    match signature_type {
        ED25519_TYPE => "a log's key (type 0x01)".to_owned(),
        COSIGNATURE_TYPE => "a witness's key (type 0x04)".to_owned(),
        other => format!("of the unknown type {other:#04x}"),
    }
}

#[cfg(test)]
mod tests {
    use craton_crypto::{SecretBytes, SigningKey};

    use super::*;

    fn key(name: &str, seed: u8) -> VerifierKey {
        let key = SigningKey::from_seed(&SecretBytes::new([seed; 32]));
        VerifierKey::new(KeyName::parse(name).expect("a name"), key.verifying_key())
    }

    #[test]
    fn malformed_verifier_keys_are_refused() {
        let vkey = key("example.com/log", 1).to_string();
        assert_eq!(vkey.parse(), Ok(key("example.com/log", 1)));
        let other_id = key("example.com/log", 2).id;
        let own_id = key("example.com/log", 1).id;
        for (text, error) in [
            ("example.com/log".to_owned(), VerifierKeyError::Form),
            (
                vkey.replace("example.com/log", ""),
                VerifierKeyError::Name(KeyNameError { name: String::new() }),
            ),
            (
                vkey.replace(&own_id.to_string(), "0123456"),
                VerifierKeyError::Id {
                    found: "0123456".into(),
                },
            ),
            (
                vkey.replace(&own_id.to_string(), &other_id.to_string()),
                VerifierKeyError::IdMismatch {
                    expected: own_id,
                    found: other_id,
                },
            ),
            (format!("{vkey}A"), VerifierKeyError::Key),
            (
                format!("n+{own_id}+BAAA"),
                VerifierKeyError::Type { expected: 1, found: 4 },
            ),
            (format!("n+{own_id}+AQAA"), VerifierKeyError::Key),
        ] {
            assert_eq!(text.parse::<VerifierKey>(), Err(error), "{text}");
        }
    }

    #[test]
    fn key_names_are_checked() {
        for (name, accepted) in [
            ("a", true),
            ("example.com/log", true),
            ("é", true),
            ("", false),
            ("a b", false),
            ("a\u{a0}b", false),
            ("a+b", false),
            ("a\nb", false),
            ("a\u{7}b", false),
        ] {
            assert_eq!(KeyName::parse(name).is_ok(), accepted, "{name:?}");
        }
    }
}
