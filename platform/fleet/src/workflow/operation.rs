//! Starts, cancels, retries and follows operations.

use std::time::Duration;

use craton_platform_kernel::{ClusterId, CommandContext, OperationId, OrgId};

use super::WorkflowError;
use crate::{
    aggregate::operation::{self, Command, Kind, Operation, OperationState},
    fleet::Inner,
};

/// Starts an operation; nothing happens when it was started before.
pub(crate) async fn start(
    fleet: &Inner,
    context: &CommandContext,
    org_id: OrgId,
    operation_id: OperationId,
    kind: Kind,
    cluster_id: ClusterId,
) -> Result<OperationState, WorkflowError> {
    let now = fleet.ledger.environment().now();
    execute(
        fleet,
        context,
        org_id,
        operation_id,
        Command::Start {
            operation_id,
            org_id,
            kind,
            cluster_id,
            now,
        },
    )
    .await
}

/// Stops an operation.
pub(crate) async fn cancel(
    fleet: &Inner,
    context: &CommandContext,
    org_id: OrgId,
    operation_id: OperationId,
) -> Result<OperationState, WorkflowError> {
    let now = fleet.ledger.environment().now();
    let operation = execute(fleet, context, org_id, operation_id, Command::Cancel { now }).await?;
    fleet.wake.notify_one();
    Ok(operation)
}

/// Lets an operation that failed or was cancelled go on with a new deadline.
pub(crate) async fn retry(
    fleet: &Inner,
    context: &CommandContext,
    org_id: OrgId,
    operation_id: OperationId,
) -> Result<OperationState, WorkflowError> {
    let now = fleet.ledger.environment().now();
    let operation = execute(fleet, context, org_id, operation_id, Command::Retry { now }).await?;
    fleet.wake.notify_one();
    Ok(operation)
}

/// Carries out a command on an operation.
pub(crate) async fn execute(
    fleet: &Inner,
    context: &CommandContext,
    org_id: OrgId,
    operation_id: OperationId,
    command: Command,
) -> Result<OperationState, WorkflowError> {
    let stream = operation::stream(org_id, operation_id);
    let executed = fleet.ledger.execute::<Operation>(&stream, context, command).await?;
    executed.state.ok_or(WorkflowError::NotFound)
}

/// An operation as its stream tells it now.
pub(crate) async fn load(
    fleet: &Inner,
    org_id: OrgId,
    operation_id: OperationId,
) -> Result<OperationState, WorkflowError> {
    let loaded = fleet
        .ledger
        .load::<Operation>(&operation::stream(org_id, operation_id))
        .await?;
    loaded.state.ok_or(WorkflowError::NotFound)
}

/// Waits until an operation is another than `seen`, has ended, or the time is over, and returns it.
pub(crate) async fn wait_for_change(
    fleet: &Inner,
    seen: OperationState,
    timeout: Duration,
) -> Result<OperationState, WorkflowError> {
    let mut head = fleet.ledger.store().watch();
    let (org_id, operation_id) = (seen.org_id, seen.operation_id);
    let changed = async {
        loop {
            let operation = load(fleet, org_id, operation_id).await?;
            if operation != seen || operation.phase.is_ended() || head.changed().await.is_err() {
                return Ok(operation);
            }
        }
    };
    match tokio::time::timeout(timeout, changed).await {
        Ok(changed) => changed,
        Err(_) => Ok(seen),
    }
}
