import { useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate, useSearchParams } from 'react-router';
import { passkeyObstacle } from '@/api/passkey';
import { safeNext } from '@/api/session';
import { Page } from '@/components/Page';
import { SignedOutFrame } from '@/components/SignedOutFrame';
import { SignUpForm } from '@/forms/SignUpForm';
import { Notice } from '@/ui/Notice';

export function SignUpPage() {
  const navigate = useNavigate();
  const queryClient = useQueryClient();
  const [search] = useSearchParams();
  const obstacle = passkeyObstacle();
  return (
    <SignedOutFrame>
      <Page
        title="Create your account"
        lead="Your device keeps a passkey and asks for your fingerprint, face or PIN. There is no password to lose."
      >
        {obstacle === null ? null : (
          <Notice tone="warn" title="Passkeys are not available here">
            <p>{obstacle}</p>
          </Notice>
        )}
        <SignUpForm
          obstacle={obstacle}
          onSignedIn={() => {
            queryClient.clear();
            void navigate(safeNext(search.get('next')), { replace: true });
          }}
        />
        <p>
          Already have an account? <Link to={{ pathname: '/signin', search: search.toString() }}>Sign in</Link>
        </p>
      </Page>
    </SignedOutFrame>
  );
}
