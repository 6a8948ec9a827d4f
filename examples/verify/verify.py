#!/usr/bin/env python3
"""Verifies a Craton receipt: an independent implementation of docs/verification.md, on formats.py beside it.

Usage: verify.py RECEIPT VERIFIER_KEY

Prints what the receipt proves as JSON and exits with 0, or says why it proves nothing and exits with 1.
Needs the `cryptography` package for Ed25519 and AES-GCM; everything else is the standard library.
"""
import hmac
import json
import struct
import sys

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from formats import Refused, cbor, check, check_inclusion, from_base64, from_decimal, open_checkpoint, sha256, versioned


def open_proof(text, key_text):
    """The parts of a receipt: what it discloses, the record's index, its path, and the signed size and root."""
    check("\n\n" in text, "there is no checkpoint")
    first, extra, index, *path = text.partition("\n\n")[0].split("\n")
    check(first == "c2sp.org/tlog-proof@v1", "not a tlog-proof")
    check(extra.startswith("extra ") and index.startswith("index "), "extra or index line is missing")
    signed = open_checkpoint(text.partition("\n\n")[2], key_text)
    return from_base64(extra[6:]), from_decimal(index[6:]), [from_base64(line) for line in path], signed


def check_header(header, kinds, index, path, signed):
    """A record of one of these kinds, which is the one at the index under the checkpoint."""
    check(len(header) == 180 and header[:5] + header[6:8] == b"CRTR\x01\x00\x00", "not a record's header")
    check(header[5] in kinds, "the record is of another kind")
    check(int.from_bytes(header[32:40], "big") == index, "the record is not the one at the index")
    size, root = signed
    check_inclusion(sha256(b"\x00", header), index, size, path, root, "record")


def open_sealed(sealed, key, offset, index, what):
    """A chunk or a cell: committed to its key, so that it opens to one plaintext only."""
    cipher_key = sha256(b"\0\0\0\x01", key, b"craton chunk v1")
    commitment = sha256(b"\0\0\0\x02", key, b"craton chunk v1")
    check(hmac.compare_digest(commitment, sealed[:32]), what + ": committed to another key")
    return AESGCM(cipher_key).decrypt(struct.pack(">QI", offset, index), sealed[32:], None)


def open_cells(change, cells):
    """Opens the sealed values of a row change whose keys are disclosed."""
    for row, column, key in cells:
        value = change[1][0][1 + row][column]
        check(isinstance(value, list) and value[0] == 9, "a cell that is not sealed has a key")
        _, _, offset, chunk, _, sealed = value[1]
        plaintext = open_sealed(sealed, key, offset, chunk, f"cell {column}")
        change[1][0][1 + row][column], end = cbor(plaintext)
        check(end == len(plaintext), "bytes follow the value")


def verify_record(disclosed, index, path, signed):
    """A record's header, the tables in its summary by id, and the disclosed changes by chunk."""
    header, chunks = disclosed
    check_header(header, (1, 4, 7), index, path, signed)
    has_summary = header[5] != 7
    check(not has_summary or (chunks and chunks[0][0] == 0), "the summary is missing")
    opened = {}
    for number, key, chunk, chunk_path, *cells in chunks:
        what = f"chunk {number}"
        count = int.from_bytes(header[108:112], "big")
        check_inclusion(sha256(b"\x00", chunk), number, count, chunk_path, header[116:148], what)
        opened[number] = versioned(open_sealed(chunk, key, index, number, what))
        open_cells(opened[number], *cells or [[]])
    tables = {table[0]: table for table in opened.pop(0)[0]} if has_summary else {}
    return header, tables, opened


def row_object(columns, row):
    """A row by its columns' names. A value that no disclosed key opens is shown as such."""
    if row is None:
        return None
    check(len(row) == len(columns), "the summary does not describe the row")

    def value(v):
        if isinstance(v, list):
            return {"erased_or_withheld": True} if v[0] == 9 else value(v[1])
        return v.hex() if isinstance(v, bytes) else v

    return {name: value(v) for name, v in zip(columns, row)}


def describe(header, tables, changes, signed):
    def change(kind, fields):
        if kind != 0:
            return {"kind": kind}
        table_id, before, after = (fields[0] + [None, None])[:3]
        _, name, columns, _ = tables[table_id]
        return {"table": name, "before": row_object(columns, before), "after": row_object(columns, after)}

    return {
        "position": int.from_bytes(header[32:40], "big"),
        "timestamp_nanoseconds": int.from_bytes(header[48:56], "big"),
        "actor": header[56:72].hex(),
        "record_hash": sha256(b"\x00", header).hex(),
        "changes": [change(*found) for found in changes.values()],
        "checkpoint_size": signed[0],
        "checkpoint_root": signed[1].hex(),
    }


def verify(text, key_text):
    extra, index, path, signed = open_proof(text, key_text)
    return describe(*verify_record(versioned(extra), index, path, signed), signed)


def main(verify):
    receipt, key = sys.argv[1:]
    try:
        with open(receipt, encoding="utf-8", newline="") as file:
            # Tools that print a text add line ends of their own.
            proved = verify(file.read().rstrip("\r\n") + "\n", key)
    except (Refused, ValueError, KeyError, IndexError, TypeError, struct.error, InvalidSignature, InvalidTag) as error:
        sys.exit(f"the receipt does not verify: {error or type(error).__name__}")
    print(json.dumps(proved, indent=2))


if __name__ == "__main__":
    main(verify)
