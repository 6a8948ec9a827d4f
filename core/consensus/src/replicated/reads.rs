//! Linearizable reads by ReadIndex (Ongaro, *Consensus: Bridging Theory and Practice*, section 6.4): the leader
//! confirms with a majority that it still leads; what was committed when it was asked is what a read must see.
//!
//! One round confirms every read that asked before it began.

use std::sync::Arc;

use craton_types::planted::{Bug, is_planted};
use craton_types::{LogIndex, NodeId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Inner;
use super::requests::unexpected;
use super::types::log_index;
use super::wire::{Request, Response};
use crate::ConsensusError;

type Answer = Result<LogIndex, Option<NodeId>>;

/// Reads that wait for a round.
#[derive(Default)]
pub(super) struct ReadRounds(Mutex<State>);

#[derive(Default)]
struct State {
    running: bool,
    waiting: Vec<oneshot::Sender<Answer>>,
}

impl Inner {
    /// The entry that must be applied here before a read that begins now is linearizable.
    pub(super) async fn read_index(self: &Arc<Self>) -> Result<LogIndex, ConsensusError> {
        self.check_open()?;
        if self.leadership().leader == Some(self.node) {
            return self.confirm().await;
        }
        match self.forward(Request::ReadIndex).await? {
            (_, Response::ReadIndex(index)) => Ok(index),
            (_, Response::NotLeader { leader }) => Err(ConsensusError::NotLeader {
                leader: leader.map(NodeId::new),
            }),
            (leader, other) => Err(unexpected(leader, &other)),
        }
    }

    /// Confirms that this node leads.
    pub(super) async fn confirm(self: &Arc<Self>) -> Result<LogIndex, ConsensusError> {
        let (sender, answer) = oneshot::channel();
        let begins = {
            let mut state = self.reads.0.lock();
            state.waiting.push(sender);
            !std::mem::replace(&mut state.running, true)
        };
        if begins {
            self.handle.spawn(Arc::clone(self).run_rounds());
        }
        match answer.await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(leader)) => Err(ConsensusError::NotLeader { leader }),
            Err(_) => Err(ConsensusError::Closed),
        }
    }

    async fn run_rounds(self: Arc<Self>) {
        loop {
            let waiting = {
                let mut state = self.reads.0.lock();
                if state.waiting.is_empty() {
                    state.running = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let answer = self.round().await;
            for sender in waiting {
                // Whoever asked may have gone; then nobody needs the answer.
                let _ = sender.send(answer);
            }
        }
    }

    async fn round(&self) -> Answer {
        let raft = self.raft().ok_or(None)?;
        if is_planted(Bug::LeaseRead) {
            return Ok(self.log.committed());
        }
        match raft.get_read_log_id().await {
            Ok((read, _)) => Ok(read.map_or(LogIndex::ZERO, |read| log_index(read.index))),
            Err(error) => Err(error
                .forward_to_leader()
                .and_then(|forward| forward.leader_id)
                .map(NodeId::new)),
        }
    }
}
