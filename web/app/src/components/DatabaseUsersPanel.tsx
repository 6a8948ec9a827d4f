import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { refusalReason } from '@/api/permissions';
import { databaseUsersQuery } from '@/api/queries';
import type { Cluster, Organisation } from '@/api/types';
import { RotatePasswordForm } from '@/forms/RotatePasswordForm';
import { useOnceSecret } from '@/hooks/useOnceSecret';
import { Button } from '@/ui/Button';
import { Dialog } from '@/ui/Dialog';
import { Loading } from '@/ui/Loading';
import { Panel } from '@/ui/Panel';
import { Table } from '@/ui/Table';
import { Timestamp } from '@/ui/Timestamp';
import { Failure } from './Failure';
import { OnceSecretCard } from './OnceSecretCard';

/** The logins of a cluster, and new passwords for them. */
export function DatabaseUsersPanel({ organisation, cluster }: { organisation: Organisation; cluster: Cluster }) {
  const org = organisation.id;
  const users = useQuery(databaseUsersQuery(org, cluster.id));
  const [rotating, setRotating] = useState<string | null>(null);
  const { secret, hold, forget } = useOnceSecret(`rotated-password/${cluster.id}`);
  return (
    <Panel
      title="Database users"
      description="Passwords are shown once, when they are made. A lost one is replaced, never recovered."
    >
      {users.isPending ? <Loading what="database users" /> : null}
      {users.error ? <Failure error={users.error} onRetry={() => void users.refetch()} /> : null}
      {users.data ? (
        <Table
          caption="Database users"
          rows={users.data.items}
          keyOf={({ name }) => name}
          columns={[
            { header: 'User', rowHeader: true, cell: ({ name }) => <code>{name}</code> },
            { header: 'Created', cell: ({ created_at }) => <Timestamp time={created_at} /> },
            {
              header: 'Password rotated',
              cell: ({ password_rotated_at }) =>
                password_rotated_at ? <Timestamp time={password_rotated_at} /> : 'never',
            },
            {
              header: 'Actions',
              cell: ({ name }) => (
                <Button
                  disabledReason={refusalReason(organisation.role, 'manage_database_users')}
                  onClick={() => setRotating(name)}
                >
                  Rotate password…
                </Button>
              ),
            },
          ]}
        />
      ) : null}
      {rotating !== null ? (
        <Dialog title={`Rotate the password of ${rotating}?`} onClose={() => setRotating(null)}>
          <RotatePasswordForm
            org={org}
            cluster={cluster.id}
            user={rotating}
            onCancel={() => setRotating(null)}
            onRotated={(rotated) => {
              setRotating(null);
              hold(rotated);
            }}
          />
        </Dialog>
      ) : null}
      {secret ? (
        <Dialog title={secret.label}>
          <OnceSecretCard secret={secret} replacement="Rotate the password once more." onStored={forget} />
        </Dialog>
      ) : null}
    </Panel>
  );
}
