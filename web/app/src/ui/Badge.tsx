import { classes } from './classes';
import styles from './Badge.module.css';

export type Tone = 'neutral' | 'ok' | 'wait' | 'warn' | 'danger';

/** A state in one word. The dot repeats the tone; the word alone carries the meaning. */
export function Badge({ tone, children }: { tone: Tone; children: string }) {
  return (
    <span className={classes(styles.badge, styles[tone])}>
      <span className={styles.dot} aria-hidden="true" />
      {children}
    </span>
  );
}
