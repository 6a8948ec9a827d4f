//! Asking one witness about one checkpoint.

use craton_engine::{EngineError, Tenant};
use craton_proof::{
    AddCheckpoint, Checkpoint, CheckpointError, Note, NoteSignature, WitnessAnswer, WitnessAnswerError,
};

use crate::{RequestOutcome, Transport, TransportError, Witness};

/// How often a witness is asked about one checkpoint before the next round: once to learn where it is, once from
/// there, and once more for another node's request in between.
const TRIES_MAX: usize = 3;

/// Why a witness has not cosigned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Answer(#[from] WitnessAnswerError),
    #[error(
        "the witness has cosigned {witnessed} records of this log, which has {size} of them now: the log was turned back or \
         forked"
    )]
    TurnedBack { witnessed: u64, size: u64 },
    #[error("of {size} records of this log the witness has cosigned another root: the log was forked")]
    OtherRoot { size: u64 },
    #[error("the witness said another size {TRIES_MAX} times")]
    Undecided,
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl AskError {
    pub(crate) const fn outcome(&self) -> RequestOutcome {
        match self {
            Self::Transport(_) => RequestOutcome::Unreachable,
            Self::Answer(WitnessAnswerError::UnknownOrigin) => RequestOutcome::UnknownOrigin,
            Self::Answer(WitnessAnswerError::NotConsistent) | Self::TurnedBack { .. } | Self::OtherRoot { .. } => {
                RequestOutcome::OtherHistory
            }
            Self::Answer(_) | Self::Undecided | Self::Checkpoint(_) | Self::Engine(_) => RequestOutcome::Refused,
        }
    }
}

/// Asks a witness to cosign a checkpoint. `known_size` is what it is believed to have cosigned last. `count` is told
/// how each request but the last ended.
pub(crate) fn ask(
    transport: &dyn Transport,
    tenant: &Tenant,
    witness: &Witness,
    note: &Note,
    known_size: u64,
    count: impl Fn(RequestOutcome),
) -> Result<Vec<NoteSignature>, AskError> {
    let size = Checkpoint::parse_unverified_note(note)?.size;
    let mut old_size = known_size.min(size);
    for _ in 0..TRIES_MAX {
        let proof = tenant.consistency_proof(old_size, size)?;
        let request = AddCheckpoint::new(old_size, proof, note.clone())?.to_string();
        let reply = transport.post(
            &witness.url,
            "/add-checkpoint",
            "text/plain; charset=utf-8",
            request.as_bytes(),
        )?;
        match WitnessAnswer::parse(reply.status, &reply.body, note, &witness.key)? {
            WitnessAnswer::Cosigned { signatures, .. } => return Ok(signatures),
            WitnessAnswer::Conflict { size: witnessed } if witnessed > size => {
                return Err(AskError::TurnedBack { witnessed, size });
            }
            WitnessAnswer::Conflict { size: witnessed } if witnessed == old_size => {
                return Err(AskError::OtherRoot { size });
            }
            WitnessAnswer::Conflict { size: witnessed } => {
                count(RequestOutcome::Conflict);
                old_size = witnessed;
            }
        }
    }
    Err(AskError::Undecided)
}
