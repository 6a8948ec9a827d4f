//! What this node asks other members, as itself or for those who wait at it.

use bytes::Bytes;
use craton_types::NodeId;

use super::network::TransportError;
use super::{Inner, types, wire};
use crate::ConsensusError;

impl Inner {
    pub(super) async fn ask_leader(&self, request: Bytes) -> Result<Bytes, ConsensusError> {
        match self.forward(wire::Request::Application(request)).await? {
            (_, wire::Response::Application(answer)) => Ok(answer),
            (leader, other) => Err(unexpected(leader, &other)),
        }
    }

    pub(super) async fn ask(&self, member: u64, request: Bytes) -> Result<Bytes, ConsensusError> {
        let unknown = || TransportError::Unreachable {
            peer: NodeId::new(member),
            reason: "it is not known to be a member".to_owned(),
        };
        let known = self.raft().and_then(|raft| {
            let metrics = raft.metrics();
            let metrics = metrics.borrow();
            metrics.membership_config.membership().get_node(&member).cloned()
        });
        let listed = || {
            let desired = self.desired.borrow();
            let listed = desired.members.iter().find(|listed| listed.id.get() == member)?;
            Some(types::Member {
                peer_address: listed.peer_address.clone(),
                generation: desired.generation,
                form: types::MemberForm::of(&self.format),
            })
        };
        let known = known.or_else(listed).ok_or_else(unknown)?;
        match self
            .peers
            .transfer(member, &known, wire::Request::Application(request))
            .await?
        {
            wire::Response::Application(answer) => Ok(answer),
            other => Err(unexpected(member, &other)),
        }
    }

    /// Asks the leader, as long as it is taken for the leader. Who it was, and its answer.
    pub(super) async fn forward(&self, request: wire::Request) -> Result<(u64, wire::Response), ConsensusError> {
        let (leader, member) = self.leader_member()?;
        let replaced = self.leadership.wait_for(|now| now.leader != Some(leader));
        tokio::select! {
            biased;
            answer = self.peers.forward(leader, &member, request) => Ok((leader, answer?)),
            // One that was stopped, or cut off, would be waited for in vain.
            _ = replaced => Err(TransportError::Timeout { peer: NodeId::new(leader) }.into()),
        }
    }

    /// The leader, when it is another member.
    fn leader_member(&self) -> Result<(u64, types::Member), ConsensusError> {
        let leader = self.leadership().leader.filter(|leader| *leader != self.node);
        let raft = self.raft();
        let (Some(leader), Some(raft)) = (leader, raft) else {
            return Err(ConsensusError::NotLeader { leader: None });
        };
        let metrics = raft.metrics();
        let member = metrics
            .borrow()
            .membership_config
            .membership()
            .get_node(&leader)
            .cloned();
        let member = member.ok_or(ConsensusError::NotLeader { leader: None })?;
        Ok((leader, member))
    }
}

pub(super) fn unexpected(member: u64, response: &wire::Response) -> ConsensusError {
    ConsensusError::Peer(TransportError::Answer {
        peer: NodeId::new(member),
        reason: format!("something else than was asked for: {response:?}"),
    })
}
