// A headless Chromium with a virtual authenticator: what a person with a passkey-capable laptop brings along.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
// Keeps Chromium from looking for its maker's services, and lets it run as root in a container.
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts the browser on an empty profile, runs `work` and cleans up, whatever happens. */
export async function withBrowser(options, work) {
  const profile = await mkdtemp(join(tmpdir(), 'craton-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: EXECUTABLE,
    headless: true,
    args: ARGUMENTS,
    viewport: { width: 1280, height: 860 },
    ...options,
  });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    return await work(page, context);
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  }
}

/** Gives the page an internal authenticator with resident keys that verifies its user (WebAuthn Level 3, section 11). */
export async function addAuthenticator(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('WebAuthn.enable');
  const { authenticatorId } = await session.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return {
    credentials: async () => (await session.send('WebAuthn.getCredentials', { authenticatorId })).credentials,
    setUserVerified: (isUserVerified) => session.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified }),
  };
}

/** Collects what a page must not do: console errors, uncaught exceptions, requests to other origins. */
export function watchForTrouble(page, baseUrl, expected = () => false) {
  const trouble = [];
  const origin = new URL(baseUrl).origin;
  const note = (text) => {
    if (!expected(text)) trouble.push(text);
  };
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning')
      note(`console ${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => note(`uncaught: ${error.message}`));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith('http') && url.origin !== origin) note(`request to another origin: ${request.url()}`);
  });
  return trouble;
}

/** The session cookie as it stands in the browser, under either of its two names. */
export async function sessionCookie(context) {
  const cookie = (await context.cookies()).find(
    ({ name }) => name === '__Host-craton_session' || name === 'craton_session',
  );
  if (!cookie) throw new Error('the browser holds no session cookie');
  return cookie;
}
