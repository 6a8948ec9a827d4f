import { useNavigate } from 'react-router';
import { Page } from '@/components/Page';
import { CreateOrganisationForm } from '@/forms/CreateOrganisationForm';
import { useMe } from '@/hooks/useSession';
import { Panel } from '@/ui/Panel';

export function NewOrganisationPage() {
  const navigate = useNavigate();
  const { organisations } = useMe();
  return (
    <Page
      title={organisations.length === 0 ? 'Create your organisation' : 'New organisation'}
      lead="Clusters, API keys and the audit log belong to an organisation. Nobody outside it can see that they exist."
    >
      <Panel title="Organisation" description="You become its owner.">
        <CreateOrganisationForm onCreated={(org) => void navigate(`/orgs/${org}/clusters`)} />
      </Panel>
    </Page>
  );
}
