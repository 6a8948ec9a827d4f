import { useQueryClient } from '@tanstack/react-query';
import { answerOf, api } from '@/api/client';
import { clusterQuery, clustersQuery } from '@/api/queries';
import type { Cluster } from '@/api/types';
import { Failure } from '@/components/Failure';
import { useForm } from '@/hooks/useForm';
import { Button } from '@/ui/Button';
import { Actions } from '@/ui/Dialog';
import { TextField } from '@/ui/Field';
import styles from './form.module.css';

type Props = { org: string; cluster: Cluster; onDeleting: (operation: string) => void; onCancel: () => void };

/** Deletes a cluster after its name was typed. */
export function DeleteClusterForm({ org, cluster, onDeleting, onCancel }: Props) {
  const queryClient = useQueryClient();
  const { field, values, onSubmit, submitting, failure } = useForm({
    initial: { name: '' },
    validate: ({ name }) => ({ name: name === cluster.name ? undefined : `Type ${cluster.name} to confirm.` }),
    submit: async () => {
      const { operation } = await answerOf(
        api.DELETE('/api/v1/orgs/{org}/clusters/{cluster}', { params: { path: { org, cluster: cluster.id } } }),
      );
      await queryClient.invalidateQueries({ queryKey: clusterQuery(org, cluster.id).queryKey, exact: true });
      void queryClient.invalidateQueries({ queryKey: clustersQuery(org).queryKey, exact: true });
      onDeleting(operation.id);
    },
  });
  return (
    <form className={styles.form} onSubmit={(event) => void onSubmit(event)} noValidate>
      <p>
        All connections end and all data of <strong>{cluster.name}</strong> is removed from its nodes. This cannot be
        undone. The record that it existed, and who deleted it, stays in the audit log.
      </p>
      <TextField
        label={`Type ${cluster.name} to confirm`}
        mono
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
        {...field('name')}
      />
      {failure ? <Failure error={failure} /> : null}
      <Actions>
        <Button
          type="submit"
          variant="danger"
          busy={submitting}
          disabledReason={
            values.name === cluster.name ? undefined : 'The typed name differs from the name of the cluster.'
          }
        >
          Delete cluster
        </Button>
        <Button onClick={onCancel}>Keep it</Button>
      </Actions>
    </form>
  );
}
