//! Waiting for operations and clusters, with progress on the standard error.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::api::{Api, Cluster, ClusterState, Operation, OperationState, Reply};

/// How long one answer is waited for before the next question.
const LONG_POLL: Duration = Duration::from_secs(20);
/// Between two looks at a cluster, and after a control plane that did not answer.
const PAUSE: Duration = Duration::from_millis(250);

/// What was waited for came to a bad end, or did not come in time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotAchieved(String);

/// A point in time that waiting ends at.
struct Deadline(Instant);

impl Deadline {
    #[expect(clippy::disallowed_methods, reason = "waiting is measured by the clock")]
    fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    #[expect(clippy::disallowed_methods, reason = "waiting is measured by the clock")]
    fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Waits until an operation has ended, well or badly. A control plane that is away for a while is waited for.
pub(super) fn until_finished(
    api: &Api,
    org_path: &str,
    operation_id: &str,
    patience: Duration,
) -> anyhow::Result<Reply<Operation>> {
    let deadline = Deadline::after(patience);
    let mut shown = String::new();
    loop {
        let wait = deadline.left().min(LONG_POLL).as_secs();
        let path = format!("{org_path}/operations/{operation_id}?wait={wait}s");
        match api.get::<Operation>(&path) {
            Ok(operation) if !matches!(operation.value.state, OperationState::Queued | OperationState::Running) => {
                return Ok(operation);
            }
            Ok(operation) => show_progress(&operation.value, &mut shown),
            Err(error) if error.is_retryable() => std::thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
        if deadline.left().is_zero() {
            let message = format!("operation {operation_id} has not ended within {} s", patience.as_secs());
            return Err(NotAchieved(message).into());
        }
    }
}

/// An error unless the operation succeeded.
pub(super) fn require_success(operation: &Operation) -> Result<(), NotAchieved> {
    match operation.state {
        OperationState::Succeeded => Ok(()),
        OperationState::Cancelled => Err(NotAchieved(format!(
            "{} was cancelled at {}",
            operation.kind, operation.step
        ))),
        _ => Err(NotAchieved(format!(
            "{} failed at {}: {}",
            operation.kind,
            operation.step,
            operation.error.as_deref().unwrap_or("no reason was given")
        ))),
    }
}

fn show_progress(operation: &Operation, shown: &mut String) {
    let line = format!(
        "{}: {} ({} of {})",
        operation.kind, operation.step, operation.steps_done, operation.steps_total
    );
    if line != *shown {
        // Progress is a courtesy; a closed standard error must not end the work.
        let _ = writeln!(std::io::stderr(), "{}", craton_proof::printable(&line));
        *shown = line;
    }
}

/// Waits until a cluster is connectable, or can never be.
pub(super) fn until_ready(
    api: &Api,
    org_path: &str,
    cluster_id: &str,
    patience: Duration,
) -> anyhow::Result<Reply<Cluster>> {
    let deadline = Deadline::after(patience);
    loop {
        let cluster: Reply<Cluster> = api.get(&format!("{org_path}/clusters/{cluster_id}"))?;
        match cluster.value.state {
            ClusterState::Provisioning => {}
            ClusterState::Ready | ClusterState::Degraded | ClusterState::Failed => return Ok(cluster),
            ClusterState::Deleting | ClusterState::Deleted => {
                let message = format!("{} is {}", cluster.value.name, cluster.value.state);
                return Err(NotAchieved(message).into());
            }
        }
        if deadline.left().is_zero() {
            let message = format!("{} is not ready after {} s", cluster.value.name, patience.as_secs());
            return Err(NotAchieved(message).into());
        }
        std::thread::sleep(PAUSE.min(deadline.left()));
    }
}
