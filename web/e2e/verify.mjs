// The verifier page, as an auditor without an account uses it: genuine, changed, without a connection.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';

const GOLDEN = new URL('../../core/proof/tests/golden/v1/', import.meta.url);
const read = (name) => readFile(new URL(name, GOLDEN), 'utf8');

export async function verifyReceipts(page, context, baseUrl, look) {
  const [receipt, key, witness] = await Promise.all(['receipt_cosigned.txt', 'key.txt', 'witness.txt'].map(read));
  const visible = (text) => page.getByText(text).first().waitFor();
  const verify = page.getByRole('button', { name: 'Verify', exact: true });

  await page.goto(`${baseUrl}/verify`);
  await page.getByRole('heading', { name: 'Verify a receipt' }).waitFor();
  await page.waitForLoadState('networkidle');
  await look('verify-empty');

  // From here on there is no network: everything happens in the browser.
  await context.setOffline(true);
  const requests = [];
  const note = (request) => requests.push(request.url());
  page.on('request', note);
  await verify.click();
  await visible('Paste a receipt, or choose its file.');
  await visible('Enter the verifier key of the log.');

  await page.getByLabel('Receipt', { exact: true }).fill(receipt);
  await page.getByLabel('Verifier key').fill(key);
  await verify.click();
  await visible('The receipt verifies');
  await visible("'Grace'");
  assert.equal(await page.getByText('witness.example/w1 at').count(), 0, 'an unknown witness vouches for nothing');

  await page.getByLabel(/^Witness keys/).fill(witness);
  assert.equal(await page.getByText('The receipt verifies').count(), 0, 'an edited form has no result');
  await verify.click();
  await visible('witness.example/w1 at 2026-11-21T10:15:31');
  await look('verify-genuine');

  const clinic = (name) => read(`clinic/${name}.txt`);
  await page.getByLabel(/^Witness keys/).fill('');
  await page.getByLabel('Verifier key').fill(await clinic('key'));
  for (const [name, meaning, shown] of [
    ['receipt_sealed', 'The log of this key contains this record', "(erased or withheld) -> 'Ada'"],
    ['state_latest', 'this was the newest change of the row', 'latest as of record 3'],
    ['state_absent', 'there was no such row', 'absent as of record 3'],
  ]) {
    await page.getByLabel('Receipt', { exact: true }).fill(await clinic(name));
    await verify.click();
    await visible(meaning);
    await visible(shown);
    await look(`verify-${name.replace('_', '-')}`);
  }

  await page.getByLabel('Verifier key').fill(key);
  await page.getByLabel(/^Witness keys/).fill(witness);
  const flipped = receipt.replace('index 8', 'index 9');
  await page.getByLabel('Receipt file').setInputFiles({
    name: 'receipt.txt',
    mimeType: 'text/plain',
    buffer: Buffer.from(flipped),
  });
  await page.waitForFunction((text) => document.querySelector('textarea')?.value === text, flipped);
  await verify.click();
  await visible('The receipt does not verify');
  await visible('field offset: the record header says 8, the index line 9');
  await look('verify-changed');

  await page.getByLabel('Verifier key').fill(witness);
  await verify.click();
  await visible("the verifier key is a witness's key (type 0x04), expected a log's key (type 0x01)");
  assert.deepEqual(requests, [], 'nothing was sent');
  page.off('request', note);
  await context.setOffline(false);
}
