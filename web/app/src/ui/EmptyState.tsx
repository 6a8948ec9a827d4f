import type { ReactNode } from 'react';
import styles from './EmptyState.module.css';

/** What a list shows before it has anything: what would be here, why one wants it, and the first step. */
export function EmptyState({ title, children, action }: { title: string; children: ReactNode; action?: ReactNode }) {
  return (
    <div className={styles.empty}>
      <h2>{title}</h2>
      <div className={styles.text}>{children}</div>
      {action === undefined ? null : <div>{action}</div>}
    </div>
  );
}
