import { QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useState } from 'react';
import { isSignedOut, toApiError } from './api/problem';
import { meQuery } from './api/queries';
import { ErrorBoundary } from './components/ErrorBoundary';
import { OnceSecretProvider } from './hooks/useOnceSecret';
import { AppRoutes } from './routes';

const RETRIES_MAX = 2;

export function createQueryClient(): QueryClient {
  const client: QueryClient = new QueryClient({
    queryCache: new QueryCache({
      // Any read that says "signed out" makes the console look again, and so go to the sign-in page.
      onError: (error, query) => {
        if (isSignedOut(error) && query.queryHash !== JSON.stringify(meQuery.queryKey))
          void client.invalidateQueries({ queryKey: meQuery.queryKey, exact: true });
      },
    }),
    defaultOptions: {
      queries: { retry: (failures, error) => failures < RETRIES_MAX && toApiError(error).retryable, staleTime: 5_000 },
    },
  });
  return client;
}

/** The console below a router, which the caller provides. */
export function App() {
  const [queryClient] = useState(createQueryClient);
  return (
    <QueryClientProvider client={queryClient}>
      <OnceSecretProvider>
        <ErrorBoundary resetKey="console">
          <AppRoutes />
        </ErrorBoundary>
      </OnceSecretProvider>
    </QueryClientProvider>
  );
}
