import type { OnceSecret } from '@/hooks/useOnceSecret';
import { Button } from '@/ui/Button';
import { CodeBlock } from '@/ui/Copy';
import { Actions } from '@/ui/Dialog';
import { Notice } from '@/ui/Notice';
import { ReceiptLine } from './ReceiptLine';
import styles from './OnceSecretCard.module.css';

/** A secret that will not be shown again, until the person says that it is stored. */
export function OnceSecretCard({ secret, onStored }: { secret: OnceSecret; onStored: () => void }) {
  return (
    <div className={styles.card}>
      <Notice tone="warn" title="Shown this one time">
        <p>Store it in your secret manager now. Only a verifier is kept here, so nobody can show it to you again.</p>
      </Notice>
      <CodeBlock text={secret.value} what={secret.label.toLowerCase()} wrap="characters" />
      <ReceiptLine receipt={secret.receipt} />
      <Actions>
        <Button variant="primary" onClick={onStored}>
          I have stored it
        </Button>
      </Actions>
    </div>
  );
}
