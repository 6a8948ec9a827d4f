import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { allows } from '@/api/permissions';
import { auditEventsQuery, platformLogKeyQuery, receiptHref } from '@/api/queries';
import type { AuditEvent, Organisation } from '@/api/types';
import { Failure } from '@/components/Failure';
import { LoadMore } from '@/components/LoadMore';
import { Page } from '@/components/Page';
import { VerifierKey } from '@/components/VerifierKey';
import { CopyableId } from '@/ui/Copy';
import { EmptyState } from '@/ui/EmptyState';
import { Icon } from '@/ui/Icon';
import { Loading } from '@/ui/Loading';
import { Panel } from '@/ui/Panel';
import { Table } from '@/ui/Table';
import { Timestamp } from '@/ui/Timestamp';
import styles from './AuditPage.module.css';

const LEAD =
  "This is not a report about what happened: it is the platform's own event log, from which everything else here is derived.";

export function AuditPage({ organisation }: { organisation: Organisation }) {
  const mayRead = allows(organisation.role, 'read_audit_events');
  return (
    <Page title="Audit log" lead={LEAD}>
      {mayRead ? (
        <>
          <Verification />
          <Events org={organisation.id} />
        </>
      ) : (
        <EmptyState title="Not visible to your role">
          <p>
            Owners, admins and auditors read the audit log. Your role in {organisation.name} is {organisation.role}.
          </p>
        </EmptyState>
      )}
    </Page>
  );
}

/** How to check the log's receipts; absent while the key is on its way, as the list below stands for itself. */
function Verification() {
  const { data } = useQuery(platformLogKeyQuery);
  if (!data) return null;
  return (
    <Panel
      title="Verify without us"
      description="Each record below has a receipt to download, which proves offline that it is in the log as shown and was not added or changed later."
    >
      <VerifierKey of="platform" verifierKey={data.verifier_key} receipt="receipt.txt" />
    </Panel>
  );
}

function Events({ org }: { org: string }) {
  const events = useInfiniteQuery(auditEventsQuery(org));
  const rows = events.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      {events.isPending ? <Loading what="events" /> : null}
      {events.error ? <Failure error={events.error} onRetry={() => void events.refetch()} /> : null}
      {events.data && rows.length === 0 ? (
        <EmptyState title="No events yet">
          <p>Every change in this organisation appears here, with who made it, when, and the hash of its record.</p>
        </EmptyState>
      ) : null}
      {rows.length > 0 ? (
        <Table
          caption="Events, newest first"
          rows={rows}
          keyOf={({ id }) => id}
          columns={[
            { header: 'Position', cell: ({ position }) => <code>{position}</code> },
            { header: 'Event', rowHeader: true, cell: (event) => <Event event={event} /> },
            { header: 'By', cell: ({ actor }) => <Actor actor={actor} /> },
            { header: 'At', cell: ({ occurred_at }) => <Timestamp time={occurred_at} /> },
            { header: 'Record hash', cell: (event) => <RecordHash org={org} event={event} /> },
          ]}
        />
      ) : null}
      <LoadMore pages={events} what="events" />
    </>
  );
}

function Actor({ actor }: { actor: AuditEvent['actor'] }) {
  if (actor.name !== null) return <span title={actor.id ?? undefined}>{actor.name}</span>;
  if (actor.id === null) return actor.kind;
  return <CopyableId value={actor.id} what={`${actor.kind} id`} short />;
}

function RecordHash({ org, event }: { org: string; event: AuditEvent }) {
  const { position, record_hash } = event;
  return (
    <span className={styles.record}>
      <CopyableId value={record_hash} what="record hash" short />
      <a
        className={styles.receipt}
        href={receiptHref(org, position)}
        download={`receipt-${position}.txt`}
        title="Download receipt"
        aria-label={`Download the receipt of position ${position}`}
      >
        <Icon name="download" />
      </a>
    </span>
  );
}

function Event({ event }: { event: AuditEvent }) {
  return (
    <details className={styles.event}>
      <summary>{event.type}</summary>
      <p className={styles.aggregate}>
        {event.aggregate.kind} <CopyableId value={event.aggregate.id} what={`${event.aggregate.kind} id`} />
      </p>
      <p className={styles.aggregate}>
        request <CopyableId value={event.request_id} what="request id" />
      </p>
      <pre aria-label={`Data of ${event.type}`}>
        <code>{JSON.stringify(event.data, null, 2)}</code>
      </pre>
    </details>
  );
}
