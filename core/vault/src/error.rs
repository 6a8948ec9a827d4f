//! What can go wrong between here and Vault.

use std::io;
use std::path::PathBuf;

/// Why Vault did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The address is no HTTPS origin.
    #[error("{address:?} is no address of Vault; it looks like https://vault.example:8200")]
    Address {
        /// The address.
        address: String,
    },
    /// A name cannot be part of a path or header.
    #[error("{name:?} is no name of a {what}")]
    Name {
        /// What it should name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The authority's file cannot be used.
    #[error("the authority in {}: {reason}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The token's file cannot be read.
    #[error("the token in {}: {source}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may access the token's file.
    #[error("the token file {} has mode {mode:04o}; use 0600 or 0400", path.display())]
    TokenPermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The token's file holds no token.
    #[error("{} holds no token", path.display())]
    TokenMalformed {
        /// The file.
        path: PathBuf,
    },
    /// Vault cannot be reached, or not in time.
    #[error("Vault cannot be reached: {0}")]
    Unreachable(#[source] Box<ureq::Error>),
    /// Vault is sealed, is starting, or is not active.
    #[error("Vault is not available (HTTP {status}): {errors}")]
    Unavailable {
        /// The status.
        status: u16,
        /// What Vault said.
        errors: String,
    },
    /// The token is not valid, or its policies do not allow the key's use.
    #[error("Vault denies the use of the key: {errors}")]
    Denied {
        /// What Vault said.
        errors: String,
    },
    /// No transit engine or key of this name is there.
    #[error("Vault has no such transit engine or key: {errors}")]
    Missing {
        /// What Vault said.
        errors: String,
    },
    /// Vault refused the request: what it was to decrypt is damaged, or of another key.
    #[error("Vault refused (HTTP {status}): {errors}")]
    Refused {
        /// The status.
        status: u16,
        /// What Vault said.
        errors: String,
    },
    /// The answer is not what Vault's API promises.
    #[error("an answer that Vault does not give: {0}")]
    Answer(&'static str),
}

impl VaultError {
    /// Whether the same call may succeed a moment later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unavailable { .. })
    }
}
