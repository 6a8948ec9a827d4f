import { useEffect, useState, type DragEvent, type SubmitEvent } from 'react';
import { Button, buttonClass } from '@/ui/Button';
import { classes } from '@/ui/classes';
import { TextAreaField } from '@/ui/Field';
import { Notice } from '@/ui/Notice';
import { loadVerifier, type Verification, type Verify } from '@/verifier/verifier';
import styles from './VerifyReceiptForm.module.css';

/** A receipt holds at most one record, in base64. */
const RECEIPT_BYTES_MAX = 96 * 1024 * 1024;

type Outcome = Exclude<Verification, { input: string }>;
type Values = { receipt: string; key: string; witnesses: string };
type Errors = Partial<Record<keyof Values, string>>;

type Props = {
  onVerified: (outcome: Outcome) => void;
  /** What was verified is not what stands in the form any more. */
  onEdited: () => void;
};

/** A receipt, pasted or dropped, and the keys to check it with. */
export function VerifyReceiptForm({ onVerified, onEdited }: Props) {
  const { verify, failed } = useVerifier();
  const [values, setValues] = useState<Values>({ receipt: '', key: '', witnesses: '' });
  const [errors, setErrors] = useState<Errors>({});

  const change = (name: keyof Values, value: string) => {
    setValues((before) => ({ ...before, [name]: value }));
    setErrors((before) => ({ ...before, [name]: undefined }));
    onEdited();
  };
  const field = (name: keyof Values) => ({
    name,
    value: values[name],
    error: errors[name],
    onChange: (event: { target: { value: string } }) => change(name, event.target.value),
  });
  const readFile = async (file: File | undefined) => {
    if (file === undefined) return;
    if (file.size > RECEIPT_BYTES_MAX) setErrors({ receipt: 'This file is larger than any receipt.' });
    else change('receipt', await file.text());
  };
  const onDrop = (event: DragEvent) => {
    event.preventDefault();
    void readFile(event.dataTransfer.files[0]);
  };
  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    const missing: Errors = {
      ...(values.receipt.trim() === '' ? { receipt: 'Paste a receipt, or choose its file.' } : {}),
      ...(values.key.trim() === '' ? { key: 'Enter the verifier key of the log.' } : {}),
    };
    setErrors(missing);
    if (Object.keys(missing).length > 0 || verify === null) return;
    const outcome = verify(new TextEncoder().encode(values.receipt), values.key, values.witnesses);
    if ('input' in outcome) setErrors({ [outcome.input]: outcome.error });
    else onVerified(outcome);
  };

  return (
    <form noValidate className={styles.form} onSubmit={onSubmit}>
      {failed ? (
        <Notice tone="danger" title="The verifier did not load" live>
          <p>This browser may not have WebAssembly, or the connection broke. Reload the page to try again.</p>
        </Notice>
      ) : null}
      <TextAreaField
        {...field('receipt')}
        label="Receipt"
        rows={9}
        placeholder="c2sp.org/tlog-proof@v1…"
        hint="Paste the text, drop the file here, or choose it."
        onDragOver={(event) => event.preventDefault()}
        onDrop={onDrop}
      />
      <label className={classes(buttonClass(), styles.file)}>
        Choose a file
        <input
          type="file"
          className="visually-hidden"
          aria-label="Receipt file"
          onChange={(event) => {
            void readFile(event.target.files?.[0]);
            // The same file may be chosen again after it was edited.
            event.target.value = '';
          }}
        />
      </label>
      <TextAreaField
        {...field('key')}
        label="Verifier key"
        rows={2}
        placeholder="cluster.example/…+1a2b3c4d+AQ…"
        hint="From a source that you trust. A key that comes with the receipt proves nothing."
      />
      <TextAreaField
        {...field('witnesses')}
        label="Witness keys (optional)"
        rows={2}
        hint="One a line. Each of these witnesses must have cosigned the checkpoint; without any, only the log’s own signature is asked for."
      />
      <Button type="submit" variant="primary" busy={verify === null && !failed}>
        Verify
      </Button>
    </form>
  );
}

function useVerifier(): { verify: Verify | null; failed: boolean } {
  const [verify, setVerify] = useState<Verify | null>(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    loadVerifier().then(
      (loaded) => setVerify(() => loaded),
      () => setFailed(true),
    );
  }, []);
  return { verify, failed };
}
