import { useInfiniteQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { answerOf, api } from '@/api/client';
import { refusalReason } from '@/api/permissions';
import { apiKeysQuery } from '@/api/queries';
import type { ApiKey, Organisation } from '@/api/types';
import { Failure } from '@/components/Failure';
import { LoadMore } from '@/components/LoadMore';
import { OnceSecretCard } from '@/components/OnceSecretCard';
import { Page } from '@/components/Page';
import { ConfirmForm } from '@/forms/ConfirmForm';
import { CreateApiKeyForm } from '@/forms/CreateApiKeyForm';
import { useOnceSecret } from '@/hooks/useOnceSecret';
import { Button } from '@/ui/Button';
import { CopyableId } from '@/ui/Copy';
import { Dialog } from '@/ui/Dialog';
import { EmptyState } from '@/ui/EmptyState';
import { Loading } from '@/ui/Loading';
import { Table } from '@/ui/Table';
import { Timestamp } from '@/ui/Timestamp';

export function ApiKeysPage({ organisation }: { organisation: Organisation }) {
  const org = organisation.id;
  const queryClient = useQueryClient();
  const apiKeys = useInfiniteQuery(apiKeysQuery(org));
  const [creating, setCreating] = useState(false);
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  const { secret, hold, forget } = useOnceSecret(`api-key/${org}`);
  const rows = apiKeys.data?.pages.flatMap((page) => page.items) ?? [];
  const reason = refusalReason(organisation.role, 'manage_api_keys');
  const create = (
    <Button variant="primary" disabledReason={reason} onClick={() => setCreating(true)}>
      Create API key
    </Button>
  );
  const revoke = async ({ id }: ApiKey) => {
    await answerOf(api.DELETE('/api/v1/orgs/{org}/api-keys/{key}', { params: { path: { org, key: id } } }));
    await queryClient.invalidateQueries({ queryKey: apiKeysQuery(org).queryKey });
    setRevoking(null);
  };
  return (
    <Page
      title="API keys"
      lead="Keys let programs act in this organisation: the craton command, a pipeline, a script of your own."
      actions={rows.length > 0 ? create : undefined}
    >
      {apiKeys.isPending ? <Loading what="API keys" /> : null}
      {apiKeys.error ? <Failure error={apiKeys.error} onRetry={() => void apiKeys.refetch()} /> : null}
      {apiKeys.data && rows.length === 0 ? (
        <EmptyState title="No API keys yet" action={create}>
          <p>
            A key starts with <code>crt_live_</code>, has a role and an expiry, and is sent as a bearer token:
          </p>
          <pre>
            <code>Authorization: Bearer crt_live_…</code>
          </pre>
        </EmptyState>
      ) : null}
      {rows.length > 0 ? (
        <Table
          caption="API keys"
          rows={rows}
          keyOf={({ id }) => id}
          columns={[
            { header: 'Name', rowHeader: true, cell: ({ name }) => name },
            { header: 'Role', cell: ({ role }) => role },
            { header: 'Id', cell: ({ id }) => <CopyableId value={id} what="key id" short /> },
            { header: 'Expires', cell: ({ expires_at }) => (expires_at ? <Timestamp time={expires_at} /> : 'never') },
            {
              header: 'Last used',
              cell: ({ last_used_at }) => (last_used_at ? <Timestamp time={last_used_at} /> : 'never'),
            },
            {
              header: 'Actions',
              cell: (row) => (
                <Button disabledReason={reason} onClick={() => setRevoking(row)}>
                  Revoke…
                </Button>
              ),
            },
          ]}
        />
      ) : null}
      <LoadMore pages={apiKeys} what="API keys" />
      {creating ? (
        <Dialog title="Create API key" onClose={() => setCreating(false)}>
          <CreateApiKeyForm
            organisation={organisation}
            onCancel={() => setCreating(false)}
            onCreated={(created) => {
              setCreating(false);
              hold(created);
            }}
          />
        </Dialog>
      ) : null}
      {secret ? (
        <Dialog title={secret.label}>
          <OnceSecretCard secret={secret} replacement="Revoke this key and create another." onStored={forget} />
        </Dialog>
      ) : null}
      {revoking ? (
        <Dialog title={`Revoke ${revoking.name}?`} onClose={() => setRevoking(null)}>
          <ConfirmForm action="Revoke key" onConfirm={() => revoke(revoking)} onCancel={() => setRevoking(null)}>
            <p>Programs that use this key are refused at once. It cannot be made valid again.</p>
          </ConfirmForm>
        </Dialog>
      ) : null}
    </Page>
  );
}
