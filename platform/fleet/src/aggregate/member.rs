//! The members of a cluster and the changes that they go through: vocabulary of the cluster's events and state.

use std::{collections::BTreeMap, net::IpAddr};

use craton_agent_protocol::MemberId;
use craton_platform_kernel::{NodeId, OperationId};

/// Where a member listens, as its node said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct MemberEndpoint {
    pub(crate) address: IpAddr,
    /// The TCP port of the PostgreSQL protocol.
    pub(crate) port: u16,
    /// The TCP port of the logs over HTTPS.
    pub(crate) https_port: u16,
    /// The TCP port that other members connect to.
    pub(crate) peer_port: u16,
}

/// Where a member is on its way through the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// The cluster shall have it.
    Wanted,
    /// The group is to go on without it. Its server runs until the group has let it go.
    Leaving,
    /// Its server and data are being removed.
    Removing,
}

impl Standing {
    /// The name in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Leaving => "leaving",
            Self::Removing => "removing",
        }
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Member {
    pub(crate) node_id: NodeId,
    pub(crate) standing: Standing,
    pub(crate) endpoint: Option<MemberEndpoint>,
    /// The installed version that it shall run; its agent's own choice when absent.
    pub(crate) server_version: Option<String>,
}

/// The members by number.
pub(crate) type Members = BTreeMap<MemberId, Member>;

/// A new member and the node that it was placed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PlacedMember {
    pub(crate) member_id: MemberId,
    pub(crate) node_id: NodeId,
}

/// What a ready cluster is being changed to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Change {
    /// To another number of members.
    Scale { node_count: u32 },
    /// To a new member in the place of one.
    Replace { member_id: MemberId },
    /// To another version of the server, one member after the other.
    Upgrade { version: String },
    /// To a newer version of the formats, from which there is no way back.
    Finalize { format_version: u8 },
}

/// A change with the operation that carries it out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PendingChange {
    pub(crate) operation_id: OperationId,
    pub(crate) change: Change,
}
