import type { ApiKey, Role } from '../app/src/api/types';
import { secretOf } from './ids';
import { invalid, notFound, Refusal } from './problem';
import { created, nothing, ok, open, pageOf, signedIn, textOf, type Route, type SignedInCall } from './routing';

const ROLES: readonly Role[] = ['owner', 'admin', 'member', 'viewer', 'auditor'];

export function requireRole({ state, user, parameters }: SignedInCall, ...allowed: Role[]) {
  const organisation = state.organisationOf(user, parameters['org'] ?? '');
  const role = organisation.roles.get(user.id);
  if (!role || !allowed.includes(role))
    throw new Refusal(403, 'forbidden', `Your role in this organisation (${String(role)}) does not allow this.`);
  return organisation;
}

export const organisationRoutes: Route[] = [
  signedIn('post', '/api/v1/orgs', ({ state, user, body }) => {
    const name = textOf(body, 'name').trim();
    if (name === '' || name.length > 100) throw invalid('/name', 'length', 'Use 1 to 100 characters.');
    const slug = name
      .toLowerCase()
      .replaceAll(/[^a-z0-9]+/g, '-')
      .replaceAll(/^-|-$/g, '');
    const organisation = {
      id: state.id('org'),
      name,
      slug,
      created_at: state.iso(),
      roles: new Map<string, Role>([[user.id, 'owner']]),
      clusters: [],
      operations: [],
      apiKeys: [],
      auditEvents: [],
    };
    state.organisations.push(organisation);
    const receipt = state.record(
      organisation,
      user,
      'organisation.created',
      { kind: 'organisation', id: organisation.id },
      { name, slug },
    );
    return created(
      {
        organisation: { id: organisation.id, name, slug, role: 'owner' as const, created_at: organisation.created_at },
        receipt,
      },
      `/api/v1/orgs/${organisation.id}`,
    );
  }),
  signedIn('get', '/api/v1/orgs/{org}', ({ state, user, parameters }) => {
    const { id, name, slug, created_at, roles } = state.organisationOf(user, parameters['org'] ?? '');
    return ok({ id, name, slug, created_at, role: roles.get(user.id) ?? 'viewer' });
  }),
  signedIn('get', '/api/v1/orgs/{org}/api-keys', ({ state, user, parameters, url }) =>
    ok(pageOf(state.organisationOf(user, parameters['org'] ?? '').apiKeys, url)),
  ),
  signedIn('post', '/api/v1/orgs/{org}/api-keys', (call) => {
    const { state, user, body } = call;
    const organisation = requireRole(call, 'owner', 'admin');
    const name = textOf(body, 'name').trim();
    if (name === '') throw invalid('/name', 'required', 'Enter a name.');
    const role = ROLES.find((candidate) => candidate === body['role']);
    if (!role) throw invalid('/role', 'unknown_role', 'There is no such role.');
    const expiresAt = typeof body['expires_at'] === 'string' ? body['expires_at'] : null;
    const apiKey: ApiKey = {
      id: state.id('key'),
      name,
      role,
      created_at: state.iso(),
      expires_at: expiresAt,
      last_used_at: null,
      created_by: user.id,
    };
    organisation.apiKeys.unshift(apiKey);
    const receipt = state.record(
      organisation,
      user,
      'api_key.created',
      { kind: 'api_key', id: apiKey.id },
      { name, role, expires_at: expiresAt },
    );
    return created({ api_key: apiKey, secret: `crt_live_${apiKey.id.slice(4)}_${secretOf(24)}`, receipt });
  }),
  signedIn('delete', '/api/v1/orgs/{org}/api-keys/{key}', (call) => {
    const organisation = requireRole(call, 'owner', 'admin');
    const index = organisation.apiKeys.findIndex(({ id }) => id === call.parameters['key']);
    const [apiKey] = index < 0 ? [] : organisation.apiKeys.splice(index, 1);
    if (!apiKey) throw notFound();
    call.state.record(
      organisation,
      call.user,
      'api_key.revoked',
      { kind: 'api_key', id: apiKey.id },
      { name: apiKey.name },
    );
    return nothing();
  }),
  signedIn('get', '/api/v1/orgs/{org}/audit-events', ({ state, user, parameters, url }) =>
    ok(pageOf(state.organisationOf(user, parameters['org'] ?? '').auditEvents, url)),
  ),
  open('get', '/api/v1/log-key', () =>
    ok({ verifier_key: 'platform.craton.localhost/platform+5f0c9b1e+AbQ2n7ZyR0mKp3Xv8cT1sWfEo6LdJhUgYiNaVrBqCx4M' }),
  ),
  signedIn('get', '/api/v1/orgs/{org}/receipts/{position}', (call) => {
    const organisation = requireRole(call, 'owner', 'admin', 'auditor');
    const position = Number(call.parameters['position']);
    if (!organisation.auditEvents.some((event) => event.position === position)) throw notFound();
    return new Response(`c2sp.org/tlog-proof@v1\nindex ${position}\n`, {
      headers: { 'content-type': 'text/plain; charset=utf-8' },
    });
  }),
];
