#!/usr/bin/env python3
"""Verifies a Craton state receipt: an independent implementation of docs/state-proofs.md, on verify.py beside it.

Usage: verify_state.py RECEIPT VERIFIER_KEY

Prints the row, or that there was none, as JSON and exits with 0, or says why it proves nothing and exits with 1.
"""
import hmac
import struct

from formats import check, check_inclusion, sha256, versioned
from verify import check_header, describe, main, open_proof, row_object, verify_record

EMPTY = b"SPARSE_MERKLE_PLACEHOLDER_HASH__"


def ordered(number):
    return struct.pack(">Q", number + (1 << 63))


def encode(value):
    """A value of a primary key as bytes that sort as the values do, and the numbers of the column types it fits."""
    if isinstance(value, bool):
        return bytes([1 + value]), (0,)
    if isinstance(value, int):
        return b"\x03" + ordered(value), (1, 2, 3)
    if isinstance(value, (str, bytes)):
        tag, content, kinds = (b"\x05", value.encode(), (7, 8)) if isinstance(value, str) else (b"\x06", value, (9,))
        return tag + content.replace(b"\0", b"\0\xff") + b"\0\0", kinds
    kind, content = value
    if kind == 1:
        bits = int.from_bytes(struct.pack(">d", content + 0.0), "big")
        return b"\x04" + struct.pack(">Q", bits ^ ((1 << 64) - 1) if bits >> 63 else bits | 1 << 63), (4, 5)
    check(kind in (3, 4, 5, 6, 7), "no primary key has a value of this type")
    return bytes([kind + 4]) + (content if kind == 7 else ordered(content)), (kind + 7,)


def leaf_key(state_key, table_id, values):
    return hmac.digest(state_key, struct.pack(">I", table_id) + b"".join(encode(v)[0] for v in values), "sha256")


def leaf(key, value_hash):
    return sha256(b"JMT::LeafNode", key, value_hash)


def check_path(key, found, siblings, root, what):
    check(len(siblings) <= 256, what + ": the path is too long")
    for sibling, level in zip(siblings, reversed(range(len(siblings)))):
        is_right = key[level // 8] >> (7 - level % 8) & 1
        found = sha256(b"JMT::IntrnalNode", *((sibling, found) if is_right else (found, sibling)))
    check(found == root, what + ": the path does not lead to the root")


def check_present(proof, key, value, root, what):
    other, siblings = proof
    check(other is None, what + ": the path ends in another leaf")
    check_path(key, leaf(key, sha256(value)), siblings, root, what)


def check_absent(proof, key, root, what):
    other, siblings = proof
    if other is None:
        return check_path(key, EMPTY, siblings, root, what)
    bits = lambda found: int.from_bytes(found, "big") >> 256 - len(siblings)
    check(other[0] != key and bits(other[0]) == bits(key), what + ": the other leaf is not in its place")
    check_path(key, leaf(*other), siblings, root, what)


def open_stated(stated, size, signed):
    """A change that a leaf names: the leaf's value, the record, and the change."""
    (offset, chunk, blind), path, disclosed = stated
    record = verify_record(disclosed, offset, path, signed)
    check(list(record[2]) == [chunk] and offset < size, "the state names another change")
    return struct.pack(">QI", offset, chunk) + blind, record, record[2][chunk]


def verify(text, key_text):
    extra, index, path, signed = open_proof(text, key_text)
    disclosed = versioned(extra, 2)
    (header, commitment, commitment_path), state_key, (table_proof, table_change), key, row_leaf, proof = disclosed[:6]
    check_header(header, (2,), index, path, signed)
    count = int.from_bytes(header[108:112], "big")
    check_inclusion(sha256(b"\0", commitment), 1, count, commitment_path, header[116:148], "state commitment")
    check(len(commitment) == 73 and commitment[0] == 1, "not a state commitment")
    size, root = int.from_bytes(commitment[1:9], "big"), commitment[9:41]
    check(sha256(b"craton state key commitment v1", state_key) == commitment[41:], "another state key")

    value, _, (kind, fields) = open_stated(table_change, size, signed)
    check(kind == 1, "the table's change creates no table")
    table_id, name, columns, primary_key = fields[0][:4]
    check_present(table_proof, leaf_key(state_key, 0, [name]), value, root, "table")
    names = [columns[position][0] for position in primary_key]
    fits = [columns[position][1][0] in encode(v)[1] for position, v in zip(primary_key, key)]
    check(isinstance(key, list) and len(key) == len(names) and all(fits), "the primary key does not fit the table")
    check(row_leaf == leaf_key(state_key, table_id, key), "the primary key is another")

    record = None
    if len(disclosed) == 6 or disclosed[6] is None:
        check_absent(proof, row_leaf, root, "row")
    else:
        value, opened, (kind, fields) = open_stated(disclosed[6], size, signed)
        check_present(proof, row_leaf, value, root, "row")
        check(kind == 0, "the row's change is of no row")
        changed_id, _, after = (fields[0] + [None, None])[:3]
        check(changed_id == table_id and after is not None, "the row's change stores no row of the table")
        check(leaf_key(state_key, table_id, [after[p] for p in primary_key]) == row_leaf, "the row has another key")
        record = describe(*opened, signed)
    return {
        "table": name,
        "primary_key": row_object(names, key),
        "claim": "latest" if record else "absent",
        "as_of_position": size - 1,
        "record": record,
        "checkpoint_size": signed[0],
        "checkpoint_root": signed[1].hex(),
    }


if __name__ == "__main__":
    main(verify)
