import type { ReactNode } from 'react';
import { Link } from 'react-router';
import { CodeBlock } from '@/ui/Copy';
import styles from './VerifierKey.module.css';

type Props = {
  /** Whose log it verifies. */
  of: string;
  verifierKey: string;
  /** The file that the shown command checks. */
  receipt: string;
  /** How to get that file. */
  children?: ReactNode;
};

/** A verifier key and the command that checks a receipt with it. */
export function VerifierKey({ of, verifierKey, receipt, children }: Props) {
  return (
    <div className={styles.key}>
      <h3>
        Verifier key of <code>{of}</code>
      </h3>
      <CodeBlock text={verifierKey} what={`verifier key of ${of}`} wrap="characters" />
      <p className={styles.note}>
        Hand it to the auditor by a way they trust. A key that comes with the receipt proves nothing.
      </p>
      {children}
      <h3>Check it, offline</h3>
      <CodeBlock
        text={`craton verify ${receipt} --key '${verifierKey}'`}
        what="verification command"
        wrap="characters"
      />
      <p className={styles.note}>
        Or without installing anything, <Link to="/verify">in a browser</Link>.
      </p>
    </div>
  );
}
