//! A tenant of an open node, as its readers share it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use craton_kernel::{Catalogue, Cosigned, StateCheckpoint, TenantState};
use craton_log::LogReader;
use craton_projection::Projection;
use craton_proof::Frontier;
use craton_types::{Offset, Placement, TenantId, UserDefinition};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::EngineError;
use crate::damage::Damage;
use crate::epoch_keys::EpochKeys;
use crate::session::ConflictQueue;
use crate::state::StateKeeper;
use crate::subject_keys::SubjectKeys;

/// What readers of a tenant share.
pub(crate) struct SharedTenant {
    pub(crate) id: TenantId,
    pub(crate) name: String,
    pub(crate) keys: EpochKeys,
    pub(crate) projection: Projection,
    pub(crate) log: LogReader,
    pub(crate) head: ArcSwap<Head>,
    /// The end of what readers see, for those who follow it.
    pub(crate) published: watch::Sender<Published>,
    /// Whether a receipt may expect cosignatures.
    pub(crate) cosignatures_expected: watch::Sender<bool>,
    /// The rows as checkpoints vouch for them.
    pub(crate) state: StateKeeper,
    /// Where statements that met another writer stand in line.
    pub(crate) conflicts: ConflictQueue,
    /// The keys of data subjects.
    pub(crate) subject_keys: SubjectKeys,
    /// Held for reading by whoever hands over a command that rests on what was read, from the check that nothing was
    /// erased since until the command is in the queue.
    pub(crate) erasure_gate: RwLock<()>,
    /// Where damage to the log is noted.
    pub(crate) damage: Arc<Damage>,
}

/// How far a tenant's log can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Published {
    /// The offset of the next record.
    pub(crate) end: Offset,
    /// Whether nothing more will come.
    pub(crate) closed: bool,
}

/// The tenant as of its last published record.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The offset of the next record.
    pub(crate) end: Offset,
    /// The Merkle tree over all records.
    pub(crate) frontier: Frontier,
    /// How many records the last checkpoint covers.
    pub(crate) checkpoint_size: u64,
    /// Where the last checkpoint is.
    pub(crate) checkpoint_offset: Option<Offset>,
    /// The last checkpoint record, and the state that it commits to.
    pub(crate) state_checkpoint: Option<StateCheckpoint>,
    /// The newest checkpoint record that a later checkpoint covers.
    pub(crate) covered_state_checkpoint: Option<StateCheckpoint>,
    /// The last checkpoint that witnesses have cosigned.
    pub(crate) cosigned: Option<Cosigned>,
    /// One past the last record of changes: checkpoints and cosignatures are not worth a checkpoint of their own.
    pub(crate) data_end: Offset,
    /// How many data subjects were erased.
    pub(crate) erasures: u64,
    /// The tables.
    pub(crate) catalogue: Arc<Catalogue>,
    /// The users (system tenant only).
    pub(crate) users: Arc<BTreeMap<String, UserDefinition>>,
    /// Where data of which class may be kept.
    pub(crate) placement: Arc<Placement>,
}

impl Head {
    pub(crate) fn of(state: &TenantState, data_end: Offset) -> Self {
        Self {
            end: state.end,
            frontier: state.frontier.clone(),
            checkpoint_size: state.checkpoint_size,
            checkpoint_offset: state.checkpoint_offset,
            state_checkpoint: state.state_checkpoint,
            covered_state_checkpoint: state.covered_state_checkpoint,
            cosigned: state.cosigned,
            data_end,
            erasures: state.erasures,
            catalogue: Arc::clone(&state.catalogue),
            placement: Arc::clone(&state.placement),
            users: Arc::clone(&state.users),
        }
    }
}

impl SharedTenant {
    /// Shows a head to readers.
    pub(crate) fn publish(&self, head: Head) {
        let end = head.end;
        self.head.store(Arc::new(head));
        self.published.send_modify(|published| published.end = end);
    }

    /// Tells those who follow the log that nothing more will come.
    pub(crate) fn close(&self) {
        self.published.send_modify(|published| published.closed = true);
    }

    /// The published head.
    pub(crate) fn head(&self) -> Arc<Head> {
        self.head.load_full()
    }

    pub(crate) fn projection_error(&self, source: craton_projection::ProjectionError) -> EngineError {
        EngineError::Projection {
            database: self.name.clone(),
            source,
        }
    }

    pub(crate) fn state_error(&self, source: craton_state::StateError) -> EngineError {
        EngineError::State {
            database: self.name.clone(),
            source,
        }
    }

    pub(crate) fn log_error(&self, source: craton_log::TenantLogError) -> EngineError {
        self.damage.error(&self.name, source)
    }
}
