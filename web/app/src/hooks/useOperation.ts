import { useEffect, useState } from 'react';
import { watchOperation, type WatchMode } from '@/api/operation-watch';
import type { ApiError } from '@/api/problem';
import type { Operation } from '@/api/types';

export type FollowedOperation = {
  operation: Operation;
  mode: WatchMode;
  /** The step names seen so far, by index; steps that passed between two looks stay unnamed. */
  steps: readonly (string | undefined)[];
};

/** Follows an operation while the component is mounted. `onFinished` must be stable. */
export function useOperation(
  org: string,
  id: string | null,
): { followed: FollowedOperation | null; error: ApiError | null } {
  const key = id === null ? null : `${org}/${id}`;
  const [seen, setSeen] = useState<{ key: string; followed: FollowedOperation | null; error: ApiError | null } | null>(
    null,
  );

  useEffect(() => {
    if (id === null || key === null) return undefined;
    return watchOperation(org, id, {
      onOperation: (operation, mode) =>
        setSeen((before) => ({
          key,
          error: null,
          followed: { operation, mode, steps: withStep(before?.key === key ? before.followed : null, operation) },
        })),
      onError: (error) => setSeen((before) => ({ key, error, followed: before?.key === key ? before.followed : null })),
    });
  }, [org, id, key]);

  return seen?.key === key ? { followed: seen.followed, error: seen.error } : { followed: null, error: null };
}

function withStep(before: FollowedOperation | null, operation: Operation): readonly (string | undefined)[] {
  const steps = [...(before?.steps ?? [])];
  if (operation.steps_done < operation.steps_total) steps[operation.steps_done] = operation.step;
  return steps;
}
