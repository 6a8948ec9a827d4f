import { expect, it } from 'vitest';
import type { Operation } from '@/api/types';
import { stepLabel, stepsOf } from './operation-steps';

const followed = (kind: string, state: Operation['state'], done: number, total: number, seen: string[] = []) => ({
  operation: { kind, state, steps_done: done, steps_total: total } as Operation,
  mode: 'events' as const,
  steps: seen,
});
const marks = { done: 'x', current: '>', waiting: '-', failed: '!' };
const line = (...given: Parameters<typeof followed>) =>
  stepsOf(followed(...given))
    .map(({ state, label }) => `${marks[state]} ${label}`)
    .join(' | ');

it('names the steps that are to come', () => {
  expect(line('cluster.delete', 'running', 0, 1)).toBe('> Remove everything from the nodes');
  expect(line('cluster.create', 'running', 1, 6)).toMatch(
    /^x Choose nodes \| > Issue certificates \| - Start the servers/,
  );
});

it('marks the step that failed, and none of a cancelled operation as going on', () => {
  expect(line('cluster.create', 'failed', 2, 6)).toContain('! Start the servers | - ');
  expect(line('cluster.create', 'cancelled', 2, 6)).not.toMatch(/[!>]/);
});

it('shows a kind of operation that it does not know by what was seen of it', () => {
  expect(line('cluster.fold', 'running', 1, 3, ['draining_node', 'swap'])).toBe('x Draining node | > Swap | - Step 3');
});

it.each([
  ['probed', 'Probe the endpoint: TLS, login, a write and a read'],
  ['starting_nodes', 'Starting nodes'],
])('%s reads %s', (step, label) => {
  expect(stepLabel(step)).toBe(label);
});
