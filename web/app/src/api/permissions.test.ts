import { expect, it } from 'vitest';
import { allows, grantableRoles, refusalReason, type Permission } from './permissions';
import type { Role } from './types';

const ROLES: Role[] = ['owner', 'admin', 'member', 'viewer', 'auditor'];
/** The same table as the control plane's, whose tests hold it in this form too. */
const TABLE: [Permission, string][] = [
  ['read_api_keys', 'xx---'],
  ['manage_api_keys', 'xx---'],
  ['read_audit_events', 'xx--x'],
  ['manage_clusters', 'xxx--'],
  ['delete_clusters', 'xx---'],
  ['manage_database_users', 'xxx--'],
];

it.each(TABLE)('%s: %s', (permission, marks) => {
  expect(ROLES.map((role) => (allows(role, permission) ? 'x' : '-')).join('')).toBe(marks);
});

it('a refusal names the role one has and those one would need', () => {
  expect(refusalReason('viewer', 'manage_clusters')).toBe('Your role here is viewer. Needed: owner, admin, member.');
  expect(refusalReason('owner', 'manage_clusters')).toBeUndefined();
});

it('nobody hands out more than they have', () => {
  expect(grantableRoles('owner')).toEqual(ROLES);
  expect(grantableRoles('admin')).toEqual(['admin', 'member', 'viewer', 'auditor']);
  expect(grantableRoles('member')).toEqual([]);
});
