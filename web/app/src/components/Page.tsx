import type { ReactNode } from 'react';
import { Link } from 'react-router';
import { useDocumentTitle } from '@/hooks/useDocumentTitle';
import { classes } from '@/ui/classes';
import { Icon } from '@/ui/Icon';
import styles from './Page.module.css';

type PageProps = {
  title: string;
  /** The page above this one. */
  parent?: { to: string; label: string };
  /** Beside the title, such as a state. */
  aside?: ReactNode;
  lead?: ReactNode;
  actions?: ReactNode;
  children?: ReactNode;
};

/** The frame of every page: one `h1`, what the page is for, its actions, its content. */
export function Page({ title, parent, aside, lead, actions, children }: PageProps) {
  useDocumentTitle(title);
  return (
    <div className={styles.page}>
      <header className={styles.header}>
        <div className={styles.heading}>
          {parent === undefined ? null : (
            <Link to={parent.to} className={classes(styles.parent)}>
              <Icon name="chevron" />
              {parent.label}
            </Link>
          )}
          <div className={styles.title}>
            <h1>{title}</h1>
            {aside}
          </div>
          {lead === undefined ? null : <div className={styles.lead}>{lead}</div>}
        </div>
        {actions === undefined ? null : <div className={styles.actions}>{actions}</div>}
      </header>
      {children}
    </div>
  );
}
