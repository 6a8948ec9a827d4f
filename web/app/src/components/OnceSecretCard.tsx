import type { OnceSecret } from '@/hooks/useOnceSecret';
import { Button } from '@/ui/Button';
import { CodeBlock } from '@/ui/Copy';
import { Actions } from '@/ui/Dialog';
import { Notice } from '@/ui/Notice';
import { ReceiptLine } from './ReceiptLine';
import styles from './OnceSecretCard.module.css';

type Props = {
  secret: OnceSecret;
  /** How to get another one, for when this one was lost on its way. */
  replacement: string;
  onStored: () => void;
};

/** A secret that will not be shown again, until the person says that it is stored. */
export function OnceSecretCard({ secret, replacement, onStored }: Props) {
  if (secret.value === null) {
    return (
      <div className={styles.card}>
        <Notice tone="warn" title="Made, but lost on its way to you" live>
          <p>The answer that carried it did not arrive, and it is told only once. {replacement}</p>
        </Notice>
        <ReceiptLine receipt={secret.receipt} />
        <Actions>
          <Button onClick={onStored}>Understood</Button>
        </Actions>
      </div>
    );
  }
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
