#!/usr/bin/env node
// Verifies a Craton receipt: an independent implementation of docs/verification.md, with Node's own modules alone.
// Usage: verify.mjs RECEIPT VERIFIER_KEY [WITNESS_KEY…]      Exits with 0 and JSON, or with 1 and a reason.
import { createDecipheriv, createHash, createHmac, createPublicKey, verify as verifySignature } from 'node:crypto';
import { readFileSync } from 'node:fs';

const check = (condition, reason) => {
  if (!condition) throw new Error(reason);
};
const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts.map((part) => Buffer.from(part)))).digest();
const fromBase64 = (text) => {
  const bytes = Buffer.from(text, 'base64');
  check(bytes.toString('base64') === text, 'base64 is not canonical');
  return bytes;
};
const fromDecimal = (text) => {
  check(/^(0|[1-9][0-9]*)$/.test(text), `not a decimal number: ${text}`);
  return BigInt(text);
};

/** One item of the CBOR subset that receipts use, and the position after it. */
function cbor(data, at) {
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
  if (major === 2 || major === 3) {
    check(end <= data.length, 'CBOR is cut off');
    const content = data.subarray(at, end);
    return [major === 2 ? content : new TextDecoder('utf-8', { fatal: true }).decode(content), end];
  }
  check(major === 4, 'unexpected CBOR type');
  const items = [];
  for (let item, left = number; left > 0n; left -= 1n) {
    [item, at] = cbor(data, at);
    items.push(item);
  }
  return [items, at];
}

function versionedCbor(data) {
  check(data[0] === 1, 'unknown version');
  const [value, end] = cbor(data, 1);
  check(end === data.length, 'bytes follow the CBOR');
  return value;
}

/** RFC 9162, section 2.1.3.2. */
function checkInclusion(hash, index, size, path, root, what) {
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

function parseKey(text, type) {
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
    return { witness: witness.name, time_seconds: Math.max(...found.map((each) => Number(timed(each.subarray(4, -64))))) };
  });
  const [origin, size, root, end, ...more] = text.split('\n');
  check(end === '' && more.length === 0 && origin === logKey.name, 'the checkpoint is of another log than the key');
  return { size: fromDecimal(size), root: fromBase64(root), witnessed };
}

function openChunk(chunk, changeKey, offset, index) {
  const cipherKey = createHmac('sha256', changeKey).update('craton chunk v1\x01').digest();
  const commitment = createHmac('sha256', changeKey).update(cipherKey).update('craton chunk v1\x02').digest();
  check(commitment.equals(chunk.subarray(0, 32)), `chunk ${index}: committed to another key`);
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(offset);
  nonce.writeUInt32BE(Number(index), 8);
  const cipher = createDecipheriv('aes-256-gcm', cipherKey, nonce, { authTagLength: 16 });
  cipher.setAuthTag(chunk.subarray(-16));
  return Buffer.concat([cipher.update(chunk.subarray(32, -16)), cipher.final()]);
}

function rowObject(columns, row) {
  if (row === null || row === undefined) return null;
  check(row.length === columns.length, 'the summary does not describe the row');
  const value = (v) => (Buffer.isBuffer(v) ? v.toString('hex') : Array.isArray(v) ? value(v[1]) : v);
  return Object.fromEntries(columns.map((name, position) => [name, value(row[position])]));
}

function verifyReceipt(receipt, logKey, witnessKeys) {
  const split = receipt.indexOf('\n\n');
  check(split >= 0, 'there is no checkpoint');
  const [first, extra, index, ...path] = receipt.slice(0, split).split('\n');
  check(first === 'c2sp.org/tlog-proof@v1', 'not a tlog-proof');
  check(extra?.startsWith('extra ') && index?.startsWith('index '), 'extra or index line is missing');
  const { size, root, witnessed } = openCheckpoint(receipt.slice(split + 2), logKey, witnessKeys);
  const [header, chunks] = versionedCbor(fromBase64(extra.slice(6)));

  check(header.length === 180 && header.toString('latin1', 0, 5) === 'CRTR\x01', "not a record's header");
  check(header.readUInt16BE(6) === 0, 'reserved bytes are not zero');
  const offset = header.readBigUInt64BE(32);
  check(offset === fromDecimal(index.slice(6)), 'the record is not the one at the index');
  checkInclusion(sha256([0], header), offset, size, path.map(fromBase64), root, 'record');
  // A data record begins with a summary; a record of events holds nothing but them.
  const kind = header[5];
  check(kind === 1 || kind === 7, 'the record holds no changes');
  check(kind === 7 || chunks[0]?.[0] === 0n, 'the summary is missing');
  const plaintexts = chunks.map(([number, changeKey, chunk, chunkPath]) => {
    const payloadHash = header.subarray(116, 148);
    checkInclusion(sha256([0], chunk), number, BigInt(header.readUInt32BE(108)), chunkPath, payloadHash, `chunk ${number}`);
    return versionedCbor(openChunk(chunk, changeKey, offset, number));
  });
  const tables = kind === 1 ? plaintexts.shift()[0] : [];
  const changes = plaintexts.map(([choice, fields]) => {
    if (choice !== 0n) return { kind: choice };
    const [id, before, after] = fields[0];
    const [, name, columns] = tables.find((table) => table[0] === id) ?? check(false, 'a table is not described');
    return { table: name, before: rowObject(columns, before), after: rowObject(columns, after) };
  });
  return {
    position: offset,
    timestamp_nanoseconds: header.readBigUInt64BE(48),
    actor: header.toString('hex', 56, 72),
    record_hash: sha256([0], header).toString('hex'),
    changes,
    checkpoint_size: size,
    checkpoint_root: root.toString('hex'),
    witnessed,
  };
}

try {
  const [path, key, ...witnesses] = process.argv.slice(2);
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(path));
  const proved = verifyReceipt(text, parseKey(key, 1), witnesses.map((witness) => parseKey(witness, 4)));
  // Numbers beyond 2^53 stay exact as text.
  const number = (_, value) =>
    typeof value === 'bigint' ? (value <= Number.MAX_SAFE_INTEGER && value >= -Number.MAX_SAFE_INTEGER ? Number(value) : `${value}`) : value;
  console.log(JSON.stringify(proved, number, 2));
} catch (error) {
  console.error(`the receipt does not verify: ${error.message}`);
  process.exit(1);
}
