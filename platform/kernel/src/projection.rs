//! Read models: views derived from events.

use async_trait::async_trait;

use crate::{EventEnvelope, Position};

/// Why a projection could not take an event.
#[derive(Debug, thiserror::Error)]
#[error("projection {projection} failed at position {position}")]
pub struct ProjectionError {
    /// The projection.
    pub projection: &'static str,
    /// The event's position.
    pub position: Position,
    /// What went wrong.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Folds events into a view. The same events always give the same view.
pub trait Projection: Send + Sync + 'static {
    /// What the projection writes to, such as an SQLite connection.
    type View: ?Sized;

    /// The projection's name, also the name of its file.
    fn name(&self) -> &'static str;

    /// The version of the view's shape. A view of another version is dropped and replayed.
    fn version(&self) -> u32;

    /// Applies one event. Events of types that the projection does not know are skipped.
    ///
    /// # Errors
    /// When the view cannot be written or the event is malformed.
    fn apply(&self, view: &Self::View, event: &EventEnvelope) -> Result<(), ProjectionError>;
}

/// Waits until views have seen a position, so that a client reads its own writes.
#[async_trait]
pub trait ViewBarrier: Send + Sync {
    /// Returns `true` once every view has seen `position`, `false` when that takes too long.
    async fn wait_for(&self, position: Position) -> bool;
}
