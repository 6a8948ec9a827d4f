import type { ReactNode } from 'react';
import { Link } from 'react-router';
import { Mark } from '@/ui/Mark';
import styles from './PublicFrame.module.css';

/** The frame of pages that are for everyone, with an account or without. */
export function PublicFrame({ children }: { children: ReactNode }) {
  return (
    <div className={styles.frame}>
      <header className={styles.header}>
        <Link to="/" className={styles.brand}>
          <Mark />
          <span>Craton</span>
        </Link>
        <Link to="/">Console</Link>
      </header>
      <main className={styles.main}>{children}</main>
    </div>
  );
}
