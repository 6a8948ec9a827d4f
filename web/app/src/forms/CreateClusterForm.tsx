import { useQueryClient } from '@tanstack/react-query';
import { useRef } from 'react';
import { answerOf, api } from '@/api/client';
import { IdempotencyKeys } from '@/api/idempotency';
import { refusalReason } from '@/api/permissions';
import { clusterQuery, clustersQuery } from '@/api/queries';
import type { Organisation } from '@/api/types';
import { Failure } from '@/components/Failure';
import { useForm } from '@/hooks/useForm';
import { useSecrets } from '@/hooks/useOnceSecret';
import { Button } from '@/ui/Button';
import { SelectField, TextField } from '@/ui/Field';
import styles from './form.module.css';
import { NODE_COUNT_HINT, NODE_COUNT_OPTIONS } from './node-count';
import { clusterNameProblem } from './validation';

/** The key under which the first password of a cluster is held until it is stored. */
export const clusterSecretKey = (cluster: string) => `cluster-password/${cluster}`;

type Props = { organisation: Organisation; onCreated: (created: { cluster: string; operation: string }) => void };

export function CreateClusterForm({ organisation, onCreated }: Props) {
  const queryClient = useQueryClient();
  const { hold } = useSecrets();
  const keys = useRef(new IdempotencyKeys());
  const org = organisation.id;
  const { field, onSubmit, submitting, failure } = useForm({
    initial: { name: '', node_count: '1' },
    validate: ({ name }) => ({ name: clusterNameProblem(name) }),
    submit: async ({ name, node_count }) => {
      const body = { name, node_count: Number(node_count) };
      const answer = await keys.current.run(body, (key) =>
        answerOf(
          api.POST('/api/v1/orgs/{org}/clusters', {
            params: { path: { org } },
            body,
            headers: { 'Idempotency-Key': key },
          }),
        ),
      );
      const { cluster, operation, credentials, receipt } = answer;
      hold(clusterSecretKey(cluster.id), {
        label: `Password of ${credentials.user}`,
        value: credentials.password,
        receipt,
      });
      queryClient.setQueryData(clusterQuery(org, cluster.id).queryKey, cluster);
      void queryClient.invalidateQueries({ queryKey: clustersQuery(org).queryKey, exact: true });
      onCreated({ cluster: cluster.id, operation: operation.id });
    },
  });
  return (
    <form className={styles.form} onSubmit={(event) => void onSubmit(event)} noValidate>
      <TextField
        label="Cluster name"
        mono
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
        placeholder="patient-records"
        hint="Part of the host name: lower-case letters, digits and hyphens, up to 40."
        {...field('name')}
      />
      <SelectField label="Nodes" options={NODE_COUNT_OPTIONS} hint={NODE_COUNT_HINT} {...field('node_count')} />
      {failure ? <Failure error={failure} /> : null}
      <div>
        <Button
          type="submit"
          variant="primary"
          busy={submitting}
          disabledReason={refusalReason(organisation.role, 'manage_clusters')}
        >
          Create cluster
        </Button>
      </div>
    </form>
  );
}
