/* eslint-disable jsx-a11y/no-noninteractive-tabindex -- a block that scrolls must be reachable by keyboard */
import { useCopy } from '@/hooks/useCopy';
import { classes } from './classes';
import { Icon } from './Icon';
import styles from './Copy.module.css';

type CopyButtonProps = {
  text: string;
  /** What is copied, as in "Copy the password". */
  what: string;
  /** With its word beside the icon. */
  labelled?: boolean;
};

export function CopyButton({ text, what, labelled = false }: CopyButtonProps) {
  const { state, copy } = useCopy();
  const message = state === 'copied' ? 'Copied' : state === 'failed' ? 'Copying was refused; select the text' : '';
  return (
    <span className={styles.holder}>
      <button
        type="button"
        className={classes(styles.button, labelled && styles.labelled)}
        aria-label={`Copy ${what}`}
        title={`Copy ${what}`}
        onClick={() => void copy(text)}
      >
        <Icon name={state === 'copied' ? 'check' : state === 'failed' ? 'alert' : 'copy'} />
        {labelled ? <span aria-hidden="true">{state === 'copied' ? 'Copied' : 'Copy'}</span> : null}
      </button>
      <span role="status" className={state === 'failed' ? styles.failed : 'visually-hidden'}>
        {message}
      </span>
    </span>
  );
}

/** An identifier, hash or address in full or shortened in its middle, with a copy button. */
export function CopyableId({ value, what, short = false }: { value: string; what: string; short?: boolean }) {
  return (
    <span className={styles.id}>
      <code className={classes(styles.value, short && styles.short)} title={value}>
        {short ? shortened(value) : value}
      </code>
      <CopyButton text={value} what={what} />
    </span>
  );
}

type CodeBlockProps = {
  text: string;
  what: string;
  /** Long lines scroll, or go on in the next line between words (commands) or anywhere (keys). */
  wrap?: 'none' | 'words' | 'characters';
};

/** Text to paste elsewhere. */
export function CodeBlock({ text, what, wrap = 'none' }: CodeBlockProps) {
  return (
    <div className={styles.block}>
      <pre
        className={classes(styles.code, wrap !== 'none' && styles.wrap, wrap === 'characters' && styles.characters)}
        tabIndex={0}
        aria-label={what}
      >
        <code>{text}</code>
      </pre>
      <div className={styles.corner}>
        <CopyButton text={text} what={what} labelled />
      </div>
    </div>
  );
}

const HEAD_CHARACTERS = 8;
const TAIL_CHARACTERS = 6;

function shortened(value: string): string {
  if (value.length <= HEAD_CHARACTERS + TAIL_CHARACTERS + 1) return value;
  return `${value.slice(0, HEAD_CHARACTERS)}…${value.slice(-TAIL_CHARACTERS)}`;
}
