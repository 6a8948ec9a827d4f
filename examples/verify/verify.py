#!/usr/bin/env python3
"""Verifies a Craton receipt: an independent implementation of docs/verification.md.

Usage: verify.py RECEIPT VERIFIER_KEY

Prints what the receipt proves as JSON and exits with 0, or says why it proves nothing and exits with 1.
Needs the `cryptography` package for Ed25519 and AES-GCM; everything else is the standard library.
"""

import base64
import hashlib
import hmac
import json
import struct
import sys

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Refused(Exception):
    pass


def check(condition, reason):
    if not condition:
        raise Refused(reason)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def decode_base64(text):
    decoded = base64.b64decode(text, validate=True)
    check(base64.b64encode(decoded).decode() == text, "base64 is not canonical")
    return decoded


def decode_decimal(text):
    check(text.isascii() and text.isdigit() and str(int(text)) == text, "not a decimal number: " + text)
    return int(text)


def decode_cbor(data, at=0):
    """One item of the CBOR subset that receipts use; returns it and the position after it."""
    major, short = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        if short == 27:
            return struct.unpack(">d", data[at : at + 8])[0], at + 8
        return {20: False, 21: True, 22: None}[short], at
    number = short
    if short >= 24:
        width = {24: 1, 25: 2, 26: 4, 27: 8}[short]
        number, at = int.from_bytes(data[at : at + width], "big"), at + width
    if major == 0:
        return number, at
    if major == 1:
        return -1 - number, at
    if major in (2, 3):
        content = data[at : at + number]
        check(len(content) == number, "CBOR is cut off")
        return (content if major == 2 else content.decode()), at + number
    check(major == 4, "unexpected CBOR type")
    items = []
    for _ in range(number):
        item, at = decode_cbor(data, at)
        items.append(item)
    return items, at


def decode_versioned(data):
    check(data[:1] == b"\x01", "unknown version")
    value, end = decode_cbor(data, 1)
    check(end == len(data), "bytes follow the CBOR")
    return value


def check_inclusion(leaf, index, size, path, root, what):
    check(index < size, what + ": not in the tree")
    node, last, found = index, size - 1, leaf
    for sibling in path:
        check(last != 0, what + ": the path is too long")
        if node & 1 or node == last:
            found = sha256(b"\x01", sibling, found)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found = sha256(b"\x01", found, sibling)
        node, last = node >> 1, last >> 1
    check(last == 0, what + ": the path is too short")
    check(found == root, what + ": the path leads to another root")


def open_checkpoint(note, key_text):
    """Verifies the signed note and returns the size and root of the tree."""
    name, key_id, key = key_text.split("+", 2)
    key = decode_base64(key)
    check(key[:1] == b"\x01" and len(key) == 33, "the key is not an Ed25519 verifier key")
    identifier = sha256(name.encode(), b"\n", key)[:4]
    check(identifier.hex() == key_id, "the key's id does not belong to it")
    text, separator, signatures = note.rpartition("\n\n")
    check(separator and signatures.endswith("\n"), "the checkpoint is not a signed note")
    text += "\n"
    signed = False
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = decode_base64(signature)
        check(dash == "\u2014", "a signature line is malformed")
        if (signer, signature[:4]) == (name, identifier):
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], text.encode())
            signed = True
    check(signed, "the checkpoint is not signed by the key")
    origin, size, root, end = text.split("\n")
    check(end == "" and origin == name, "the checkpoint is of another log than the key")
    return decode_decimal(size), decode_base64(root)


def open_chunk(chunk, change_key, offset, index):
    cipher_key = hmac.digest(change_key, b"craton chunk v1\x01", "sha256")
    commitment = hmac.digest(change_key, cipher_key + b"craton chunk v1\x02", "sha256")
    check(hmac.compare_digest(commitment, chunk[:32]), f"chunk {index}: committed to another key")
    return AESGCM(cipher_key).decrypt(struct.pack(">QI", offset, index), chunk[32:], None)


def row_object(columns, row):
    check(row is None or len(row) == len(columns), "the summary does not describe the row")
    value = lambda v: v.hex() if isinstance(v, bytes) else value(v[1]) if isinstance(v, list) else v
    return None if row is None else {name: value(v) for name, v in zip(columns, row)}


def verify(receipt, key_text):
    lines, _, checkpoint = receipt.partition("\n\n")
    first, extra, index, *path = lines.split("\n")
    check(first == "c2sp.org/tlog-proof@v1", "not a tlog-proof")
    check(extra.startswith("extra ") and index.startswith("index "), "extra or index line is missing")
    size, root = open_checkpoint(checkpoint, key_text)
    header, chunks = decode_versioned(decode_base64(extra[6:]))

    check(len(header) == 180 and header[:5] + header[6:8] == b"CRTR\x01\x00\x00", "not a record's header")
    offset, = struct.unpack(">Q", header[32:40])
    timestamp, = struct.unpack(">Q", header[48:56])
    chunk_count, = struct.unpack(">I", header[108:112])
    check(offset == decode_decimal(index[6:]), "the record is not the one at the index")
    path = [decode_base64(line) for line in path]
    check_inclusion(sha256(b"\x00", header), offset, size, path, root, "record")

    check(header[5] in (1, 7), "the record holds no changes")
    has_summary = header[5] == 1
    check(not has_summary or (chunks and chunks[0][0] == 0), "the summary is missing")
    plaintexts = []
    for number, change_key, chunk, chunk_path in chunks:
        leaf = sha256(b"\x00", chunk)
        check_inclusion(leaf, number, chunk_count, chunk_path, header[116:148], f"chunk {number}")
        plaintexts.append(decode_versioned(open_chunk(chunk, change_key, offset, number)))

    tables = {table[0]: table for table in plaintexts.pop(0)[0]} if has_summary else {}
    changes = []
    for kind, fields in plaintexts:
        if kind == 0:
            table_id, before, after = (fields[0] + [None, None])[:3]
            _, name, columns, _ = tables[table_id]
            before, after = row_object(columns, before), row_object(columns, after)
            changes.append({"table": name, "before": before, "after": after})
        else:
            changes.append({"kind": kind})
    return {
        "position": offset,
        "timestamp_nanoseconds": timestamp,
        "actor": header[56:72].hex(),
        "record_hash": sha256(b"\x00", header).hex(),
        "changes": changes,
        "checkpoint_size": size,
        "checkpoint_root": root.hex(),
    }


def main():
    receipt_path, key = sys.argv[1:]
    try:
        with open(receipt_path, encoding="utf-8", newline="") as file:
            proved = verify(file.read(), key)
    except (Refused, ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        sys.exit(f"the receipt does not verify: {error}")
    except InvalidSignature:
        sys.exit("the receipt does not verify: the checkpoint's signature is not the key's")
    except InvalidTag:
        sys.exit("the receipt does not verify: a chunk does not authenticate")
    print(json.dumps(proved, indent=2))


if __name__ == "__main__":
    main()
