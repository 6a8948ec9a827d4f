import { useId, useRef, useState, type KeyboardEvent, type ReactNode } from 'react';
import { classes } from './classes';
import styles from './Tabs.module.css';

export type Tab = { id: string; label: string; content: ReactNode };

/** Tabs after the ARIA authoring practices: one tab stop, arrows, Home and End move and select. */
export function Tabs({ label, tabs }: { label: string; tabs: readonly Tab[] }) {
  const base = useId();
  const list = useRef<HTMLDivElement>(null);
  const [chosen, setChosen] = useState(0);
  const selected = Math.min(chosen, tabs.length - 1);

  const onKeyDown = (event: KeyboardEvent) => {
    const next = { ArrowRight: selected + 1, ArrowLeft: selected - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const index = (next + tabs.length) % tabs.length;
    setChosen(index);
    list.current?.querySelectorAll<HTMLElement>('[role="tab"]')[index]?.focus();
  };

  const current = tabs[selected];
  if (!current) return null;
  return (
    <div className={styles.tabs}>
      <div ref={list} role="tablist" aria-label={label} className={styles.list}>
        {tabs.map((tab, index) => (
          <button
            key={tab.id}
            type="button"
            role="tab"
            id={`${base}-tab-${tab.id}`}
            aria-selected={index === selected}
            aria-controls={`${base}-panel`}
            tabIndex={index === selected ? 0 : -1}
            className={classes(styles.tab, index === selected && styles.selected)}
            onClick={() => setChosen(index)}
            onKeyDown={onKeyDown}
          >
            {tab.label}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${base}-panel`} aria-labelledby={`${base}-tab-${current.id}`} className={styles.panel}>
        {current.content}
      </div>
    </div>
  );
}
