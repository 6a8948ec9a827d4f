/** The whole console over the mock API: what a browser would show, without the browser. */
import { QueryClientProvider, type QueryClient } from '@tanstack/react-query';
import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { MemoryRouter, useLocation } from 'react-router';
import { vi } from 'vitest';
import { createQueryClient } from '@/App';
import { OnceSecretProvider } from '@/hooks/useOnceSecret';
import { AppRoutes } from '@/routes';
import type { Role } from '@/api/types';
import { createMockApi, type MockApi } from '../mock-api/server';

export const STEP_MS = 60;

/** Gets what the mock would answer, as a function; it need not call it. */
type Answer = (forward: () => Promise<Response>) => Promise<Response>;

export type World = {
  api: MockApi;
  queryClient: QueryClient;
  user: ReturnType<typeof userEvent.setup>;
  /** Requests so far, as `METHOD /path`. */
  requests: string[];
  /** Answers the next request whose `METHOD /path` matches in place of the mock. */
  answerOnce: (pattern: RegExp, answer: Answer) => void;
  location: () => string;
};

/** Ada and her organisation, signed in with `role`; `null` starts signed out. */
export function seed(api: MockApi, role: Role | null) {
  const { state } = api;
  const created_at = state.iso();
  const ada = { id: state.id('usr'), display_name: 'Ada Okafor', email: 'ada@example.org', created_at };
  const organisation = {
    id: state.id('org'),
    name: 'Lakeside Hospital',
    slug: 'lakeside-hospital',
    created_at,
    roles: new Map<string, Role>(role === null ? [] : [[ada.id, role]]),
    clusters: [],
    operations: [],
    apiKeys: [],
    auditEvents: [],
  };
  state.users.push(ada);
  state.organisations.push(organisation);
  if (role !== null) {
    const expires_at = new Date(state.now().getTime() + 3_600_000).toISOString();
    state.sessions.push({
      token: 'session-of-ada',
      userId: ada.id,
      id: state.id('ses'),
      created_at,
      last_seen_at: created_at,
      expires_at,
      user_agent: 'Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0.0.0',
    });
  }
  return { ada, organisation };
}

export function openConsole(
  path: string,
  api: MockApi = createMockApi({ stepMs: STEP_MS }),
  cookie: string | null = null,
): World {
  const requests: string[] = [];
  const overrides: { pattern: RegExp; answer: Answer }[] = [];
  let session = cookie;
  vi.stubGlobal('fetch', async (request: Request) => {
    const line = `${request.method} ${new URL(request.url).pathname}`;
    requests.push(line);
    const headers = new Headers(request.headers);
    headers.set('origin', window.location.origin);
    if (session !== null) headers.set('cookie', `craton_session=${session}`);
    const body = request.method === 'GET' ? null : await request.text();
    const forward = () => api.handle(new Request(request.url, { method: request.method, headers, body }));
    const index = overrides.findIndex(({ pattern }) => pattern.test(line));
    const [override] = index < 0 ? [] : overrides.splice(index, 1);
    const response = await (override ? override.answer(forward) : forward());
    const set = /craton_session=([^;]*)/.exec(response.headers.get('set-cookie') ?? '');
    if (set) session = set[1] === '' ? null : (set[1] ?? null);
    return response;
  });
  const queryClient = createQueryClient();
  let address = '';
  function Address() {
    const { pathname, search } = useLocation();
    address = pathname + search;
    return null;
  }
  render(
    <QueryClientProvider client={queryClient}>
      <OnceSecretProvider>
        <MemoryRouter initialEntries={[path]}>
          <AppRoutes />
          <Address />
        </MemoryRouter>
      </OnceSecretProvider>
    </QueryClientProvider>,
  );
  return {
    api,
    queryClient,
    user: userEvent.setup(),
    requests,
    answerOnce: (pattern, answer) => overrides.push({ pattern, answer }),
    location: () => address,
  };
}

/** The console of Ada, signed in, at a path below her organisation. */
export function openOrganisation(path: string, role: Role = 'owner', stepMs = STEP_MS) {
  const api = createMockApi({ stepMs });
  const seeded = seed(api, role);
  const world = openConsole(`/orgs/${seeded.organisation.id}${path}`, api, 'session-of-ada');
  return { ...world, ...seeded };
}

export function problem(status: number, code: string, detail: string): () => Promise<Response> {
  const body = {
    type: `urn:craton:problem:${code}`,
    title: 'Problem',
    status,
    detail,
    code,
    request_id: 'req_test',
    retryable: status >= 500,
    errors: [],
  };
  return () =>
    Promise.resolve(Response.json(body, { status, headers: { 'content-type': 'application/problem+json' } }));
}

/** Everything that the person can read now, including what screen readers say. */
export function pageText(): string {
  return screen
    .queryAllByText(/./, { ignore: 'script,style' })
    .map((element) => element.textContent)
    .join('\n');
}
