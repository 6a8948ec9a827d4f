import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { answerOf, api } from '@/api/client';
import { passkeysQuery, sessionsQuery } from '@/api/queries';
import type { Session } from '@/api/types';
import { Failure } from '@/components/Failure';
import { Page } from '@/components/Page';
import { ConfirmForm } from '@/forms/ConfirmForm';
import { useMe } from '@/hooks/useSession';
import { Badge } from '@/ui/Badge';
import { Button } from '@/ui/Button';
import { CopyableId } from '@/ui/Copy';
import { Dialog } from '@/ui/Dialog';
import { Facts } from '@/ui/Facts';
import { Loading } from '@/ui/Loading';
import { Panel } from '@/ui/Panel';
import { Table } from '@/ui/Table';
import { Timestamp } from '@/ui/Timestamp';
import { browserOf } from './user-agent';

export function SettingsPage() {
  const { user } = useMe();
  return (
    <Page title="Settings" lead="Your account, the passkeys that open it and the browsers that are signed in.">
      <Panel title="Account">
        <Facts
          facts={[
            { term: 'Name', value: user.display_name },
            { term: 'Email', value: user.email },
            { term: 'User id', value: <CopyableId value={user.id} what="user id" /> },
            { term: 'Since', value: <Timestamp time={user.created_at} /> },
          ]}
        />
      </Panel>
      <Passkeys />
      <Sessions />
    </Page>
  );
}

function Passkeys() {
  const passkeys = useQuery(passkeysQuery);
  return (
    <Panel title="Passkeys" description="Each one can sign in. The private half never leaves your device.">
      {passkeys.isPending ? <Loading what="passkeys" /> : null}
      {passkeys.error ? <Failure error={passkeys.error} onRetry={() => void passkeys.refetch()} /> : null}
      {passkeys.data ? (
        <Table
          caption="Passkeys"
          rows={passkeys.data.items}
          keyOf={({ id }) => id}
          columns={[
            { header: 'Name', rowHeader: true, cell: ({ name }) => name },
            { header: 'Created', cell: ({ created_at }) => <Timestamp time={created_at} /> },
            {
              header: 'Last used',
              cell: ({ last_used_at }) => (last_used_at ? <Timestamp time={last_used_at} /> : 'not since'),
            },
            { header: 'Id', cell: ({ id }) => <CopyableId value={id} what="passkey id" short /> },
          ]}
        />
      ) : null}
    </Panel>
  );
}

function Sessions() {
  const queryClient = useQueryClient();
  const sessions = useQuery(sessionsQuery);
  const [revoking, setRevoking] = useState<Session | null>(null);
  const revoke = async ({ id }: Session) => {
    await answerOf(api.DELETE('/api/v1/me/sessions/{session}', { params: { path: { session: id } } }));
    await queryClient.invalidateQueries({ queryKey: sessionsQuery.queryKey });
    setRevoking(null);
  };
  return (
    <Panel title="Sessions" description="Revoking a session signs that browser out at once.">
      {sessions.isPending ? <Loading what="sessions" /> : null}
      {sessions.error ? <Failure error={sessions.error} onRetry={() => void sessions.refetch()} /> : null}
      {sessions.data ? (
        <Table
          caption="Sessions"
          rows={sessions.data.items}
          keyOf={({ id }) => id}
          columns={[
            {
              header: 'Browser',
              rowHeader: true,
              cell: ({ user_agent }) => <span title={user_agent}>{browserOf(user_agent)}</span>,
            },
            { header: 'Last seen', cell: ({ last_seen_at }) => <Timestamp time={last_seen_at} /> },
            { header: 'Expires', cell: ({ expires_at }) => <Timestamp time={expires_at} /> },
            {
              header: 'Actions',
              cell: (session) =>
                session.current ? (
                  <Badge tone="ok">this browser</Badge>
                ) : (
                  <Button onClick={() => setRevoking(session)}>Revoke…</Button>
                ),
            },
          ]}
        />
      ) : null}
      {revoking ? (
        <Dialog title="Revoke this session?" onClose={() => setRevoking(null)}>
          <ConfirmForm action="Revoke session" onConfirm={() => revoke(revoking)} onCancel={() => setRevoking(null)}>
            <p>{browserOf(revoking.user_agent)} is signed out at once.</p>
          </ConfirmForm>
        </Dialog>
      ) : null}
    </Panel>
  );
}
