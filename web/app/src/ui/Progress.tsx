import { classes } from './classes';
import { Icon } from './Icon';
import styles from './Progress.module.css';

export type ProgressStep = { label: string; state: 'done' | 'current' | 'waiting' | 'failed' };

const WORDS = { done: 'done', current: 'in progress', waiting: 'waiting', failed: 'failed' } as const;

/** The steps of one operation in their order. */
export function Progress({ label, steps }: { label: string; steps: readonly ProgressStep[] }) {
  return (
    <ol className={styles.steps} aria-label={label}>
      {steps.map((step, index) => (
        <li
          key={index}
          className={classes(styles.step, styles[step.state])}
          aria-current={step.state === 'current' ? 'step' : undefined}
        >
          <span className={styles.marker} aria-hidden="true">
            {step.state === 'done' ? (
              <Icon name="check" />
            ) : step.state === 'failed' ? (
              <Icon name="cross" />
            ) : (
              index + 1
            )}
          </span>
          <span className={styles.label}>{step.label}</span>
          <span className="visually-hidden">, {WORDS[step.state]}</span>
        </li>
      ))}
    </ol>
  );
}
