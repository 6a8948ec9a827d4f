//! Stores in memory.

use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::{
    AppendError, Appended, CredentialUse, EventEnvelope, EventStore, NewEvent, Position, Receipt, RecordHash,
    SecretHash, SessionId, SessionRecord, SessionStore, StoreError, StreamName, UserId, ViewBarrier,
};

/// An event store that forgets everything at the end of the process.
#[derive(Debug)]
pub struct MemoryEventStore {
    events: Mutex<Vec<EventEnvelope>>,
    head: watch::Sender<Position>,
}

impl Default for MemoryEventStore {
    fn default() -> Self {
        Self {
            events: Mutex::default(),
            head: watch::Sender::new(0),
        }
    }
}

#[async_trait]
impl EventStore for MemoryEventStore {
    async fn append(&self, stream: &StreamName, expected: u64, events: Vec<NewEvent>) -> Result<Appended, AppendError> {
        assert!(!events.is_empty(), "an append has events");
        let mut log = self.events.lock();
        let last = log.iter().rev().find(|envelope| envelope.stream == *stream);
        let sequence = last.map_or(0, |envelope| envelope.sequence + 1);
        if sequence != expected {
            let stream = stream.clone();
            return Err(AppendError::VersionConflict { stream, expected });
        }
        let position = log.last().map_or(0, |envelope| envelope.position + 1);
        let mut hasher = Sha256::new();
        hasher.update(log.last().map_or([0; 32], |envelope| envelope.record_hash.0));
        for event in &events {
            hasher.update(serde_json::to_vec(event).expect("events are JSON"));
        }
        let record_hash = RecordHash(hasher.finalize().into());
        for (index, event) in (0..).zip(events) {
            let stream = stream.clone();
            log.push(EventEnvelope {
                stream,
                sequence,
                index,
                position,
                record_hash,
                event,
            });
        }
        self.head.send_replace(position + 1);
        let receipt = Receipt { position, record_hash };
        Ok(Appended { receipt, sequence })
    }

    async fn read_stream(&self, stream: &StreamName) -> Result<Vec<EventEnvelope>, StoreError> {
        let log = self.events.lock();
        Ok(log
            .iter()
            .filter(|envelope| envelope.stream == *stream)
            .cloned()
            .collect())
    }

    async fn read_all(&self, from: Position, records_max: usize) -> Result<Vec<EventEnvelope>, StoreError> {
        let end = from.saturating_add(records_max as u64);
        let log = self.events.lock();
        Ok(log
            .iter()
            .filter(|envelope| (from..end).contains(&envelope.position))
            .cloned()
            .collect())
    }

    fn watch(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }
}

/// Sessions in memory.
#[derive(Debug, Default)]
pub struct MemorySessionStore(Mutex<Vec<SessionRecord>>);

#[async_trait]
impl SessionStore for MemorySessionStore {
    async fn insert(&self, session: SessionRecord) -> Result<(), StoreError> {
        self.0.lock().push(session);
        Ok(())
    }

    async fn find(&self, token_hash: &SecretHash) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self
            .0
            .lock()
            .iter()
            .find(|session| session.token_hash == *token_hash)
            .cloned())
    }

    async fn touch(&self, token_hash: &SecretHash, seen_at: Timestamp) -> Result<(), StoreError> {
        for session in self
            .0
            .lock()
            .iter_mut()
            .filter(|session| session.token_hash == *token_hash)
        {
            session.last_seen_at = seen_at;
        }
        Ok(())
    }

    async fn remove(&self, user_id: UserId, id: SessionId) -> Result<bool, StoreError> {
        let mut sessions = self.0.lock();
        let before = sessions.len();
        sessions.retain(|session| session.id != id || session.user_id != user_id);
        Ok(sessions.len() < before)
    }

    async fn list(&self, user_id: UserId) -> Result<Vec<SessionRecord>, StoreError> {
        let mut list: Vec<_> = self
            .0
            .lock()
            .iter()
            .filter(|session| session.user_id == user_id)
            .cloned()
            .collect();
        list.sort_by_key(|session| std::cmp::Reverse((session.created_at, session.id)));
        Ok(list)
    }

    async fn remove_expired(&self, now: Timestamp, idle_since: Timestamp) -> Result<(), StoreError> {
        self.0
            .lock()
            .retain(|session| session.expires_at > now && session.last_seen_at >= idle_since);
        Ok(())
    }
}

/// Uses of credentials in memory.
#[derive(Debug, Default)]
pub struct MemoryCredentialUse(Mutex<HashMap<String, Timestamp>>);

#[async_trait]
impl CredentialUse for MemoryCredentialUse {
    async fn record_use(&self, credential_id: &str, used_at: Timestamp) -> Result<(), StoreError> {
        self.0.lock().insert(credential_id.to_owned(), used_at);
        Ok(())
    }

    async fn last_used(&self, credential_id: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.0.lock().get(credential_id).copied())
    }
}

/// A barrier for tests without views.
#[derive(Debug, Clone, Copy)]
pub struct NoViews;

#[async_trait]
impl ViewBarrier for NoViews {
    async fn wait_for(&self, _position: Position) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[tokio::test]
    async fn the_memory_stores_keep_the_contracts() {
        let environment = super::super::environment();
        contract::event_store_contract(&MemoryEventStore::default(), &environment).await;
        contract::session_store_contract(&MemorySessionStore::default(), &environment).await;
        contract::credential_use_contract(&MemoryCredentialUse::default(), &environment).await;
    }
}
