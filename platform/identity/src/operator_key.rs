//! The operator's key: one per platform, made at the first start and kept in a file that only the operator reads.

use craton_platform_kernel::{ApiKeyId, Environment, Principal, SecretHash, SecretToken, TokenKind, TokenParseError};

/// What the platform knows of the operator's key.
#[derive(Clone, Copy, Debug)]
pub struct OperatorKey {
    key_id: ApiKeyId,
    hash: SecretHash,
}

impl OperatorKey {
    /// Makes a new key; the token is for the file.
    #[must_use]
    pub fn generate(environment: &Environment) -> SecretToken {
        let key_id: ApiKeyId = environment.new_id();
        SecretToken::generate(TokenKind::Operator, key_id.as_uuid(), environment)
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// When it is no operator key.
    pub fn parse(text: &str) -> Result<Self, TokenParseError> {
        let token = SecretToken::parse(TokenKind::Operator, text.trim())?;
        let key_id = ApiKeyId::from_uuid(token.id()).ok_or(TokenParseError {
            kind: TokenKind::Operator,
        })?;
        Ok(Self {
            key_id,
            hash: token.hash(),
        })
    }

    /// The operator, if the token is this key.
    pub(crate) fn principal(&self, token: &SecretToken) -> Option<Principal> {
        let key_id = self.key_id;
        (token.hash() == self.hash).then_some(Principal::Operator { key_id })
    }
}
