import { signIn } from '@/api/session';
import type { User } from '@/api/types';
import { Failure } from '@/components/Failure';
import { useForm } from '@/hooks/useForm';
import { Button } from '@/ui/Button';
import styles from './form.module.css';

export function SignInForm({ obstacle, onSignedIn }: { obstacle: string | null; onSignedIn: (user: User) => void }) {
  const { onSubmit, submitting, failure } = useForm({
    initial: {},
    validate: () => ({}),
    submit: async () => onSignedIn(await signIn()),
  });
  return (
    <form className={styles.form} onSubmit={(event) => void onSubmit(event)}>
      {failure ? <Failure error={failure} /> : null}
      <Button type="submit" variant="primary" busy={submitting} disabledReason={obstacle ?? undefined}>
        {submitting ? 'Waiting for your passkey' : 'Sign in with a passkey'}
      </Button>
    </form>
  );
}
