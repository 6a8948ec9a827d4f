import type { ReactNode } from 'react';
import { Failure } from '@/components/Failure';
import { useForm } from '@/hooks/useForm';
import { Button } from '@/ui/Button';
import { Actions } from '@/ui/Dialog';
import styles from './form.module.css';

type Props = { action: string; onConfirm: () => Promise<void>; onCancel: () => void; children: ReactNode };

/** One question before something that cannot be taken back. */
export function ConfirmForm({ action, onConfirm, onCancel, children }: Props) {
  const { onSubmit, submitting, failure } = useForm({ initial: {}, validate: () => ({}), submit: onConfirm });
  return (
    <form className={styles.form} onSubmit={(event) => void onSubmit(event)}>
      {children}
      {failure ? <Failure error={failure} /> : null}
      <Actions>
        <Button type="submit" variant="danger" busy={submitting}>
          {action}
        </Button>
        <Button onClick={onCancel}>Cancel</Button>
      </Actions>
    </form>
  );
}
