import { signUp } from '@/api/session';
import type { User } from '@/api/types';
import { Failure } from '@/components/Failure';
import { useForm } from '@/hooks/useForm';
import { Button } from '@/ui/Button';
import { TextField } from '@/ui/Field';
import styles from './form.module.css';
import { requiredText } from './validation';

export function SignUpForm({ obstacle, onSignedIn }: { obstacle: string | null; onSignedIn: (user: User) => void }) {
  const { field, onSubmit, submitting, failure } = useForm({
    initial: { display_name: '', email: '' },
    validate: ({ display_name, email }) => ({
      display_name: requiredText(display_name, 'your name'),
      email: /^\S+@\S+$/.test(email.trim()) ? undefined : 'Enter an email address, such as ada@example.org.',
    }),
    submit: async ({ display_name, email }) =>
      onSignedIn(await signUp({ displayName: display_name.trim(), email: email.trim() })),
  });
  return (
    <form className={styles.form} onSubmit={(event) => void onSubmit(event)} noValidate>
      <TextField label="Name" autoComplete="name" {...field('display_name')} />
      <TextField label="Work email" type="email" autoComplete="email" {...field('email')} />
      {failure ? <Failure error={failure} /> : null}
      <Button type="submit" variant="primary" busy={submitting} disabledReason={obstacle ?? undefined}>
        {submitting ? 'Waiting for your passkey' : 'Create account with a passkey'}
      </Button>
    </form>
  );
}
