import { useNavigate } from 'react-router';
import type { Organisation } from '@/api/types';
import { Page } from '@/components/Page';
import { CreateClusterForm } from '@/forms/CreateClusterForm';
import { Panel } from '@/ui/Panel';

export function NewClusterPage({ organisation }: { organisation: Organisation }) {
  const navigate = useNavigate();
  return (
    <Page
      title="Create cluster"
      parent={{ to: `/orgs/${organisation.id}/clusters`, label: 'All clusters' }}
      lead={`In ${organisation.name}.`}
    >
      <Panel
        title="Cluster"
        description="One node in the control plane's own region, with a database named main and a user named app. It is called ready only after a login, a write and a read have succeeded through its public endpoint."
      >
        <CreateClusterForm
          organisation={organisation}
          onCreated={({ cluster, operation }) =>
            void navigate(`/orgs/${organisation.id}/clusters/${cluster}?operation=${operation}`)
          }
        />
      </Panel>
    </Page>
  );
}
