import type { ReactNode } from 'react';
import { Link, useLocation } from 'react-router';
import { PasskeyError } from '@/api/passkey';
import { isSignedOut, toApiError } from '@/api/problem';
import { Button } from '@/ui/Button';
import { CopyableId } from '@/ui/Copy';
import { Notice } from '@/ui/Notice';
import styles from './Failure.module.css';

/** What went wrong, in words, with the code and request id that support asks for. */
export function Failure({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  if (error instanceof PasskeyError) {
    return (
      <Notice tone="warn" title="No passkey was used" live>
        <p>{error.message}</p>
      </Notice>
    );
  }
  const problem = toApiError(error);
  return (
    <Notice tone="danger" title={problem.title} live>
      <p>{problem.detail}</p>
      {Object.entries(problem.fieldErrors).map(([field, message]) => (
        <p key={field}>
          <code>{field}</code>: {message}
        </p>
      ))}
      <p className={styles.trace}>
        <span>
          Code <code>{problem.code}</code>
        </span>
        {problem.requestId === null ? null : (
          <span>
            Request <CopyableId value={problem.requestId} what="request id" />
          </span>
        )}
      </p>
      {isSignedOut(error) ? <SignInAgain>Sign in again</SignInAgain> : null}
      {onRetry && (problem.retryable || problem.status === 0) ? (
        <div>
          <Button onClick={onRetry}>Try again</Button>
        </div>
      ) : null}
    </Notice>
  );
}

function SignInAgain({ children }: { children: ReactNode }) {
  const { pathname, search } = useLocation();
  return <Link to={`/signin?next=${encodeURIComponent(pathname + search)}`}>{children}</Link>;
}
