//! A master key in HashiCorp Vault's transit secrets engine: it never leaves Vault.
//!
//! Vault encrypts and decrypts one key of the node, at its opening and when master keys are rotated. Nothing of what a
//! client writes waits for Vault, and a node that is open goes on while Vault is away.
//!
//! # Invariants
//! - TLS always, against the system's or a given authority; no redirects are followed.
//! - The token comes from a file that only its owner can read, is read again for every call, and is in no error, log
//!   line or `Debug` output.
//! - Every call ends: each attempt has a timeout, and attempts are counted.
//!
//! # Deliberately absent
//! Logging in to Vault and renewing tokens: Vault Agent does that and writes the token file. Creating and rotating the
//! transit key: Vault's operator does that; ciphertexts of earlier versions of the key stay readable.

mod client;
mod error;
mod token;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use craton_crypto::{MasterKeyError, MasterKeyProvider, NONCE_BYTES, SecretBytes, WrapError};
use zeroize::Zeroizing;

use client::Client;
pub use error::VaultError;

/// Where the key is and how to get there.
#[derive(Clone, Debug)]
pub struct VaultOptions {
    /// Vault's origin, such as `https://vault.example:8200`.
    pub address: String,
    /// The path at which the transit engine is mounted, `transit` by default.
    pub mount: String,
    /// The transit key's name.
    pub key: String,
    /// The namespace, in Vault Enterprise and HCP.
    pub namespace: Option<String>,
    /// The file that holds the token, readable by its owner only.
    pub token_file: PathBuf,
    /// The authority, in PEM, that Vault's certificate must be from; the system's authorities when there is none.
    pub ca_file: Option<PathBuf>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How often a call is tried.
    pub attempts_max: u32,
    /// How long the second attempt waits; every further one waits twice as long.
    pub retry_delay: Duration,
}

impl VaultOptions {
    /// Options for a key, with the usual mount, five seconds for each of four attempts, and no namespace.
    pub fn new(address: impl Into<String>, key: impl Into<String>, token_file: impl Into<PathBuf>) -> Self {
        Self {
            address: address.into(),
            mount: "transit".to_owned(),
            key: key.into(),
            namespace: None,
            token_file: token_file.into(),
            ca_file: None,
            timeout: Duration::from_secs(5),
            attempts_max: 4,
            retry_delay: Duration::from_millis(250),
        }
    }
}

/// A master key in Vault.
pub struct VaultMasterKey {
    client: Client,
}

impl VaultMasterKey {
    /// Prepares the key's use. Vault is not asked yet.
    ///
    /// # Errors
    /// When the address is no HTTPS origin, a name cannot be part of a path, or the authority's file is not usable.
    pub fn new(options: VaultOptions) -> Result<Self, VaultError> {
        Ok(Self {
            client: Client::new(options)?,
        })
    }

    fn provider_error(&self, source: VaultError) -> MasterKeyError {
        MasterKeyError::Provider {
            name: self.name(),
            source: Box::new(source),
        }
    }
}

impl MasterKeyProvider for VaultMasterKey {
    /// Vault draws its own nonce; the one given is not used.
    fn wrap(&self, key: &SecretBytes, context: &[u8], _: [u8; NONCE_BYTES]) -> Result<Vec<u8>, MasterKeyError> {
        let plaintext = Zeroizing::new(BASE64_STANDARD.encode(key.expose()));
        let ciphertext = self.client.encrypt(&plaintext, &BASE64_STANDARD.encode(context));
        ciphertext
            .map(String::into_bytes)
            .map_err(|error| self.provider_error(error))
    }

    fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Result<SecretBytes, MasterKeyError> {
        // What another kind of master key wrapped is not worth a question.
        let ciphertext = std::str::from_utf8(wrapped).ok().filter(|text| is_ciphertext(text));
        let ciphertext = ciphertext.ok_or(WrapError::Authentication)?;
        let plaintext = self
            .client
            .decrypt(ciphertext, &BASE64_STANDARD.encode(context))
            .map_err(|error| self.provider_error(error))?;
        let malformed = || self.provider_error(VaultError::Answer("the plaintext is not 32 bytes in base64"));
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(plaintext.as_bytes()).map_err(|_| malformed())?);
        let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| malformed())?;
        Ok(SecretBytes::new(*bytes))
    }

    fn name(&self) -> String {
        self.client.name()
    }
}

impl fmt::Debug for VaultMasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VaultMasterKey({})", self.name())
    }
}

/// The longest ciphertext of a 32-byte key that is believed.
const CIPHERTEXT_BYTES_MAX: usize = 1_024;

/// Whether a text has the form of a transit ciphertext: `vault:v<version>:<base64>`.
fn is_ciphertext(text: &str) -> bool {
    let rest = text.strip_prefix("vault:v").and_then(|rest| rest.split_once(':'));
    rest.is_some_and(|(version, body)| {
        text.len() <= CIPHERTEXT_BYTES_MAX
            && version.parse::<u32>().is_ok_and(|version| version > 0)
            && !body.is_empty()
            && body
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    })
}

/// The private parsers, one function each: takes bytes, asserts what must hold of anything that is understood, and says
/// whether it was.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::client::{transit_address, transit_answer};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphertexts_are_told_from_other_bytes() {
        for (text, expected) in [
            ("vault:v1:AAAA", true),
            ("vault:v4294967295:AA+/aa==", true),
            ("vault:v0:AAAA", false),
            ("vault:v4294967296:AAAA", false),
            ("vault:v:AAAA", false),
            ("vault:v1:", false),
            ("vault:v1", false),
            ("vault:v1:AA AA", false),
            ("other:v1:AAAA", false),
            ("", false),
        ] {
            assert_eq!(is_ciphertext(text), expected, "{text:?}");
        }
        let longest = format!("vault:v1:{}", "A".repeat(CIPHERTEXT_BYTES_MAX - 9));
        assert!(is_ciphertext(&longest));
        assert!(!is_ciphertext(&(longest + "A")));
    }
}
