/** The verifier of `craton-proof`, compiled to WebAssembly: what `craton verify` runs, in this browser. */
import init, { verifyReceipt } from './generated/verifier.js';
import wasmUrl from './generated/verifier_bg.wasm?url';

export type ReceiptLine = { name: string; value: string; indented: boolean };
export type ReceiptSection = { title: string; lines: ReceiptLine[] };

/** What a verification comes to; the shapes are those of `core/verifier/src/page.rs`. */
export type Verification =
  | { verified: true; claim: 'changes' | 'latest' | 'absent'; sections: ReceiptSection[] }
  | { verified: false; error: string }
  | { input: 'key' | 'witnesses'; error: string };

export type Verify = (receipt: Uint8Array, key: string, witnesses: string) => Verification;

let loading: Promise<Verify> | undefined;

/** Fetches the verifier once; afterwards it needs no network. */
export function loadVerifier(): Promise<Verify> {
  loading ??= init({ module_or_path: wasmUrl }).then(
    () => (receipt, key, witnesses) => JSON.parse(verifyReceipt(receipt, key, witnesses)) as Verification,
  );
  // A failed load may be tried again.
  loading.catch(() => {
    loading = undefined;
  });
  return loading;
}
