import { useQuery } from '@tanstack/react-query';
import { witnessesQuery } from '@/api/queries';
import type { Cluster, WitnessedLog } from '@/api/types';
import { Loading } from '@/ui/Loading';
import { Notice } from '@/ui/Notice';
import { Panel } from '@/ui/Panel';
import { Table } from '@/ui/Table';
import { Timestamp } from '@/ui/Timestamp';
import { Failure } from './Failure';

const REASONS: Readonly<Record<string, string>> = {
  turned_back: 'The log is shorter than it was: the cluster may run on an older copy of its data.',
  not_consistent: 'The log does not continue what was witnessed: it was forked.',
  other_root: 'The log shows two different histories of the same length: it was forked.',
};

/** What the control plane, as a witness, has cosigned of each log, and what it refused. */
export function WitnessPanel({ org, cluster }: { org: string; cluster: Cluster }) {
  const witnesses = useQuery(witnessesQuery(org, cluster.id));
  const logs = witnesses.data?.logs ?? [];
  return (
    <Panel
      title="What the witness saw"
      description="This control plane cosigns the checkpoints of every database, and only those that continue what it has seen before."
    >
      {witnesses.isPending ? <Loading what="what was witnessed" /> : null}
      {witnesses.error ? <Failure error={witnesses.error} onRetry={() => void witnesses.refetch()} /> : null}
      {logs
        .filter((log) => log.is_refused)
        .map((log) => (
          <RefusedHistory key={log.database} log={log} />
        ))}
      {witnesses.data ? (
        <Table
          caption="Witnessed logs"
          rows={logs}
          keyOf={({ database }) => database}
          columns={[
            { header: 'Database', rowHeader: true, cell: ({ database }) => <code>{database}</code> },
            { header: 'Records', cell: ({ size }) => size ?? 'none yet' },
            { header: 'Root', cell: ({ root }) => (root === null ? '' : <code>{root}</code>) },
            {
              header: 'Witnessed',
              cell: ({ witnessed_at }) => (witnessed_at === null ? 'never' : <Timestamp time={witnessed_at} />),
            },
            {
              header: 'Last refusal',
              cell: ({ refused }) => (refused === null ? 'none' : <Timestamp time={refused.refused_at} />),
            },
          ]}
        />
      ) : null}
    </Panel>
  );
}

function RefusedHistory({ log }: { log: WitnessedLog }) {
  return (
    <Notice tone="danger" title={`The log of ${log.database} shows another history`}>
      <p>{REASONS[log.refused?.reason ?? ''] ?? 'It does not continue what was witnessed.'}</p>
      <p>
        {log.size ?? 0} records were witnessed; the refused checkpoint covers {log.refused?.size ?? 0}. Receipts of what
        was written since are not cosigned. The refusal is in the audit log.
      </p>
    </Notice>
  );
}
