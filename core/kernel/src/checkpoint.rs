//! The log's own checkpoints, and the cosignatures that are recorded over them.

use craton_proof::{COSIGNABLE_CHECKPOINTS_MAX, Checkpoint};
use craton_types::{Hash, Offset};
use minicbor::{Decode, Encode};

use crate::{Refusal, TenantState};

/// The last checkpoint that witnesses have cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Cosigned {
    /// How many records it covers.
    #[n(0)]
    pub size: u64,
    /// Where the record with the cosigned note is.
    #[n(1)]
    pub offset: Offset,
}

/// A checkpoint record, and the state that it commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StateCheckpoint {
    /// How many records the state comes from.
    #[n(0)]
    pub size: u64,
    /// Where the checkpoint record is.
    #[n(1)]
    pub offset: Offset,
}

/// Size and root of the checkpoints that can still be cosigned, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RecentCheckpoints {
    #[n(0)]
    entries: Vec<RecentCheckpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct RecentCheckpoint {
    #[n(0)]
    size: u64,
    #[n(1)]
    root: Hash,
}

impl RecentCheckpoints {
    /// Adds the newest checkpoint; the oldest is forgotten when there are too many.
    pub(crate) fn push(&mut self, size: u64, root: Hash) {
        if self.entries.len() == COSIGNABLE_CHECKPOINTS_MAX {
            self.entries.remove(0);
        }
        self.entries.push(RecentCheckpoint { size, root });
    }

    fn contains(&self, checkpoint: &Checkpoint) -> bool {
        let wanted = RecentCheckpoint {
            size: checkpoint.size,
            root: checkpoint.root,
        };
        self.entries.contains(&wanted)
    }

    fn forget_below(&mut self, size: u64) {
        self.entries.retain(|entry| entry.size >= size);
    }
}

/// Reads a note that a log signed of itself.
pub(crate) fn parse_checkpoint(note: &[u8]) -> Result<Checkpoint, Refusal> {
    Checkpoint::parse_unverified(note).map_err(|_| Refusal::NotACheckpoint)
}

/// What a cosigned note covers, if it is over a checkpoint of this log and not older than the last cosigned one. The
/// same checkpoint may be cosigned again, by more witnesses.
pub(crate) fn decide_cosigned(state: &TenantState, note: &[u8]) -> Result<u64, Refusal> {
    let checkpoint = parse_checkpoint(note)?;
    let size = checkpoint.size;
    if let Some(last) = state.cosigned.filter(|last| size < last.size) {
        return Err(Refusal::CosignatureOutOfOrder {
            size,
            last_size: last.size,
        });
    }
    if !state.recent_checkpoints.contains(&checkpoint) {
        return Err(Refusal::CheckpointUnknown { size });
    }
    Ok(size)
}

/// Checks that committed states move forward, and never past what their checkpoint covers.
pub(crate) fn check_state_size(state: &TenantState, state_size: u64, size: u64) -> Result<(), Refusal> {
    let last_size = state.state_checkpoint.map_or(0, |last| last.size);
    if (last_size..=size).contains(&state_size) {
        return Ok(());
    }
    Err(Refusal::StateOutOfOrder {
        state_size,
        last_size,
        size,
    })
}

impl TenantState {
    /// Notes that the record at `stated.offset` holds a checkpoint.
    pub(crate) fn note_checkpoint(&mut self, checkpoint: &Checkpoint, stated: StateCheckpoint) {
        let size = checkpoint.size;
        if let Some(last) = self.state_checkpoint.filter(|last| last.offset.get() < size) {
            self.covered_state_checkpoint = Some(last);
        }
        self.state_checkpoint = Some(stated);
        self.checkpoint_size = size;
        self.recent_checkpoints.push(size, checkpoint.root);
    }

    /// Notes that the record at `offset` holds a checkpoint over `size` records as witnesses cosigned it.
    pub(crate) fn note_cosigned(&mut self, size: u64, offset: Offset) {
        self.cosigned = Some(Cosigned { size, offset });
        self.recent_checkpoints.forget_below(size);
    }
}
