//! What the control plane and a node's agent say to each other: versioned JSON messages over a WebSocket
//! (RFC 6455) on mutual TLS, and the one enrolment request that comes before.
//!
//! A node enrols once with a [`JoinToken`] ([`EnrolRequest`] → [`EnrolResponse`]) and afterwards keeps a link.
//! On the link the agent sends [`AgentEnvelope`]s and the platform [`PlatformMessage`]s:
//!
//! ```text
//! agent                                   platform
//!   hello            ───────────────────▶
//!                    ◀───────────────────  welcome            (chosen protocol version, heartbeat interval)
//!                    ◀───────────────────  desired            (the node's whole desired state)
//!   ack              ───────────────────▶                     (accepted, or refused and why)
//!   certificate_request ────────────────▶
//!                    ◀───────────────────  certificate
//!   observed, heartbeat ────────────────▶
//! ```
//!
//! # Invariants
//! - Every message of the agent names its node; the platform compares it with the node in the client certificate.
//! - A [`DesiredState`] is whole, never a difference. Its generation only grows, and equal generations have equal
//!   content hashes ([`DesiredState::check_successor`]).
//! - No password and no private key has a place in any message. Users travel as SCRAM verifiers (RFC 5803), keys stay
//!   on the node and only certificate requests travel.
//! - Decoding checks the size before it parses and every limit after ([`decode_agent`], [`decode_platform`]). Unknown
//!   fields are ignored, so that adjacent versions understand each other.
//!
//! # Deliberately absent
//! Sockets, TLS, clocks and files: those belong to `craton-agent` and `craton-platform-fleet`.

mod codec;
mod desired;
mod enrol;
mod id;
mod membership;
mod message;
mod observed;
mod token;

pub use codec::{
    DecodeError, ENROL_BYTES_MAX, MESSAGE_BYTES_MAX, decode_agent, decode_platform, encode_agent, encode_platform,
};
pub use desired::{
    ContentHash, DATABASES_MAX, DesiredInstance, DesiredRefusal, DesiredState, DesiredTimeStampAuthority, DesiredUser,
    DesiredWitness, HOSTNAMES_MAX, INSTANCES_MAX, LimitError, NAME_BYTES_MAX, PEM_BYTES_MAX, RunState, Successor,
    USERS_MAX, VERSION_BYTES_MAX, WITNESS_BYTES_MAX, WITNESSES_MAX, is_version_name,
};
pub use enrol::{ENROL_PATH, EnrolRefusal, EnrolRefusalCode, EnrolRequest, EnrolResponse, HostFacts, LINK_PATH};
pub use id::{ClusterId, IdError, NodeId};
pub use membership::{
    DesiredMember, DesiredMembership, InstanceId, MEMBERS_MAX, MemberId, MemberIdError, NOT_READY_REASONS_MAX,
    NotReady, ObservedMembership, Role,
};
pub use message::{
    AckOutcome, AgentEnvelope, AgentMessage, CertificateOutcome, CertificateSubject, Hello, LinkRefusalCode,
    PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN, PlatformMessage, negotiate,
};
pub use observed::{
    ERROR_BYTES_MAX, Endpoint, FormatRange, InstalledVersion, InstancePhase, ObservedDatabase, ObservedFormat,
    ObservedInstance, ObservedState, SERVER_VERSIONS_MAX,
};
pub use token::{JOIN_TOKEN_PREFIX, JoinToken, JoinTokenError};
