import { useInfiniteQuery } from '@tanstack/react-query';
import { allows } from '@/api/permissions';
import { auditEventsQuery } from '@/api/queries';
import type { AuditEvent, Organisation } from '@/api/types';
import { Failure } from '@/components/Failure';
import { LoadMore } from '@/components/LoadMore';
import { Page } from '@/components/Page';
import { CopyableId } from '@/ui/Copy';
import { EmptyState } from '@/ui/EmptyState';
import { Loading } from '@/ui/Loading';
import { Table } from '@/ui/Table';
import { Timestamp } from '@/ui/Timestamp';
import styles from './AuditPage.module.css';

const LEAD =
  "This is not a report about what happened: it is the platform's own event log, from which everything else here is derived. Position and record hash are what a receipt proves.";

export function AuditPage({ organisation }: { organisation: Organisation }) {
  const mayRead = allows(organisation.role, 'read_audit_events');
  return (
    <Page title="Audit log" lead={LEAD}>
      {mayRead ? (
        <Events org={organisation.id} />
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
            {
              header: 'By',
              cell: ({ actor }) => <span title={actor.id ?? undefined}>{actor.name ?? actor.id ?? actor.kind}</span>,
            },
            { header: 'At', cell: ({ occurred_at }) => <Timestamp time={occurred_at} /> },
            {
              header: 'Record hash',
              cell: ({ record_hash }) => <CopyableId value={record_hash} what="record hash" short />,
            },
          ]}
        />
      ) : null}
      <LoadMore pages={events} what="events" />
    </>
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
