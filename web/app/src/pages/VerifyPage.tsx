import { useRef, useState } from 'react';
import { Page } from '@/components/Page';
import { PublicFrame } from '@/components/PublicFrame';
import { VerifyReceiptForm } from '@/forms/VerifyReceiptForm';
import { Notice } from '@/ui/Notice';
import { Panel } from '@/ui/Panel';
import type { ReceiptSection, Verification } from '@/verifier/verifier';
import styles from './VerifyPage.module.css';

/** Verifies a receipt without an account: the verifier runs in this browser, and nothing is sent anywhere. */
export function VerifyPage() {
  const [verification, setVerification] = useState<Exclude<Verification, { input: string }> | null>(null);
  const result = useRef<HTMLDivElement>(null);
  return (
    <PublicFrame>
      <Page
        title="Verify a receipt"
        lead="The verifier is already here: it runs in this browser, needs no account and no connection, and sends nothing you enter. You may disconnect now."
      >
        <VerifyReceiptForm
          onEdited={() => setVerification(null)}
          onVerified={(next) => {
            setVerification(next);
            result.current?.scrollIntoView({ block: 'nearest' });
          }}
        />
        <div ref={result} className={styles.result}>
          {verification === null ? null : <Result verification={verification} />}
        </div>
      </Page>
    </PublicFrame>
  );
}

/** What each kind of receipt proves. */
const meaning = {
  changes: 'The log of this key contains this record, with this content, since the checkpoint below was signed.',
  latest: 'As of the record named below, this was the newest change of the row, and the row was there.',
  absent: 'As of the record named below, there was no such row in the table that had this name.',
};

function Result({ verification }: { verification: Exclude<Verification, { input: string }> }) {
  if (!verification.verified)
    return (
      <Notice tone="danger" title="The receipt does not verify" live>
        <p className={styles.fault}>{verification.error}</p>
        <p>Whatever it says is not proved. It was changed, belongs to another log, or is signed by another key.</p>
      </Notice>
    );
  return (
    <>
      <Notice tone="ok" title="The receipt verifies" live>
        <p>{meaning[verification.claim]}</p>
      </Notice>
      {verification.sections.map((section) => (
        <Section key={section.title} section={section} />
      ))}
    </>
  );
}

function Section({ section }: { section: ReceiptSection }) {
  return (
    <Panel title={section.title}>
      <dl className={styles.lines}>
        {section.lines.map((line, index) => (
          <div key={index} className={line.indented ? styles.indented : undefined}>
            <dt>{line.name}</dt>
            <dd>{line.value}</dd>
          </div>
        ))}
      </dl>
    </Panel>
  );
}
