#!/usr/bin/env node
// Verifies a Craton receipt: an independent implementation of docs/verification.md, with Node's own modules and formats.mjs.
// Usage: verify.mjs RECEIPT VERIFIER_KEY [WITNESS_KEY…]      Exits with 0 and JSON, or with 1 and a reason.
import { createDecipheriv } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cbor, check, checkInclusion, openProof, parseKey, sha256, versioned } from './formats.mjs';

/** A record of one of these kinds, which is the one at the index under the checkpoint. */
export function checkHeader(header, kinds, index, path, { size, root }) {
  check(header.length === 180 && header.toString('latin1', 0, 5) === 'CRTR\x01', "not a record's header");
  check(header.readUInt16BE(6) === 0, 'reserved bytes are not zero');
  check(kinds.includes(header[5]), 'the record is of another kind');
  check(header.readBigUInt64BE(32) === index, 'the record is not the one at the index');
  checkInclusion(sha256([0], header), index, size, path, root, 'record');
}

/** A chunk or a cell: committed to its key, so that it opens to one plaintext only. */
function openSealed(sealed, key, offset, index, what) {
  const cipherKey = sha256([0, 0, 0, 1], key, Buffer.from('craton chunk v1'));
  const commitment = sha256([0, 0, 0, 2], key, Buffer.from('craton chunk v1'));
  check(commitment.equals(sealed.subarray(0, 32)), `${what}: committed to another key`);
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(offset);
  nonce.writeUInt32BE(Number(index), 8);
  const cipher = createDecipheriv('aes-256-gcm', cipherKey, nonce, { authTagLength: 16 });
  cipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([cipher.update(sealed.subarray(32, -16)), cipher.final()]);
}

/** Opens the sealed values of a row change whose keys are disclosed. */
function openCells(change, cells) {
  for (const [row, column, key] of cells) {
    const values = change[1][0][1 + Number(row)];
    const value = values[Number(column)];
    check(Array.isArray(value) && value[0] === 9n, 'a cell that is not sealed has a key');
    const [, , offset, chunk, , sealed] = value[1];
    const plaintext = openSealed(sealed, key, offset, chunk, `cell ${column}`);
    const [opened, end] = cbor(plaintext);
    check(end === plaintext.length, 'bytes follow the value');
    values[Number(column)] = opened;
  }
}

/** A record: its header, the tables in its summary, and the disclosed changes by chunk. */
export function verifyRecord([header, chunks], index, path, signed) {
  checkHeader(header, [1, 4, 7], index, path, signed);
  // A record of events holds nothing but them; every other one begins with a summary.
  const hasSummary = header[5] !== 7;
  check(!hasSummary || chunks[0]?.[0] === 0n, 'the summary is missing');
  const changes = new Map();
  for (const [number, key, chunk, chunkPath, cells = []] of chunks) {
    const [what, count] = [`chunk ${number}`, BigInt(header.readUInt32BE(108))];
    checkInclusion(sha256([0], chunk), number, count, chunkPath, header.subarray(116, 148), what);
    const opened = versioned(openSealed(chunk, key, index, number, what));
    openCells(opened, cells);
    changes.set(number, opened);
  }
  const tables = hasSummary ? changes.get(0n)[0] : [];
  if (hasSummary) changes.delete(0n);
  return { header, tables, changes };
}

/** A row by its columns' names. A value that no disclosed key opens is shown as such. */
export function rowObject(columns, row) {
  if (row === null || row === undefined) return null;
  check(row.length === columns.length, 'the summary does not describe the row');
  const tagged = ([tag, content]) => (tag === 9n ? { erased_or_withheld: true } : value(content));
  const value = (v) => (Buffer.isBuffer(v) ? v.toString('hex') : Array.isArray(v) ? tagged(v) : v);
  return Object.fromEntries(columns.map((name, position) => [name, value(row[position])]));
}

export function describe({ header, tables, changes }, { size, root, witnessed }) {
  const change = ([kind, fields]) => {
    if (kind !== 0n) return { kind };
    const [id, before, after] = fields[0];
    const [, name, columns] = tables.find((table) => table[0] === id) ?? check(false, 'a table is not described');
    return { table: name, before: rowObject(columns, before), after: rowObject(columns, after) };
  };
  return {
    position: header.readBigUInt64BE(32),
    timestamp_nanoseconds: header.readBigUInt64BE(48),
    actor: header.toString('hex', 56, 72),
    record_hash: sha256([0], header).toString('hex'),
    changes: [...changes.values()].map(change),
    checkpoint_size: size,
    checkpoint_root: root.toString('hex'),
    witnessed,
  };
}

export function verify(receipt, key, ...witnesses) {
  const parse = (witness) => parseKey(witness, 4);
  const { extra, index, path, signed } = openProof(receipt, parseKey(key, 1), witnesses.map(parse));
  return describe(verifyRecord(versioned(extra), index, path, signed), signed);
}

/** Runs a verification as a command, when its module is the one that was started. */
export function main(module, verify) {
  if (process.argv[1] === undefined || realpathSync(process.argv[1]) !== fileURLToPath(module)) return;
  try {
    const [path, ...keys] = process.argv.slice(2);
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(path));
    // Tools that print a text add line ends of their own.
    const receipt = `${text.replace(/[\r\n]+$/, '')}\n`;
    // Numbers beyond 2^53 stay exact as text.
    const number = (_, v) => (typeof v !== 'bigint' ? v : Number.isSafeInteger(Number(v)) ? Number(v) : `${v}`);
    console.log(JSON.stringify(verify(receipt, ...keys), number, 2));
  } catch (error) {
    console.error(`the receipt does not verify: ${error.message}`);
    process.exit(1);
  }
}
main(import.meta.url, verify);
