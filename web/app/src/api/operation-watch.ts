/**
 * Follows one operation to its end: by server-sent events, and by long polling where events are not to be had (no
 * `EventSource`, a proxy that buffers, a stream that breaks twice without a message between).
 */
import { answerOf, api } from './client';
import { toApiError, type ApiError } from './problem';
import type { Operation } from './types';

export type WatchMode = 'events' | 'polling';
export type WatchHandlers = {
  onOperation: (operation: Operation, mode: WatchMode) => void;
  onError: (error: ApiError) => void;
};

const FAILURES_BEFORE_POLLING = 2;
const POLL_WAIT = '30s';
/** Between two looks, even when each is answered at once. */
const POLL_PAUSE_MS = 500;
const POLL_RETRY_MS = 2_000;

export function isFinished(operation: Operation): boolean {
  return operation.state === 'succeeded' || operation.state === 'failed' || operation.state === 'cancelled';
}

/** Starts following; the returned function stops it. */
export function watchOperation(org: string, id: string, handlers: WatchHandlers): () => void {
  const abort = new AbortController();
  const stopped = () => abort.signal.aborted;
  let events: EventSource | null = null;

  const poll = async () => {
    // The first look answers at once, the following ones when something has changed.
    let wait: { wait?: string } = {};
    while (!stopped()) {
      try {
        const path = { org, operation: id };
        const operation = await answerOf(
          api.GET('/api/v1/orgs/{org}/operations/{operation}', {
            params: { path, query: wait },
            signal: abort.signal,
          }),
        );
        handlers.onOperation(operation, 'polling');
        if (isFinished(operation)) return;
        wait = { wait: POLL_WAIT };
        await pause(POLL_PAUSE_MS, abort.signal);
      } catch (cause) {
        if (stopped()) return;
        const error = toApiError(cause);
        handlers.onError(error);
        if (!error.retryable) return;
        await pause(POLL_RETRY_MS, abort.signal);
      }
    }
  };

  const listen = () => {
    let failures = 0;
    const source = new EventSource(
      `/api/v1/orgs/${encodeURIComponent(org)}/operations/${encodeURIComponent(id)}/events`,
    );
    events = source;
    source.addEventListener('operation', (event: MessageEvent<string>) => {
      failures = 0;
      const operation = JSON.parse(event.data) as Operation;
      handlers.onOperation(operation, 'events');
      if (isFinished(operation)) source.close();
    });
    source.addEventListener('error', () => {
      failures += 1;
      if (source.readyState !== EventSource.CLOSED && failures < FAILURES_BEFORE_POLLING) return;
      source.close();
      if (!stopped()) void poll();
    });
  };

  if (typeof EventSource === 'undefined') void poll();
  else listen();
  return () => {
    abort.abort();
    events?.close();
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
