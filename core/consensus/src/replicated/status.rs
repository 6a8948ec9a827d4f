//! What a member knows of its cluster.

use craton_types::{LogIndex, NodeId, Term};
use openraft::ServerState;

use super::types::log_index;
use super::{Inner, supervisor};

/// What a member knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Its id.
    pub node: NodeId,
    /// What it is.
    pub role: MemberRole,
    /// Who leads, if it knows.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: Term,
    /// The first entry that its log still has.
    pub first: LogIndex,
    /// The last entry of its log.
    pub last: LogIndex,
    /// The last entry that it knows to be committed.
    pub committed: LogIndex,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Who learns.
    pub learners: Vec<NodeId>,
    /// The generation of the newest list of members that it knows.
    pub generation: u64,
    /// Whether its log lost entries that it may have acknowledged, and has not caught up yet.
    pub is_incomplete: bool,
    /// Whether it leads, and a majority has not answered for longer than an election takes.
    pub lacks_majority: bool,
    /// Whether its disk is full.
    pub is_out_of_space: bool,
    /// Whether the others let it take part.
    pub standing: Standing,
    /// Whether it was told to hand leadership on, and to take no more entries.
    pub is_draining: bool,
    /// How many entries each other member lacks, when this one leads.
    pub lags: Vec<(NodeId, u64)>,
}

/// Whether the other members let a member take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// They do.
    Good,
    /// None of them has said so yet.
    Unknown,
    /// One of them does not, for this reason.
    Refused(String),
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// It orders entries.
    Leader,
    /// It votes, and follows a leader.
    Follower,
    /// It stands for election.
    Candidate,
    /// It follows and does not vote, or is no member yet.
    Learner,
    /// It is being started, or has stopped.
    Stopped,
}

impl Inner {
    pub(super) fn status(&self) -> ClusterStatus {
        let raft = self.raft();
        let metrics = raft.as_ref().map(|raft| raft.metrics().borrow().clone());
        let membership = metrics
            .as_ref()
            .map(|metrics| metrics.membership_config.membership().clone());
        let membership = membership.unwrap_or_default();
        let role = metrics
            .as_ref()
            .map_or(MemberRole::Stopped, |metrics| match metrics.state {
                ServerState::Leader => MemberRole::Leader,
                ServerState::Follower => MemberRole::Follower,
                ServerState::Candidate => MemberRole::Candidate,
                ServerState::Learner => MemberRole::Learner,
                ServerState::Shutdown => MemberRole::Stopped,
            });
        let last = self.log.last().map_or(LogIndex::ZERO, |last| log_index(last.index));
        let silence_ms = metrics.as_ref().and_then(|metrics| metrics.millis_since_quorum_ack);
        let replication = metrics.and_then(|metrics| metrics.replication).unwrap_or_default();
        let lags = replication
            .iter()
            .filter(|(id, _)| **id != self.node)
            .map(|(id, matching)| {
                let matching = matching.map_or(LogIndex::ZERO, |matching| log_index(matching.index));
                (NodeId::new(*id), last.get().saturating_sub(matching.get()))
            });
        let known = membership.nodes().map(|(_, member)| member.generation).max();
        ClusterStatus {
            node: NodeId::new(self.node),
            role,
            leader: self.leadership().leader.map(NodeId::new),
            term: Term::new(self.leadership().term),
            first: self
                .log
                .purged()
                .map_or(LogIndex::new(1), |purged| log_index(purged.index).next()),
            last,
            committed: self.log.committed(),
            voters: membership.voter_ids().map(NodeId::new).collect(),
            learners: membership.learner_ids().map(NodeId::new).collect(),
            generation: known.unwrap_or_default(),
            is_incomplete: self.is_incomplete(),
            lacks_majority: role == MemberRole::Leader && silence_ms.is_some_and(|ms| ms > supervisor::SILENCE_MS_MAX),
            is_out_of_space: *self.out_of_space.borrow(),
            standing: self.standing.borrow().clone(),
            is_draining: *self.draining.borrow(),
            lags: lags.collect(),
        }
    }
}
