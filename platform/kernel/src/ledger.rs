//! The one way in which an aggregate changes: load, decide, append, and try again after a lost race.

use std::sync::Arc;

use crate::{
    Actor, Aggregate, AppendError, Environment, EventEnvelope, EventId, EventStore, NewEvent, Principal, Receipt,
    RequestId, StoreError, StreamName, ViewBarrier, decode_event, encode_event,
};

/// How often a lost race is run again before the caller hears of it.
const ATTEMPTS_MAX: u32 = 8;

/// Who asked, and in which request.
#[derive(Clone, Debug)]
pub struct CommandContext {
    /// Who asked.
    pub actor: Actor,
    /// The request.
    pub correlation_id: RequestId,
    /// The event that led to this command, when one did.
    pub causation_id: Option<EventId>,
}

impl CommandContext {
    /// A context for a principal's request.
    #[must_use]
    pub fn new(principal: &Principal, correlation_id: RequestId) -> Self {
        Self {
            actor: principal.actor(),
            correlation_id,
            causation_id: None,
        }
    }
}

/// An aggregate as its stream tells it.
#[derive(Clone, Debug)]
pub struct Loaded<S> {
    /// The state.
    pub state: S,
    /// Records in the stream.
    pub records: u64,
    /// The last record, if there is one.
    pub last: Option<Receipt>,
}

/// A command that was carried out.
#[derive(Clone, Debug)]
pub struct Executed<A: Aggregate> {
    /// The state afterwards.
    pub state: A::State,
    /// What happened; empty when the command was already fulfilled.
    pub events: Vec<A::Event>,
    /// The record of the events, or the stream's last record when nothing happened.
    pub receipt: Receipt,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R: std::error::Error> {
    /// The domain says no.
    #[error(transparent)]
    Refused(R),
    /// Others kept winning the race for the stream.
    #[error("{0} is changed by too many at once")]
    Contended(StreamName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Commands in, events out.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn EventStore>,
    views: Arc<dyn ViewBarrier>,
    environment: Environment,
}

impl Ledger {
    /// A ledger over a store. After each change it waits until `views` have seen it.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, views: Arc<dyn ViewBarrier>, environment: Environment) -> Self {
        Self {
            store,
            views,
            environment,
        }
    }

    /// The clock and randomness that events are stamped with.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// Folds a stream into its state.
    ///
    /// # Errors
    /// When the store fails or holds an event that does not decode.
    pub async fn load<A: Aggregate>(&self, stream: &StreamName) -> Result<Loaded<A::State>, StoreError> {
        let envelopes = self.store.read_stream(stream).await?;
        let records = envelopes.last().map_or(0, |envelope| envelope.sequence + 1);
        let last = envelopes.last().map(EventEnvelope::receipt);
        let state = envelopes.iter().try_fold(A::State::default(), |state, envelope| {
            let event = decode_event::<A::Event>(&envelope.event.event_type, &envelope.event.data);
            let event = event.map_err(|error| StoreError::Damaged {
                place: format!("{stream} record {}", envelope.sequence),
                detail: error.source.to_string(),
            })?;
            Ok::<_, StoreError>(A::apply(state, &event))
        })?;
        Ok(Loaded { state, records, last })
    }

    /// Loads, decides and appends; runs again when another change came in between.
    ///
    /// # Errors
    /// The aggregate's refusal, or a failure of the store.
    ///
    /// # Panics
    /// When the aggregate decides nothing before its first event: a command on nothing is refused, not ignored.
    pub async fn execute<A: Aggregate>(
        &self,
        stream: &StreamName,
        context: &CommandContext,
        command: A::Command,
    ) -> Result<Executed<A>, ExecuteError<A::Refusal>> {
        assert_eq!(stream.aggregate(), A::KIND, "the stream belongs to another aggregate");
        for _ in 0..ATTEMPTS_MAX {
            let Loaded { state, records, last } = self.load::<A>(stream).await?;
            let events = A::decide(&state, command.clone()).map_err(ExecuteError::Refused)?;
            if events.is_empty() {
                let receipt = last.expect("an aggregate without history refuses or decides something");
                return Ok(Executed { state, events, receipt });
            }
            let new_events = events.iter().map(|event| self.envelop::<A>(context, event)).collect();
            match self.store.append(stream, records, new_events).await {
                Ok(appended) => {
                    self.views.wait_for(appended.receipt.position).await;
                    let state = events.iter().fold(state, A::apply);
                    return Ok(Executed {
                        state,
                        events,
                        receipt: appended.receipt,
                    });
                }
                Err(AppendError::VersionConflict { .. }) => {}
                Err(AppendError::Store(error)) => return Err(error.into()),
            }
        }
        Err(ExecuteError::Contended(stream.clone()))
    }

    fn envelop<A: Aggregate>(&self, context: &CommandContext, event: &A::Event) -> NewEvent {
        let (event_type, data) = encode_event(event);
        NewEvent {
            id: self.environment.new_id(),
            event_type,
            version: A::EVENT_VERSION,
            occurred_at: self.environment.now(),
            actor: context.actor.clone(),
            correlation_id: context.correlation_id,
            causation_id: context.causation_id,
            data,
        }
    }
}
