import { useId, type ButtonHTMLAttributes, type ReactNode } from 'react';
import { classes } from './classes';
import styles from './Button.module.css';

export type ButtonVariant = 'primary' | 'secondary' | 'danger' | 'quiet';

/** The look of a button for elements that are not one, such as links. */
export function buttonClass(variant: ButtonVariant = 'secondary'): string {
  return classes(styles.button, styles[variant]);
}

type ButtonProps = Omit<ButtonHTMLAttributes<HTMLButtonElement>, 'disabled' | 'className'> & {
  variant?: ButtonVariant;
  /**
   * Why the button cannot be used now. It stays focusable, so that the reason can be read by everyone. The reason
   * grows to the right of a submit button, which begins a row, and to the left of others, which tend to end one.
   */
  disabledReason?: string | undefined;
  /** Work is under way; a second press does nothing. */
  busy?: boolean;
  children: ReactNode;
};

export function Button({
  variant = 'secondary',
  disabledReason,
  busy = false,
  type = 'button',
  onClick,
  children,
  ...rest
}: ButtonProps) {
  const reasonId = useId();
  const blocked = disabledReason !== undefined || busy;
  return (
    <span className={styles.holder}>
      <button
        {...rest}
        type={type}
        className={buttonClass(variant)}
        aria-disabled={blocked || undefined}
        aria-busy={busy || undefined}
        aria-describedby={disabledReason === undefined ? rest['aria-describedby'] : reasonId}
        onClick={(event) => {
          if (blocked) event.preventDefault();
          else onClick?.(event);
        }}
      >
        {busy ? <span className={styles.spinner} aria-hidden="true" /> : null}
        {children}
      </button>
      {disabledReason === undefined ? null : (
        <span
          id={reasonId}
          role="tooltip"
          className={classes(styles.reason, type === 'submit' ? styles.fromStart : styles.fromEnd)}
        >
          {disabledReason}
        </span>
      )}
    </span>
  );
}
