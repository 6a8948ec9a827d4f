/**
 * The checks of a relying party that need no cryptography: type, challenge, origin, RP id and flags. Signatures are
 * not verified; the platform does that, and the browser tests against the platform cover it.
 */
import { createHash } from 'node:crypto';
import { Refusal } from './problem';

const USER_PRESENT = 0x01;
const USER_VERIFIED = 0x04;

type CredentialJson = {
  id?: string;
  rawId?: string;
  type?: string;
  response?: { clientDataJSON?: string; attestationObject?: string; authenticatorData?: string; userHandle?: string };
};

export type CheckedCredential = { id: string; userHandle: string | null };

const refuse = (detail: string) => new Refusal(422, 'passkey_rejected', detail);

export function checkCredential(
  value: unknown,
  kind: 'register' | 'login',
  challenge: string,
  origin: string,
): CheckedCredential {
  const credential = (value ?? {}) as CredentialJson;
  const { id, rawId, response } = credential;
  if (!id || id !== rawId || credential.type !== 'public-key')
    throw refuse('The credential is not a public key credential.');
  const clientData = JSON.parse(Buffer.from(response?.clientDataJSON ?? '', 'base64url').toString('utf8')) as Record<
    string,
    unknown
  >;
  if (clientData['type'] !== (kind === 'register' ? 'webauthn.create' : 'webauthn.get'))
    throw refuse('The credential answers another ceremony.');
  if (clientData['challenge'] !== challenge) throw refuse('The credential answers another challenge.');
  if (clientData['origin'] !== origin) throw refuse('The credential was made for another origin.');
  const data =
    kind === 'register'
      ? authenticatorDataIn(response?.attestationObject)
      : Buffer.from(response?.authenticatorData ?? '', 'base64url');
  const relyingParty = createHash('sha256').update(new URL(origin).hostname).digest();
  if (!data.subarray(0, 32).equals(relyingParty)) throw refuse('The credential was made for another relying party.');
  const flags = data.readUInt8(32);
  if ((flags & USER_PRESENT) === 0 || (flags & USER_VERIFIED) === 0)
    throw refuse('The authenticator did not verify the user.');
  return { id, userHandle: response?.userHandle ?? null };
}

/** Finds `authData` in the attestation object: the CBOR text key, then a byte string with a one- or two-byte length. */
function authenticatorDataIn(attestationObject: string | undefined): Buffer {
  const bytes = Buffer.from(attestationObject ?? '', 'base64url');
  const key = Buffer.from('\x68authData', 'latin1');
  const at = bytes.indexOf(key) + key.length;
  const head = at < key.length ? 0 : bytes.readUInt8(at);
  if (head === 0x58) return bytes.subarray(at + 2, at + 2 + bytes.readUInt8(at + 1));
  if (head === 0x59) return bytes.subarray(at + 3, at + 3 + bytes.readUInt16BE(at + 1));
  throw refuse('The attestation object holds no authenticator data.');
}
