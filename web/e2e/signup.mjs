// Signs up in a real browser with a passkey, creates an organisation and an API key, and prints what it got as JSON:
//   {"session_cookie": "name=value", "user": {…}, "org": {…}, "api_key": "crt_live_…"}
// Environment or arguments (--base-url=…, --screenshot-dir=…, --name=…, --email=…, --organisation=…, --role=…):
//   BASE_URL        where the console is; must be the platform's own address, as passkeys are bound to it. Without it,
//                   app/dist is served with the mock API
//   SCREENSHOT_DIR  where to put screenshots; none are taken without it
//   CHROMIUM        the browser, /usr/bin/chromium unless told
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { addAuthenticator, sessionCookie, withBrowser } from './browser.mjs';
import { withConsole } from './server.mjs';
import { confirmStored, createApiKey, createOrganisation, signUp } from './steps.mjs';

const STEP_TIMEOUT_MS = 20_000;

const { values } = parseArgs({
  options: {
    'base-url': { type: 'string', default: process.env.BASE_URL ?? '' },
    'screenshot-dir': { type: 'string', default: process.env.SCREENSHOT_DIR ?? '' },
    name: { type: 'string', default: 'Ada Okafor' },
    email: { type: 'string', default: `ada.okafor+${Date.now()}@example.org` },
    organisation: { type: 'string', default: 'Lakeside Hospital' },
    role: { type: 'string', default: 'admin' },
  },
});
const screenshots = values['screenshot-dir'];

async function run(baseUrl, page, context) {
  page.setDefaultTimeout(STEP_TIMEOUT_MS);
  const shot = async (name) => {
    if (screenshots === '') return;
    await mkdir(screenshots, { recursive: true });
    await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
  };
  await addAuthenticator(page);
  await signUp(page, baseUrl, { name: values.name, email: values.email });
  await shot('signup-1-organisation');
  const org = await createOrganisation(page, values.organisation);
  await shot('signup-2-clusters');
  const apiKey = await createApiKey(page, { name: 'command line', role: values.role });
  await confirmStored(page);
  await shot('signup-3-api-keys');
  const me = await page.evaluate(async () => (await fetch('/api/v1/me')).json());
  const cookie = await sessionCookie(context);
  return {
    session_cookie: `${cookie.name}=${cookie.value}`,
    user: me.user,
    org: me.organisations.find(({ id }) => id === org),
    api_key: apiKey,
  };
}

const result = await withConsole(values['base-url'], (baseUrl) =>
  withBrowser({}, (page, context) => run(baseUrl, page, context)),
).catch((error) => {
  console.error(`sign-up in the browser failed: ${error.message}`);
  process.exit(1);
});

console.log(JSON.stringify(result, null, 2));
