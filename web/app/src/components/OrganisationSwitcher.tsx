import { NavLink } from 'react-router';
import type { Organisation } from '@/api/types';
import { useMe } from '@/hooks/useSession';
import { classes } from '@/ui/classes';
import { Disclosure } from '@/ui/Disclosure';
import { Icon } from '@/ui/Icon';
import styles from './OrganisationSwitcher.module.css';

export function OrganisationSwitcher({ current }: { current: Organisation | null }) {
  const { organisations } = useMe();
  return (
    <Disclosure
      label={`Organisation: ${current?.name ?? 'none chosen'}. Switch organisation`}
      button={current?.name ?? 'Choose organisation'}
    >
      {(close) => (
        <ul>
          {organisations.map(({ id, name, role }) => (
            <li key={id}>
              <NavLink
                to={`/orgs/${id}/clusters`}
                className={classes(styles.entry)}
                aria-current={id === current?.id ? 'true' : undefined}
                onClick={close}
              >
                <span className={styles.name}>{name}</span>
                <span className={styles.role}>{role}</span>
              </NavLink>
            </li>
          ))}
          <li className={styles.last}>
            <NavLink to="/orgs/new" className={classes(styles.entry, styles.create)} onClick={close}>
              <Icon name="plus" />
              New organisation
            </NavLink>
          </li>
        </ul>
      )}
    </Disclosure>
  );
}
