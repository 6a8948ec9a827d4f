import type { ReactNode } from 'react';
import { classes } from './classes';
import { Icon } from './Icon';
import styles from './Notice.module.css';

type NoticeProps = {
  tone: 'info' | 'warn' | 'danger' | 'ok';
  title: string;
  /** Announced by screen readers when it appears; for what answers an action. */
  live?: boolean;
  children?: ReactNode;
};

const ICONS = { info: 'info', warn: 'alert', danger: 'alert', ok: 'check' } as const;

export function Notice({ tone, title, live = false, children }: NoticeProps) {
  return (
    <div
      className={classes(styles.notice, styles[tone])}
      role={live ? (tone === 'danger' ? 'alert' : 'status') : undefined}
    >
      <span className={styles.icon}>
        <Icon name={ICONS[tone]} />
      </span>
      <div className={styles.body}>
        <p className={styles.title}>{title}</p>
        {children}
      </div>
    </div>
  );
}
