import type { User } from '../app/src/api/types';
import { secretOf } from './ids';
import { invalid, notFound, Refusal } from './problem';
import { created, nothing, ok, open, pageOf, signedIn, textOf, type Call, type Route } from './routing';
import type { MockState } from './state';
import { checkCredential } from './webauthn';

export const SESSION_COOKIE = 'craton_session';
const SESSION_MS = 12 * 60 * 60 * 1000;

function openSession(state: MockState, userId: string, request: Request): Record<string, string> {
  const token = secretOf(32);
  const now = state.now();
  state.sessions.push({
    token,
    userId,
    id: state.id('ses'),
    created_at: now.toISOString(),
    last_seen_at: now.toISOString(),
    expires_at: new Date(now.getTime() + SESSION_MS).toISOString(),
    user_agent: request.headers.get('user-agent') ?? '',
  });
  return { 'set-cookie': `${SESSION_COOKIE}=${token}; Path=/; HttpOnly; SameSite=Lax` };
}

/** A ceremony is used up by its first answer, right or wrong. */
function takeCeremony({ state, body }: Call, kind: 'register' | 'login') {
  const id = textOf(body, 'ceremony_id');
  const ceremony = state.ceremonies.get(id);
  state.ceremonies.delete(id);
  if (ceremony?.kind !== kind)
    throw new Refusal(422, 'ceremony_over', 'This passkey ceremony has expired or was already used. Start again.');
  return ceremony;
}

export const identityRoutes: Route[] = [
  open('post', '/auth/register/start', ({ state, body, url }) => {
    const email = textOf(body, 'email');
    const displayName = textOf(body, 'display_name').trim();
    if (displayName === '') throw invalid('/display_name', 'required', 'Enter a name.');
    if (!email.includes('@')) throw invalid('/email', 'invalid_email', 'This is not an email address.');
    const user: User = { id: state.id('usr'), display_name: displayName, email, created_at: state.iso() };
    const challenge = secretOf(32);
    const id = state.id('cer');
    state.ceremonies.set(id, { id, kind: 'register', challenge, user });
    return ok({
      ceremony_id: id,
      options: {
        publicKey: {
          rp: { name: 'Craton', id: url.hostname },
          user: { id: Buffer.from(user.id).toString('base64url'), name: email, displayName },
          challenge,
          pubKeyCredParams: [
            { type: 'public-key', alg: -7 },
            { type: 'public-key', alg: -257 },
          ],
          timeout: 300_000,
          attestation: 'none',
          excludeCredentials: [],
          authenticatorSelection: { residentKey: 'required', requireResidentKey: true, userVerification: 'required' },
          extensions: { credProps: true },
        },
      },
    });
  }),
  open('post', '/auth/register/finish', (call) => {
    const { state, body, url, request } = call;
    const { challenge, user } = takeCeremony(call, 'register');
    const credential = checkCredential(body['credential'], 'register', challenge, url.origin);
    if (!user) throw notFound();
    state.users.push(user);
    const name =
      typeof body['passkey_name'] === 'string' && body['passkey_name'] !== '' ? body['passkey_name'] : 'Passkey';
    state.passkeys.push({
      id: state.id('pky'),
      credentialId: credential.id,
      userId: user.id,
      name,
      created_at: state.iso(),
      last_used_at: null,
    });
    return { ...created({ user, receipt: state.receipt() }), headers: openSession(state, user.id, request) };
  }),
  open('post', '/auth/login/start', ({ state, url }) => {
    const challenge = secretOf(32);
    const id = state.id('cer');
    state.ceremonies.set(id, { id, kind: 'login', challenge, user: null });
    return ok({
      ceremony_id: id,
      options: {
        publicKey: {
          challenge,
          rpId: url.hostname,
          timeout: 300_000,
          allowCredentials: [],
          userVerification: 'required',
        },
      },
    });
  }),
  open('post', '/auth/login/finish', (call) => {
    const { state, body, url, request } = call;
    const { challenge } = takeCeremony(call, 'login');
    const credential = checkCredential(body['credential'], 'login', challenge, url.origin);
    const index = state.passkeys.findIndex((candidate) => candidate.credentialId === credential.id);
    const passkey = state.passkeys[index];
    const user = state.users.find((candidate) => candidate.id === passkey?.userId);
    if (!passkey || !user)
      throw new Refusal(401, 'sign_in_failed', 'This passkey belongs to no account here. It may have been removed.');
    state.passkeys[index] = { ...passkey, last_used_at: state.iso() };
    return { ...ok({ user, receipt: state.receipt() }), headers: openSession(state, user.id, request) };
  }),
  signedIn('post', '/auth/logout', ({ state, session }) => {
    state.sessions.splice(state.sessions.indexOf(session), 1);
    return nothing({ 'set-cookie': `${SESSION_COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0` });
  }),
  signedIn('get', '/api/v1/me', ({ state, user }) =>
    ok({
      user,
      organisations: state.organisations.flatMap(({ id, name, slug, roles }) => {
        const role = roles.get(user.id);
        return role ? [{ id, name, slug, role }] : [];
      }),
    }),
  ),
  signedIn('get', '/api/v1/me/passkeys', ({ state, user, url }) =>
    ok(
      pageOf(
        state.passkeys
          .filter(({ userId }) => userId === user.id)
          .map(({ id, name, created_at, last_used_at }) => ({ id, name, created_at, last_used_at })),
        url,
      ),
    ),
  ),
  signedIn('get', '/api/v1/me/sessions', ({ state, user, session, url }) =>
    ok(
      pageOf(
        state.sessions
          .filter(({ userId }) => userId === user.id)
          .map(({ id, created_at, last_seen_at, expires_at, user_agent, token }) => ({
            id,
            created_at,
            last_seen_at,
            expires_at,
            user_agent,
            current: token === session.token,
          }))
          .reverse(),
        url,
      ),
    ),
  ),
  signedIn('delete', '/api/v1/me/sessions/{session}', ({ state, user, parameters }) => {
    const index = state.sessions.findIndex(
      (session) => session.id === parameters['session'] && session.userId === user.id,
    );
    if (index < 0) throw notFound();
    state.sessions.splice(index, 1);
    return nothing();
  }),
];
