import { useState } from 'react';
import { useNavigate } from 'react-router';
import { answerOf, api } from '@/api/client';
import { refusalReason } from '@/api/permissions';
import type { Cluster, Organisation } from '@/api/types';
import { ConfirmForm } from '@/forms/ConfirmForm';
import { ScaleClusterForm } from '@/forms/ScaleClusterForm';
import { UpgradeClusterForm } from '@/forms/UpgradeClusterForm';
import { Button } from '@/ui/Button';
import { CopyableId } from '@/ui/Copy';
import { Dialog } from '@/ui/Dialog';
import { Panel } from '@/ui/Panel';
import { Table } from '@/ui/Table';

type ClusterNode = Cluster['nodes'][number];

/** The members of a cluster, what each of them does, and how their number is changed. */
export function NodesPanel({ organisation, cluster }: { organisation: Organisation; cluster: Cluster }) {
  const navigate = useNavigate();
  const [scaling, setScaling] = useState(false);
  const [upgrading, setUpgrading] = useState(false);
  const [finalizing, setFinalizing] = useState(false);
  const [replacing, setReplacing] = useState<ClusterNode | null>(null);
  const serving = cluster.state === 'ready' || cluster.state === 'degraded';
  const reason = serving ? refusalReason(organisation.role, 'manage_clusters') : 'The cluster is not ready.';
  const follow = (operation: string) => {
    setScaling(false);
    setUpgrading(false);
    setFinalizing(false);
    setReplacing(null);
    window.scrollTo({ top: 0 });
    void navigate(`/orgs/${organisation.id}/clusters/${cluster.id}?operation=${operation}`, { replace: true });
  };
  const replace = async ({ member }: ClusterNode) => {
    const { operation } = await answerOf(
      api.POST('/api/v1/orgs/{org}/clusters/{cluster}/nodes/{member}/replace', {
        params: { path: { org: organisation.id, cluster: cluster.id, member } },
      }),
    );
    follow(operation.id);
  };
  const finalize = async (formatVersion: number) => {
    const { operation } = await answerOf(
      api.POST('/api/v1/orgs/{org}/clusters/{cluster}/finalize', {
        params: { path: { org: organisation.id, cluster: cluster.id } },
        body: { format_version: formatVersion },
      }),
    );
    follow(operation.id);
  };
  return (
    <Panel
      title="Nodes"
      description="Every node reads and writes. The leader orders the writes of all of them."
      actions={
        <>
          <Button disabledReason={reason} onClick={() => setScaling(true)}>
            Change nodes…
          </Button>
          <Button disabledReason={reason} onClick={() => setUpgrading(true)}>
            Change version…
          </Button>
          <Button disabledReason={reason ?? finalReason(cluster)} onClick={() => setFinalizing(true)}>
            Make final…
          </Button>
        </>
      }
    >
      <Table
        caption="Nodes of the cluster"
        rows={cluster.nodes}
        keyOf={({ member }) => String(member)}
        columns={[
          { header: 'Node', rowHeader: true, cell: ({ member }) => member },
          {
            header: 'Id',
            cell: ({ node_id, member }) => <CopyableId value={node_id} what={`id of node ${member}`} short />,
          },
          { header: 'State', cell: stateWords },
          { header: 'Role', cell: ({ role }) => role ?? 'not known' },
          { header: 'Version', cell: ({ server_version }) => server_version ?? 'not known' },
          { header: 'Formats', cell: formatWords },
          {
            header: 'Actions',
            cell: (node) => (
              <Button
                disabledReason={reason ?? (cluster.nodes.length > 1 ? undefined : 'There is no other node.')}
                onClick={() => setReplacing(node)}
              >
                Replace…
              </Button>
            ),
          },
        ]}
      />
      {scaling ? (
        <Dialog title={`Change the nodes of ${cluster.name}`} onClose={() => setScaling(false)}>
          <ScaleClusterForm
            org={organisation.id}
            cluster={cluster}
            onChanging={follow}
            onCancel={() => setScaling(false)}
          />
        </Dialog>
      ) : null}
      {upgrading ? (
        <Dialog title={`Change the version of ${cluster.name}`} onClose={() => setUpgrading(false)}>
          <UpgradeClusterForm
            org={organisation.id}
            cluster={cluster}
            onChanging={follow}
            onCancel={() => setUpgrading(false)}
          />
        </Dialog>
      ) : null}
      {finalizing && cluster.format ? (
        <Dialog title={`Make the upgrade of ${cluster.name} final?`} onClose={() => setFinalizing(false)}>
          <ConfirmForm
            action="Make final"
            onConfirm={() => finalize(cluster.format?.newest ?? 0)}
            onCancel={() => setFinalizing(false)}
          >
            <p>
              The nodes write format version {cluster.format.newest} from then on. The cluster cannot move back to a
              version of the server that does not know it. Until then it can.
            </p>
          </ConfirmForm>
        </Dialog>
      ) : null}
      {replacing ? (
        <Dialog title={`Replace node ${replacing.member}?`} onClose={() => setReplacing(null)}>
          <ConfirmForm action="Replace node" onConfirm={() => replace(replacing)} onCancel={() => setReplacing(null)}>
            <p>
              A new node receives all data and takes its place; then node {replacing.member} leaves and its copy of the
              data is destroyed. It may be out of reach.
            </p>
          </ConfirmForm>
        </Dialog>
      ) : null}
    </Panel>
  );
}

/** How a member stands, in words. */
function stateWords({ state, standing }: ClusterNode): string {
  const words = state.replaceAll('_', ' ');
  return standing === 'wanted' ? words : `${words}, ${standing}`;
}

/** Why there is nothing to make final. */
function finalReason({ format }: Cluster): string | undefined {
  if (!format) return 'Not every node has said which format versions it knows.';
  if (format.newest > format.active) return undefined;
  return `The cluster writes the newest format version that all of its nodes know, ${format.active}.`;
}

/** What a member writes, and what it could. */
function formatWords({ format }: ClusterNode): string {
  if (!format) return 'not known';
  return format.newest > format.active ? `${format.active}, knows ${format.newest}` : String(format.active);
}
