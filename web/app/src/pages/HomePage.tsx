import { Navigate } from 'react-router';
import { useMe } from '@/hooks/useSession';

/** The way in: the first organisation's clusters, or the making of the first organisation. */
export function HomePage() {
  const [first] = useMe().organisations;
  return <Navigate to={first ? `/orgs/${first.id}/clusters` : '/orgs/new'} replace />;
}
