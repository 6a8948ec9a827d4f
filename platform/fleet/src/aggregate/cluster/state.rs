//! What a cluster is.

use std::collections::BTreeMap;

use craton_agent_protocol::MemberId;
use craton_platform_kernel::{ClusterId, NodeId, OperationId, OrgId};
use jiff::Timestamp;

use super::{ExternalWitness, Refusal, RefusedHistory, TimeStampAuthority};
use crate::aggregate::member::{Change, Member, Members, PendingChange, PlacedMember, Standing};
use crate::name::ClusterHost;

/// Where a cluster is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lifecycle {
    Provisioning,
    Ready,
    Failed,
    Deleting,
    Deleted,
}

impl Lifecycle {
    /// The name in the API and the view.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }
}

impl std::fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A database user.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct User {
    pub(crate) scram_verifier: String,
    pub(crate) databases: Vec<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) password_rotated_at: Option<Timestamp>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ClusterState {
    pub(crate) cluster_id: ClusterId,
    pub(crate) org_id: OrgId,
    pub(crate) name: String,
    pub(crate) region: String,
    /// How many members it shall have.
    pub(crate) node_count: u32,
    pub(crate) host: ClusterHost,
    pub(crate) databases: Vec<String>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) members: Members,
    /// The number that was given to a member last; 0 before the first.
    pub(crate) last_member_id: u64,
    /// Grows with every change of who shall be in the group or where it is.
    pub(crate) members_generation: u64,
    /// The change that is under way, or that did not come to its end.
    pub(crate) change: Option<PendingChange>,
    /// The version of the formats that the members are asked to write; their own choice when absent.
    pub(crate) format_version: Option<u8>,
    pub(crate) lifecycle: Lifecycle,
    /// The operation that the cluster's last transitional state belongs to.
    pub(crate) operation_id: OperationId,
    pub(crate) log_keys: BTreeMap<String, String>,
    pub(crate) witnesses: Vec<ExternalWitness>,
    pub(crate) time_stamp_authority: Option<TimeStampAuthority>,
    /// By database, until a checkpoint continues the witnessed history again.
    pub(crate) refused_histories: BTreeMap<String, RefusedHistory>,
    pub(crate) created_at: Timestamp,
    pub(crate) ready_at: Option<Timestamp>,
    pub(crate) last_error: Option<String>,
}

impl ClusterState {
    /// The members that the cluster shall have.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (MemberId, &Member)> {
        let members = self.members.iter().map(|(id, member)| (*id, member));
        members.filter(|(_, member)| member.standing == Standing::Wanted)
    }

    /// Gives the next numbers to members on these nodes.
    pub(super) fn number(&self, nodes: Vec<NodeId>) -> Result<Vec<PlacedMember>, Refusal> {
        let numbered = (self.last_member_id + 1..).zip(nodes).map(|(number, node_id)| {
            let member_id = MemberId::new(number).map_err(|_| Refusal::MembersExhausted)?;
            Ok(PlacedMember { member_id, node_id })
        });
        numbered.collect()
    }

    /// New members run what the others run.
    pub(super) fn place(&mut self, members: Vec<PlacedMember>) {
        let server_version = self
            .wanted()
            .last()
            .and_then(|(_, member)| member.server_version.clone());
        for PlacedMember { member_id, node_id } in members {
            self.last_member_id = self.last_member_id.max(member_id.get());
            let member = Member {
                node_id,
                standing: Standing::Wanted,
                endpoint: None,
                server_version: server_version.clone(),
            };
            self.members.insert(member_id, member);
        }
    }

    pub(super) fn stand(&mut self, member_ids: &[MemberId], standing: Standing) {
        for member_id in member_ids {
            if let Some(member) = self.members.get_mut(member_id) {
                member.standing = standing;
            }
        }
    }

    pub(super) fn member(&self, member_id: MemberId) -> Result<&Member, Refusal> {
        self.members.get(&member_id).ok_or(Refusal::UnknownMember(member_id))
    }

    pub(super) fn check_change(&self, change: &Change, ended: Option<OperationId>) -> Result<(), Refusal> {
        if let Some(pending) = &self.change
            && Some(pending.operation_id) != ended
        {
            return Err(Refusal::ChangePending(pending.clone()));
        }
        match change {
            Change::Scale { node_count } => {
                let is_there = usize::try_from(*node_count).is_ok_and(|count| self.wanted().count() == count)
                    && self.node_count == *node_count;
                if is_there { Err(Refusal::Unchanged) } else { Ok(()) }
            }
            Change::Replace { member_id } => match self.member(*member_id)?.standing {
                Standing::Wanted => Ok(()),
                Standing::Leaving | Standing::Removing => Err(Refusal::UnknownMember(*member_id)),
            },
            Change::Upgrade { version } => {
                let mut versions = self.wanted().map(|(_, member)| member.server_version.as_ref());
                if versions.all(|runs| runs == Some(version)) {
                    Err(Refusal::Unchanged)
                } else {
                    Ok(())
                }
            }
            // Which one is written is known to the members only.
            Change::Finalize { .. } => Ok(()),
        }
    }
}
