import type { ReactNode } from 'react';
import { useDocumentTitle } from '@/hooks/useDocumentTitle';
import styles from './Page.module.css';

type PageProps = {
  title: string;
  /** Beside the title, such as a state. */
  aside?: ReactNode;
  lead?: ReactNode;
  actions?: ReactNode;
  children?: ReactNode;
};

/** The frame of every page: one `h1`, what the page is for, its actions, its content. */
export function Page({ title, aside, lead, actions, children }: PageProps) {
  useDocumentTitle(title);
  return (
    <div className={styles.page}>
      <header className={styles.header}>
        <div className={styles.heading}>
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
