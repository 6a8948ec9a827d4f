//! `POST /enroll`: a join token and a public key in exchange for a node and its certificate.

use craton_agent_protocol::{EnrolRefusal, EnrolRefusalCode, EnrolRequest, EnrolResponse, JoinToken};
use craton_platform_kernel::{CommandContext, ExecuteError, NodeId, Principal, SecretHash, StoreError};

use crate::{
    aggregate::{
        join_token::{self, JoinToken as JoinTokenAggregate},
        node::{self, Node},
    },
    authority::{self, AuthorityError},
    desired::wire_node_id,
    fleet::Inner,
};

/// Enrols a node.
pub(crate) async fn enrol(fleet: &Inner, request: EnrolRequest) -> Result<EnrolResponse, EnrolRefusal> {
    let token =
        JoinToken::parse(&request.token).map_err(|error| refusal(EnrolRefusalCode::TokenInvalid, error.to_string()))?;
    let public_key = authority::request_public_key(&request.csr_pem).map_err(|error| bad_request(&error))?;
    let environment = fleet.ledger.environment();
    let node_id: NodeId = environment.new_id();
    let context = CommandContext::new(&Principal::Node { node_id }, environment.new_id());
    let used = fleet
        .ledger
        .execute::<JoinTokenAggregate>(
            &join_token::stream(token.id()),
            &context,
            join_token::Command::Use {
                secret_hash: SecretHash::new(token.secret_sha256()),
                node_id,
                public_key_hash: SecretHash::of(&public_key),
                now: environment.now(),
            },
        )
        .await
        .map_err(token_refusal)?;
    let token = used.state.ok_or_else(|| unavailable("the token has no state"))?;
    // A node that asks again gets the id that it got before.
    let node_id = token.used.map_or(node_id, |(node_id, _)| node_id);
    let join = node::Command::Join {
        node_id,
        region: token.region,
        zone: token.zone,
        host: request.host,
        now: environment.now(),
    };
    match fleet
        .ledger
        .execute::<Node>(&node::stream(node_id), &context, join)
        .await
    {
        Ok(_) | Err(ExecuteError::Refused(node::Refusal::Joined)) => {}
        Err(error) => return Err(unavailable(&error.to_string())),
    }
    let issued = fleet
        .agent_authority
        .issue_node(&request.csr_pem, node_id, fleet.config.node_certificate_lifetime)
        .map_err(|error| bad_request(&error))?;
    let record = node::Command::RecordCertificate {
        serial: issued.serial,
        not_after: issued.not_after,
    };
    fleet
        .ledger
        .execute::<Node>(&node::stream(node_id), &context, record)
        .await
        .map_err(|error| unavailable(&error.to_string()))?;
    tracing::info!(%node_id, "a node has joined");
    fleet.wake.notify_one();
    Ok(EnrolResponse {
        node_id: wire_node_id(node_id),
        chain_pem: issued.chain_pem,
        authorities_pem: fleet.agent_authority.certificate_pem().to_owned(),
    })
}

fn refusal(code: EnrolRefusalCode, detail: String) -> EnrolRefusal {
    EnrolRefusal { code, detail }
}

fn bad_request(error: &AuthorityError) -> EnrolRefusal {
    refusal(EnrolRefusalCode::CertificateRequestInvalid, error.to_string())
}

/// The cause goes to the log; who asks is not known yet.
fn unavailable(cause: &str) -> EnrolRefusal {
    tracing::error!(cause, "an enrolment failed");
    refusal(
        EnrolRefusalCode::Unavailable,
        "the platform cannot enrol nodes at the moment".to_owned(),
    )
}

fn token_refusal(error: ExecuteError<join_token::Refusal>) -> EnrolRefusal {
    match error {
        ExecuteError::Refused(reason) => {
            let code = match reason {
                join_token::Refusal::Unknown | join_token::Refusal::Exists => EnrolRefusalCode::TokenInvalid,
                join_token::Refusal::Used(_) => EnrolRefusalCode::TokenUsed,
                join_token::Refusal::Expired(_) => EnrolRefusalCode::TokenExpired,
            };
            refusal(code, reason.to_string())
        }
        ExecuteError::Contended(stream) => unavailable(&stream.to_string()),
        ExecuteError::Store(error @ (StoreError::Unavailable(_) | StoreError::Damaged { .. })) => {
            unavailable(&error.to_string())
        }
    }
}
