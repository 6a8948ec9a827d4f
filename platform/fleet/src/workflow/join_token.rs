//! Makes join tokens.

use craton_agent_protocol::JoinToken;
use craton_platform_kernel::{CommandContext, ExecuteError, JoinTokenId, Receipt, SecretHash, StoreError};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;

use crate::{
    aggregate::join_token::{self, Command, JoinToken as JoinTokenAggregate},
    fleet::Inner,
};

/// A new token.
pub(crate) struct NewToken {
    pub(crate) token: JoinToken,
    pub(crate) expires_at: Timestamp,
    pub(crate) receipt: Receipt,
}

/// Makes a token for a region and zone that ends after `lifetime`.
pub(crate) async fn create(
    fleet: &Inner,
    context: &CommandContext,
    region: String,
    zone: String,
    lifetime: SignedDuration,
) -> Result<NewToken, StoreError> {
    let environment = fleet.ledger.environment();
    let id: JoinTokenId = environment.new_id();
    let token = JoinToken::new(
        id.as_uuid().into_bytes(),
        environment.random_bytes(),
        sha256(fleet.agent_authority.certificate()),
    );
    let expires_at = environment.now() + lifetime;
    let secret_hash = SecretHash::new(token.secret_sha256());
    let command = Command::Create {
        secret_hash,
        region,
        zone,
        expires_at,
    };
    let created = fleet
        .ledger
        .execute::<JoinTokenAggregate>(&join_token::stream(token.id()), context, command)
        .await;
    match created {
        Ok(executed) => Ok(NewToken {
            token,
            expires_at,
            receipt: executed.receipt,
        }),
        Err(ExecuteError::Store(error)) => Err(error),
        Err(ExecuteError::Refused(_) | ExecuteError::Contended(_)) => {
            Err(StoreError::Unavailable("a new random id was in use already".to_owned()))
        }
    }
}

fn sha256(certificate: &CertificateDer<'_>) -> [u8; 32] {
    *SecretHash::of(certificate).as_bytes()
}
