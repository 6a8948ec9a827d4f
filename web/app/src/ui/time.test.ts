import { expect, it } from 'vitest';
import { isoSeconds, relativeTime } from './time';

const NOW = Date.parse('2026-11-21T12:00:00Z');

it.each([
  ['2026-11-21T11:59:50Z', 'just now'],
  ['2026-11-21T12:00:40Z', 'in a moment'],
  ['2026-11-21T11:57:00Z', '3 minutes ago'],
  ['2026-11-21T10:30:00Z', '1 hour ago'],
  ['2026-11-20T12:00:00Z', 'yesterday'],
  ['2026-12-21T12:00:00Z', 'next month'],
  ['2028-11-22T12:00:00Z', 'in 2 years'],
])('%s is %s', (time, expected) => {
  expect(relativeTime(time, NOW)).toBe(expected);
});

it('shows ISO 8601 in UTC to the second', () => {
  expect(isoSeconds('2026-11-21T13:00:05.678+01:00')).toBe('2026-11-21T12:00:05Z');
});
