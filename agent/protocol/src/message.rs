//! The messages of the link.

use crate::{ClusterId, ContentHash, DesiredRefusal, DesiredState, InstanceId, MemberId, NodeId, ObservedState};

/// The oldest protocol version that this build speaks.
pub const PROTOCOL_VERSION_MIN: u16 = 2;
/// The newest protocol version that this build speaks.
pub const PROTOCOL_VERSION_MAX: u16 = 2;

/// The newest version that both sides speak, if any.
#[must_use]
pub fn negotiate(agent: (u16, u16), platform: (u16, u16)) -> Option<u16> {
    let newest = agent.1.min(platform.1);
    (newest >= agent.0.max(platform.0)).then_some(newest)
}

/// A message of the agent with the node that it speaks for.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AgentEnvelope {
    /// The node; it must be the one in the client certificate.
    pub node_id: NodeId,
    /// What it says.
    pub message: AgentMessage,
}

/// The first message on a link.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hello {
    /// The oldest protocol version that the agent speaks.
    pub protocol_version_min: u16,
    /// The newest protocol version that the agent speaks.
    pub protocol_version_max: u16,
    /// The agent's own version.
    pub agent_version: String,
    /// The generation of the desired state that the node holds; 0 when none.
    pub generation: u64,
    /// The content hash of it.
    pub content_hash: Option<ContentHash>,
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CertificateSubject {
    /// The agent's own client certificate.
    Node,
    /// The server certificate of an instance.
    Instance {
        /// The instance's cluster.
        cluster_id: ClusterId,
        /// Which of its members.
        member_id: MemberId,
    },
    /// The certificate that an instance shows to the other members of its cluster, and they to it.
    Peer {
        /// The instance's cluster.
        cluster_id: ClusterId,
        /// Which of its members.
        member_id: MemberId,
    },
}

impl CertificateSubject {
    /// The server certificate of an instance.
    #[must_use]
    pub fn instance(id: InstanceId) -> Self {
        Self::Instance {
            cluster_id: id.cluster_id,
            member_id: id.member_id,
        }
    }

    /// The certificate of an instance for other members.
    #[must_use]
    pub fn peer(id: InstanceId) -> Self {
        Self::Peer {
            cluster_id: id.cluster_id,
            member_id: id.member_id,
        }
    }
}

/// What became of a desired state at the node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AckOutcome {
    /// It is stored durably and being applied.
    Accepted,
    /// It was refused.
    Refused {
        /// Why.
        refusal: DesiredRefusal,
    },
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentMessage {
    /// The first message on a link.
    Hello(Hello),
    /// The node is alive. Sent at the interval that the welcome gives.
    Heartbeat {
        /// Counts up from 0 on each link.
        sequence: u64,
    },
    /// The answer to a desired state.
    Ack {
        /// Its generation.
        generation: u64,
        /// Its content hash.
        content_hash: ContentHash,
        /// What became of it.
        outcome: AckOutcome,
    },
    /// What the node saw when it last looked.
    Observed(ObservedState),
    /// Asks for a certificate. The platform takes only the public key from the request and writes the names itself.
    CertificateRequest {
        /// What it is for; the answer carries the same.
        subject: CertificateSubject,
        /// PKCS #10 (RFC 2986) in PEM.
        csr_pem: String,
    },
}

/// The answer to a certificate request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CertificateOutcome {
    /// The certificate was signed.
    Issued {
        /// The certificate, followed by the authority's own.
        chain_pem: String,
    },
    /// It was not signed.
    Refused {
        /// Why.
        detail: String,
    },
}

/// Why the platform ends a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkRefusalCode {
    /// A message names another node than the client certificate.
    WrongNode,
    /// No protocol version is spoken by both sides.
    UnsupportedVersion,
    /// The node is not, or no longer, part of the fleet.
    UnknownNode,
    /// A message could not be read, is too large, or came out of order.
    ProtocolViolation,
    /// A newer link of the same node has taken over.
    Superseded,
}

/// What the platform says.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PlatformMessage {
    /// The answer to a hello.
    Welcome {
        /// The version that both sides use from here on.
        protocol_version: u16,
        /// How often the agent sends a heartbeat.
        heartbeat_interval_ms: u64,
    },
    /// What the node shall run.
    Desired(DesiredState),
    /// The answer to a certificate request.
    Certificate {
        /// What it is for.
        subject: CertificateSubject,
        /// The certificate, or why there is none.
        outcome: CertificateOutcome,
    },
    /// The last message on a link that the platform ends.
    Refused {
        /// Why, for programs.
        code: LinkRefusalCode,
        /// Why, for people.
        detail: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_chosen() {
        for (agent, platform, chosen) in [
            ((1, 1), (1, 1), Some(1)),
            ((1, 3), (2, 5), Some(3)),
            ((2, 5), (1, 3), Some(3)),
            ((1, 1), (2, 3), None),
            ((4, 5), (2, 3), None),
        ] {
            assert_eq!(negotiate(agent, platform), chosen, "{agent:?} with {platform:?}");
        }
    }
}
