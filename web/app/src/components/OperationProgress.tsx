import { useState } from 'react';
import { answerOf, api } from '@/api/client';
import { isFinished } from '@/api/operation-watch';
import type { Operation } from '@/api/types';
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
  org: string;
  followed: FollowedOperation;
  title: string;
  /** Said when it has succeeded. */
  success: string;
};

/** One operation as it goes on: its steps, its deadline, the way out. */
export function OperationProgress({ org, followed, title, success }: OperationProgressProps) {
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
      actions={operation.cancellable && !done ? <CancelButton org={org} operation={operation} /> : undefined}
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
          ...(operation.attempts > 1 ? [{ term: 'Attempt', value: String(operation.attempts) }] : []),
          ...(operation.retry_at && !done
            ? [{ term: 'Next attempt', value: <Timestamp time={operation.retry_at} /> }]
            : []),
          ...(operation.deadline && !done
            ? [{ term: 'Deadline', value: <Timestamp time={operation.deadline} /> }]
            : []),
        ]}
      />
    </Panel>
  );
}

function CancelButton({ org, operation }: { org: string; operation: Operation }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const cancel = async () => {
    setBusy(true);
    setError(null);
    try {
      await answerOf(
        api.POST('/api/v1/orgs/{org}/operations/{operation}/cancel', {
          params: { path: { org, operation: operation.id } },
        }),
      );
    } catch (cause) {
      setError(cause);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <Button busy={busy} onClick={() => void cancel()}>
        Cancel
      </Button>
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
