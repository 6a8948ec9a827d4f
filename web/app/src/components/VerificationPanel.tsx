import type { Connection } from '@/api/types';
import { CodeBlock } from '@/ui/Copy';
import { Panel } from '@/ui/Panel';
import { VerifierKey } from './VerifierKey';
import styles from './VerificationPanel.module.css';

const DESCRIPTION =
  'Every change in this cluster is a record of a signed, hash-chained log. With the verifier key, an auditor checks a receipt offline: no account, no connection, no trust in this service.';

/** The key that makes receipts checkable without us, and the commands that fetch and check one. */
export function VerificationPanel({ connection }: { connection: Connection }) {
  const { log_keys: logKeys, witness_keys: witnessKeys, psql, database } = connection;
  const main = logKeys.find((key) => key.database === database);
  const others = logKeys.filter((key) => key !== main);
  return (
    <Panel title="Verify without us" description={DESCRIPTION}>
      {main ? (
        <VerifierKey of={database} verifierKey={main.verifier_key} receipt="receipt.txt">
          <h3>Fetch the receipt of a row</h3>
          <CodeBlock
            text={`${psql} -Atc "SELECT craton_receipt('patients', 1)" > receipt.txt`}
            what="receipt command"
            wrap="words"
          />
          <p className={styles.note}>
            Put your table and the row’s primary key in place of <code>patients</code> and <code>1</code>.
          </p>
          <h3>The log itself</h3>
          <CodeBlock text={main.url} what={`address of the log of ${database}`} wrap="characters" />
          <p className={styles.note}>
            Checkpoint, tiles and entries (C2SP tlog-tiles), for the database’s users: name and password, and the CA
            certificate of the connection.
          </p>
        </VerifierKey>
      ) : (
        <p className={styles.note}>The key appears once the cluster has signed its first checkpoint.</p>
      )}
      {main ? (
        <>
          <h3>Witnesses</h3>
          <p className={styles.note}>
            A witness signs a checkpoint only if the log has grown, never if it was changed. Add{' '}
            <code>--witness &lt;key&gt; --quorum 1</code> to the command, and a receipt also has to be of the history
            that the witness has seen. The first one is this control plane.
          </p>
          {witnessKeys.map((key) => (
            <CodeBlock key={key} text={key} what={`witness key of ${key.split('+')[0] ?? ''}`} wrap="characters" />
          ))}
        </>
      ) : null}
      {others.length > 0 ? (
        <details className={styles.others}>
          <summary>Keys of the other databases</summary>
          {others.map((key) => (
            <div key={key.database} className={styles.other}>
              <h3>
                <code>{key.database}</code>
              </h3>
              <CodeBlock text={key.verifier_key} what={`verifier key of ${key.database}`} wrap="characters" />
            </div>
          ))}
        </details>
      ) : null}
    </Panel>
  );
}
