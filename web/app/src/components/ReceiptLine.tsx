import type { Receipt } from '@/api/types';
import { CopyableId } from '@/ui/Copy';
import styles from './ReceiptLine.module.css';

/** Where in the platform's own log a change was recorded. */
export function ReceiptLine({ receipt }: { receipt: Receipt }) {
  return (
    <p className={styles.receipt}>
      <span>
        Recorded at position <code>{receipt.position}</code>
      </span>
      <span>
        record hash <CopyableId value={receipt.record_hash} what="record hash" short />
      </span>
    </p>
  );
}
