//! Events, their envelopes and the store that keeps them.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use uuid::Uuid;

use crate::id::parse_suffix;
use crate::{EventId, OrgId, RequestId, StreamName};

/// A position in the platform's log, counted from zero.
pub type Position = u64;

/// Members of an event's data that are derived from a secret: hashes and verifiers. They are in no audit log and in
/// no receipt.
pub const WITHHELD_FIELDS: [&str; 3] = ["secret_hash", "scram_verifier", "verifier"];

/// The hash of a record in the platform's log: its chain link and Merkle leaf.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordHash(pub [u8; 32]);

impl fmt::Display for RecordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RecordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl RecordHash {
    /// Parses 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let canonical = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(canonical.then(|| &text[index * 2..index * 2 + 2])?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl Serialize for RecordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RecordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a record hash is 64 lower-case hexadecimal digits"))
    }
}

impl utoipa::PartialSchema for RecordHash {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[0-9a-f]{64}$"))
            .into()
    }
}

impl ToSchema for RecordHash {}

/// Where a change stands in the platform's log: what an auditor checks later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// The record's position in the log.
    #[schema(value_type = u64)]
    pub position: Position,
    /// The record's hash.
    pub record_hash: RecordHash,
}

/// What kind of principal made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person.
    User,
    /// An API key.
    ApiKey,
    /// The operator of the platform.
    Operator,
    /// A node's agent.
    Node,
    /// The platform itself.
    System,
}

/// Who made a change, and with which credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The kind of principal.
    pub kind: ActorKind,
    /// Its id, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The session or key that was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
}

impl Actor {
    /// The UUID within the id, as record headers carry it.
    #[must_use]
    pub fn uuid(&self) -> Option<Uuid> {
        let (_, suffix) = self.id.as_ref().or(self.credential_id.as_ref())?.rsplit_once('_')?;
        parse_suffix(suffix)
    }
}

/// An event before the store has placed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    /// The event's id.
    pub id: EventId,
    /// Its type, such as `organisation.created`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The version of the shape of `data`.
    pub version: u32,
    /// When it was decided.
    pub occurred_at: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// The request that caused it.
    pub correlation_id: RequestId,
    /// The event that caused it, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<EventId>,
    /// What happened.
    pub data: Value,
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct EventEnvelope {
    /// The aggregate's stream, which also names the organisation.
    pub stream: StreamName,
    /// The position of the event's record in its stream, counted from zero. Events of one append share it.
    pub sequence: u64,
    /// The position of the event within its record.
    pub index: u32,
    /// The record's position in the log. Events of one append share it.
    pub position: Position,
    /// The record's hash.
    pub record_hash: RecordHash,
    /// The event.
    pub event: NewEvent,
}

impl EventEnvelope {
    /// The organisation that the event belongs to.
    #[must_use]
    pub fn org(&self) -> Option<OrgId> {
        self.stream.org()
    }

    /// Position and hash of the event's record.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        Receipt {
            position: self.position,
            record_hash: self.record_hash,
        }
    }
}

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the record is.
    pub receipt: Receipt,
    /// The record's position in its stream.
    pub sequence: u64,
}

/// Why the store could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is overloaded or closing; the same call may succeed later.
    #[error("the event store is unavailable: {0}")]
    Unavailable(String),
    /// The store holds something that it should not.
    #[error("the event store is damaged at {place}: {detail}")]
    Damaged {
        /// Stream or position.
        place: String,
        /// What is wrong there.
        detail: String,
    },
}

/// Why events were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Someone else appended first.
    #[error("stream {stream} does not have the expected {expected} records")]
    VersionConflict {
        /// The stream.
        stream: StreamName,
        /// What the caller believed.
        expected: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps events for ever, in one order.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Appends events as one record, durably. `expected` is the number of records already in the stream.
    ///
    /// # Errors
    /// [`AppendError::VersionConflict`] when the stream has another number of records.
    ///
    /// # Panics
    /// When `events` is empty.
    async fn append(&self, stream: &StreamName, expected: u64, events: Vec<NewEvent>) -> Result<Appended, AppendError>;

    /// All events of one stream in order; empty when there are none.
    ///
    /// # Errors
    /// When the store fails.
    async fn read_stream(&self, stream: &StreamName) -> Result<Vec<EventEnvelope>, StoreError>;

    /// Events of all streams from a position on, in order; at most `records_max` records, none of them cut.
    ///
    /// # Errors
    /// When the store fails.
    async fn read_all(&self, from: Position, records_max: usize) -> Result<Vec<EventEnvelope>, StoreError>;

    /// The number of positions taken; changes after every append.
    fn watch(&self) -> watch::Receiver<Position>;
}
