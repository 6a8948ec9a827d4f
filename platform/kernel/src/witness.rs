//! What the platform, as a witness, keeps of other logs.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::StoreError;

/// The latest checkpoint of a log that was cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessedCheckpoint {
    /// How many records it covers.
    pub size: u64,
    /// Its Merkle root.
    pub root: [u8; 32],
    /// When it was cosigned.
    pub witnessed_at: Timestamp,
}

/// A checkpoint that a log signed and that is not consistent with what was cosigned before: evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCheckpoint {
    /// Why, as a word.
    pub reason: String,
    /// How many records it covers.
    pub size: u64,
    /// The checkpoint as the log signed it.
    pub note: String,
    /// When it was refused.
    pub refused_at: Timestamp,
}

/// Keeps what a witness has cosigned, by the logs' origins.
#[async_trait]
pub trait WitnessStore: Send + Sync {
    /// The latest checkpoint of a log that was cosigned.
    ///
    /// # Errors
    /// When the store fails.
    async fn latest(&self, origin: &str) -> Result<Option<WitnessedCheckpoint>, StoreError>;

    /// Puts a checkpoint in the place of `latest`, in one step and durably; `false`, and nothing happens, when `latest` is
    /// no longer what is stored.
    ///
    /// # Errors
    /// When the store fails; then it is not known whether the checkpoint is stored.
    async fn replace(
        &self,
        origin: &str,
        latest: Option<&WitnessedCheckpoint>,
        checkpoint: &WitnessedCheckpoint,
    ) -> Result<bool, StoreError>;

    /// The last checkpoint of a log that was refused as evidence of a fork.
    ///
    /// # Errors
    /// When the store fails.
    async fn refused(&self, origin: &str) -> Result<Option<RefusedCheckpoint>, StoreError>;

    /// Keeps a refused checkpoint, instead of the one before.
    ///
    /// # Errors
    /// When the store fails.
    async fn record_refused(&self, origin: &str, refused: &RefusedCheckpoint) -> Result<(), StoreError>;
}
