import { useState } from 'react';
import { answerOf, api } from '@/api/client';
import { isFinished } from '@/api/operation-watch';
import { refusalReason } from '@/api/permissions';
import type { Operation, Organisation } from '@/api/types';
import type { FollowedOperation } from '@/hooks/useOperation';
import { Button } from '@/ui/Button';
import { CopyableId } from '@/ui/Copy';
import { Facts } from '@/ui/Facts';
import { Notice } from '@/ui/Notice';
import { Panel } from '@/ui/Panel';
import { Progress } from '@/ui/Progress';
import { Timestamp } from '@/ui/Timestamp';
import { Failure } from './Failure';
import { stepLabel, stepsOf } from './operation-steps';

type OperationProgressProps = {
  organisation: Organisation;
  followed: FollowedOperation;
  title: string;
  /** Said when it has succeeded. */
  success: string;
  /** It was started again and has to be followed anew. */
  onRetried: () => void;
};

/** One operation as it goes on: its steps, its deadline, the way out. */
export function OperationProgress({ organisation, followed, title, success, onRetried }: OperationProgressProps) {
  const { operation, mode } = followed;
  const done = isFinished(operation);
  return (
    <Panel
      title={title}
      description={
        done
          ? undefined
          : `Followed live${mode === 'polling' ? ' by long polling' : ''}. You may leave this page; the work goes on.`
      }
      actions={
        operation.state === 'succeeded' ? undefined : (
          <OperationActions organisation={organisation} operation={operation} onRetried={onRetried} />
        )
      }
    >
      <p className="visually-hidden" role="status">
        {announcement(operation)}
      </p>
      {operation.state === 'succeeded' ? (
        <Notice tone="ok" title={success} />
      ) : (
        <Progress label="Steps" steps={stepsOf(followed)} />
      )}
      {operation.state === 'failed' ? (
        <Notice tone="danger" title="The operation failed" live>
          <p>{operation.error ?? 'No reason was given.'}</p>
        </Notice>
      ) : null}
      {operation.state === 'cancelled' ? <Notice tone="info" title="The operation was cancelled" live /> : null}
      <Facts
        facts={[
          { term: 'Operation', value: <CopyableId value={operation.id} what="operation id" /> },
          ...(operation.attempts > 0 && !done ? [{ term: 'Tries so far', value: String(operation.attempts) }] : []),
          ...(operation.error && !done ? [{ term: 'Last try', value: operation.error }] : []),
          ...(operation.retry_at && !done
            ? [{ term: 'Next try', value: <Timestamp time={operation.retry_at} /> }]
            : []),
          ...(operation.deadline && !done
            ? [{ term: 'Deadline', value: <Timestamp time={operation.deadline} /> }]
            : []),
        ]}
      />
    </Panel>
  );
}

/** The ways out: stopping what runs, and trying again what has stopped. */
function OperationActions({
  organisation,
  operation,
  onRetried,
}: {
  organisation: Organisation;
  operation: Operation;
  onRetried: () => void;
}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const run = async (act: () => Promise<unknown>) => {
    setBusy(true);
    setError(null);
    try {
      await act();
    } catch (cause) {
      setError(cause);
    } finally {
      setBusy(false);
    }
  };
  const params = { params: { path: { org: organisation.id, operation: operation.id } } };
  const cancel = () => answerOf(api.POST('/api/v1/orgs/{org}/operations/{operation}/cancel', params));
  const retry = async () => {
    await answerOf(api.POST('/api/v1/orgs/{org}/operations/{operation}/retry', params));
    onRetried();
  };
  const disabledReason = refusalReason(organisation.role, 'manage_clusters');
  const stopped = operation.state === 'failed' || operation.state === 'cancelled';
  return (
    <>
      {stopped ? (
        <Button variant="primary" busy={busy} disabledReason={disabledReason} onClick={() => void run(retry)}>
          Try again
        </Button>
      ) : null}
      {operation.cancellable && !isFinished(operation) ? (
        <Button busy={busy} disabledReason={disabledReason} onClick={() => void run(cancel)}>
          Cancel
        </Button>
      ) : null}
      {error === null ? null : <Failure error={error} />}
    </>
  );
}

function announcement(operation: Operation): string {
  if (operation.state === 'succeeded') return 'Finished';
  if (operation.state === 'failed') return 'Failed';
  if (operation.state === 'cancelled') return 'Cancelled';
  return `Step ${Math.min(operation.steps_done + 1, operation.steps_total)} of ${operation.steps_total}: ${stepLabel(operation.step)}`;
}
