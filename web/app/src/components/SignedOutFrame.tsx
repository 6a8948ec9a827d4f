import type { ReactNode } from 'react';
import { Mark } from '@/ui/Mark';
import styles from './SignedOutFrame.module.css';

const PROMISES = [
  { title: 'Every change is a record', text: 'Ordered, hash-chained and signed. Tables are derived views of it.' },
  { title: 'Proof, not trust', text: 'A receipt for any row verifies offline, with one command and an open format.' },
  { title: 'Ordinary PostgreSQL', text: 'Connect with the driver you already use, over TLS, in minutes.' },
];

/** The frame of the pages before signing in: what this is on one side, what to do on the other. */
export function SignedOutFrame({ children }: { children: ReactNode }) {
  return (
    <div className={styles.frame}>
      <aside className={styles.about} aria-label="About Craton">
        <p className={styles.brand}>
          <Mark size={34} />
          Craton
        </p>
        <div className={styles.words}>
          <p className={styles.motto}>If you cannot explain where a piece of data came from, you do not control it.</p>
          <ul className={styles.promises}>
            {PROMISES.map(({ title, text }) => (
              <li key={title}>
                <strong>{title}</strong>
                <span>{text}</span>
              </li>
            ))}
          </ul>
        </div>
        <Strata />
      </aside>
      <main className={styles.main}>{children}</main>
    </div>
  );
}

const LAYERS = Array.from({ length: 9 }, (_, index) => index);

/** Layers that flatten with depth: the newest on top, the oldest at rest. */
function Strata() {
  return (
    <svg
      className={styles.strata}
      viewBox="0 0 600 220"
      preserveAspectRatio="none"
      aria-hidden="true"
      focusable="false"
    >
      {LAYERS.map((index) => {
        const y = 18 + index * 24;
        const swing = 26 * (1 - index / (LAYERS.length - 1)) ** 1.5;
        return (
          <path
            key={index}
            d={`M0 ${y} C 100 ${y - swing}, 200 ${y - swing}, 300 ${y} S 500 ${y + swing}, 600 ${y}`}
            opacity={0.25 + index * 0.085}
          />
        );
      })}
    </svg>
  );
}
