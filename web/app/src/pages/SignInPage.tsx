import { useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate, useSearchParams } from 'react-router';
import { passkeyObstacle } from '@/api/passkey';
import { safeNext } from '@/api/session';
import { Page } from '@/components/Page';
import { SignedOutFrame } from '@/components/SignedOutFrame';
import { SignInForm } from '@/forms/SignInForm';
import { Notice } from '@/ui/Notice';

export function SignInPage() {
  const navigate = useNavigate();
  const queryClient = useQueryClient();
  const [search] = useSearchParams();
  const obstacle = passkeyObstacle();
  const reason = search.get('reason');
  const next = search.get('next');
  return (
    <SignedOutFrame>
      <Page title="Sign in" lead="Your device offers the passkeys that it keeps for this console.">
        {reason === 'expired' ? (
          <Notice tone="info" title="Your session has ended" live>
            <p>Sign in again and you are back where you were.</p>
          </Notice>
        ) : null}
        {reason === 'signed-out' ? <Notice tone="ok" title="You are signed out" live /> : null}
        {obstacle === null ? null : (
          <Notice tone="warn" title="Passkeys are not available here">
            <p>{obstacle}</p>
          </Notice>
        )}
        <SignInForm
          obstacle={obstacle}
          onSignedIn={() => {
            queryClient.clear();
            void navigate(safeNext(next), { replace: true });
          }}
        />
        <p>
          New here?{' '}
          <Link to={next === null ? '/signup' : `/signup?next=${encodeURIComponent(next)}`}>Create an account</Link>
        </p>
        <p>
          Were you handed a receipt? <Link to="/verify">Verify it</Link>, without an account.
        </p>
      </Page>
    </SignedOutFrame>
  );
}
