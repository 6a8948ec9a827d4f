import type { paths } from '../app/src/api/generated/schema';
import type { User } from '../app/src/api/types';
import type { MockSession, MockState } from './state';

export type Method = 'get' | 'post' | 'delete';

type Operations<P extends keyof paths> = paths[P];
type Responses<P extends keyof paths, M extends Method> = Operations<P>[M] extends { responses: infer R } ? R : never;
type JsonOf<R> = R extends { content: { 'application/json': infer Body } } ? Body : never;
/** The JSON that the OpenAPI document promises for success; `null` where it promises no body. */
type Success<P extends keyof paths, M extends Method> = {
  [S in keyof Responses<P, M> & (200 | 201 | 202)]: JsonOf<Responses<P, M>[S]>;
}[keyof Responses<P, M> & (200 | 201 | 202)];

export type Call = {
  state: MockState;
  request: Request;
  url: URL;
  parameters: Record<string, string>;
  body: Record<string, unknown>;
};

export type SignedInCall = Call & { user: User; session: MockSession };

export type Reply<Body> = { status: number; body: Body | null; headers?: Record<string, string> };

export type Route = {
  method: Method;
  path: string;
  signedIn: boolean;
  handle: (call: SignedInCall) => Promise<Reply<unknown> | Response>;
};

type Handled<P extends keyof paths, M extends Method> = Reply<Success<P, M>> | Response;

/** A route that anyone may call. The reply's type follows from path and method. */
export function open<P extends keyof paths, M extends Method>(
  method: M,
  path: P,
  handle: (call: Call) => Handled<P, M> | Promise<Handled<P, M>>,
): Route {
  return { method, path, signedIn: false, handle: async (call) => handle(call) };
}

/** A route that needs a session. */
export function signedIn<P extends keyof paths, M extends Method>(
  method: M,
  path: P,
  handle: (call: SignedInCall) => Handled<P, M> | Promise<Handled<P, M>>,
): Route {
  return { method, path, signedIn: true, handle: async (call) => handle(call) };
}

export const ok = <Body>(body: Body): Reply<Body> => ({ status: 200, body });
export const created = <Body>(body: Body, location?: string): Reply<Body> => ({
  status: 201,
  body,
  ...(location ? { headers: { location } } : {}),
});
export const accepted = <Body>(body: Body): Reply<Body> => ({ status: 202, body });
export const nothing = (headers?: Record<string, string>): Reply<never> => ({
  status: 204,
  body: null,
  ...(headers ? { headers } : {}),
});

/** One page of `items` after the opaque `page_token`, here the index of the first item. */
export function pageOf<Item>(items: readonly Item[], url: URL): { items: Item[]; next_page_token: string | null } {
  const limit = Math.min(100, Number(url.searchParams.get('limit') ?? 50));
  const from = Number(url.searchParams.get('page_token') ?? 0);
  const next = from + limit;
  return { items: items.slice(from, next), next_page_token: next < items.length ? String(next) : null };
}

/** A text member of the body; empty when it is absent or something else. */
export function textOf(body: Record<string, unknown>, name: string): string {
  const value = body[name];
  return typeof value === 'string' ? value : '';
}
