import type { ComponentType } from 'react';
import { Navigate, Route, Routes } from 'react-router';
import type { Organisation } from './api/types';
import { Shell } from './components/Shell';
import { SignedIn } from './components/SignedIn';
import { useOrganisation } from './hooks/useSession';
import { ApiKeysPage } from './pages/ApiKeysPage';
import { AuditPage } from './pages/AuditPage';
import { ClusterPage } from './pages/ClusterPage';
import { ClustersPage } from './pages/ClustersPage';
import { HomePage } from './pages/HomePage';
import { NewClusterPage } from './pages/NewClusterPage';
import { NewOrganisationPage } from './pages/NewOrganisationPage';
import { NotFoundPage } from './pages/NotFoundPage';
import { SettingsPage } from './pages/SettingsPage';
import { SignInPage } from './pages/SignInPage';
import { SignUpPage } from './pages/SignUpPage';
import { VerifyPage } from './pages/VerifyPage';

/** Every address of the console; they mirror those of the API. */
export function AppRoutes() {
  return (
    <Routes>
      <Route path="/signup" element={<SignUpPage />} />
      <Route path="/signin" element={<SignInPage />} />
      <Route path="/verify" element={<VerifyPage />} />
      <Route element={<SignedIn />}>
        <Route element={<Shell />}>
          <Route path="/" element={<HomePage />} />
          <Route path="/settings" element={<SettingsPage />} />
          <Route path="/orgs/new" element={<NewOrganisationPage />} />
          <Route path="/orgs/:org" element={<Navigate to="clusters" replace />} />
          <Route path="/orgs/:org/clusters" element={<InOrganisation page={ClustersPage} />} />
          <Route path="/orgs/:org/clusters/new" element={<InOrganisation page={NewClusterPage} />} />
          <Route path="/orgs/:org/clusters/:cluster" element={<InOrganisation page={ClusterPage} />} />
          <Route path="/orgs/:org/api-keys" element={<InOrganisation page={ApiKeysPage} />} />
          <Route path="/orgs/:org/audit" element={<InOrganisation page={AuditPage} />} />
          <Route path="*" element={<NotFoundPage />} />
        </Route>
      </Route>
    </Routes>
  );
}

/** A page of one organisation; a foreign one looks like a missing one. */
function InOrganisation({ page: PageOfOrganisation }: { page: ComponentType<{ organisation: Organisation }> }) {
  const organisation = useOrganisation();
  return organisation ? <PageOfOrganisation key={organisation.id} organisation={organisation} /> : <NotFoundPage />;
}
