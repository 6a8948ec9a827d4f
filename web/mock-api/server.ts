/**
 * A small control plane in memory, for development and tests. It speaks the API of `docs/openapi.json`: each handler's
 * reply is typed by that document, so a change of the document that the mock does not follow fails the type check.
 */
import { clusterRoutes } from './clusters';
import { identityRoutes, SESSION_COOKIE } from './identity';
import { typeId } from './ids';
import { organisationRoutes } from './organisations';
import { notFound, problemResponse, Refusal } from './problem';
import type { Call, Reply, SignedInCall } from './routing';
import { MockState } from './state';

const BODY_BYTES_MAX = 256 * 1024;
const ROUTES = [...identityRoutes, ...organisationRoutes, ...clusterRoutes].map((route) => ({
  ...route,
  pattern: new RegExp(`^${route.path.replaceAll(/\{(\w+)\}/g, '(?<$1>[^/]+)')}$`),
}));

export type MockApi = { state: MockState; handle: (request: Request) => Promise<Response> };

/** Whether a path belongs to the API; the rest is the console's. */
export function isApiPath(pathname: string): boolean {
  return pathname.startsWith('/api/') || pathname.startsWith('/auth/');
}

export function createMockApi({
  now = () => new Date(),
  stepMs = 900,
}: { now?: () => Date; stepMs?: number } = {}): MockApi {
  const state = new MockState(now, stepMs);
  return {
    state,
    handle: async (request) => {
      const requestId = typeId('req', now());
      try {
        return await dispatch(state, request);
      } catch (error) {
        const refusal =
          error instanceof Refusal
            ? error
            : new Refusal(500, 'internal', error instanceof Error ? error.message : 'Unknown failure');
        return problemResponse(refusal, requestId);
      }
    },
  };
}

async function dispatch(state: MockState, request: Request): Promise<Response> {
  const url = new URL(request.url);
  const method = request.method.toLowerCase();
  const text = method === 'get' ? '' : await request.text();
  if (text.length > BODY_BYTES_MAX)
    throw new Refusal(413, 'body_too_large', 'The request body is larger than 256 KiB.');
  for (const route of ROUTES) {
    const match = route.method === method ? route.pattern.exec(url.pathname) : null;
    if (!match) continue;
    const parameters = Object.fromEntries(
      Object.entries(match.groups ?? {}).map(([name, value]) => [name, decodeURIComponent(value)]),
    );
    const call: Call = { state, request, url, parameters, body: parse(text) };
    const principal = route.signedIn ? authenticate(state, request) : {};
    return replay(state, request, text, async () =>
      respond(await route.handle({ ...call, ...principal } as SignedInCall)),
    );
  }
  throw notFound();
}

function parse(text: string): Record<string, unknown> {
  if (text === '') return {};
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw new Refusal(400, 'malformed_json', 'The request body is not JSON.');
  }
}

function respond(reply: Reply<unknown> | Response): Response {
  if (reply instanceof Response) return reply;
  const headers = { ...reply.headers, 'cache-control': 'no-store' };
  return reply.body === null
    ? new Response(null, { status: reply.status, headers })
    : Response.json(reply.body, { status: reply.status, headers });
}

function authenticate(state: MockState, request: Request): Pick<SignedInCall, 'user' | 'session'> {
  if (request.method !== 'GET') {
    const origin = request.headers.get('origin');
    const sameOrigin =
      request.headers.get('sec-fetch-site') === 'same-origin' || origin === new URL(request.url).origin;
    if (!sameOrigin) throw new Refusal(403, 'cross_origin', 'State may be changed only from the console itself.');
  }
  const cookies = new Map(
    (request.headers.get('cookie') ?? '').split('; ').map((pair) => pair.split('=', 2) as [string, string]),
  );
  const token = cookies.get(SESSION_COOKIE);
  if (!token) throw new Refusal(401, 'unauthenticated', 'Sign in to continue.');
  const session = state.sessions.find((candidate) => candidate.token === token);
  const user = state.users.find(({ id }) => id === session?.userId);
  if (!session || !user || session.expires_at < state.iso())
    throw new Refusal(401, 'session_expired', 'Your session has ended. Sign in again.');
  session.last_seen_at = state.iso();
  return { user, session };
}

/**
 * `Idempotency-Key`: the same key and body get the first answer again, though without what is told only once; another
 * body is refused.
 */
async function replay(
  state: MockState,
  request: Request,
  body: string,
  run: () => Promise<Response>,
): Promise<Response> {
  const key = request.headers.get('idempotency-key');
  if (request.method !== 'POST' || !key) return run();
  const earlier = state.replays.get(key);
  if (earlier && earlier.body !== body)
    throw new Refusal(422, 'idempotency_key_reused', 'This Idempotency-Key was used with another body.');
  if (earlier)
    return new Response(earlier.answer, { status: earlier.status, headers: { 'content-type': 'application/json' } });
  const response = await run();
  if (response.ok) {
    const answer = (await response.clone().text()).replaceAll(/"(secret|password)":"[^"]*"/g, '"$1":null');
    state.replays.set(key, { body, status: response.status, answer });
  }
  return response;
}
