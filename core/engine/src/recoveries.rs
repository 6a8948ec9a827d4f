//! What the node mended by itself, on its way into the logs: into the tenant's whose files were concerned, and into the
//! system tenant's for what all share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use craton_kernel::Operation;
use craton_log::{Repaired, TornTail, WalRecovery};
use craton_types::{ActorId, CorrelationId, IdempotencyId, NodeId, Recovered, RecoveryAction, RecoveryArea, TenantId};
use parking_lot::Mutex;

use crate::EngineError;
use crate::applier::chain;
use crate::craton::{Node, Request};
use crate::tenants::SYSTEM_TENANT;

/// The most recoveries that wait to be recorded. More are only logged.
const WAITING_MAX: usize = 1_024;
/// The file of the write-ahead log's superblock.
const SUPERBLOCK_FILE: &str = "superblock";

/// What was mended and is not recorded yet.
#[derive(Default)]
pub(crate) struct Recoveries {
    /// How often the node was opened.
    generation: AtomicU64,
    /// Which member it is, if it is one.
    node: Option<NodeId>,
    waiting: Mutex<VecDeque<(TenantId, Recovered)>>,
}

impl Recoveries {
    pub(crate) fn new(node: Option<NodeId>) -> Self {
        Self {
            node,
            ..Self::default()
        }
    }

    /// Notes something that was mended. Its generation and the member are filled in.
    pub(crate) fn note(&self, tenant: TenantId, mut recovered: Recovered) {
        recovered.node = self.node;
        tracing::warn!(
            %tenant,
            area = recovered.area.as_str(),
            file = recovered.file,
            reason = recovered.reason,
            action = recovered.action.as_str(),
            "the node mended a file"
        );
        let mut waiting = self.waiting.lock();
        if waiting.len() < WAITING_MAX {
            waiting.push_back((tenant, recovered));
        }
    }

    /// Notes what the opening of the write-ahead log mended. What earlier openings set aside is noted again: a crash may
    /// have come before it was recorded.
    pub(crate) fn note_wal(&self, recovery: &WalRecovery) {
        self.generation.store(recovery.generation, Ordering::Release);
        for torn in recovery.earlier.iter().chain(&recovery.torn).chain(&recovery.set_aside) {
            self.note(SYSTEM_TENANT, torn_tail(torn));
        }
        for file in &recovery.heads_rewritten {
            let reason = "a copy was missing, damaged or of an earlier update".to_owned();
            self.note_rewritten(SYSTEM_TENANT, RecoveryArea::LogHeads, file, reason);
        }
        for copy in &recovery.superblock {
            let start = u64::from(copy.copy) * 4096;
            let reason = match copy.was_interrupted {
                true => "a copy of another update",
                false => "a damaged copy",
            };
            self.note(
                SYSTEM_TENANT,
                Recovered {
                    generation: recovery.generation,
                    area: RecoveryArea::Superblock,
                    file: SUPERBLOCK_FILE.to_owned(),
                    start,
                    end: start + 4096,
                    reason: reason.to_owned(),
                    action: RecoveryAction::Rewritten,
                    node: None,
                },
            );
        }
    }

    /// Notes a file that was written again as a whole from another copy.
    pub(crate) fn note_rewritten(&self, tenant: TenantId, area: RecoveryArea, file: &str, reason: String) {
        self.note(
            tenant,
            Recovered {
                generation: 0,
                area,
                file: file.to_owned(),
                start: 0,
                end: 0,
                reason,
                action: RecoveryAction::Rewritten,
                node: None,
            },
        );
    }

    /// Notes a part of a log that was written again; `source` says where it came from.
    pub(crate) fn note_repaired(&self, tenant: TenantId, repaired: Repaired, source: &str) {
        let Repaired {
            offset,
            field,
            file,
            start,
            end,
            kept_as,
        } = repaired;
        self.note(
            tenant,
            Recovered {
                generation: 0,
                area: RecoveryArea::Log,
                file,
                start,
                end,
                reason: format!("record {offset}: {field} was wrong; from {source}; {kept_as} has what stood there"),
                action: RecoveryAction::Rewritten,
                node: None,
            },
        );
    }

    /// Records what waits. What the node cannot take now is tried again the next time.
    pub(crate) async fn record(&self, node: &Node) {
        loop {
            let Some((tenant, mut recovered)) = self.waiting.lock().pop_front() else {
                return;
            };
            if recovered.generation == 0 {
                recovered.generation = self.generation.load(Ordering::Acquire);
            }
            let request = Request {
                tenant,
                actor: ActorId::NIL,
                correlation_id: CorrelationId::NIL,
                idempotency_id: id_of(&recovered),
            };
            let proposed = node
                .propose(request, Operation::RecordRecovery(recovered.clone()))
                .await;
            match proposed {
                Ok(_) => {}
                // It is recorded once, however often it is proposed.
                Err(error) if error.is_retryable() || matches!(error, EngineError::OutcomeUnknown) => {
                    self.waiting.lock().push_front((tenant, recovered));
                    return;
                }
                Err(error) => tracing::warn!(%tenant, error = chain(&error), "a recovery was not recorded"),
            }
        }
    }
}

fn torn_tail(torn: &TornTail) -> Recovered {
    Recovered {
        generation: torn.generation,
        area: RecoveryArea::WriteAheadLog,
        file: format!("{:020}.wal", torn.segment),
        start: torn.start,
        end: torn.end,
        reason: torn.reason.to_string(),
        action: RecoveryAction::SetAside,
        node: None,
    }
}

/// The same for the same recovery, so that it is recorded once.
fn id_of(recovered: &Recovered) -> IdempotencyId {
    let bytes = minicbor::to_vec(recovered).expect("writing to memory does not fail");
    let digest = craton_crypto::sha256(&[b"recovery", &bytes]);
    IdempotencyId::new(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes"))
}
