import type { Connection } from '@/api/types';
import { CodeBlock } from '@/ui/Copy';
import { Panel } from '@/ui/Panel';
import styles from './VerificationPanel.module.css';

const DESCRIPTION =
  'Every change in this cluster is a record of a signed, hash-chained log. With the verifier key, an auditor checks a receipt offline: no account, no connection, no trust in this service.';

/** The key that makes receipts checkable without us, and the commands that fetch and check one. */
export function VerificationPanel({ connection }: { connection: Connection }) {
  const { log_keys: logKeys, psql, database: main } = connection;
  return (
    <Panel title="Verify without us" description={DESCRIPTION}>
      {logKeys.length === 0 ? (
        <p className={styles.note}>The key appears once the cluster has signed its first checkpoint.</p>
      ) : null}
      {logKeys.map(({ database, verifier_key }) => (
        <div key={database} className={styles.key}>
          <h3>
            Verifier key of <code>{database}</code>
          </h3>
          <CodeBlock text={verifier_key} what={`verifier key of ${database}`} wrap="characters" />
          <p className={styles.note}>
            Hand it to the auditor by a way they trust. A key that comes with the receipt proves nothing.
          </p>
          {database === main ? (
            <>
              <h3>Fetch the receipt of a row</h3>
              <CodeBlock
                text={`${psql} -Atc "SELECT craton_receipt('patients', 1)" > receipt.txt`}
                what="receipt command"
                wrap="words"
              />
              <p className={styles.note}>
                Put your table and the row’s primary key in place of <code>patients</code> and <code>1</code>.
              </p>
            </>
          ) : null}
          <h3>Check it, offline</h3>
          <CodeBlock
            text={`craton verify receipt.txt --key '${verifier_key}'`}
            what={`verification command${database === main ? '' : ` of ${database}`}`}
            wrap="characters"
          />
        </div>
      ))}
    </Panel>
  );
}
