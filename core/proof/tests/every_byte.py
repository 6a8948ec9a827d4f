"""Changes every byte of a receipt to some other values, and expects examples/verify to refuse each: exit status 0 or 1.

Usage: every_byte.py EXAMPLES verify|verify_state RECEIPT VERIFIER_KEY
"""
import importlib
import struct
import sys

examples, script, receipt, key = sys.argv[1:]
sys.path.insert(0, examples)
from cryptography.exceptions import InvalidSignature, InvalidTag  # noqa: E402
from formats import Refused  # noqa: E402

# What the scripts take for a refusal.
REFUSALS = (Refused, ValueError, KeyError, IndexError, TypeError, struct.error, InvalidSignature, InvalidTag)
verify = importlib.import_module(script).verify
with open(receipt, "rb") as file:
    genuine = file.read()
verify(genuine.decode(), key)
for at, byte in enumerate(genuine):
    for value in {byte ^ 1, byte ^ 0x20, ord("A"), ord("B"), ord("\n")} - {byte}:
        changed = genuine[:at] + bytes([value]) + genuine[at + 1 :]
        try:
            verify(changed.decode(), key)
        except REFUSALS:
            continue
        sys.exit(f"byte {at} as {value:#x} passes")
