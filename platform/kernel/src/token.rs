//! Secret tokens that people and programs carry: `crt_<kind>_<id>_<secret><crc>`.
//!
//! The id finds the stored hash, the secret has 256 bits, and the CRC-32C lets a secret scanner tell a real
//! token from a look-alike without asking us. Only [`SecretToken::hash`] is ever stored.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{Environment, base32, id::parse_suffix};

/// 256 bits in base 32.
const SECRET_DIGITS: usize = 52;
/// 32 bits in base 32.
const CRC_DIGITS: usize = 7;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An API key of an organisation: `crt_live_…`.
    Live,
    /// The operator's key: `crt_operator_…`.
    Operator,
}

impl TokenKind {
    /// The token's beginning.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Live => "crt_live_",
            Self::Operator => "crt_operator_",
        }
    }
}

/// The SHA-256 of a secret of 256 random bits, which needs neither salt nor stretching.
#[derive(Clone, Copy, Debug)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a secret.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Wraps a stored hash.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Constant-time, so that a store may compare hashes without telling how much of them agreed.
impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&crate::RecordHash(self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::RecordHash::deserialize(deserializer).map(|hash| Self(hash.0))
    }
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a {} token", kind.prefix())]
pub struct TokenParseError {
    /// The kind that was wanted.
    pub kind: TokenKind,
}

/// A secret token. It has no `Serialize`, and `Debug` hides it.
#[derive(Clone)]
pub struct SecretToken {
    id: Uuid,
    text: Zeroizing<String>,
}

impl SecretToken {
    /// Makes a token for an id with a new secret.
    #[must_use]
    pub fn generate(kind: TokenKind, id: Uuid, environment: &Environment) -> Self {
        let secret = Zeroizing::new(environment.random_bytes::<32>());
        let mut text = Zeroizing::new(format!(
            "{}{}_{}",
            kind.prefix(),
            base32::encode_u128(id.as_u128(), 26),
            *Zeroizing::new(base32::encode_bytes(secret.as_slice()))
        ));
        let crc = crc32c::crc32c(text.as_bytes());
        text.push_str(&base32::encode_u128(crc.into(), CRC_DIGITS));
        Self { id, text }
    }

    /// Parses a token, checking its kind, shape and CRC.
    ///
    /// # Errors
    /// When the text is no token of that kind; the error does not hold the text.
    pub fn parse(kind: TokenKind, text: &str) -> Result<Self, TokenParseError> {
        let error = TokenParseError { kind };
        let (id, secret) = text
            .strip_prefix(kind.prefix())
            .and_then(|rest| rest.split_once('_'))
            .ok_or(error)?;
        let id = parse_suffix(id).ok_or(error)?;
        if secret.len() != SECRET_DIGITS + CRC_DIGITS || !secret.is_ascii() {
            return Err(error);
        }
        let (body, crc) = text.split_at(text.len() - CRC_DIGITS);
        if base32::decode_u128(crc) != Some(crc32c::crc32c(body.as_bytes()).into()) {
            return Err(error);
        }
        Ok(Self {
            id,
            text: Zeroizing::new(text.to_owned()),
        })
    }

    /// The id within the token.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What is stored instead of the token.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.text.as_bytes())
    }

    /// The token itself, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretToken({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn tokens_survive_a_round_trip_and_hide_in_debug() {
        let environment = testing::environment();
        let id = environment.new_id::<crate::ApiKeyId>();
        let token = SecretToken::generate(TokenKind::Live, id.as_uuid(), &environment);
        let parsed = SecretToken::parse(TokenKind::Live, token.reveal()).expect("its own text");
        assert_eq!(parsed.id(), id.as_uuid());
        assert_eq!(parsed.hash(), token.hash());
        assert!(!format!("{token:?}").contains(&token.reveal()[40..]));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let environment = testing::environment();
        let id = environment.new_id::<crate::ApiKeyId>();
        let token = SecretToken::generate(TokenKind::Live, id.as_uuid(), &environment);
        for index in 0..token.reveal().len() {
            let mut bytes = token.reveal().as_bytes().to_vec();
            bytes[index] = if bytes[index] == b'0' { b'1' } else { b'0' };
            let text = String::from_utf8(bytes).expect("ASCII");
            assert!(SecretToken::parse(TokenKind::Live, &text).is_err(), "character {index}");
        }
        assert!(SecretToken::parse(TokenKind::Operator, token.reveal()).is_err());
        assert!(SecretToken::parse(TokenKind::Live, "crt_live_é_é").is_err());
    }
}
