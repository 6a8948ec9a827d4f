import { useQueryClient } from '@tanstack/react-query';
import { useRef, useState } from 'react';
import { Link, NavLink, Outlet, useLocation, useNavigate } from 'react-router';
import { signOut } from '@/api/session';
import { isSignedOut } from '@/api/problem';
import type { Organisation } from '@/api/types';
import { useSecrets } from '@/hooks/useOnceSecret';
import { usePageChange } from '@/hooks/usePageChange';
import { useMe, useOrganisation } from '@/hooks/useSession';
import { Button } from '@/ui/Button';
import { classes } from '@/ui/classes';
import { Icon, type IconName } from '@/ui/Icon';
import { Mark } from '@/ui/Mark';
import { ErrorBoundary } from './ErrorBoundary';
import { Failure } from './Failure';
import { OrganisationSwitcher } from './OrganisationSwitcher';
import styles from './Shell.module.css';

/** The frame around every page of someone who is signed in. */
export function Shell() {
  const { user } = useMe();
  const organisation = useRecentOrganisation();
  const { pathname } = useLocation();
  const content = useRef<HTMLElement>(null);
  usePageChange(content);
  return (
    <div className={styles.shell}>
      <a href="#content" className={styles.skip}>
        Skip to content
      </a>
      <header className={styles.side}>
        <div className={styles.inner}>
          <Link to="/" className={styles.brand}>
            <Mark />
            <span>Craton</span>
          </Link>
          <div className={styles.switcher}>
            <OrganisationSwitcher current={organisation} />
          </div>
          {organisation ? (
            <nav aria-label="Organisation" className={styles.nav}>
              <NavEntry to={`/orgs/${organisation.id}/clusters`} icon="cluster" label="Clusters" />
              <NavEntry to={`/orgs/${organisation.id}/api-keys`} icon="key" label="API keys" />
              <NavEntry to={`/orgs/${organisation.id}/audit`} icon="log" label="Audit log" />
            </nav>
          ) : null}
          <nav aria-label="Account" className={styles.account}>
            <NavLink to="/settings" className={classes(styles.entry)} title={user.email}>
              <Icon name="person" />
              <span className={styles.user}>{user.display_name}</span>
            </NavLink>
            <SignOut />
          </nav>
        </div>
      </header>
      <main ref={content} id="content" tabIndex={-1} className={styles.content}>
        <ErrorBoundary resetKey={pathname}>
          <Outlet />
        </ErrorBoundary>
      </main>
    </div>
  );
}

/** The organisation of the address; on pages of none, such as the settings, the one looked at before. */
function useRecentOrganisation(): Organisation | null {
  const { organisations } = useMe();
  const current = useOrganisation();
  const [recent, setRecent] = useState<string | null>(null);
  if (current && current.id !== recent) setRecent(current.id);
  return current ?? organisations.find(({ id }) => id === recent) ?? organisations[0] ?? null;
}

function NavEntry({ to, icon, label }: { to: string; icon: IconName; label: string }) {
  return (
    <NavLink to={to} className={classes(styles.entry)}>
      <Icon name={icon} />
      {label}
    </NavLink>
  );
}

function SignOut() {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const { forgetAll } = useSecrets();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);

  const leave = async () => {
    setBusy(true);
    try {
      await signOut();
    } catch (cause) {
      // A session that has already ended is as signed out as one can be.
      if (!isSignedOut(cause)) {
        setError(cause);
        setBusy(false);
        return;
      }
    }
    forgetAll();
    await navigate('/signin?reason=signed-out');
    queryClient.clear();
  };
  return (
    <>
      <Button variant="quiet" busy={busy} onClick={() => void leave()}>
        Sign out
      </Button>
      {error === null ? null : <Failure error={error} />}
    </>
  );
}
