//! Short-lived tokens by which the control plane logs in as the probe: Ed25519-signed JWTs (RFC 7519, RFC 8037).

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// The only user that logs in with a token, and with nothing else.
pub const PROBE_USER: &str = "craton_probe";
/// The only database that this user may use.
pub const PROBE_DATABASE: &str = "probe";
/// How far ahead a token's expiry may lie.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(300);

/// Why the file with the issuer's public key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// The file cannot be read.
    #[error("token key file {}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file holds no Ed25519 public key in PEM.
    #[error("token key file {} holds no Ed25519 public key in PEM: {source}", path.display())]
    Key {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
}

/// Why a token is not accepted. Goes to the log; the client is told nothing but that it failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The signature, the audience or the subject is wrong, or a claim is missing.
    #[error(transparent)]
    Invalid(#[from] jsonwebtoken::errors::Error),
    /// The expiry has passed.
    #[error("the token expired at {expires_at}, it is {now}")]
    Expired {
        /// Seconds since the Unix epoch.
        expires_at: u64,
        /// Seconds since the Unix epoch.
        now: u64,
    },
    /// The expiry is too far ahead.
    #[error("the token expires at {expires_at}, later than {latest}")]
    TooLong {
        /// Seconds since the Unix epoch.
        expires_at: u64,
        /// Seconds since the Unix epoch.
        latest: u64,
    },
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
}

/// Checks tokens for one cluster.
pub(crate) struct TokenVerifier {
    key_path: PathBuf,
    key: ArcSwap<DecodingKey>,
    validation: Validation,
}

impl TokenVerifier {
    /// Reads the issuer's public key; tokens must name `cluster_id` as their audience.
    ///
    /// # Errors
    /// When the file holds no usable key.
    pub(crate) fn load(key_path: PathBuf, cluster_id: &str) -> Result<Self, TokenKeyError> {
        let key = ArcSwap::from_pointee(read(&key_path)?);
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        validation.set_audience(&[cluster_id]);
        validation.sub = Some(PROBE_USER.to_owned());
        // Checked below, against a clock that is an argument.
        validation.validate_exp = false;
        Ok(Self {
            key_path,
            key,
            validation,
        })
    }

    /// Reads the key again; on an error the old one stays.
    ///
    /// # Errors
    /// When the file holds no usable key.
    pub(crate) fn reload(&self) -> Result<(), TokenKeyError> {
        self.key.store(read(&self.key_path)?.into());
        Ok(())
    }

    /// Checks a token at `now`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// When the token is not valid now.
    pub(crate) fn verify(&self, token: &str, now: u64) -> Result<(), TokenError> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key.load(), &self.validation)?.claims;
        let latest = now + TOKEN_LIFETIME_MAX.as_secs();
        if claims.exp <= now {
            return Err(TokenError::Expired {
                expires_at: claims.exp,
                now,
            });
        }
        if claims.exp > latest {
            return Err(TokenError::TooLong {
                expires_at: claims.exp,
                latest,
            });
        }
        Ok(())
    }
}

fn read(path: &PathBuf) -> Result<DecodingKey, TokenKeyError> {
    let pem = fs::read(path).map_err(|source| TokenKeyError::File {
        path: path.clone(),
        source,
    })?;
    DecodingKey::from_ed_pem(&pem).map_err(|source| TokenKeyError::Key {
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use rcgen::{KeyPair, PKCS_ED25519};
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_000_000;

    fn verifier(pair: &KeyPair) -> TokenVerifier {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token.pub");
        fs::write(&path, pair.public_key_pem()).expect("writable");
        TokenVerifier::load(path, "clu_1").expect("a public key")
    }

    fn sign(pair: &KeyPair, algorithm: Algorithm, claims: &Value) -> String {
        let key = match algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).expect("a private key"),
            _ => EncodingKey::from_secret(pair.public_key_pem().as_bytes()),
        };
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("signable")
    }

    #[test]
    fn tokens_are_checked_claim_by_claim() {
        let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let verifier = verifier(&pair);
        for (claims, accepted) in [
            (json!({"aud": "clu_1", "sub": PROBE_USER, "exp": NOW + 1}), true),
            (json!({"aud": ["clu_1"], "sub": PROBE_USER, "exp": NOW + 300}), true),
            (json!({"aud": "clu_1", "sub": PROBE_USER, "exp": NOW}), false),
            (json!({"aud": "clu_1", "sub": PROBE_USER, "exp": NOW - 1}), false),
            (json!({"aud": "clu_1", "sub": PROBE_USER, "exp": NOW + 301}), false),
            (json!({"aud": "clu_1", "sub": PROBE_USER}), false),
            (json!({"aud": "clu_2", "sub": PROBE_USER, "exp": NOW + 1}), false),
            (json!({"sub": PROBE_USER, "exp": NOW + 1}), false),
            (json!({"aud": "clu_1", "sub": "app", "exp": NOW + 1}), false),
            (json!({"aud": "clu_1", "exp": NOW + 1}), false),
        ] {
            let token = sign(&pair, Algorithm::EdDSA, &claims);
            assert_eq!(verifier.verify(&token, NOW).is_ok(), accepted, "{claims}");
        }
    }

    #[test]
    fn other_keys_and_algorithms_are_refused() {
        let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let other = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let verifier = verifier(&pair);
        let claims = json!({"aud": "clu_1", "sub": PROBE_USER, "exp": NOW + 1});
        assert!(verifier.verify(&sign(&other, Algorithm::EdDSA, &claims), NOW).is_err());
        // The public key used as a shared secret.
        assert!(verifier.verify(&sign(&pair, Algorithm::HS256, &claims), NOW).is_err());
        assert!(verifier.verify("", NOW).is_err());
        assert!(verifier.verify("a.b.c", NOW).is_err());
    }
}
