import { useId, type ReactNode } from 'react';
import { classes } from './classes';
import styles from './Panel.module.css';

type PanelProps = {
  title: string;
  description?: ReactNode;
  actions?: ReactNode;
  tone?: 'plain' | 'danger';
  children?: ReactNode;
};

/** A titled region of a page. */
export function Panel({ title, description, actions, tone = 'plain', children }: PanelProps) {
  const id = useId();
  return (
    <section className={classes(styles.panel, tone === 'danger' && styles.danger)} aria-labelledby={id}>
      <header className={styles.header}>
        <div className={styles.heading}>
          <h2 id={id}>{title}</h2>
          {description === undefined ? null : <p className={styles.description}>{description}</p>}
        </div>
        {actions === undefined ? null : <div className={styles.actions}>{actions}</div>}
      </header>
      {children === undefined ? null : <div className={styles.body}>{children}</div>}
    </section>
  );
}
