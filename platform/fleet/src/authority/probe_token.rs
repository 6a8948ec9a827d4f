//! Short-lived tokens by which the platform logs in to clusters as the probe: JWT (RFC 7519) signed with Ed25519
//! (RFC 8037).

use craton_platform_kernel::{ClusterId, Environment};
use jiff::SignedDuration;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ED25519};

use super::{AuthorityError, Vault};

/// The user that a token is for. Servers know it without being told.
pub(crate) const PROBE_USER: &str = "craton_probe";
/// The database that this user may use.
pub(crate) const PROBE_DATABASE: &str = "probe";
/// Long enough for one probe and a difference of clocks. Servers accept five minutes at most.
const LIFETIME: SignedDuration = SignedDuration::from_mins(2);
const KEY_FILE: &str = "probe-token.key";

/// Signs tokens.
pub(crate) struct ProbeTokens {
    key: EncodingKey,
    public_key_pem: String,
    environment: Environment,
}

#[derive(serde::Serialize)]
struct Claims {
    aud: String,
    sub: &'static str,
    iat: i64,
    exp: i64,
}

impl ProbeTokens {
    /// Opens the signing key, or makes it on the first use.
    pub(crate) fn open_or_create(vault: &Vault, environment: &Environment) -> Result<Self, AuthorityError> {
        let damaged = |detail: String| AuthorityError::Damaged {
            name: KEY_FILE.to_owned(),
            detail,
        };
        if vault.unseal(KEY_FILE)?.is_none() {
            let key = KeyPair::generate_for(&PKCS_ED25519).map_err(AuthorityError::Issue)?;
            vault.seal(KEY_FILE, key.serialize_pem().as_bytes())?;
        }
        let pem = vault
            .unseal(KEY_FILE)?
            .ok_or_else(|| AuthorityError::Missing(KEY_FILE.to_owned()))?;
        let text = std::str::from_utf8(&pem).map_err(|error| damaged(error.to_string()))?;
        let pair = KeyPair::from_pem(text).map_err(|error| damaged(error.to_string()))?;
        let key = EncodingKey::from_ed_pem(&pem).map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            key,
            public_key_pem: pair.public_key_pem(),
            environment: environment.clone(),
        })
    }

    /// The key that servers verify tokens with (SubjectPublicKeyInfo in PEM).
    pub(crate) fn public_key_pem(&self) -> &str {
        &self.public_key_pem
    }

    /// A token for one cluster.
    pub(crate) fn sign(&self, cluster_id: ClusterId) -> String {
        let now = self.environment.now();
        let claims = Claims {
            aud: cluster_id.to_string(),
            sub: PROBE_USER,
            iat: now.as_second(),
            exp: (now + LIFETIME).as_second(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key)
            .expect("the key was made for this algorithm and the claims are plain JSON")
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing;
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;
    use crate::authority::vault::tests::vault;

    #[test]
    fn a_token_verifies_with_the_public_key_for_its_cluster_only() {
        let directory = tempfile::tempdir().unwrap();
        let environment = testing::environment();
        let tokens = ProbeTokens::open_or_create(&vault(directory.path(), 1), &environment).unwrap();
        let cluster_id: ClusterId = environment.new_id();
        let token = tokens.sign(cluster_id);
        let key = DecodingKey::from_ed_pem(tokens.public_key_pem().as_bytes()).unwrap();
        let accepts = |audience: ClusterId| {
            let mut validation = Validation::new(Algorithm::EdDSA);
            validation.set_audience(&[audience.to_string()]);
            validation.validate_exp = false;
            jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation).map(|data| data.claims)
        };
        let claims = accepts(cluster_id).unwrap();
        assert_eq!(claims["sub"], PROBE_USER);
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 120);
        assert!(accepts(environment.new_id()).is_err());

        let again = ProbeTokens::open_or_create(&vault(directory.path(), 1), &environment).unwrap();
        assert_eq!(
            again.public_key_pem(),
            tokens.public_key_pem(),
            "the key survives a restart"
        );
    }
}
