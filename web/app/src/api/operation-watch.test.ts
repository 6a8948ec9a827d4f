import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { isFinished, watchOperation, type WatchMode } from './operation-watch';
import type { ApiError } from './problem';
import type { Operation } from './types';

const operation = (state: Operation['state'], steps_done: number): Operation => ({
  id: 'op_1',
  kind: 'cluster.create',
  target: 'clu_1',
  state,
  step: `step_${steps_done}`,
  steps_done,
  steps_total: 3,
  attempts: 1,
  retry_at: null,
  deadline: '2026-11-21T10:00:00Z',
  cancellable: false,
  error: null,
  created_at: '2026-11-21T09:00:00Z',
  updated_at: '2026-11-21T09:00:00Z',
});

/** As much of `EventSource` as the console uses, driven by the test. */
class FakeEventSource extends EventTarget {
  static readonly CLOSED = 2;
  static latest: FakeEventSource | null = null;
  readyState = 1;
  constructor(readonly url: string) {
    super();
    FakeEventSource.latest = this;
  }
  close() {
    this.readyState = FakeEventSource.CLOSED;
  }
  tell(value: Operation) {
    this.dispatchEvent(new MessageEvent('operation', { data: JSON.stringify(value) }));
  }
  fail(readyState: number) {
    this.readyState = readyState;
    this.dispatchEvent(new Event('error'));
  }
}

function follow() {
  const seen: [Operation['state'], number, WatchMode][] = [];
  const errors: ApiError[] = [];
  const stop = watchOperation('org_1', 'op_1', {
    onOperation: (value, mode) => seen.push([value.state, value.steps_done, mode]),
    onError: (error) => errors.push(error),
  });
  return { seen, errors, stop };
}

/** Answers each look with the next operation. */
function stubPolls(...answers: (Operation | number)[]) {
  const urls: string[] = [];
  vi.stubGlobal('fetch', (request: Request) => {
    urls.push(request.url.replace(window.location.origin, ''));
    const next = answers.shift();
    if (next === undefined) return new Promise(() => undefined);
    return Promise.resolve(
      typeof next === 'number'
        ? Response.json({ code: 'x', title: 'x', detail: 'x', retryable: next >= 500, errors: [] }, { status: next })
        : Response.json(next),
    );
  });
  return urls;
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

describe('by events', () => {
  beforeEach(() => vi.stubGlobal('EventSource', FakeEventSource));

  it('reports each one and closes after the last', () => {
    const { seen } = follow();
    const source = FakeEventSource.latest;
    expect(source?.url).toBe('/api/v1/orgs/org_1/operations/op_1/events');
    source?.tell(operation('running', 1));
    source?.tell(operation('succeeded', 3));
    expect(seen).toEqual([
      ['running', 1, 'events'],
      ['succeeded', 3, 'events'],
    ]);
    expect(source?.readyState).toBe(FakeEventSource.CLOSED);
  });

  it('lets the browser reconnect once, then polls', async () => {
    const urls = stubPolls(operation('succeeded', 3));
    const { seen } = follow();
    FakeEventSource.latest?.fail(0);
    await vi.advanceTimersByTimeAsync(0);
    expect(urls).toEqual([]);
    FakeEventSource.latest?.fail(0);
    await vi.advanceTimersByTimeAsync(0);
    expect(urls).toEqual(['/api/v1/orgs/org_1/operations/op_1']);
    expect(seen).toEqual([['succeeded', 3, 'polling']]);
  });

  it('polls at once when the stream is refused', async () => {
    stubPolls(operation('succeeded', 3));
    const { seen } = follow();
    FakeEventSource.latest?.fail(FakeEventSource.CLOSED);
    await vi.advanceTimersByTimeAsync(0);
    expect(seen).toEqual([['succeeded', 3, 'polling']]);
  });

  it('says nothing more once stopped', () => {
    const { stop } = follow();
    stop();
    expect(FakeEventSource.latest?.readyState).toBe(FakeEventSource.CLOSED);
  });
});

describe('by long polling', () => {
  beforeEach(() => vi.stubGlobal('EventSource', undefined));

  it('looks again until the end, through a passing failure', async () => {
    const urls = stubPolls(operation('running', 1), 503, operation('running', 2), operation('failed', 2));
    const { seen, errors } = follow();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(seen.map(([state]) => state)).toEqual(['running', 'running', 'failed']);
    expect(errors.map(({ status }) => status)).toEqual([503]);
    expect(urls.map((url) => url.split('?')[1])).toEqual([undefined, 'wait=30s', 'wait=30s', 'wait=30s']);
  });

  it('gives up on a refusal', async () => {
    const urls = stubPolls(404);
    const { errors } = follow();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(errors.map(({ status }) => status)).toEqual([404]);
    expect(urls).toHaveLength(1);
  });

  it('stops when asked', async () => {
    const urls = stubPolls(operation('running', 1), operation('running', 2));
    const { stop } = follow();
    await vi.advanceTimersByTimeAsync(0);
    stop();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(urls).toHaveLength(1);
  });
});

it.each([
  ['queued', false],
  ['running', false],
  ['succeeded', true],
  ['failed', true],
  ['cancelled', true],
] as const)('%s is finished: %s', (state, finished) => {
  expect(isFinished(operation(state, 0))).toBe(finished);
});
