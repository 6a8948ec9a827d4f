import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { useNavigate, useParams, useSearchParams } from 'react-router';
import { isFinished } from '@/api/operation-watch';
import { refusalReason } from '@/api/permissions';
import { clusterQuery, connectionQuery } from '@/api/queries';
import type { Cluster, Organisation } from '@/api/types';
import { ButtonLink } from '@/components/ButtonLink';
import { ClusterStateBadge } from '@/components/ClusterStateBadge';
import { ConnectionPanel } from '@/components/ConnectionPanel';
import { DatabaseUsersPanel } from '@/components/DatabaseUsersPanel';
import { Failure } from '@/components/Failure';
import { NodesPanel } from '@/components/NodesPanel';
import { OnceSecretCard } from '@/components/OnceSecretCard';
import { OperationProgress } from '@/components/OperationProgress';
import { Page } from '@/components/Page';
import { VerificationPanel } from '@/components/VerificationPanel';
import { WitnessPanel } from '@/components/WitnessPanel';
import { clusterSecretKey } from '@/forms/CreateClusterForm';
import { DeleteClusterForm } from '@/forms/DeleteClusterForm';
import { useOnceSecret } from '@/hooks/useOnceSecret';
import { useOperation } from '@/hooks/useOperation';
import { Button } from '@/ui/Button';
import { CopyableId } from '@/ui/Copy';
import { Dialog } from '@/ui/Dialog';
import { Facts } from '@/ui/Facts';
import { Loading } from '@/ui/Loading';
import { Notice } from '@/ui/Notice';
import { Panel } from '@/ui/Panel';
import { Timestamp } from '@/ui/Timestamp';

export function ClusterPage({ organisation }: { organisation: Organisation }) {
  const { cluster: id = '' } = useParams();
  const cluster = useQuery(clusterQuery(organisation.id, id));
  if (cluster.data) return <ClusterDetails organisation={organisation} cluster={cluster.data} />;
  return (
    <Page title="Cluster" parent={{ to: `/orgs/${organisation.id}/clusters`, label: 'All clusters' }}>
      {cluster.error ? (
        <Failure error={cluster.error} onRetry={() => void cluster.refetch()} />
      ) : (
        <Loading what="the cluster" />
      )}
    </Page>
  );
}

function ClusterDetails({ organisation, cluster }: { organisation: Organisation; cluster: Cluster }) {
  const org = organisation.id;
  const { secret, forget } = useOnceSecret(clusterSecretKey(cluster.id));
  const serving = cluster.state === 'ready' || cluster.state === 'degraded';
  const connection = useQuery({ ...connectionQuery(org, cluster.id), enabled: serving });
  return (
    <Page
      title={cluster.name}
      parent={{ to: `/orgs/${org}/clusters`, label: 'All clusters' }}
      aside={<ClusterStateBadge state={cluster.state} />}
      lead={<CopyableId value={cluster.id} what="cluster id" />}
    >
      {secret ? (
        <Panel
          title="Database password"
          description={`For user app of database main. You need it to connect to ${cluster.name}.`}
        >
          <OnceSecretCard
            secret={secret}
            replacement="Rotate the password below once the cluster is ready."
            onStored={forget}
          />
        </Panel>
      ) : null}
      <ClusterOperation organisation={organisation} cluster={cluster} />
      <ClusterTrouble cluster={cluster} />
      {serving && connection.error ? (
        <Failure error={connection.error} onRetry={() => void connection.refetch()} />
      ) : null}
      {serving && connection.isPending ? <Loading what="connection details" /> : null}
      {serving && connection.data ? (
        <>
          <ConnectionPanel org={org} cluster={cluster} connection={connection.data} />
          <DatabaseUsersPanel organisation={organisation} cluster={cluster} />
          <VerificationPanel connection={connection.data} />
          <WitnessPanel org={org} cluster={cluster} />
        </>
      ) : null}
      <NodesPanel organisation={organisation} cluster={cluster} />
      <ClusterFacts cluster={cluster} />
      <DeletePanel organisation={organisation} cluster={cluster} />
    </Page>
  );
}

const OPERATION_WORDS: Readonly<Record<string, { title: string; success: string }>> = {
  'cluster.create': {
    title: 'Creating the cluster',
    success: 'The cluster is ready: login, write and read succeeded through its endpoint',
  },
  'cluster.delete': {
    title: 'Deleting the cluster',
    success: 'The cluster is deleted; its id will not be used again',
  },
  'cluster.scale': {
    title: 'Changing the number of nodes',
    success: 'The cluster has the nodes that it shall have',
  },
  'cluster.replace_node': {
    title: 'Replacing a node',
    success: 'The new node has taken its place, and the old one has left',
  },
  'cluster.upgrade': {
    title: 'Moving to another version',
    success: 'Every node runs the version and lets clients in',
  },
  'cluster.finalize': {
    title: 'Making the upgrade final',
    success: 'Every node writes the newer format version',
  },
};
const UNKNOWN_OPERATION = { title: 'Changing the cluster', success: 'The operation has succeeded' };

/** The operation that the address names, followed live. */
function ClusterOperation({ organisation, cluster }: { organisation: Organisation; cluster: Cluster }) {
  const org = organisation.id;
  const queryClient = useQueryClient();
  const [search] = useSearchParams();
  const { followed, error, follow } = useOperation(org, search.get('operation'));
  const finished = followed !== null && isFinished(followed.operation);

  useEffect(() => {
    if (finished) void queryClient.invalidateQueries({ queryKey: ['orgs', org, 'clusters'] });
  }, [finished, queryClient, org]);

  const onRetried = () => {
    follow();
    void queryClient.invalidateQueries({ queryKey: ['orgs', org, 'clusters'] });
  };

  if (error) return <Failure error={error} />;
  if (followed?.operation.target !== cluster.id) return null;
  const { title, success } = OPERATION_WORDS[followed.operation.kind] ?? UNKNOWN_OPERATION;
  return (
    <OperationProgress
      organisation={organisation}
      followed={followed}
      onRetried={onRetried}
      title={title}
      success={success}
    />
  );
}

function ClusterTrouble({ cluster }: { cluster: Cluster }) {
  const [search] = useSearchParams();
  if (cluster.state === 'failed' && search.get('operation') === null) {
    return (
      <Notice tone="danger" title="This cluster could not be brought up">
        <p>{cluster.last_error ?? 'No reason was recorded.'}</p>
        <p>Delete it and create it again; nothing was stored in it.</p>
      </Notice>
    );
  }
  if (cluster.state === 'degraded') {
    return (
      <Notice tone="warn" title="Serving, but not at full strength">
        <p>{cluster.last_error ?? 'At least one node does not answer.'}</p>
      </Notice>
    );
  }
  return null;
}

function ClusterFacts({ cluster }: { cluster: Cluster }) {
  return (
    <Panel title="Placement">
      <Facts
        facts={[
          { term: 'Region', value: cluster.region },
          { term: 'Created', value: <Timestamp time={cluster.created_at} /> },
          ...(cluster.ready_at ? [{ term: 'Ready', value: <Timestamp time={cluster.ready_at} /> }] : []),
          ...(cluster.format ? [{ term: 'Format version', value: cluster.format.active }] : []),
        ]}
      />
    </Panel>
  );
}

function DeletePanel({ organisation, cluster }: { organisation: Organisation; cluster: Cluster }) {
  const navigate = useNavigate();
  const [asking, setAsking] = useState(false);
  if (cluster.state === 'deleted')
    return <ButtonLink to={`/orgs/${organisation.id}/clusters`}>Back to clusters</ButtonLink>;
  const reason =
    cluster.state === 'deleting'
      ? 'The cluster is being deleted.'
      : refusalReason(organisation.role, 'delete_clusters');
  return (
    <Panel
      tone="danger"
      title="Delete this cluster"
      description="Removes the cluster and its data. You will be asked to type its name."
      actions={
        <Button disabledReason={reason} onClick={() => setAsking(true)}>
          Delete cluster…
        </Button>
      }
    >
      {asking ? (
        <Dialog title={`Delete ${cluster.name}?`} onClose={() => setAsking(false)}>
          <DeleteClusterForm
            org={organisation.id}
            cluster={cluster}
            onCancel={() => setAsking(false)}
            onDeleting={(operation) => {
              setAsking(false);
              window.scrollTo({ top: 0 });
              void navigate(`/orgs/${organisation.id}/clusters/${cluster.id}?operation=${operation}`, {
                replace: true,
              });
            }}
          />
        </Dialog>
      ) : undefined}
    </Panel>
  );
}
