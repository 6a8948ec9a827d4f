//! The checkpointer: signs the head of every log that has moved, so that what was written can be proved.

use std::sync::Arc;
use std::time::Duration;

use craton_kernel::{Operation, Outcome, Refusal, StateCheckpoint};
use craton_proof::Checkpoint;
use craton_types::planted::{Bug, is_planted};
use craton_types::{ActorId, CorrelationId, Hash, IdempotencyId, Offset, Timestamp};

use crate::EngineError;
use crate::applier::chain;
use crate::craton::{Node, Request};
use crate::flusher::Closing;
use crate::tenant::SharedTenant;

/// How often the logs are looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// A log with fewer new records than this waits for [`PERIODS_MAX`] periods.
const RECORDS_TARGET: u64 = 1_000;
/// After this many periods any new record is covered.
const PERIODS_MAX: u32 = 10;

/// After work on a state tree, it rests until so many times that time has passed since the work began: a quarter of one
/// core, however much is written. What waits meanwhile becomes one larger batch, which costs less for each row.
const WORK_DIVISOR: u64 = 4;

/// How many versions of the state tree a receipt waits for; one that is further behind is left to the background.
const SLICES_MAX: u32 = 4;

/// What the checkpointer thread works with.
pub(crate) struct Checkpointer {
    pub(crate) node: Arc<Node>,
    pub(crate) closing: Arc<Closing>,
}

impl Checkpointer {
    /// Runs until the node closes.
    pub(crate) fn run(&self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
            self.node.health.stop("no runtime for the checkpointer".to_owned());
            return;
        };
        let mut periods = 0;
        while !self.closing.wait(PERIOD) {
            runtime.block_on(self.look(records_min(&mut periods)));
        }
    }

    /// Looks at every tenant.
    pub(crate) async fn look(&self, records_min: u64) {
        for tenant in self.node.tenants.databases() {
            // A full disk would only refuse it.
            if self.node.health.space.check().is_ok()
                && let Err(error) = self.look_at(&tenant, records_min).await
            {
                tracing::warn!(database = tenant.name, %error, "no checkpoint was made");
            }
        }
    }

    /// Brings the state tree of a tenant forward, and makes a checkpoint when enough is new.
    async fn look_at(&self, tenant: &SharedTenant, records_min: u64) -> Result<(), EngineError> {
        let head = tenant.head();
        let moved = head.data_end.get().saturating_sub(head.checkpoint_size) >= records_min;
        let now = self.node.clock.now();
        if tenant.state.end() < head.data_end && tenant.state.rests_until() <= now {
            if let Err(error) = tenant.state.advance(tenant) {
                tracing::warn!(
                    database = tenant.name,
                    error = chain(&error),
                    "the state tree stays behind"
                );
            }
            let worked_ns = self.node.clock.now().get().saturating_sub(now.get());
            tenant.state.rest(Timestamp::new(now.get() + worked_ns * WORK_DIVISOR));
        }
        // A state that was behind the last checkpoint, and has caught up since, is committed to as well.
        let committed = head.state_checkpoint.map_or(0, |last| last.size);
        let caught_up = records_min == 1 && committed < head.data_end.get() && tenant.state.end() >= head.data_end;
        // One node signs for all.
        if (moved || caught_up) && self.node.leads() {
            checkpoint(&self.node, tenant).await?;
        }
        Ok(())
    }
}

/// How many new records make a checkpoint worth it in the next period.
pub(crate) fn records_min(periods: &mut u32) -> u64 {
    *periods += 1;
    if *periods < PERIODS_MAX {
        return RECORDS_TARGET;
    }
    *periods = 0;
    1
}

/// Makes sure that a checkpoint which is itself covered commits to a state of at least every change before `end`.
pub(crate) async fn ensure_state_covered(node: &Node, tenant: &SharedTenant, end: Offset) -> Result<(), EngineError> {
    let end = end.min(tenant.head().data_end);
    let reached = |stated: Option<StateCheckpoint>| stated.is_some_and(|stated| stated.size >= end.get());
    for _ in 0..SLICES_MAX {
        if tenant.state.end() < end {
            tenant.state.advance(tenant)?;
        }
    }
    while !reached(tenant.head().covered_state_checkpoint) {
        let size = tenant.state.end();
        if size < end {
            return Err(EngineError::StateBehind {
                database: tenant.name.clone(),
                size: size.get(),
                end: end.get(),
            });
        }
        checkpoint(node, tenant).await?;
    }
    Ok(())
}

/// Makes sure that a checkpoint covers every change before `end`.
pub(crate) async fn ensure_covered(node: &Node, tenant: &SharedTenant, end: Offset) -> Result<(), EngineError> {
    let end = end.min(tenant.head().data_end);
    while tenant.head().checkpoint_size < end.get() {
        checkpoint(node, tenant).await?;
    }
    Ok(())
}

/// Signs the head of a log and records the checkpoint in it.
async fn checkpoint(node: &Node, tenant: &SharedTenant) -> Result<(), EngineError> {
    let head = tenant.head();
    let signer = node.signer(tenant.id);
    let state = tenant.state.commitment(tenant)?;
    // The state may have passed the head that was read before it.
    let head = if state.size > head.end.get() {
        tenant.head()
    } else {
        head
    };
    let size = head.end.get();
    let mut tree = head.frontier.clone();
    if is_planted(Bug::CheckpointOfAnotherTree) {
        tree.push(Hash::ZERO);
    }
    let note = Checkpoint {
        origin: signer.verifier().name().clone(),
        size,
        root: tree.root(),
    }
    .sign(&signer);
    let request = Request {
        tenant: tenant.id,
        actor: ActorId::NIL,
        correlation_id: CorrelationId::NIL,
        idempotency_id: IdempotencyId::NIL,
    };
    match node
        .propose(request, Operation::Checkpoint { size, note, state })
        .await?
    {
        // Another checkpoint got there first, which serves as well.
        Outcome::Committed(_)
        | Outcome::Duplicate { .. }
        | Outcome::Refused(Refusal::CheckpointOutOfOrder { .. } | Refusal::StateOutOfOrder { .. }) => Ok(()),
        Outcome::Refused(refusal) | Outcome::RefusedOnRecord { refusal, .. } => Err(refusal.into()),
    }
}
