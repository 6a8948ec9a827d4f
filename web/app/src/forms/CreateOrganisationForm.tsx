import { useQueryClient } from '@tanstack/react-query';
import { useRef } from 'react';
import { answerOf, api } from '@/api/client';
import { IdempotencyKeys } from '@/api/idempotency';
import { meQuery } from '@/api/queries';
import { Failure } from '@/components/Failure';
import { useForm } from '@/hooks/useForm';
import { Button } from '@/ui/Button';
import { TextField } from '@/ui/Field';
import styles from './form.module.css';
import { requiredText } from './validation';

export function CreateOrganisationForm({ onCreated }: { onCreated: (org: string) => void }) {
  const queryClient = useQueryClient();
  const keys = useRef(new IdempotencyKeys());
  const { field, onSubmit, submitting, failure } = useForm({
    initial: { name: '' },
    validate: ({ name }) => ({ name: requiredText(name, 'a name') }),
    submit: async ({ name }) => {
      const body = { name: name.trim() };
      const { organisation } = await keys.current.run(body, (key) =>
        answerOf(api.POST('/api/v1/orgs', { body, headers: { 'Idempotency-Key': key } })),
      );
      await queryClient.invalidateQueries({ queryKey: meQuery.queryKey, exact: true });
      onCreated(organisation.id);
    },
  });
  return (
    <form className={styles.form} onSubmit={(event) => void onSubmit(event)} noValidate>
      <TextField
        label="Organisation name"
        autoComplete="organization"
        hint="As it appears on your contracts, for example St. Mary's Hospital."
        {...field('name')}
      />
      {failure ? <Failure error={failure} /> : null}
      <div>
        <Button type="submit" variant="primary" busy={submitting}>
          Create organisation
        </Button>
      </div>
    </form>
  );
}
