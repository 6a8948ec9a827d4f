import { useQuery } from '@tanstack/react-query';
import { Navigate, Outlet, useLocation } from 'react-router';
import { ApiError, isSignedOut } from '@/api/problem';
import { meQuery } from '@/api/queries';
import { Loading } from '@/ui/Loading';
import { Failure } from './Failure';
import { Page } from './Page';
import { SignedOutFrame } from './SignedOutFrame';

/** Lets through who is signed in; sends everyone else to sign in, and back afterwards. */
export function SignedIn() {
  const me = useQuery(meQuery);
  const { pathname, search } = useLocation();
  if (isSignedOut(me.error)) {
    const reason = me.error instanceof ApiError && me.error.code === 'session_expired' ? '&reason=expired' : '';
    const next = pathname === '/' ? '' : `next=${encodeURIComponent(pathname + search)}`;
    return <Navigate to={`/signin?${next}${reason}`} replace />;
  }
  if (me.data) return <Outlet />;
  if (me.error === null) return <Loading what="your account" />;
  return (
    <SignedOutFrame>
      <Page title="The console could not start">
        <Failure error={me.error} onRetry={() => void me.refetch()} />
      </Page>
    </SignedOutFrame>
  );
}
