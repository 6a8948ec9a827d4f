//! Join tokens: `crt_join_` and base64url (RFC 4648 section 5, no padding) of id ‖ secret ‖ authority ‖ CRC.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// What every join token starts with, so that scanners for leaked secrets can find it.
pub const JOIN_TOKEN_PREFIX: &str = "crt_join_";

const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const DIGEST_BYTES: usize = 32;
const BODY_BYTES: usize = ID_BYTES + SECRET_BYTES + DIGEST_BYTES;
const CRC_BYTES: usize = 4;

/// The right to join the fleet once.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    id: [u8; ID_BYTES],
    secret: [u8; SECRET_BYTES],
    authority_sha256: [u8; DIGEST_BYTES],
}

/// Why a text is no join token. The text is not repeated, since it may be a secret with a typing error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    /// It starts with something else.
    #[error("a join token starts with {JOIN_TOKEN_PREFIX}")]
    Prefix,
    /// It is cut off, or has characters outside base64url.
    #[error("the join token is cut off or has a character that no token has")]
    Encoding,
    /// A character was changed.
    #[error("the join token's check sum is wrong: it was not copied whole")]
    Checksum,
}

impl JoinToken {
    /// Puts a token together.
    #[must_use]
    pub fn new(id: [u8; 16], secret: [u8; 32], authority_sha256: [u8; 32]) -> Self {
        Self {
            id,
            secret,
            authority_sha256,
        }
    }

    /// Parses the text.
    ///
    /// # Errors
    /// When it is no token or was not copied whole.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        let encoded = text
            .trim()
            .strip_prefix(JOIN_TOKEN_PREFIX)
            .ok_or(JoinTokenError::Prefix)?;
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| JoinTokenError::Encoding)?;
        let bytes: [u8; BODY_BYTES + CRC_BYTES] = bytes.try_into().map_err(|_| JoinTokenError::Encoding)?;
        let (body, crc) = bytes.split_at(BODY_BYTES);
        if crc32c::crc32c(body).to_be_bytes() != crc {
            return Err(JoinTokenError::Checksum);
        }
        let mut token = Self {
            id: [0; 16],
            secret: [0; 32],
            authority_sha256: [0; 32],
        };
        let (id, rest) = body.split_at(ID_BYTES);
        let (secret, digest) = rest.split_at(SECRET_BYTES);
        token.id.copy_from_slice(id);
        token.secret.copy_from_slice(secret);
        token.authority_sha256.copy_from_slice(digest);
        Ok(token)
    }

    /// The text that is shown once.
    #[must_use]
    pub fn expose(&self) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + CRC_BYTES);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.authority_sha256);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        format!("{JOIN_TOKEN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The UUID by which the platform finds the token.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// SHA-256 over the secret: what the platform keeps of it. A 256-bit random secret needs no slow hash.
    #[must_use]
    pub fn secret_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// SHA-256 over the DER form of the certificate authority that the enrolment's TLS chain must end in.
    #[must_use]
    pub fn authority_sha256(&self) -> [u8; 32] {
        self.authority_sha256
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &hex::encode(self.id))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_token_survives_its_text(id: [u8; 16], secret: [u8; 32], authority: [u8; 32]) {
            let token = JoinToken::new(id, secret, authority);
            prop_assert_eq!(JoinToken::parse(&token.expose()), Ok(token));
        }

        #[test]
        fn no_changed_character_goes_unnoticed(index in 0usize..112, replacement in "[A-Za-z0-9_-]") {
            let text = JoinToken::new([1; 16], [2; 32], [3; 32]).expose();
            let at = JOIN_TOKEN_PREFIX.len() + index;
            let mut changed = text.clone();
            changed.replace_range(at..=at, &replacement);
            prop_assert_eq!(JoinToken::parse(&changed).is_ok(), changed == text);
        }
    }

    #[test]
    fn each_kind_of_damage_has_its_name() {
        let text = JoinToken::new([1; 16], [2; 32], [3; 32]).expose();
        assert_eq!(JoinToken::parse(&text[1..]), Err(JoinTokenError::Prefix));
        assert_eq!(JoinToken::parse(&text[..text.len() - 1]), Err(JoinTokenError::Encoding));
        assert_eq!(JoinToken::parse(&format!("{text}*")), Err(JoinTokenError::Encoding));
        assert_eq!(
            JoinToken::parse(&text.replacen("AQEB", "AQEC", 1)),
            Err(JoinTokenError::Checksum)
        );
        assert_eq!(JoinToken::parse("crt_join_"), Err(JoinTokenError::Encoding));
    }

    #[test]
    fn the_secret_is_never_shown() {
        let token = JoinToken::new([1; 16], [2; 32], [3; 32]);
        assert!(!format!("{token:?}").contains(&hex::encode([2; 8])));
    }
}
