//! Who is asking: SCRAM-SHA-256 for users (RFC 5802, RFC 7677), a signed token for the probe.
//!
//! An unknown user goes through the same exchange as a known one, with a salt that is always the same for the name,
//! and fails in the same words. So nobody learns which users exist.

use std::time::{SystemTime, UNIX_EPOCH};

use craton_crypto::{SCRAM_ITERATIONS_DEFAULT, ScramVerifier, SecretBytes};
use craton_types::{ActorId, UserDefinition};
use hmac::{Hmac, KeyInit, Mac};
use pgwire::api::auth::sasl::scram::{ScramSecret, ScramServerAuth};
use pgwire::error::PgWireError;
use pgwire::messages::startup::Authentication;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};

use super::failure::Failure;
use super::frontend::{self, Message};
use super::transport::{ReceiveError, Transport};
use crate::token::{PROBE_DATABASE, PROBE_USER, TokenVerifier};

const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The probe's changes carry this actor: it is no entry of the users' table.
const PROBE_ACTOR: ActorId = ActorId::new(*b"craton probe\0\0\0\0");

/// Why nobody was authenticated.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The client is told.
    Failure(Failure),
    /// The client is gone or speaks another protocol.
    Receive(ReceiveError),
}

impl From<ReceiveError> for Refusal {
    fn from(error: ReceiveError) -> Self {
        Self::Receive(error)
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Receive(error.into())
    }
}

impl From<frontend::MessageError> for Refusal {
    fn from(error: frontend::MessageError) -> Self {
        Self::Receive(error.into())
    }
}

/// Stands in for the verifiers of users that do not exist.
pub(crate) struct MockVerifiers {
    key: SecretBytes,
}

impl MockVerifiers {
    /// `key` is secret and the same at every start, so that a salt seen today is the one seen tomorrow.
    pub(crate) const fn new(key: SecretBytes) -> Self {
        Self { key }
    }

    fn derive(&self, purpose: &str, user: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose()).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.update(user.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Salt, iterations and stored key of a verifier that no password matches.
    pub(crate) fn parts(&self, user: &str) -> (Vec<u8>, u32, [u8; 32]) {
        let salt = self.derive("salt", user)[..16].to_vec();
        (salt, SCRAM_ITERATIONS_DEFAULT, self.derive("stored key", user))
    }

    /// A verifier that no password matches: nobody knows what would hash to its stored key.
    fn secret(&self, user: &str) -> ScramSecret {
        let (salt, iterations, stored_key) = self.parts(user);
        ScramSecret::Verifier {
            salt,
            iterations: iterations as usize,
            stored_key: stored_key.to_vec(),
            server_key: self.derive("server key", user).to_vec(),
        }
    }
}

/// Runs the SCRAM exchange for `name`, who has the definition `known` if there is such a user.
///
/// # Errors
/// When the password is wrong, the user does not exist, or the exchange is malformed.
pub(crate) async fn scram<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &mut Transport<S>,
    exchange: &ScramServerAuth,
    mock: &MockVerifiers,
    name: &str,
    known: Option<UserDefinition>,
) -> Result<UserDefinition, Refusal> {
    let refused = || Refusal::Failure(Failure::password(name));
    let mut mechanisms = vec![SCRAM_SHA_256.to_owned()];
    if exchange.supports_channel_binding() {
        // The strongest first: clients take the first that they know.
        mechanisms.insert(0, SCRAM_SHA_256_PLUS.to_owned());
    }
    transport.put(&Authentication::SASL(mechanisms.clone()))?;
    transport.flush().await?;
    let (mechanism, client_first) = frontend::parse_sasl_initial_response(receive_password(transport).await?)?;
    if !mechanisms.contains(&mechanism) {
        return Err(Refusal::Failure(Failure::fatal(
            "28000",
            "client selected an invalid SASL authentication mechanism",
        )));
    }
    // The mechanism and the first message's binding flag say the same thing (RFC 5802, section 6).
    if (mechanism == SCRAM_SHA_256_PLUS) != client_first.starts_with(b"p=") {
        return Err(malformed("the mechanism and the channel binding flag disagree"));
    }

    let secret = known
        .as_ref()
        .and_then(|user| match user.scram_verifier.parse::<ScramVerifier>() {
            Ok(verifier) => Some(ScramSecret::Verifier {
                salt: verifier.salt().to_vec(),
                iterations: verifier.iterations() as usize,
                stored_key: verifier.stored_key().to_vec(),
                server_key: verifier.server_key().to_vec(),
            }),
            Err(error) => {
                tracing::error!(user = user.name, %error, "a stored password verifier is not usable");
                None
            }
        });
    let user = known.filter(|_| secret.is_some());
    let secret = secret.unwrap_or_else(|| mock.secret(name));
    let (server_first, exchange) = exchange
        .on_client_first_message_with_secret(&client_first, secret)
        .map_err(malformed)?;
    transport.put(&Authentication::SASLContinue(server_first.into()))?;
    transport.flush().await?;
    let client_final = receive_password(transport).await?;
    let server_final = match exchange.on_client_final_message(&client_final) {
        Ok(server_final) => server_final,
        Err(PgWireError::InvalidPassword(_)) => return Err(refused()),
        Err(error) => return Err(malformed(error)),
    };
    let user = user.ok_or_else(refused)?;
    transport.put(&Authentication::SASLFinal(server_final.into()))?;
    Ok(user)
}

fn malformed(error: impl std::fmt::Display) -> Refusal {
    Refusal::Failure(Failure::fatal("08P01", "malformed SCRAM message").with_detail(error.to_string()))
}

/// Asks for the probe's token and checks it. The channel is TLS, so the token may travel as a password.
///
/// # Errors
/// When the token is not valid now.
pub(crate) async fn token<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &mut Transport<S>,
    verifier: Option<&TokenVerifier>,
) -> Result<UserDefinition, Refusal> {
    let refused = || Refusal::Failure(Failure::password(PROBE_USER));
    transport.put(&Authentication::CleartextPassword)?;
    transport.flush().await?;
    let token = frontend::parse_password(receive_password(transport).await?)?;
    let Some(verifier) = verifier else {
        tracing::info!("a token was refused: no token key is configured");
        return Err(refused());
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge reads the clock that tokens are checked against"
    )]
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    if let Err(error) = verifier.verify(&token, now) {
        tracing::info!(%error, "a token was refused");
        return Err(refused());
    }
    Ok(UserDefinition {
        name: PROBE_USER.to_owned(),
        actor: PROBE_ACTOR,
        scram_verifier: String::new(),
        databases: vec![PROBE_DATABASE.to_owned()],
        read_only: false,
        compliance: false,
    })
}

/// The next message, which must belong to the exchange.
async fn receive_password<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &mut Transport<S>,
) -> Result<bytes::Bytes, Refusal> {
    let frame = transport.receive().await?;
    match frontend::parse(frame.tag, frame.body)? {
        Message::Password(body) => Ok(body),
        // What psql does when it has no password and has to ask for one first.
        Message::Terminate => Err(ReceiveError::Closed.into()),
        _ => Err(Refusal::Failure(Failure::fatal(
            "08P01",
            "expected a password response",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mock_verifier_is_stable_and_differs_by_user_and_server() {
        let parts = |key: u8, user: &str| match MockVerifiers::new(SecretBytes::new([key; 32])).secret(user) {
            ScramSecret::Verifier {
                salt,
                iterations,
                stored_key,
                ..
            } => (salt, iterations, stored_key),
            ScramSecret::SaltedPassword { .. } => panic!("a verifier"),
        };
        assert_eq!(parts(1, "a"), parts(1, "a"));
        assert_ne!(parts(1, "a").0, parts(1, "b").0);
        assert_ne!(parts(1, "a").0, parts(2, "a").0);
        assert_eq!(parts(1, "a").0.len(), 16);
        assert_eq!(parts(1, "a").1, 4096);
    }
}
