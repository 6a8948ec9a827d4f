import { useCallback, useEffect, useState } from 'react';
import { watchOperation, type WatchMode } from '@/api/operation-watch';
import type { ApiError } from '@/api/problem';
import type { Operation } from '@/api/types';

export type FollowedOperation = {
  operation: Operation;
  mode: WatchMode;
  /** The step names seen so far, by index; steps that passed between two looks stay unnamed. */
  steps: readonly (string | undefined)[];
};

/** Follows an operation while the component is mounted. `follow` looks again at one that had ended, after a retry. */
export function useOperation(
  org: string,
  id: string | null,
): { followed: FollowedOperation | null; error: ApiError | null; follow: () => void } {
  const key = id === null ? null : `${org}/${id}`;
  const [seen, setSeen] = useState<{ key: string; followed: FollowedOperation | null; error: ApiError | null } | null>(
    null,
  );

  const [round, setRound] = useState(0);
  const follow = useCallback(() => setRound((before) => before + 1), []);

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
  }, [org, id, key, round]);

  const { followed, error } = seen?.key === key ? seen : { followed: null, error: null };
  return { followed, error, follow };
}

function withStep(before: FollowedOperation | null, operation: Operation): readonly (string | undefined)[] {
  const steps = [...(before?.steps ?? [])];
  if (operation.steps_done < operation.steps_total) steps[operation.steps_done] = operation.step;
  return steps;
}
