//! A witness's store in memory.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::{RefusedCheckpoint, StoreError, WitnessStore, WitnessedCheckpoint};

/// A [`WitnessStore`] in memory.
#[derive(Default)]
pub struct MemoryWitnessStore {
    witnessed: Mutex<HashMap<String, WitnessedCheckpoint>>,
    refused: Mutex<HashMap<String, RefusedCheckpoint>>,
}

#[async_trait]
impl WitnessStore for MemoryWitnessStore {
    async fn latest(&self, origin: &str) -> Result<Option<WitnessedCheckpoint>, StoreError> {
        Ok(self.witnessed.lock().get(origin).copied())
    }

    async fn replace(
        &self,
        origin: &str,
        latest: Option<&WitnessedCheckpoint>,
        checkpoint: &WitnessedCheckpoint,
    ) -> Result<bool, StoreError> {
        let mut witnessed = self.witnessed.lock();
        let is_latest = match (witnessed.get(origin), latest) {
            (None, None) => true,
            (Some(stored), Some(latest)) => (stored.size, stored.root) == (latest.size, latest.root),
            _ => false,
        };
        if is_latest {
            witnessed.insert(origin.to_owned(), *checkpoint);
        }
        Ok(is_latest)
    }

    async fn refused(&self, origin: &str) -> Result<Option<RefusedCheckpoint>, StoreError> {
        Ok(self.refused.lock().get(origin).cloned())
    }

    async fn record_refused(&self, origin: &str, refused: &RefusedCheckpoint) -> Result<(), StoreError> {
        self.refused.lock().insert(origin.to_owned(), refused.clone());
        Ok(())
    }
}
