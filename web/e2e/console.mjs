// Walks through every page of the console as a person would, asserts on what is visible, and takes screenshots in
// light, dark and narrow. Fails on console errors, policy violations, requests to other origins and sideways scrolling.
// Without BASE_URL it serves app/dist with the mock API.
//   BASE_URL, SCREENSHOT_DIR, CHROMIUM as in signup.mjs; READY_TIMEOUT_SECONDS bounds the wait for a cluster.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { addAuthenticator, sessionCookie, watchForTrouble, withBrowser } from './browser.mjs';
import { withConsole } from './server.mjs';
import { confirmStored, createApiKey, createOrganisation, signUp } from './steps.mjs';
import { verifyReceipts } from './verify.mjs';

const screenshots = process.env.SCREENSHOT_DIR ?? '';
const readyTimeoutMs = Number(process.env.READY_TIMEOUT_SECONDS ?? 90) * 1000;
const STEP_TIMEOUT_MS = 20_000;
const WIDE = { width: 1280, height: 860 };
const NARROW = { width: 380, height: 780 };

let baseUrl;
let page;

/** Takes the page in its three looks, and checks that the narrow one does not scroll sideways. */
async function look(name) {
  const take = async (look_) => {
    if (screenshots === '') return;
    await mkdir(screenshots, { recursive: true });
    const fullPage = (await page.locator('dialog[open]').count()) === 0;
    await page.screenshot({ path: join(screenshots, `${name}-${look_}.png`), fullPage, animations: 'disabled' });
  };
  await page.emulateMedia({ colorScheme: 'light' });
  await take('light');
  await page.emulateMedia({ colorScheme: 'dark' });
  await take('dark');
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(NARROW);
  const overflow = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  assert.equal(overflow, 0, `${name}: the page scrolls sideways by ${overflow} px at ${NARROW.width} px`);
  await take('narrow');
  await page.setViewportSize(WIDE);
}

const visible = (text) => page.getByText(text).first().waitFor();
const heading = (name) => page.getByRole('heading', { name, exact: true }).waitFor();
const button = (name) => page.getByRole('button', { name, exact: true });
const step = (text) => console.error(`· ${text}`);

async function walk(context, authenticator) {
  step('a receipt is verified without an account and without a connection');
  await verifyReceipts(page, context, baseUrl, look);

  step('a page behind the session asks to sign in');
  await page.goto(`${baseUrl}/settings`);
  await heading('Sign in');
  assert.equal(new URL(page.url()).searchParams.get('next'), '/settings');
  await look('signin');

  step('the form names what is missing');
  await page.goto(`${baseUrl}/signup`);
  await button('Create account with a passkey').click();
  await visible('Enter your name.');
  await visible('Enter an email address, such as ada@example.org.');
  assert.equal(await page.getByLabel('Name').evaluate((element) => element === document.activeElement), true);
  await look('signup-errors');

  step('an authenticator that does not verify its user is refused');
  await authenticator.setUserVerified(false);
  const email = `grace.lindqvist+${Date.now()}@example.org`;
  await page.getByLabel('Name').fill('Grace Lindqvist');
  await page.getByLabel('Work email').fill(email);
  await look('signup');
  await button('Create account with a passkey').click();
  await visible('No passkey was used');
  await authenticator.setUserVerified(true);

  step('signing up with a passkey');
  await signUp(page, baseUrl, { name: 'Grace Lindqvist', email });
  assert.equal((await authenticator.credentials()).length, 1);
  await look('organisation-new');
  const cookie = await sessionCookie(context);
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, 'Lax');

  step('an organisation, and its empty list');
  const org = await createOrganisation(page, "St. Mary's Hospital");
  await look('clusters-empty');

  step('the cluster form refuses a wrong name');
  await page.getByRole('link', { name: 'Create cluster' }).click();
  await page.getByLabel('Cluster name').fill('Patient Records');
  await button('Create cluster').click();
  await visible('Use lower-case letters, digits and hyphens only.');
  await page.getByLabel('Cluster name').fill('patient-records');
  await look('cluster-new');

  step('a cluster, its password and its progress');
  await button('Create cluster').click();
  await heading('patient-records');
  const password = await page.getByLabel('password of app', { exact: true }).textContent();
  assert.ok(password && password.length >= 16, 'the password is shown');
  await heading('Creating the cluster');
  await look('cluster-progress');
  await confirmStored(page);
  await page.getByRole('heading', { name: 'Connect', exact: true }).waitFor({ timeout: readyTimeoutMs });
  assert.equal((await page.content()).includes(password), false, 'the stored password is gone from the page');
  await visible('The cluster is ready: login, write and read succeeded through its endpoint');
  await look('cluster-ready');

  step('connection strings, CA certificate, verifier key');
  const psql = await page.getByLabel('psql command', { exact: true }).textContent();
  assert.match(psql ?? '', /^psql .*sslmode=verify-full/);
  await page.getByRole('tab', { name: 'psql' }).press('ArrowRight');
  assert.match((await page.getByLabel('connection URI', { exact: true }).textContent()) ?? '', /^postgres(ql)?:\/\//);
  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: 'CA certificate' }).click();
  assert.equal((await download).suggestedFilename(), 'patient-records-ca.pem');
  const cluster = new URL(page.url()).pathname.split('/')[4];
  const pem = await page.evaluate(
    async (path) => (await fetch(path)).text(),
    `/api/v1/orgs/${org}/clusters/${cluster}/ca.pem`,
  );
  assert.match(pem, /^-----BEGIN CERTIFICATE-----/);
  const key = await page.getByLabel('verifier key of main', { exact: true }).textContent();
  const command = await page.getByLabel('verification command', { exact: true }).textContent();
  assert.equal(command, `craton verify receipt.txt --key '${key}'`);
  await page.getByRole('tab').nth(2).click();
  await look('cluster-drivers');

  step('copying');
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: baseUrl });
  await button('Copy host').click();
  assert.equal(
    await page.evaluate(() => navigator.clipboard.readText()),
    await page.evaluate(
      async (path) => (await (await fetch(path)).json()).host,
      `/api/v1/orgs/${org}/clusters/${cluster}`,
    ),
  );

  step('a rotated password is shown once');
  await button('Rotate password…').click();
  await look('cluster-rotate');
  await button('Rotate password').click();
  const rotated = await page.getByLabel('new password of app', { exact: true }).textContent();
  assert.notEqual(rotated, password);
  await look('cluster-rotated');
  await confirmStored(page);
  assert.equal((await page.content()).includes(rotated), false, 'the stored password is gone from the page');
  await page.reload();
  await heading('Connect');
  assert.equal((await page.content()).includes(rotated), false, 'a reload does not bring it back');

  step('three nodes, and a version that is installed nowhere');
  await button('Change nodes…').click();
  await page.getByRole('dialog').getByLabel('Nodes').selectOption('3');
  await look('cluster-scale');
  await page.getByRole('dialog').getByRole('button', { name: 'Change nodes' }).click();
  await heading('Changing the number of nodes');
  await page.getByText('The cluster has the nodes that it shall have').waitFor({ timeout: readyTimeoutMs });
  await page.getByRole('table', { name: 'Nodes of the cluster' }).getByRole('rowheader', { name: '3' }).waitFor();
  await look('cluster-three');
  await button('Change version…').click();
  await page.getByLabel('Version', { exact: true }).fill('99.0.0');
  await button('Move to this version').click();
  await visible('This version is not installed on');
  await look('cluster-version-missing');
  await page.keyboard.press('Escape');

  step('an upgrade is made final, where there is something to make final');
  const said = await page.waitForFunction(
    async (path) => (await (await fetch(path)).json()).format,
    `/api/v1/orgs/${org}/clusters/${cluster}`,
  );
  const format = await said.jsonValue();
  if (format.newest > format.active) {
    await button('Make final…').click();
    await visible(`The nodes write format version ${format.newest} from then on.`);
    await look('cluster-finalize');
    await button('Make final').click();
    await heading('Making the upgrade final');
    await page.getByText('Every node writes the newer format version').waitFor({ timeout: readyTimeoutMs });
  }
  await button('Make final…').hover();
  await visible(`The cluster writes the newest format version that all of its nodes know, ${format.newest}.`);
  await look('cluster-final');

  step('a second cluster with the same name is refused with a reason');
  await page.goto(`${baseUrl}/orgs/${org}/clusters/new`);
  await page.getByLabel('Cluster name').fill('patient-records');
  await button('Create cluster').click();
  await page.locator('[aria-invalid="true"], [role="alert"]').first().waitFor();
  await look('cluster-new-taken');

  step('the list of clusters');
  await page.getByRole('link', { name: 'Clusters', exact: true }).click();
  await page.getByRole('link', { name: 'patient-records' }).waitFor();
  await look('clusters');

  step('API keys: empty, made, shown once, revoked');
  await page.getByRole('link', { name: 'API keys' }).click();
  await heading('No API keys yet');
  await look('api-keys-empty');
  await button('Create API key').click();
  await look('api-key-new');
  await page.keyboard.press('Escape');
  const secret = await createApiKey(page, { name: 'deploy pipeline', role: 'member' });
  assert.match(secret, /^crt_live_/);
  await look('api-key-created');
  await confirmStored(page);
  assert.equal((await page.content()).includes(secret), false, 'the stored key is gone from the page');
  await page.getByRole('rowheader', { name: 'deploy pipeline' }).waitFor();
  await look('api-keys');
  await button('Revoke…').click();
  await look('api-key-revoke');
  await button('Revoke key').click();
  await heading('No API keys yet');

  step('the audit log');
  await page.getByRole('link', { name: 'Audit log' }).click();
  await page.getByText('cluster.created').first().waitFor();
  await page.locator('summary').first().click();
  const receipt = page.waitForEvent('download');
  await page
    .getByRole('link', { name: /^Download the receipt of position/ })
    .first()
    .click();
  assert.match((await receipt).suggestedFilename(), /^receipt-\d+\.txt$/);
  await page.getByLabel('verifier key of platform', { exact: true }).waitFor();
  await look('audit');

  step('the organisation switcher');
  await page.getByRole('button', { name: /Switch organisation/ }).click();
  await page.getByRole('link', { name: 'New organisation' }).waitFor();
  await look('switcher');
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: 'New organisation' }).waitFor({ state: 'hidden' });

  step('settings: passkeys and sessions');
  await page.getByRole('link', { name: 'Grace Lindqvist' }).click();
  await heading('Passkeys');
  await visible('this browser');
  await look('settings');

  step('a page that does not exist, and an organisation of others');
  await page.goto(`${baseUrl}/nowhere`);
  await heading('There is nothing here');
  await look('not-found');
  await page.goto(`${baseUrl}/orgs/org_00000000000000000000000000/clusters`);
  await heading('There is nothing here');

  step('a cluster that does not exist shows code and request id');
  await page.goto(`${baseUrl}/orgs/${org}/clusters/clu_01h45ytscbebyvny4gc8cr8ma2`);
  await visible('not_found');
  await button('Copy request id').waitFor();
  await look('problem');

  step('signing out and in again');
  await button('Sign out').click();
  await visible('You are signed out');
  assert.equal(await page.evaluate(async () => (await fetch('/api/v1/me')).status), 401);
  await look('signed-out');
  await page.goto(`${baseUrl}/orgs/${org}/clusters/${cluster}`);
  await heading('Sign in');
  await button('Sign in with a passkey').click();
  await heading('patient-records');
  assert.notEqual((await sessionCookie(context)).value, cookie.value, 'a sign-in makes a new session');

  step('deleting a cluster needs its name');
  await button('Delete cluster…').click();
  await page.getByLabel('Type patient-records to confirm').fill('patient');
  await button('Delete cluster').hover();
  await look('cluster-delete');
  await page.getByLabel('Type patient-records to confirm').fill('patient-records');
  await button('Delete cluster').click();
  await heading('Deleting the cluster');
  await visible('The cluster is deleted; its id will not be used again');
  await page.getByRole('link', { name: 'Clusters', exact: true }).click();
  await heading('No clusters yet');
}

await withConsole(process.env.BASE_URL ?? '', (origin) => {
  baseUrl = origin;
  return withBrowser({ viewport: WIDE, acceptDownloads: true }, async (first, context) => {
    page = first;
    page.setDefaultTimeout(STEP_TIMEOUT_MS);
    // The browser itself reports every 4xx answer; those that the walk provokes are not trouble.
    const provoked = (text) =>
      /Failed to load resource: the server responded with a status of (401|404|409|422)/.test(text);
    const trouble = watchForTrouble(page, baseUrl, provoked);
    const authenticator = await addAuthenticator(page);
    try {
      await walk(context, authenticator);
    } catch (error) {
      if (screenshots !== '') await page.screenshot({ path: join(screenshots, 'failed.png'), fullPage: true });
      throw error;
    }
    assert.deepEqual(trouble, [], 'the browser reported trouble');
    console.log('console: every page was walked, no trouble reported');
  });
});
