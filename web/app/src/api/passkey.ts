/**
 * Passkey ceremonies: the JSON of the API on one side, the browser's `navigator.credentials` on the other.
 * Encoding follows WebAuthn Level 3, sections 5.1.9 and 5.1.10 (base64url without padding for all binary members).
 */
import { nameOf } from './problem';

export function base64UrlOf(buffer: ArrayBuffer): string {
  const binary = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

export function bytesOf(base64Url: string): ArrayBuffer {
  const binary = atob(base64Url.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0)).buffer;
}

type DescriptorJson = { id: string; type: 'public-key'; transports?: AuthenticatorTransport[] };
type CreationJson = Omit<PublicKeyCredentialCreationOptions, 'challenge' | 'user' | 'excludeCredentials'> & {
  challenge: string;
  user: { id: string; name: string; displayName: string };
  excludeCredentials?: DescriptorJson[] | null;
};
type RequestJson = Omit<PublicKeyCredentialRequestOptions, 'challenge' | 'allowCredentials'> & {
  challenge: string;
  allowCredentials?: DescriptorJson[] | null;
};

const descriptor = (json: DescriptorJson): PublicKeyCredentialDescriptor => ({ ...json, id: bytesOf(json.id) });

export function creationOptionsOf(json: CreationJson): PublicKeyCredentialCreationOptions {
  return {
    ...json,
    challenge: bytesOf(json.challenge),
    user: { ...json.user, id: bytesOf(json.user.id) },
    excludeCredentials: (json.excludeCredentials ?? []).map(descriptor),
  };
}

export function requestOptionsOf(json: RequestJson): PublicKeyCredentialRequestOptions {
  return {
    ...json,
    challenge: bytesOf(json.challenge),
    allowCredentials: (json.allowCredentials ?? []).map(descriptor),
  };
}

/** What the API takes at `/auth/register/finish`. */
export function registrationJsonOf(credential: PublicKeyCredential) {
  const response = credential.response as AuthenticatorAttestationResponse;
  return {
    id: credential.id,
    rawId: base64UrlOf(credential.rawId),
    type: credential.type,
    response: {
      attestationObject: base64UrlOf(response.attestationObject),
      clientDataJSON: base64UrlOf(response.clientDataJSON),
      transports: response.getTransports(),
    },
    clientExtensionResults: credential.getClientExtensionResults(),
  };
}

/** What the API takes at `/auth/login/finish`. */
export function assertionJsonOf(credential: PublicKeyCredential) {
  const response = credential.response as AuthenticatorAssertionResponse;
  return {
    id: credential.id,
    rawId: base64UrlOf(credential.rawId),
    type: credential.type,
    response: {
      authenticatorData: base64UrlOf(response.authenticatorData),
      clientDataJSON: base64UrlOf(response.clientDataJSON),
      signature: base64UrlOf(response.signature),
      userHandle: response.userHandle ? base64UrlOf(response.userHandle) : null,
    },
    clientExtensionResults: credential.getClientExtensionResults(),
  };
}

/** Why passkeys cannot be used in this browser, or `null` when they can. */
export function passkeyObstacle(): string | null {
  if (!window.isSecureContext)
    return 'Passkeys need a secure connection. Open this page over https, or on http://localhost.';
  if (typeof PublicKeyCredential === 'undefined')
    return 'This browser does not support passkeys (WebAuthn). Use a current version of Chrome, Edge, Firefox or Safari.';
  return null;
}

/** A ceremony that ended in the browser, before anything was sent. */
export class PasskeyError extends Error {
  override readonly name = 'PasskeyError';
}

export async function createPasskey(options: unknown): Promise<ReturnType<typeof registrationJsonOf>> {
  const publicKey = creationOptionsOf((options as { publicKey: CreationJson }).publicKey);
  return registrationJsonOf(await ceremony(() => navigator.credentials.create({ publicKey })));
}

export async function assertPasskey(options: unknown): Promise<ReturnType<typeof assertionJsonOf>> {
  const publicKey = requestOptionsOf((options as { publicKey: RequestJson }).publicKey);
  return assertionJsonOf(await ceremony(() => navigator.credentials.get({ publicKey })));
}

async function ceremony(run: () => Promise<Credential | null>): Promise<PublicKeyCredential> {
  try {
    const credential = await run();
    if (credential?.type === 'public-key') return credential as PublicKeyCredential;
  } catch (error) {
    throw new PasskeyError(reasonOf(error), { cause: error });
  }
  throw new PasskeyError('The browser returned no passkey. Try again.');
}

/** The names are those of WebAuthn Level 3, sections 5.1.3 and 5.1.4. */
function reasonOf(error: unknown): string {
  switch (nameOf(error)) {
    case 'NotAllowedError':
      return 'The passkey prompt was dismissed or timed out. Try again when you are ready.';
    case 'InvalidStateError':
      return 'This device already holds a passkey for the account. Sign in with it instead.';
    case 'SecurityError':
      return 'This address may not use passkeys of the control plane. Open the console at its own address.';
    case 'NotSupportedError':
    case 'ConstraintError':
      return 'This authenticator cannot make the kind of passkey that is needed (user verification and a resident key).';
    default:
      return 'The passkey could not be used. Try again.';
  }
}
