"""The encodings, trees and signatures that Craton's receipts are made of, by docs/verification.md."""
import base64
import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Refused(Exception):
    pass


def check(condition, reason):
    if not condition:
        raise Refused(reason)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def from_base64(text):
    decoded = base64.b64decode(text, validate=True)
    check(base64.b64encode(decoded).decode() == text, "base64 is not canonical")
    return decoded


def from_decimal(text):
    check(text.isascii() and text.isdigit() and str(int(text)) == text, "not a decimal number: " + text)
    return int(text)


def cbor(data, at=0):
    """One item of the CBOR subset that receipts use, and the position after it."""
    major, number, at = data[at] >> 5, data[at] & 31, at + 1
    if major == 7:
        simple = {20: False, 21: True, 22: None}
        return (struct.unpack(">d", data[at : at + 8])[0], at + 8) if number == 27 else (simple[number], at)
    if number >= 24:
        width = {24: 1, 25: 2, 26: 4, 27: 8}[number]
        number, at = int.from_bytes(data[at : at + width], "big"), at + width
    if major < 2:
        return (number if major == 0 else -1 - number), at
    if major < 4:
        content = data[at : at + number]
        check(len(content) == number, "CBOR is cut off")
        return (content if major == 2 else content.decode()), at + number
    check(major == 4, "unexpected CBOR type")
    items = []
    for _ in range(number):
        item, at = cbor(data, at)
        items.append(item)
    return items, at


def versioned(data, version=1):
    check(data[:1] == bytes([version]), "unknown version")
    value, end = cbor(data, 1)
    check(end == len(data), "bytes follow the CBOR")
    return value


def check_inclusion(found, node, size, path, root, what):
    """RFC 9162, section 2.1.3.2."""
    check(node < size, what + ": not in the tree")
    last = size - 1
    for sibling in path:
        check(last != 0, what + ": the path is too long")
        if node & 1 or node == last:
            found = sha256(b"\x01", sibling, found)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found = sha256(b"\x01", found, sibling)
        node, last = node >> 1, last >> 1
    check(last == 0 and found == root, what + ": the path does not lead to the root")


def open_checkpoint(note, key_text):
    """Verifies the signed note and returns the size and root of the tree."""
    name, key_id, key = key_text.strip().split("+", 2)
    key = from_base64(key)
    check(key[:1] == b"\x01" and len(key) == 33, "the key is not an Ed25519 verifier key")
    identifier = sha256(name.encode(), b"\n", key)[:4]
    check(identifier.hex() == key_id, "the key's id does not belong to it")
    text, separator, signatures = note.rpartition("\n\n")
    check(separator and signatures.endswith("\n"), "the checkpoint is not a signed note")
    lines = [line.split(" ") for line in signatures[:-1].split("\n")]
    check(all(len(line) == 3 and line[0] == "\u2014" for line in lines), "a signature line is malformed")
    own = [found for _, signer, line in lines if (found := from_base64(line))[:4] == identifier and signer == name]
    check(own, "the checkpoint is not signed by the key")
    for signature in own:
        Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], (text + "\n").encode())
    origin, size, root = text.split("\n")
    check(origin == name, "the checkpoint is of another log than the key")
    return from_decimal(size), from_base64(root)
