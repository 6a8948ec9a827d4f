import { createContext, use, useCallback, useEffect, useMemo, useState, type ReactNode } from 'react';
import type { Receipt } from '@/api/types';

/**
 * Something that the control plane tells exactly once. The value is `null` when the answer that carried it was lost
 * on the way: a repeated request learns that it succeeded, but not the secret.
 */
export type OnceSecret = { label: string; value: string | null; receipt: Receipt };

type Secrets = {
  held: ReadonlyMap<string, OnceSecret>;
  hold: (key: string, secret: OnceSecret) => void;
  forget: (key: string) => void;
  forgetAll: () => void;
};

const SecretsContext = createContext<Secrets | null>(null);

/**
 * Holds secrets that are shown once: in memory only, never in the query cache, the address, the history or any storage.
 * They survive moving between pages, so that none is lost by a stray click, and end when the person confirms, signs
 * out or leaves; leaving asks first.
 */
export function OnceSecretProvider({ children }: { children: ReactNode }) {
  const [held, setHeld] = useState<ReadonlyMap<string, OnceSecret>>(new Map());
  const waiting = held.size > 0;

  useEffect(() => {
    if (!waiting) return undefined;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener('beforeunload', ask);
    return () => window.removeEventListener('beforeunload', ask);
  }, [waiting]);

  const secrets = useMemo<Secrets>(
    () => ({
      held,
      hold: (key, secret) => setHeld((before) => new Map(before).set(key, secret)),
      forget: (key) => setHeld((before) => new Map([...before].filter(([candidate]) => candidate !== key))),
      forgetAll: () => setHeld(new Map()),
    }),
    [held],
  );
  return <SecretsContext value={secrets}>{children}</SecretsContext>;
}

export function useSecrets(): Secrets {
  const secrets = use(SecretsContext);
  if (!secrets) throw new Error('useSecrets needs an OnceSecretProvider above it');
  return secrets;
}

/** The secret held under `key`, if it has not been confirmed yet, and how to hold and forget it. */
export function useOnceSecret(key: string) {
  const { held, hold, forget } = useSecrets();
  return {
    secret: held.get(key) ?? null,
    hold: useCallback((secret: OnceSecret) => hold(key, secret), [hold, key]),
    forget: useCallback(() => forget(key), [forget, key]),
  };
}
