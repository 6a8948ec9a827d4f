import { useEffect, useId, useRef, useState, type ReactNode } from 'react';
import { classes } from './classes';
import { Icon } from './Icon';
import styles from './Disclosure.module.css';

type DisclosureProps = {
  /** What the button opens, for screen readers. */
  label: string;
  button: ReactNode;
  /** Gets a function that closes the list, for its entries to call. */
  children: (close: () => void) => ReactNode;
};

/** A button that opens a short list below it; Escape, a press elsewhere and moving the focus away close it. */
export function Disclosure({ label, button, children }: DisclosureProps) {
  const id = useId();
  const [open, setOpen] = useState(false);
  const holder = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (!open) return undefined;
    const onOutside = (event: Event) => {
      if (!(event.target instanceof Node) || !holder.current?.contains(event.target)) setOpen(false);
    };
    const onEscape = (event: KeyboardEvent) => {
      if (event.key !== 'Escape') return;
      setOpen(false);
      opener.current?.focus();
    };
    document.addEventListener('pointerdown', onOutside);
    document.addEventListener('focusin', onOutside);
    document.addEventListener('keydown', onEscape);
    return () => {
      document.removeEventListener('pointerdown', onOutside);
      document.removeEventListener('focusin', onOutside);
      document.removeEventListener('keydown', onEscape);
    };
  }, [open]);

  return (
    <div ref={holder} className={styles.holder}>
      <button
        ref={opener}
        type="button"
        className={styles.button}
        aria-label={label}
        aria-expanded={open}
        aria-controls={id}
        onClick={() => setOpen(!open)}
      >
        <span className={styles.text}>{button}</span>
        <span className={classes(styles.chevron, open && styles.turned)}>
          <Icon name="chevron" />
        </span>
      </button>
      <div id={id} className={styles.list} hidden={!open}>
        {open ? children(() => setOpen(false)) : null}
      </div>
    </div>
  );
}
