//! The event store on the engine: streams are the engine's streams, records its records.

use std::sync::Arc;

use async_trait::async_trait;
use craton_engine::{Append, EngineError, EventRecord, ExpectedSequence, Refusal, Tenant};
use craton_platform_kernel::{
    AppendError, Appended, EventEnvelope, EventStore, NewEvent, Position, Receipt, RecordHash, StoreError, StreamName,
};
use craton_types::{ActorId, CorrelationId, IdempotencyId, Offset, StreamSequence};
use tokio::sync::watch;

use crate::chunks;
use crate::error::of_engine;

/// Records read from a stream at a time.
const STREAM_PAGE_RECORDS: usize = 1024;

/// Events on the engine. Cheap to clone.
#[derive(Clone)]
pub struct EngineEventStore {
    ledger: Tenant,
    head: Arc<watch::Sender<Position>>,
}

impl std::fmt::Debug for EngineEventStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EngineEventStore({})", self.ledger.name())
    }
}

impl EngineEventStore {
    /// Events of one tenant.
    #[must_use]
    pub fn new(ledger: Tenant) -> Self {
        let head = Arc::new(watch::Sender::new(ledger.end().get()));
        Self { ledger, head }
    }

    /// The C2SP verifier key of the platform's log: what an auditor checks receipts against.
    #[must_use]
    pub fn log_key(&self) -> String {
        self.ledger.log_key()
    }

    /// The C2SP receipt of the record at a position. What is derived from a secret is left out.
    ///
    /// # Errors
    /// When there is no such record.
    pub async fn receipt(&self, position: Position) -> Result<String, StoreError> {
        let receipt = self.ledger.receipt(Offset::new(position), &chunks::may_disclose).await;
        receipt.map_err(|error| of_engine(&error))
    }

    async fn blocking<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tenant) -> Result<T, EngineError> + Send + 'static,
    {
        let ledger = self.ledger.clone();
        let task = tokio::task::spawn_blocking(move || read(&ledger));
        let outcome = task.await.expect("a read does not panic");
        outcome.map_err(|error| of_engine(&error))
    }
}

fn envelopes(record: EventRecord) -> Result<Vec<EventEnvelope>, StoreError> {
    let position = record.header.offset.get();
    let damaged = |detail: String| StoreError::Damaged {
        place: format!("position {position}"),
        detail,
    };
    let stream: StreamName = record.stream.parse().map_err(|error| damaged(format!("{error}")))?;
    let events = chunks::decode(&record.events).map_err(|error| damaged(error.to_string()))?;
    let envelope = |(index, event): (u32, NewEvent)| EventEnvelope {
        stream: stream.clone(),
        sequence: record.header.stream_sequence.get(),
        index,
        position,
        record_hash: RecordHash(*record.record_hash.as_bytes()),
        event,
    };
    Ok((0..).zip(events).map(envelope).collect())
}

fn all_envelopes(records: Vec<EventRecord>) -> Result<Vec<EventEnvelope>, StoreError> {
    let mut all = Vec::with_capacity(records.len());
    for record in records {
        all.extend(envelopes(record)?);
    }
    Ok(all)
}

#[async_trait]
impl EventStore for EngineEventStore {
    async fn append(&self, stream: &StreamName, expected: u64, events: Vec<NewEvent>) -> Result<Appended, AppendError> {
        let first = events.first().expect("an append has events");
        let actor = first
            .actor
            .uuid()
            .map_or(ActorId::NIL, |uuid| ActorId::new(uuid.into_bytes()));
        let correlation_id = CorrelationId::new(first.correlation_id.as_uuid().into_bytes());
        let append = Append {
            stream: stream.to_string(),
            expected: ExpectedSequence::Exactly(expected),
            events: events.iter().flat_map(chunks::encode).collect(),
            actor,
            correlation_id,
            idempotency_id: IdempotencyId::NIL,
            data_class: None,
        };
        let commit = self.ledger.append(append).await.map_err(|error| match error {
            EngineError::Refused(Refusal::StreamMoved { .. }) => AppendError::VersionConflict {
                stream: stream.clone(),
                expected,
            },
            error => of_engine(&error).into(),
        })?;
        let position = commit.offset.get();
        // Appends finish in any order, so the head only ever rises.
        self.head.send_if_modified(|head| {
            let rises = *head <= position;
            *head = (*head).max(position + 1);
            rises
        });
        Ok(Appended {
            receipt: Receipt {
                position,
                record_hash: RecordHash(*commit.record_hash.as_bytes()),
            },
            sequence: commit.stream_sequence.get(),
        })
    }

    async fn read_stream(&self, stream: &StreamName) -> Result<Vec<EventEnvelope>, StoreError> {
        let stream = stream.to_string();
        let read = move |ledger: &Tenant| {
            let mut all = Vec::new();
            loop {
                let from = StreamSequence::new(all.len() as u64);
                let page = ledger.read_stream(&stream, from, STREAM_PAGE_RECORDS)?;
                let whole = page.len() == STREAM_PAGE_RECORDS;
                all.extend(page);
                if !whole {
                    return Ok(all);
                }
            }
        };
        all_envelopes(self.blocking(read).await?)
    }

    async fn read_all(&self, from: Position, records_max: usize) -> Result<Vec<EventEnvelope>, StoreError> {
        let read = move |ledger: &Tenant| ledger.read_events(Offset::new(from), records_max);
        all_envelopes(self.blocking(read).await?.records)
    }

    fn watch(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }
}
