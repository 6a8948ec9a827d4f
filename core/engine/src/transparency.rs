//! What a database's log shows to those who check it: checkpoints, tree hashes, record headers and consistency proofs.

use craton_kernel::Operation;
use craton_proof::{HashReader as _, consistency_proof};
use craton_types::{ActorId, CorrelationId, Hash, IdempotencyId, Offset, RecordHeader, RecordKind, Timestamp};

use crate::craton::Request;
use crate::{Commit, EngineError, Tenant};

/// A checkpoint of the log, signed, and the witnesses' signatures and a time stamp where there are any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// How many records it covers.
    pub size: u64,
    /// The C2SP signed note.
    pub note: String,
    /// The time stamp token over the note's bytes (RFC 3161).
    pub time_stamp: Option<Vec<u8>>,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl Tenant {
    /// How many records the newest checkpoint covers; zero while there is none.
    #[must_use]
    pub fn checkpoint_size(&self) -> u64 {
        self.tenant.head().checkpoint_size
    }

    /// How many records the newest cosigned checkpoint covers; zero while there is none.
    #[must_use]
    pub fn cosigned_size(&self) -> u64 {
        self.tenant.head().cosigned.map_or(0, |cosigned| cosigned.size)
    }

    /// Says whether witnesses are being asked for cosignatures and may be expected to answer, so that it is worth a
    /// receipt's while to wait for them. Whoever asks them says so a few times a second: those who wait look at the
    /// clock then.
    pub fn expect_cosignatures(&self, expected: bool) {
        self.tenant.cosignatures_expected.send_replace(expected);
    }

    /// Waits until a cosigned checkpoint covers every change before `end`, for a while, and only as long as one may be
    /// expected.
    pub(crate) async fn wait_for_cosignatures(&self, end: Offset, timeout_ms: u64) {
        let end = end.min(self.tenant.head().data_end).get();
        let timeout_ns = timeout_ms.saturating_mul(1_000_000);
        let deadline = self.node.clock.now().get().saturating_add(timeout_ns);
        let mut expected = self.tenant.cosignatures_expected.subscribe();
        while self.cosigned_size() < end && *expected.borrow_and_update() && self.node.clock.now().get() < deadline {
            if expected.changed().await.is_err() {
                return;
            }
        }
    }

    /// The newest checkpoint as the log signed it; `None` while there is none.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn newest_checkpoint(&self) -> Result<Option<SignedCheckpoint>, EngineError> {
        let head = self.tenant.head();
        let Some(offset) = head.checkpoint_offset else {
            return Ok(None);
        };
        self.signed_checkpoint(head.checkpoint_size, offset).map(Some)
    }

    /// The newest checkpoint that witnesses have cosigned; `None` while there is none.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn newest_cosigned_checkpoint(&self) -> Result<Option<SignedCheckpoint>, EngineError> {
        let Some(cosigned) = self.tenant.head().cosigned else {
            return Ok(None);
        };
        self.signed_checkpoint(cosigned.size, cosigned.offset).map(Some)
    }

    fn signed_checkpoint(&self, size: u64, offset: Offset) -> Result<SignedCheckpoint, EngineError> {
        let record = self.record(offset)?;
        let recorded_at = record.header.timestamp;
        let is_cosigned = record.header.kind == RecordKind::Cosignature;
        let mut chunks = record.chunks.into_iter();
        let note = String::from_utf8(chunks.next().unwrap_or_default()).map_err(|_| EngineError::Receipt {
            offset: offset.get(),
            reason: "the checkpoint is not text".to_owned(),
        })?;
        let time_stamp = chunks.next().filter(|_| is_cosigned);
        Ok(SignedCheckpoint {
            size,
            note,
            time_stamp,
            recorded_at,
        })
    }

    /// Records cosignatures over one of the log's recent checkpoints, and a time stamp over the cosigned note. The
    /// caller has verified the signatures.
    ///
    /// # Errors
    /// [`craton_kernel::Refusal::CheckpointUnknown`] and [`craton_kernel::Refusal::CosignatureOutOfOrder`], and when
    /// the command could not be committed.
    pub async fn record_cosigned(&self, note: String, time_stamp: Option<Vec<u8>>) -> Result<Commit, EngineError> {
        let request = Request {
            tenant: self.tenant.id,
            actor: ActorId::NIL,
            correlation_id: CorrelationId::NIL,
            idempotency_id: IdempotencyId::NIL,
        };
        let operation = Operation::Cosign {
            note,
            time_stamp: time_stamp.map(Into::into),
        };
        Commit::from_outcome(self.node.propose(request, operation).await?)
    }

    /// The proof that the first `old_size` records are the beginning of the first `size` (RFC 6962 section 2.1.2).
    ///
    /// # Errors
    /// When `old_size` is greater than `size`, `size` greater than the log, or the log cannot be read.
    pub fn consistency_proof(&self, old_size: u64, size: u64) -> Result<Vec<Hash>, EngineError> {
        consistency_proof(&self.tenant.log, old_size, size).map_err(|error| EngineError::Consistency {
            database: self.tenant.name.clone(),
            old_size,
            size,
            reason: error.to_string(),
        })
    }

    /// Hashes `start..end` of a tree level, each the root of a complete subtree of `2^level` records.
    ///
    /// # Errors
    /// When the log has fewer complete subtrees, or cannot be read.
    pub fn tree_hashes(&self, level: u8, indexes: std::ops::Range<u64>) -> Result<Vec<Hash>, EngineError> {
        let hash = |index| {
            let hash = self.tenant.log.hash(level, index);
            hash.map_err(|source| self.tenant.log_error(source))
        };
        indexes.map(hash).collect()
    }

    /// The headers of `count` records from an offset on; fewer where the log ends before.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn record_headers(&self, from: Offset, count: usize) -> Result<Vec<RecordHeader>, EngineError> {
        let headers = self.tenant.log.read_headers(from, count);
        headers.map_err(|source| self.tenant.log_error(source))
    }
}
