//! What this node proposes, and how much of it is on its way at once.

use std::sync::Arc;
use std::time::Duration;

use craton_types::NodeId;
use futures::FutureExt;
use openraft::error::ClientWriteError;

use super::Inner;
use super::types::Proposal;
use crate::{ConsensusError, Lost, LostReason};

/// Entries that this node proposed and that are not handed out yet: one that is being replicated, and one behind it.
/// Whoever proposes gathers commands until there is room, so that entries, not their number, grow with the load.
const IN_FLIGHT_ENTRIES_MAX: usize = 2;
/// After this time whoever proposed an entry is told that its fate is unknown.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(10);

impl Inner {
    /// Whether another entry can go on its way, or be refused, at once.
    fn has_room(&self, in_flight: usize) -> bool {
        in_flight < IN_FLIGHT_ENTRIES_MAX || !self.leads() || *self.closed.borrow()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.has_room(*self.in_flight.lock())
    }

    pub(super) fn wait_until_ready(&self) {
        let mut in_flight = self.in_flight.lock();
        self.progress
            .wait_while(&mut in_flight, |in_flight| !self.has_room(*in_flight));
    }

    /// Waits for room among the entries on their way.
    fn enter_flight(&self) -> Result<(), ConsensusError> {
        let mut in_flight = self.in_flight.lock();
        self.progress
            .wait_while(&mut in_flight, |in_flight| !self.has_room(*in_flight));
        self.check_open()?;
        if !self.leads() {
            return Err(self.not_leader());
        }
        *in_flight += 1;
        Ok(())
    }

    fn leave_flight(&self) {
        *self.in_flight.lock() -= 1;
        self.progress.notify_all();
    }

    /// Has those look again who wait for room: there is another leader, or nothing is ordered any more.
    pub(super) fn signal_progress(&self) {
        // Whoever looks has the lock until it waits, and misses nothing.
        drop(self.in_flight.lock());
        self.progress.notify_all();
    }

    pub(super) fn propose(self: &Arc<Self>, payload: Vec<u8>, lost: Lost) -> Result<(), ConsensusError> {
        self.enter_flight()?;
        let sent = self
            .raft()
            .and_then(|raft| raft.client_write_ff(Proposal(payload.into())).now_or_never());
        let Some(Ok(outcome)) = sent else {
            self.leave_flight();
            return Err(self.not_leader());
        };
        let inner = Arc::clone(self);
        self.handle.spawn(async move {
            let outcome = tokio::time::timeout(OUTCOME_TIMEOUT, outcome).await;
            inner.leave_flight();
            match outcome {
                // It was handed out; whoever applies it answers.
                Ok(Ok(Ok(_))) => {}
                Ok(Ok(Err(ClientWriteError::ForwardToLeader(forward)))) => lost(LostReason::NotLeader {
                    leader: forward.leader_id.map(NodeId::new),
                }),
                Ok(Ok(Err(ClientWriteError::ChangeMembershipError(_))) | Err(_)) | Err(_) => lost(LostReason::Unknown),
            }
        });
        Ok(())
    }
}
