import { useInfiniteQuery } from '@tanstack/react-query';
import { Link } from 'react-router';
import { allows } from '@/api/permissions';
import { clustersQuery } from '@/api/queries';
import type { Organisation } from '@/api/types';
import { ButtonLink } from '@/components/ButtonLink';
import { ClusterStateBadge } from '@/components/ClusterStateBadge';
import { Failure } from '@/components/Failure';
import { LoadMore } from '@/components/LoadMore';
import { Page } from '@/components/Page';
import { CopyableId } from '@/ui/Copy';
import { EmptyState } from '@/ui/EmptyState';
import { Loading } from '@/ui/Loading';
import { Table } from '@/ui/Table';
import { Timestamp } from '@/ui/Timestamp';

export function ClustersPage({ organisation }: { organisation: Organisation }) {
  const org = organisation.id;
  const clusters = useInfiniteQuery(clustersQuery(org));
  const rows = clusters.data?.pages.flatMap((page) => page.items) ?? [];
  const create = allows(organisation.role, 'manage_clusters') ? (
    <ButtonLink to={`/orgs/${org}/clusters/new`} variant="primary">
      Create cluster
    </ButtonLink>
  ) : null;
  return (
    <Page
      title="Clusters"
      lead={`The databases of ${organisation.name}.`}
      actions={rows.length > 0 ? create : undefined}
    >
      {clusters.isPending ? <Loading what="clusters" /> : null}
      {clusters.error ? <Failure error={clusters.error} onRetry={() => void clusters.refetch()} /> : null}
      {clusters.data && rows.length === 0 ? (
        <EmptyState title="No clusters yet" action={create}>
          <p>
            A cluster is a PostgreSQL-compatible database that keeps every change as an immutable, signed record. From
            nothing to a first row takes three steps:
          </p>
          <ol>
            <li>Create a cluster and store its password, which is shown once.</li>
            <li>Download its CA certificate and paste the psql line that the cluster page shows.</li>
            <li>Insert a row, then ask for its receipt and verify it on your own machine.</li>
          </ol>
        </EmptyState>
      ) : null}
      {rows.length > 0 ? (
        <Table
          caption="Clusters"
          rows={rows}
          keyOf={({ id }) => id}
          columns={[
            {
              header: 'Name',
              rowHeader: true,
              cell: ({ id, name }) => <Link to={`/orgs/${org}/clusters/${id}`}>{name}</Link>,
            },
            { header: 'State', cell: ({ state }) => <ClusterStateBadge state={state} /> },
            {
              header: 'Region',
              cell: ({ region, node_count }) => `${region} · ${node_count} ${node_count === 1 ? 'node' : 'nodes'}`,
            },
            { header: 'Created', cell: ({ created_at }) => <Timestamp time={created_at} /> },
            { header: 'Id', cell: ({ id }) => <CopyableId value={id} what="cluster id" short /> },
          ]}
        />
      ) : null}
      <LoadMore pages={clusters} what="clusters" />
    </Page>
  );
}
