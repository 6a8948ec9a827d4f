#!/usr/bin/env node
// Verifies a Craton state receipt: an independent implementation of docs/state-proofs.md, on verify.mjs beside it.
// Usage: verify_state.mjs RECEIPT VERIFIER_KEY [WITNESS_KEY…]      Exits with 0 and JSON, or with 1 and a reason.
import { createHmac } from 'node:crypto';
import { check, checkInclusion, openProof, parseKey, sha256, versioned } from './formats.mjs';
import { checkHeader, describe, main, rowObject, verifyRecord } from './verify.mjs';

const EMPTY = Buffer.from('SPARSE_MERKLE_PLACEHOLDER_HASH__');

const bytes = (number, length) => Buffer.from(number.toString(16).padStart(2 * length, '0'), 'hex');
const ordered = (number) => bytes(BigInt.asUintN(64, number ^ (1n << 63n)), 8);

/** A value of a primary key as bytes that sort as the values do, and the numbers of the column types that it fits. */
function encode(value) {
  if (typeof value === 'boolean') return [Buffer.of(value ? 2 : 1), [0n]];
  if (typeof value === 'bigint') return [Buffer.concat([Buffer.of(3), ordered(value)]), [1n, 2n, 3n]];
  if (typeof value === 'string' || Buffer.isBuffer(value)) {
    const escaped = [...Buffer.from(value)].flatMap((byte) => (byte === 0 ? [0, 255] : [byte]));
    const [tag, kinds] = Buffer.isBuffer(value) ? [6, [9n]] : [5, [7n, 8n]];
    return [Buffer.from([tag, ...escaped, 0, 0]), kinds];
  }
  check(Array.isArray(value), 'NULL is in no primary key');
  const [kind, content] = value;
  if (kind === 1n) {
    const double = Buffer.alloc(8);
    double.writeDoubleBE(content + 0);
    const bits = double.readBigUInt64BE();
    const sorted = bits >> 63n ? BigInt.asUintN(64, ~bits) : bits | (1n << 63n);
    return [Buffer.concat([Buffer.of(4), bytes(sorted, 8)]), [4n, 5n]];
  }
  check(kind >= 3n && kind <= 7n, 'no primary key has a value of this type');
  return [Buffer.concat([Buffer.of(Number(kind) + 4), kind === 7n ? content : ordered(content)]), [kind + 7n]];
}

function leafKey(stateKey, table, values) {
  const encoded = values.map((value) => encode(value)[0]);
  return createHmac('sha256', stateKey).update(Buffer.concat([bytes(table, 4), ...encoded])).digest();
}

const leaf = (key, valueHash) => sha256('JMT::LeafNode', key, valueHash);

function checkPath(key, hash, siblings, root, what) {
  check(siblings.length <= 256, `${what}: the path is too long`);
  siblings.forEach((sibling, index) => {
    const level = siblings.length - 1 - index;
    const isRight = (key[level >> 3] >> (7 - (level & 7))) & 1;
    hash = isRight ? sha256('JMT::IntrnalNode', sibling, hash) : sha256('JMT::IntrnalNode', hash, sibling);
  });
  check(hash.equals(root), `${what}: the path does not lead to the root`);
}

function checkPresent([other, siblings], key, value, root, what) {
  check(other === null, `${what}: the path ends in another leaf`);
  checkPath(key, leaf(key, sha256(value)), siblings, root, what);
}

function checkAbsent([other, siblings], key, root, what) {
  if (other === null) return checkPath(key, EMPTY, siblings, root, what);
  const first = (found) => BigInt(`0x${found.toString('hex')}`) >> BigInt(256 - siblings.length);
  const isElsewhere = !other[0].equals(key) && first(other[0]) === first(key);
  check(isElsewhere, `${what}: the other leaf is not in its place`);
  return checkPath(key, leaf(...other), siblings, root, what);
}

/** A change that a leaf names: the leaf's value, the record, and the change. */
function openStated([[offset, chunk, blind], path, disclosed], size, signed) {
  const record = verifyRecord(disclosed, offset, path, signed);
  const change = record.changes.get(chunk);
  check(change && record.changes.size === 1 && offset < size, 'the state names another change');
  return [Buffer.concat([bytes(offset, 8), bytes(chunk, 4), blind]), record, change];
}

export function verify(receipt, logKey, ...witnesses) {
  const parse = (witness) => parseKey(witness, 4);
  const { extra, index, path, signed } = openProof(receipt, parseKey(logKey, 1), witnesses.map(parse));
  const [committed, stateKey, [tableProof, tableChange], key, rowLeaf, proof, rowChange] = versioned(extra, 2);
  const [header, commitment, commitmentPath] = committed;
  checkHeader(header, [2], index, path, signed);
  const [count, payloadHash] = [BigInt(header.readUInt32BE(108)), header.subarray(116, 148)];
  checkInclusion(sha256([0], commitment), 1n, count, commitmentPath, payloadHash, 'state commitment');
  check(commitment.length === 73 && commitment[0] === 1, 'not a state commitment');
  const [size, root] = [commitment.readBigUInt64BE(1), commitment.subarray(9, 41)];
  const isKnown = sha256('craton state key commitment v1', stateKey).equals(commitment.subarray(41));
  check(isKnown, 'another state key');

  const [tableValue, , [tableKind, table]] = openStated(tableChange, size, signed);
  check(tableKind === 1n, "the table's change creates no table");
  const [id, name, columns, primaryKey] = table[0];
  checkPresent(tableProof, leafKey(stateKey, 0n, [name]), tableValue, root, 'table');
  check(Array.isArray(key) && key.length === primaryKey.length, 'the primary key does not fit the table');
  const keyColumns = primaryKey.map((position) => columns[Number(position)]);
  const fits = keyColumns.every(([, type], position) => encode(key[position])[1].includes(type[0]));
  check(fits, 'the primary key does not fit the table');
  check(leafKey(stateKey, id, key).equals(rowLeaf), 'the primary key is another');

  let record = null;
  if (rowChange) {
    const [value, opened, [kind, row]] = openStated(rowChange, size, signed);
    checkPresent(proof, rowLeaf, value, root, 'row');
    const [changed, , after] = kind === 0n ? row[0] : [];
    check(changed === id && after, "the row's change stores no row of the table");
    const stored = leafKey(stateKey, id, primaryKey.map((position) => after[Number(position)]));
    check(stored.equals(rowLeaf), 'the row has another key');
    record = describe(opened, signed);
  } else checkAbsent(proof, rowLeaf, root, 'row');
  return {
    table: name,
    primary_key: rowObject(keyColumns.map(([column]) => column), key),
    claim: record ? 'latest' : 'absent',
    as_of_position: size - 1n,
    record,
    checkpoint_size: signed.size,
    checkpoint_root: signed.root.toString('hex'),
    witnessed: signed.witnessed,
  };
}
main(import.meta.url, verify);
