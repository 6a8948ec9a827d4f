import { afterEach, describe, expect, it, vi } from 'vitest';
import { assertPasskey, base64UrlOf, bytesOf, createPasskey, passkeyObstacle, PasskeyError } from './passkey';

const bytes = (...values: number[]) => new Uint8Array(values).buffer;

function stubCredentials(container: Partial<CredentialsContainer>) {
  vi.stubGlobal('navigator', { credentials: container });
}

afterEach(() => vi.unstubAllGlobals());

describe('base64url', () => {
  it.each([
    [[], ''],
    [[0], 'AA'],
    [[251, 255, 191], '-_-_'],
    [[102, 111, 111, 98], 'Zm9vYg'],
  ])('of %j is %j and back', (values, text) => {
    expect(base64UrlOf(bytes(...values))).toBe(text);
    expect([...new Uint8Array(bytesOf(text))]).toEqual(values);
  });

  it('survives every byte at every length up to a few blocks', () => {
    for (let length = 0; length <= 48; length += 1) {
      const values = Array.from({ length }, (_, index) => (index * 37 + length * 11) % 256);
      expect([...new Uint8Array(bytesOf(base64UrlOf(bytes(...values))))]).toEqual(values);
    }
  });
});

describe('registration', () => {
  const options = {
    publicKey: {
      rp: { id: 'localhost', name: 'Craton' },
      user: { id: 'AQID', name: 'ada@example.org', displayName: 'Ada' },
      challenge: '_v8',
      pubKeyCredParams: [{ type: 'public-key', alg: -7 }],
      excludeCredentials: [{ id: 'BAU', type: 'public-key' }],
      extensions: { credProps: true },
    },
  };

  it('gives the browser binary options and the API text', async () => {
    const create = vi.fn<CredentialsContainer['create']>(() =>
      Promise.resolve({
        id: 'CQ',
        rawId: bytes(9),
        type: 'public-key',
        response: { attestationObject: bytes(1, 2), clientDataJSON: bytes(3), getTransports: () => ['internal'] },
        getClientExtensionResults: () => ({ credProps: { rk: true } }),
      } as unknown as PublicKeyCredential),
    );
    stubCredentials({ create });

    await expect(createPasskey(options)).resolves.toEqual({
      id: 'CQ',
      rawId: 'CQ',
      type: 'public-key',
      response: { attestationObject: 'AQI', clientDataJSON: 'Aw', transports: ['internal'] },
      clientExtensionResults: { credProps: { rk: true } },
    });
    const given = create.mock.calls[0]?.[0]?.publicKey;
    expect(new Uint8Array(given?.challenge as ArrayBuffer)).toEqual(new Uint8Array([254, 255]));
    expect(new Uint8Array(given?.user.id as ArrayBuffer)).toEqual(new Uint8Array([1, 2, 3]));
    expect(new Uint8Array(given?.excludeCredentials?.[0]?.id as ArrayBuffer)).toEqual(new Uint8Array([4, 5]));
    expect(given?.extensions).toEqual({ credProps: true });
  });

  it.each([
    ['NotAllowedError', /dismissed or timed out/],
    ['InvalidStateError', /already holds a passkey/],
    ['SecurityError', /address/],
    ['UnknownError', /could not be used/],
  ])('explains a %s', async (name, message) => {
    stubCredentials({ create: () => Promise.reject(new DOMException('browser text', name)) });
    const error: unknown = await createPasskey(options).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(PasskeyError);
    expect((error as PasskeyError).message).toMatch(message);
  });
});

it('an assertion carries signature and user handle', async () => {
  const get = () =>
    Promise.resolve({
      id: 'CQ',
      rawId: bytes(9),
      type: 'public-key',
      response: { authenticatorData: bytes(1), clientDataJSON: bytes(2), signature: bytes(3), userHandle: null },
      getClientExtensionResults: () => ({}),
    } as unknown as PublicKeyCredential);
  stubCredentials({ get });
  await expect(assertPasskey({ publicKey: { challenge: 'AA', rpId: 'localhost' } })).resolves.toMatchObject({
    response: { authenticatorData: 'AQ', clientDataJSON: 'Ag', signature: 'Aw', userHandle: null },
  });
});

describe('whether passkeys can be used', () => {
  it.each([
    ['insecure', false, () => undefined, /https/],
    ['without WebAuthn', true, undefined, /does not support passkeys/],
  ])('%s: says why not', (_, secure, constructor, message) => {
    vi.stubGlobal('isSecureContext', secure);
    vi.stubGlobal('PublicKeyCredential', constructor);
    expect(passkeyObstacle()).toMatch(message);
  });

  it('yes', () => {
    vi.stubGlobal('isSecureContext', true);
    vi.stubGlobal('PublicKeyCredential', () => undefined);
    expect(passkeyObstacle()).toBeNull();
  });
});
