import { useQueryClient } from '@tanstack/react-query';
import { useRef } from 'react';
import { answerOf, api } from '@/api/client';
import { IdempotencyKeys } from '@/api/idempotency';
import { databaseUsersQuery } from '@/api/queries';
import { Failure } from '@/components/Failure';
import { useForm } from '@/hooks/useForm';
import type { OnceSecret } from '@/hooks/useOnceSecret';
import { Button } from '@/ui/Button';
import { Actions } from '@/ui/Dialog';
import styles from './form.module.css';

type Props = {
  org: string;
  cluster: string;
  user: string;
  onRotated: (secret: OnceSecret) => void;
  onCancel: () => void;
};

export function RotatePasswordForm({ org, cluster, user, onRotated, onCancel }: Props) {
  const queryClient = useQueryClient();
  const keys = useRef(new IdempotencyKeys());
  const { onSubmit, submitting, failure } = useForm({
    initial: {},
    validate: () => ({}),
    submit: async () => {
      const path = { org, cluster, name: user };
      const answer = await keys.current.run(path, (key) =>
        answerOf(
          api.POST('/api/v1/orgs/{org}/clusters/{cluster}/users/{name}/rotate-password', {
            params: { path },
            headers: { 'Idempotency-Key': key },
          }),
        ),
      );
      void queryClient.invalidateQueries({ queryKey: databaseUsersQuery(org, cluster).queryKey });
      onRotated({ label: `New password of ${user}`, value: answer.password, receipt: answer.receipt });
    },
  });
  return (
    <form className={styles.form} onSubmit={(event) => void onSubmit(event)}>
      <p>
        A new password for <code>{user}</code> is made and shown once. New logins with the old password are refused from
        then on.
      </p>
      {failure ? <Failure error={failure} /> : null}
      <Actions>
        <Button type="submit" variant="primary" busy={submitting}>
          Rotate password
        </Button>
        <Button onClick={onCancel}>Cancel</Button>
      </Actions>
    </form>
  );
}
