import { useQueryClient } from '@tanstack/react-query';
import { answerOf, api } from '@/api/client';
import { clusterQuery } from '@/api/queries';
import type { Cluster } from '@/api/types';
import { Failure } from '@/components/Failure';
import { useForm } from '@/hooks/useForm';
import { Button } from '@/ui/Button';
import { Actions } from '@/ui/Dialog';
import { SelectField } from '@/ui/Field';
import styles from './form.module.css';
import { NODE_COUNT_HINT, NODE_COUNT_OPTIONS } from './node-count';

type Props = { org: string; cluster: Cluster; onChanging: (operation: string) => void; onCancel: () => void };

/** Changes how many nodes a cluster has. */
export function ScaleClusterForm({ org, cluster, onChanging, onCancel }: Props) {
  const queryClient = useQueryClient();
  const { field, values, onSubmit, submitting, failure } = useForm({
    initial: { node_count: String(cluster.node_count) },
    validate: () => ({}),
    submit: async ({ node_count }) => {
      const { operation } = await answerOf(
        api.POST('/api/v1/orgs/{org}/clusters/{cluster}/scale', {
          params: { path: { org, cluster: cluster.id } },
          body: { node_count: Number(node_count) },
        }),
      );
      await queryClient.invalidateQueries({ queryKey: clusterQuery(org, cluster.id).queryKey, exact: true });
      onChanging(operation.id);
    },
  });
  const unchanged = values.node_count === String(cluster.node_count) && cluster.change === null;
  return (
    <form className={styles.form} onSubmit={(event) => void onSubmit(event)} noValidate>
      <p>
        Clients stay connected. New nodes receive all data before they count; nodes that are too many leave afterwards,
        and their copy of the data is destroyed.
      </p>
      <SelectField label="Nodes" options={NODE_COUNT_OPTIONS} hint={NODE_COUNT_HINT} {...field('node_count')} />
      {failure ? <Failure error={failure} /> : null}
      <Actions>
        <Button
          type="submit"
          variant="primary"
          busy={submitting}
          disabledReason={unchanged ? 'The cluster has this many nodes.' : undefined}
        >
          Change nodes
        </Button>
        <Button onClick={onCancel}>Leave as it is</Button>
      </Actions>
    </form>
  );
}
