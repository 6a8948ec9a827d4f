//! `/api/v1/orgs/{org}/operations/{operation}`: what takes time.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use craton_platform_http::{Authenticated, PathParams, Problem, Problems, QueryParams};
use craton_platform_kernel::{ClusterId, OperationId, OrgId, Permission};
use futures::{Stream, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    aggregate::operation::{OperationState as OperationAggregate, Phase},
    fleet::{Fleet, Inner},
    workflow::operation,
};

/// The longest wait for a change that can be asked for.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often a stream without news says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperationState {
    /// Accepted; no step is done.
    Queued,
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Given up; can be retried.
    Failed,
    /// Stopped by someone; can be retried.
    Cancelled,
}

impl From<Phase> for OperationState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Queued => Self::Queued,
            Phase::Running => Self::Running,
            Phase::Succeeded => Self::Succeeded,
            Phase::Failed => Self::Failed,
            Phase::Cancelled => Self::Cancelled,
        }
    }
}

/// Something that takes time.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Operation)]
pub(crate) struct OperationView {
    /// The operation's id.
    pub(crate) id: OperationId,
    /// What it does: `cluster.create`, `cluster.delete`, `cluster.scale`, `cluster.replace_node`, `cluster.upgrade` or
    /// `cluster.finalize`.
    pub(crate) kind: String,
    /// What it is done to.
    pub(crate) target: ClusterId,
    /// How it stands.
    pub(crate) state: OperationState,
    /// The step that it is at; the last one when it is done.
    pub(crate) step: String,
    /// How many steps are done.
    pub(crate) steps_done: u32,
    /// How many there are.
    pub(crate) steps_total: u32,
    /// How many tries of the current step failed.
    pub(crate) attempts: u32,
    /// When the step is tried again.
    #[schema(required)]
    pub(crate) retry_at: Option<Timestamp>,
    /// When it fails if it is not done.
    pub(crate) deadline: Timestamp,
    /// Whether it can be cancelled now.
    pub(crate) cancellable: bool,
    /// What went wrong, last or for good.
    #[schema(required)]
    pub(crate) error: Option<String>,
    /// When it was asked for.
    pub(crate) created_at: Timestamp,
    /// When it last moved.
    pub(crate) updated_at: Timestamp,
}

impl OperationView {
    pub(crate) fn new(operation: &OperationAggregate) -> Self {
        let steps = operation.kind.steps();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let step = operation.step().or(steps.last().copied());
        Self {
            id: operation.operation_id,
            kind: operation.kind.as_str().to_owned(),
            target: operation.cluster_id,
            state: operation.phase.into(),
            step: step.map(|step| step.as_str().to_owned()).unwrap_or_default(),
            steps_done: count(operation.steps_done),
            steps_total: count(steps.len()),
            attempts: operation.attempts,
            retry_at: operation.retry_at,
            deadline: operation.deadline,
            cancellable: operation.kind.is_cancellable() && !operation.phase.is_ended(),
            error: operation.error.clone(),
            created_at: operation.created_at,
            updated_at: operation.updated_at,
        }
    }
}

/// How long to wait for a change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    /// A number of seconds and `s`.
    pub(crate) wait: Option<String>,
}

impl WaitQuery {
    fn parse(&self) -> Result<Option<Duration>, Problem> {
        let Some(text) = &self.wait else { return Ok(None) };
        let seconds = text
            .strip_suffix('s')
            .and_then(|digits| digits.parse().ok())
            .map(Duration::from_secs);
        seconds
            .filter(|wait| *wait <= WAIT_MAX)
            .map(Some)
            .ok_or_else(|| Problem::invalid_field("wait", "wait is a number of seconds up to 60s, such as 30s"))
    }
}

/// An operation of an organisation; 404 for a foreign one.
async fn find(fleet: &Inner, org_id: OrgId, operation_id: OperationId) -> Result<OperationAggregate, Problem> {
    Ok(operation::load(fleet, org_id, operation_id).await?)
}

/// Shows an operation
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/operations/{operation}", tag = "operations", operation_id = "get_operation",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("operation" = OperationId, Path, description = "The operation"),
        ("wait" = Option<String>, Query, description =
            "Answer when the operation changes, or after this time: `30s`, at most `60s`. At once when absent."),
    ),
    responses((status = 200, description = "The operation", body = OperationView), Problems),
)]
pub(crate) async fn get_operation(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, operation_id)): PathParams<(OrgId, OperationId)>,
    QueryParams(query): QueryParams<WaitQuery>,
) -> Result<Json<OperationView>, Problem> {
    authenticated.require(org_id, Permission::ReadClusters)?;
    let wait = query.parse()?;
    let mut operation = find(&fleet.0, org_id, operation_id).await?;
    if let Some(wait) = wait {
        operation = tokio::select! {
            // A platform that ends does not keep people waiting.
            () = fleet.0.shutdown.cancelled() => operation,
            changed = operation::wait_for_change(&fleet.0, operation.clone(), wait) => changed?,
        };
    }
    Ok(Json(OperationView::new(&operation)))
}

/// Follows an operation
///
/// Server-sent events named `operation`, each with the operation as JSON: one at once and one at each change. The
/// stream ends with the operation.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/operations/{operation}/events", tag = "operations",
    operation_id = "watch_operation",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("operation" = OperationId, Path, description = "The operation"),
    ),
    responses((status = 200, description = "The changes", body = String, content_type = "text/event-stream"), Problems),
)]
pub(crate) async fn watch_operation(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, operation_id)): PathParams<(OrgId, OperationId)>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    authenticated.require(org_id, Permission::ReadClusters)?;
    let first = find(&fleet.0, org_id, operation_id).await?;
    let events = stream::unfold(Next::First(fleet, first), |next| async move {
        let (fleet, operation) = match next {
            Next::First(fleet, operation) => (fleet, operation),
            Next::After(_, operation) if operation.phase.is_ended() => return None,
            Next::After(fleet, seen) => {
                let operation = tokio::select! {
                    () = fleet.0.shutdown.cancelled() => return None,
                    operation = change(&fleet.0, seen) => operation?,
                };
                (fleet, operation)
            }
        };
        let json = serde_json::to_string(&OperationView::new(&operation)).ok()?;
        let event = Event::default().event("operation").data(json);
        Some((Ok(event), Next::After(fleet, operation)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// What a stream of events does next.
enum Next {
    First(Fleet, OperationAggregate),
    After(Fleet, OperationAggregate),
}

/// The next change; `None` when the log cannot be read, which ends the stream so that the client comes back.
async fn change(fleet: &Inner, seen: OperationAggregate) -> Option<OperationAggregate> {
    loop {
        let operation = operation::wait_for_change(fleet, seen.clone(), WAIT_MAX).await.ok()?;
        if operation != seen {
            return Some(operation);
        }
    }
}

/// Cancels an operation
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/operations/{operation}/cancel", tag = "operations",
    operation_id = "cancel_operation",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("operation" = OperationId, Path, description = "The operation"),
    ),
    responses((status = 200, description = "The operation", body = OperationView), Problems),
)]
pub(crate) async fn cancel_operation(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, operation_id)): PathParams<(OrgId, OperationId)>,
) -> Result<Json<OperationView>, Problem> {
    authenticated.require(org_id, Permission::ManageClusters)?;
    let operation = operation::cancel(&fleet.0, &authenticated.context(), org_id, operation_id).await?;
    Ok(Json(OperationView::new(&operation)))
}

/// Retries an operation
///
/// An operation that failed or was cancelled goes on where it stopped, with a new deadline.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/operations/{operation}/retry", tag = "operations",
    operation_id = "retry_operation",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("operation" = OperationId, Path, description = "The operation"),
    ),
    responses((status = 200, description = "The operation", body = OperationView), Problems),
)]
pub(crate) async fn retry_operation(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, operation_id)): PathParams<(OrgId, OperationId)>,
) -> Result<Json<OperationView>, Problem> {
    authenticated.require(org_id, Permission::ManageClusters)?;
    let operation = operation::retry(&fleet.0, &authenticated.context(), org_id, operation_id).await?;
    Ok(Json(OperationView::new(&operation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_checked_at_their_limits() {
        for (text, seconds) in [
            (None, Ok(None)),
            (Some("0s"), Ok(Some(0))),
            (Some("30s"), Ok(Some(30))),
            (Some("60s"), Ok(Some(60))),
            (Some("61s"), Err(())),
            (Some("30"), Err(())),
            (Some("s"), Err(())),
            (Some("-1s"), Err(())),
            (Some("1m"), Err(())),
        ] {
            let parsed = WaitQuery {
                wait: text.map(str::to_owned),
            }
            .parse();
            let parsed = parsed.map(|wait| wait.map(|wait| wait.as_secs())).map_err(|_| ());
            assert_eq!(parsed, seconds, "{text:?}");
        }
    }
}
