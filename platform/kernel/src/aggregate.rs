//! Aggregates: pure decisions over events.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A consistency boundary whose state is the fold of its events.
///
/// `Event` is an enum with `#[serde(tag = "type", content = "data")]` whose tags are the public event types
/// (`organisation.created`).
pub trait Aggregate: 'static {
    /// The kind of aggregate as it stands in stream names.
    const KIND: &'static str;
    /// The version of the event shapes that this code writes.
    const EVENT_VERSION: u32;
    /// What decisions are made on. The default is the state before the first event.
    type State: Default + Clone + Send + Sync;
    /// What is asked for. Facts that need IO, times and ids are in it.
    type Command: Clone + Send + Sync;
    /// What happened.
    type Event: Serialize + DeserializeOwned + Clone + Send + Sync;
    /// Why not.
    type Refusal: std::error::Error + Send + Sync + 'static;

    /// Decides a command. No events means that the command is already fulfilled.
    ///
    /// # Errors
    /// The reason why the command is refused.
    fn decide(state: &Self::State, command: Self::Command) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// The state after an event.
    #[must_use]
    fn apply(state: Self::State, event: &Self::Event) -> Self::State;
}

/// Why stored data is no event of the aggregate.
#[derive(Debug, thiserror::Error)]
#[error("event {event_type} cannot be decoded")]
pub struct EventCodecError {
    /// The stored type.
    pub event_type: String,
    /// What serde says.
    #[source]
    pub source: serde_json::Error,
}

/// Splits an event into its type and its data.
///
/// # Panics
/// When the type is not an enum with adjacent tags `type` and `data`, which is our own bug.
#[must_use]
pub fn encode_event<E: Serialize>(event: &E) -> (String, Value) {
    let Ok(Value::Object(mut object)) = serde_json::to_value(event) else {
        panic!("an event encodes as an object with type and data");
    };
    let Some(Value::String(event_type)) = object.remove("type") else {
        panic!("an event encodes with its type");
    };
    (event_type, object.remove("data").unwrap_or(Value::Null))
}

/// Joins type and data to an event again.
///
/// # Errors
/// When the data does not have the event's shape.
pub fn decode_event<E: DeserializeOwned>(event_type: &str, data: &Value) -> Result<E, EventCodecError> {
    let mut object = Map::new();
    object.insert("type".to_owned(), Value::String(event_type.to_owned()));
    if !data.is_null() {
        object.insert("data".to_owned(), data.clone());
    }
    serde_json::from_value(Value::Object(object)).map_err(|source| EventCodecError {
        event_type: event_type.to_owned(),
        source,
    })
}
