import type { Connection } from '@/api/types';
import { CodeBlock } from '@/ui/Copy';
import { Panel } from '@/ui/Panel';
import styles from './VerificationPanel.module.css';

/** The key that makes receipts checkable without us, and the command that does it. */
export function VerificationPanel({ logKeys }: { logKeys: Connection['log_keys'] }) {
  return (
    <Panel
      title="Verify without us"
      description="Every change in this cluster is a record of a signed, hash-chained log. With the verifier key, an auditor checks a receipt offline: no account, no connection, no trust in this service."
    >
      {logKeys.length === 0 ? (
        <p className={styles.none}>The key appears once the cluster has signed its first checkpoint.</p>
      ) : null}
      {logKeys.map(({ database, verifier_key }) => (
        <div key={database} className={styles.key}>
          <h3>
            Verifier key of <code>{database}</code>
          </h3>
          <CodeBlock text={verifier_key} what={`verifier key of ${database}`} wrap="characters" />
          <h3>Offline verification</h3>
          <CodeBlock
            text={`craton verify receipt.txt --key '${verifier_key}'`}
            what="verification command"
            wrap="characters"
          />
        </div>
      ))}
    </Panel>
  );
}
