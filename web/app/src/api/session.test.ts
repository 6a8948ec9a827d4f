import { expect, it } from 'vitest';
import { safeNext } from './session';

it.each([
  ['/orgs/org_1/clusters?operation=op_1', '/orgs/org_1/clusters?operation=op_1'],
  [null, '/'],
  ['', '/'],
  ['https://evil.example', '/'],
  ['//evil.example', '/'],
  ['/\\evil.example', '/'],
  ['javascript:alert(1)', '/'],
])('after signing in, next=%j leads to %j', (next, path) => {
  expect(safeNext(next)).toBe(path);
});
