// Changes every byte of a receipt to some other values, and expects examples/verify to refuse each: exit status 0 or 1.
// Usage: every_byte.mjs EXAMPLES verify|verify_state RECEIPT VERIFIER_KEY
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [, , examples, script, path, key] = process.argv;
const { verify } = await import(pathToFileURL(`${examples}/${script}.mjs`));
const decode = (bytes) => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
const passes = (bytes) => {
  try {
    return Boolean(verify(decode(bytes), key));
  } catch {
    return false;
  }
};
const genuine = readFileSync(path);
if (!passes(genuine)) throw new Error('the genuine receipt does not verify');
genuine.forEach((byte, at) => {
  for (const value of [byte ^ 1, byte ^ 0x20, 65, 66, 10]) {
    const changed = Buffer.from(genuine);
    changed[at] = value;
    if (value !== byte && passes(changed)) throw new Error(`byte ${at} as ${value} passes`);
  }
});
