import type { Role } from './types';

/** What the console offers to whom. The control plane decides; this only spares people a refusal. */
const PERMISSIONS = {
  read_audit_events: ['owner', 'admin', 'auditor'],
  read_api_keys: ['owner', 'admin'],
  manage_api_keys: ['owner', 'admin'],
  manage_clusters: ['owner', 'admin', 'member'],
  delete_clusters: ['owner', 'admin'],
  manage_database_users: ['owner', 'admin', 'member'],
} as const satisfies Record<string, readonly Role[]>;

export type Permission = keyof typeof PERMISSIONS;

export function allows(role: Role, permission: Permission): boolean {
  return (PERMISSIONS[permission] as readonly Role[]).includes(role);
}

/** Why `role` may not do it, as the reason of a disabled button; `undefined` when it may. */
export function refusalReason(role: Role, permission: Permission): string | undefined {
  if (allows(role, permission)) return undefined;
  return `Your role here is ${role}. Needed: ${PERMISSIONS[permission].filter((needed) => needed !== 'auditor').join(', ') || 'auditor'}.`;
}

const ROLES: readonly Role[] = ['owner', 'admin', 'member', 'viewer', 'auditor'];

/** The roles that a holder of `role` may hand out: owners any, admins any but owner. */
export function grantableRoles(role: Role): readonly Role[] {
  if (role === 'owner') return ROLES;
  return role === 'admin' ? ROLES.filter((candidate) => candidate !== 'owner') : [];
}

export const ROLE_MEANINGS: Record<Role, string> = {
  owner: 'Everything, including who else is an owner',
  admin: 'Everything except owners',
  member: 'Creates and uses clusters',
  viewer: 'Sees clusters and people',
  auditor: 'Sees what a viewer sees, and the audit log',
};
