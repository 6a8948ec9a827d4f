/** Signing up, in and out. */
import { answerOf, api } from './client';
import { assertPasskey, createPasskey } from './passkey';
import type { User } from './types';

export async function signUp({ displayName, email }: { displayName: string; email: string }): Promise<User> {
  const start = await answerOf(api.POST('/auth/register/start', { body: { display_name: displayName, email } }));
  const credential = await createPasskey(start.options);
  const finish = await answerOf(
    api.POST('/auth/register/finish', { body: { ceremony_id: start.ceremony_id, credential } }),
  );
  return finish.user;
}

export async function signIn(): Promise<User> {
  const start = await answerOf(api.POST('/auth/login/start', { body: {} }));
  const credential = await assertPasskey(start.options);
  const finish = await answerOf(
    api.POST('/auth/login/finish', { body: { ceremony_id: start.ceremony_id, credential } }),
  );
  return finish.user;
}

export async function signOut(): Promise<void> {
  await answerOf(api.POST('/auth/logout', {}));
}

/** Where to go after signing in: only a path of this console, never another site. */
export function safeNext(next: string | null): string {
  return next?.startsWith('/') && !next.startsWith('//') && !next.includes('\\') ? next : '/';
}
