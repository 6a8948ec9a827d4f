// The encodings, trees and signatures that Craton's receipts are made of, by docs/verification.md.
import { createHash, createPublicKey, verify as verifySignature } from 'node:crypto';

export const check = (condition, reason) => {
  if (!condition) throw new Error(reason);
};
export const sha256 = (...parts) =>
  createHash('sha256').update(Buffer.concat(parts.map((part) => Buffer.from(part)))).digest();
export const fromBase64 = (text) => {
  const bytes = Buffer.from(text, 'base64');
  check(bytes.toString('base64') === text, 'base64 is not canonical');
  return bytes;
};
const fromDecimal = (text) => {
  check(/^(0|[1-9][0-9]*)$/.test(text), `not a decimal number: ${text}`);
  return BigInt(text);
};

/** One item of the CBOR subset that receipts use, and the position after it. Integers are BigInts. */
export function cbor(data, at = 0) {
  check(at < data.length, 'CBOR is cut off');
  const [major, short] = [data[at] >> 5, data[at] & 31];
  at += 1;
  if (major === 7 && short === 27) return [data.readDoubleBE(at), at + 8];
  if (major === 7) return [{ 20: false, 21: true, 22: null }[short], at];
  let number = BigInt(short);
  if (short >= 24) {
    const width = { 24: 1, 25: 2, 26: 4, 27: 8 }[short];
    number = BigInt(`0x${data.subarray(at, at + width).toString('hex')}`);
    at += width;
  }
  if (major < 2) return [major === 0 ? number : -1n - number, at];
  const end = at + Number(number);
  if (major < 4) {
    check(end <= data.length, 'CBOR is cut off');
    const content = data.subarray(at, end);
    return [major === 2 ? content : new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content), end];
  }
  check(major === 4, 'unexpected CBOR type');
  const items = [];
  for (let item, left = number; left > 0n; left -= 1n) {
    [item, at] = cbor(data, at);
    items.push(item);
  }
  return [items, at];
}

export function versioned(data, version = 1) {
  check(data[0] === version, 'unknown version');
  const [value, end] = cbor(data, 1);
  check(end === data.length, 'bytes follow the CBOR');
  return value;
}

/** RFC 9162, section 2.1.3.2. */
export function checkInclusion(hash, index, size, path, root, what) {
  check(index < size, `${what}: not in the tree`);
  let [node, last] = [index, size - 1n];
  for (const sibling of path) {
    check(last !== 0n, `${what}: the path is too long`);
    if (node & 1n || node === last) {
      hash = sha256([1], sibling, hash);
      while (node !== 0n && !(node & 1n)) [node, last] = [node >> 1n, last >> 1n];
    } else hash = sha256([1], hash, sibling);
    [node, last] = [node >> 1n, last >> 1n];
  }
  check(last === 0n && hash.equals(root), `${what}: the path does not lead to the root`);
}

/** A verifier key: of a log (type 1) or a witness (type 4). */
export function parseKey(text, type) {
  const [, name, id, encoded] = /^([^+\s]+)\+([0-9a-f]{8})\+(.+)$/.exec(text.trim()) ?? [];
  check(name, 'a verifier key has the form <name>+<key id>+<base64>');
  const typed = fromBase64(encoded);
  check(typed[0] === type && typed.length === 33, `the key is not of type ${type}`);
  check(sha256(`${name}\n`, typed).subarray(0, 4).toString('hex') === id, "the key's id does not belong to it");
  const key = { kty: 'OKP', crv: 'Ed25519', x: typed.subarray(1).toString('base64url') };
  return { name, id: Buffer.from(id, 'hex'), key: createPublicKey({ key, format: 'jwk' }) };
}

/** The signatures of a note by a key; all must verify. `message` makes what was signed of the bytes before the last 64. */
function signatures(lines, { name, id, key }, message) {
  const own = lines.map((line) => line.split(' ')).filter(([, signer]) => signer === name);
  const bytes = own.map(([, , encoded]) => fromBase64(encoded)).filter((found) => found.subarray(0, 4).equals(id));
  for (const found of bytes) {
    const isSigned = verifySignature(null, Buffer.from(message(found.subarray(4, -64))), key, found.subarray(-64));
    check(isSigned, `the signature by ${name} does not verify`);
  }
  check(bytes.length > 0, `the checkpoint is not signed by ${name}`);
  return bytes;
}

function openCheckpoint(note, logKey, witnessKeys) {
  const split = note.lastIndexOf('\n\n');
  check(split >= 0 && note.endsWith('\n'), 'the checkpoint is not a signed note');
  const text = note.slice(0, split + 1);
  const lines = note.slice(split + 2, -1).split('\n');
  lines.forEach((line) => check(/^\u2014 \S+ \S+$/.test(line), 'a signature line is malformed'));
  lines.forEach((line) => fromBase64(line.split(' ')[2]));
  signatures(lines, logKey, (rest) => (check(rest.length === 0, 'a signature has another length'), text));
  const witnessed = witnessKeys.map((witness) => {
    const timed = (time) => (check(time.length === 8, 'a cosignature has another length'), time.readBigUInt64BE());
    const found = signatures(lines, witness, (time) => `cosignature/v1\ntime ${timed(time)}\n${text}`);
    const times = found.map((each) => Number(timed(each.subarray(4, -64))));
    return { witness: witness.name, time_seconds: Math.max(...times) };
  });
  const [origin, size, root, end, ...more] = text.split('\n');
  check(end === '' && more.length === 0 && origin === logKey.name, 'the checkpoint is of another log than the key');
  return { size: fromDecimal(size), root: fromBase64(root), witnessed };
}

/** The parts of a receipt: what it discloses, the record's index, its path, and what was signed. */
export function openProof(receipt, logKey, witnessKeys) {
  const split = receipt.indexOf('\n\n');
  check(split >= 0, 'there is no checkpoint');
  const [first, extra, index, ...path] = receipt.slice(0, split).split('\n');
  check(first === 'c2sp.org/tlog-proof@v1', 'not a tlog-proof');
  check(extra?.startsWith('extra ') && index?.startsWith('index '), 'extra or index line is missing');
  const signed = openCheckpoint(receipt.slice(split + 2), logKey, witnessKeys);
  return { extra: fromBase64(extra.slice(6)), index: fromDecimal(index.slice(6)), path: path.map(fromBase64), signed };
}
