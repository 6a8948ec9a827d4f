import { useQueryClient } from '@tanstack/react-query';
import { answerOf, api } from '@/api/client';
import { clusterQuery } from '@/api/queries';
import type { Cluster } from '@/api/types';
import { Failure } from '@/components/Failure';
import { useForm } from '@/hooks/useForm';
import { Button } from '@/ui/Button';
import { Actions } from '@/ui/Dialog';
import { TextField } from '@/ui/Field';
import styles from './form.module.css';
import { versionProblem } from './validation';

type Props = { org: string; cluster: Cluster; onChanging: (operation: string) => void; onCancel: () => void };

/** Moves the nodes of a cluster to another version of the server. */
export function UpgradeClusterForm({ org, cluster, onChanging, onCancel }: Props) {
  const queryClient = useQueryClient();
  const { field, onSubmit, submitting, failure } = useForm({
    initial: { version: '' },
    validate: ({ version }) => ({ version: versionProblem(version) }),
    submit: async ({ version }) => {
      const { operation } = await answerOf(
        api.POST('/api/v1/orgs/{org}/clusters/{cluster}/upgrade', {
          params: { path: { org, cluster: cluster.id } },
          body: { version },
        }),
      );
      await queryClient.invalidateQueries({ queryKey: clusterQuery(org, cluster.id).queryKey, exact: true });
      onChanging(operation.id);
    },
  });
  return (
    <form className={styles.form} onSubmit={(event) => void onSubmit(event)} noValidate>
      <p>
        One node after the other, the leader last, and the next one only while every node takes part and lets clients
        in. When the version does not run on a node, nothing further is touched. Going back is done in the same way.
      </p>
      <TextField
        label="Version"
        hint="The name of a version that is installed on every node of the cluster."
        autoComplete="off"
        spellCheck={false}
        mono
        {...field('version')}
      />
      {failure ? <Failure error={failure} /> : null}
      <Actions>
        <Button type="submit" variant="primary" busy={submitting}>
          Move to this version
        </Button>
        <Button onClick={onCancel}>Leave as it is</Button>
      </Actions>
    </form>
  );
}
