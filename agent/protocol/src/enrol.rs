//! The one request that a node makes before it has a certificate: `POST` JSON to [`ENROL_PATH`] over TLS whose
//! server chain ends in the authority that the join token names.

use crate::NodeId;

/// The path that takes an [`EnrolRequest`].
pub const ENROL_PATH: &str = "/enroll";
/// The path of the WebSocket.
pub const LINK_PATH: &str = "/link";

/// What the agent knows about its machine, for people who look at the fleet.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HostFacts {
    /// The machine's name.
    pub hostname: String,
    /// The agent's version.
    pub agent_version: String,
    /// Usable processors.
    pub processors: u32,
}

/// Asks for a node id and a first certificate.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EnrolRequest {
    /// The join token's text.
    pub token: String,
    /// PKCS #10 (RFC 2986) in PEM. Only its public key is used.
    pub csr_pem: String,
    /// The machine.
    pub host: HostFacts,
}

/// A node's identity.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EnrolResponse {
    /// The new node.
    pub node_id: NodeId,
    /// The node's certificate, followed by the authority's own.
    pub chain_pem: String,
    /// The authorities that the agent trusts from here on.
    pub authorities_pem: String,
}

/// Why a node may not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrolRefusalCode {
    /// The text is no join token, or no such token was made here.
    TokenInvalid,
    /// Another node has joined with it.
    TokenUsed,
    /// Its time is over.
    TokenExpired,
    /// The certificate request could not be read or its signature is wrong.
    CertificateRequestInvalid,
    /// The platform failed; the same request may succeed later.
    Unavailable,
}

impl EnrolRefusalCode {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        self == Self::Unavailable
    }
}

/// The body of a refused enrolment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("the platform refused to enrol this node: {detail}")]
pub struct EnrolRefusal {
    /// Why, for programs.
    pub code: EnrolRefusalCode,
    /// Why, for people.
    pub detail: String,
}
