/** Every read of the console, each with its cache key in one place. */
import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query';
import { answerOf, api } from './client';

const PAGE_ITEMS = 50;
/** How often a cluster that is changing is looked at when no operation is being followed. */
const CHANGING_POLL_MS = 2_000;

type Page = { readonly next_page_token?: string | null };
const paging = {
  initialPageParam: null as string | null,
  getNextPageParam: (page: Page) => page.next_page_token ?? null,
};
const pageQuery = (token: string | null) => ({ limit: PAGE_ITEMS, ...(token ? { page_token: token } : {}) });

export const meQuery = queryOptions({
  queryKey: ['me'],
  queryFn: ({ signal }) => answerOf(api.GET('/api/v1/me', { signal })),
  staleTime: 60_000,
});

export const passkeysQuery = queryOptions({
  queryKey: ['me', 'passkeys'],
  queryFn: ({ signal }) => answerOf(api.GET('/api/v1/me/passkeys', { signal })),
});

export const sessionsQuery = queryOptions({
  queryKey: ['me', 'sessions'],
  queryFn: ({ signal }) => answerOf(api.GET('/api/v1/me/sessions', { signal })),
});

export const clustersQuery = (org: string) =>
  infiniteQueryOptions({
    queryKey: ['orgs', org, 'clusters'],
    queryFn: ({ signal, pageParam }) =>
      answerOf(
        api.GET('/api/v1/orgs/{org}/clusters', { params: { path: { org }, query: pageQuery(pageParam) }, signal }),
      ),
    ...paging,
    refetchInterval: ({ state }) =>
      state.data?.pages.some((page) => page.items.some((cluster) => isChanging(cluster.state)))
        ? CHANGING_POLL_MS
        : false,
  });

export const clusterQuery = (org: string, cluster: string) =>
  queryOptions({
    queryKey: ['orgs', org, 'clusters', cluster],
    queryFn: ({ signal }) =>
      answerOf(api.GET('/api/v1/orgs/{org}/clusters/{cluster}', { params: { path: { org, cluster } }, signal })),
    refetchInterval: ({ state }) => (state.data && isChanging(state.data.state) ? CHANGING_POLL_MS : false),
  });

export const connectionQuery = (org: string, cluster: string) =>
  queryOptions({
    queryKey: ['orgs', org, 'clusters', cluster, 'connection'],
    queryFn: ({ signal }) =>
      answerOf(
        api.GET('/api/v1/orgs/{org}/clusters/{cluster}/connection', { params: { path: { org, cluster } }, signal }),
      ),
  });

export const witnessesQuery = (org: string, cluster: string) =>
  queryOptions({
    queryKey: ['orgs', org, 'clusters', cluster, 'witnesses'],
    queryFn: ({ signal }) =>
      answerOf(
        api.GET('/api/v1/orgs/{org}/clusters/{cluster}/witnesses', { params: { path: { org, cluster } }, signal }),
      ),
  });

export const databaseUsersQuery = (org: string, cluster: string) =>
  queryOptions({
    queryKey: ['orgs', org, 'clusters', cluster, 'users'],
    queryFn: ({ signal }) =>
      answerOf(api.GET('/api/v1/orgs/{org}/clusters/{cluster}/users', { params: { path: { org, cluster } }, signal })),
  });

export const apiKeysQuery = (org: string) =>
  infiniteQueryOptions({
    queryKey: ['orgs', org, 'api-keys'],
    queryFn: ({ signal, pageParam }) =>
      answerOf(
        api.GET('/api/v1/orgs/{org}/api-keys', { params: { path: { org }, query: pageQuery(pageParam) }, signal }),
      ),
    ...paging,
  });

export const auditEventsQuery = (org: string) =>
  infiniteQueryOptions({
    queryKey: ['orgs', org, 'audit-events'],
    queryFn: ({ signal, pageParam }) =>
      answerOf(
        api.GET('/api/v1/orgs/{org}/audit-events', { params: { path: { org }, query: pageQuery(pageParam) }, signal }),
      ),
    ...paging,
  });

/** The key of the control plane's own log; it never changes. */
export const platformLogKeyQuery = queryOptions({
  queryKey: ['log-key'],
  queryFn: ({ signal }) => answerOf(api.GET('/api/v1/log-key', { signal })),
  staleTime: Infinity,
});

export function isChanging(state: string): boolean {
  return state === 'provisioning' || state === 'deleting';
}

/** Where the CA certificate of a cluster is downloaded from; a plain link, so that the browser saves the file. */
export function caCertificateHref(org: string, cluster: string): string {
  return `/api/v1/orgs/${encodeURIComponent(org)}/clusters/${encodeURIComponent(cluster)}/ca.pem`;
}

/** Where the receipt of a change in the control plane is downloaded from. */
export function receiptHref(org: string, position: number): string {
  return `/api/v1/orgs/${encodeURIComponent(org)}/receipts/${position}`;
}
