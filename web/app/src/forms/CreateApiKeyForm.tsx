import { useQueryClient } from '@tanstack/react-query';
import { useRef } from 'react';
import { answerOf, api } from '@/api/client';
import { IdempotencyKeys } from '@/api/idempotency';
import { grantableRoles, ROLE_MEANINGS } from '@/api/permissions';
import { apiKeysQuery } from '@/api/queries';
import type { Organisation, Role } from '@/api/types';
import { Failure } from '@/components/Failure';
import { useForm } from '@/hooks/useForm';
import type { OnceSecret } from '@/hooks/useOnceSecret';
import { Button } from '@/ui/Button';
import { Actions } from '@/ui/Dialog';
import { SelectField, TextField } from '@/ui/Field';
import styles from './form.module.css';
import { requiredText } from './validation';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const LIFETIMES = [
  { value: '30', label: '30 days' },
  { value: '90', label: '90 days' },
  { value: '365', label: '1 year' },
  { value: 'never', label: 'No expiry' },
];

/** To the full hour, so that a repeated attempt sends the same body. */
function expiryAfter(days: number): string {
  return new Date(Math.ceil(Date.now() / HOUR_MS) * HOUR_MS + days * DAY_MS).toISOString();
}

type Props = { organisation: Organisation; onCreated: (secret: OnceSecret) => void; onCancel: () => void };

export function CreateApiKeyForm({ organisation, onCreated, onCancel }: Props) {
  const queryClient = useQueryClient();
  const keys = useRef(new IdempotencyKeys());
  const org = organisation.id;
  const roles = grantableRoles(organisation.role);
  const { field, values, onSubmit, submitting, failure } = useForm({
    initial: { name: '', role: 'member', lifetime_days: '90' },
    validate: ({ name }) => ({ name: requiredText(name, 'a name') }),
    submit: async ({ name, role, lifetime_days }) => {
      const body = {
        name: name.trim(),
        role: role as Role,
        ...(lifetime_days === 'never' ? {} : { expires_at: expiryAfter(Number(lifetime_days)) }),
      };
      const answer = await keys.current.run(body, (key) =>
        answerOf(
          api.POST('/api/v1/orgs/{org}/api-keys', {
            params: { path: { org } },
            body,
            headers: { 'Idempotency-Key': key },
          }),
        ),
      );
      void queryClient.invalidateQueries({ queryKey: apiKeysQuery(org).queryKey });
      onCreated({ label: `API key ${answer.api_key.name}`, value: answer.secret, receipt: answer.receipt });
    },
  });
  return (
    <form className={styles.form} onSubmit={(event) => void onSubmit(event)} noValidate>
      <TextField
        label="Name"
        autoComplete="off"
        placeholder="deploy pipeline"
        hint="Who or what uses it."
        {...field('name')}
      />
      <SelectField
        label="Role"
        options={roles.map((role) => ({ value: role, label: role }))}
        hint={ROLE_MEANINGS[values.role as Role]}
        {...field('role')}
      />
      <SelectField label="Valid for" options={LIFETIMES} {...field('lifetime_days')} />
      {failure ? <Failure error={failure} /> : null}
      <Actions>
        <Button type="submit" variant="primary" busy={submitting}>
          Create API key
        </Button>
        <Button onClick={onCancel}>Cancel</Button>
      </Actions>
    </form>
  );
}
