"""Writes plain.block and encrypted.block, from docs/formats/block.md and with none of our code.

Packages: python3-cryptography, python3-xxhash. Usage: python3 make_golden.py FOLDER
"""

import hashlib
import hmac
import struct
import sys

import xxhash
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MASTER_KEY = bytes(range(0x80, 0xA0))
SALT = bytes(range(0x60, 0x70))
ID = bytes(range(0x10, 0x20))
PARENT = bytes(range(0x40, 0x50))
TOKENS = struct.pack("<3i", 7, -1, 100000)
REPRESENTATIONS = bytes(range(0x20, 0x30))  # [2, 8]
SLICES = [b"a" * 4096, b"b" * 4096]
FILE_BYTES = 4 * 4096
TOKENS_PART, REPRESENTATIONS_PART = 0xFFFFFFFE, 0xFFFFFFFF


def checksum(data):
    return struct.pack("<Q", xxhash.xxh3_64_intdigest(data))


def padded(data, unit):
    return data + bytes(-len(data) % unit)


def block(encrypted):
    salt = SALT if encrypted else bytes(16)
    identity = b"ESABLOCK" + struct.pack("<4IQ", 2, 3, 2, 8, 4096) + ID + PARENT
    identity += struct.pack("<QQ", FILE_BYTES, int(encrypted)) + salt
    key = hmac.digest(MASTER_KEY, b"esa block key" + salt + ID, hashlib.sha256)

    def sealed(part, data):
        if not encrypted:
            return data, bytes(16)
        number = struct.pack("<I", part)
        both = AESGCM(key).encrypt(number + bytes(8), data, identity + number)
        return both[:-16], both[-16:]

    tokens, tokens_tag = sealed(TOKENS_PART, TOKENS)
    representations, representations_tag = sealed(REPRESENTATIONS_PART, REPRESENTATIONS)
    slices = [sealed(part, data) for part, data in enumerate(SLICES)]
    head = identity + tokens_tag + representations_tag + checksum(representations)
    head += checksum(head)
    head += padded(tokens, 8)
    head += b"".join(checksum(data) for data, _ in slices)
    if encrypted:
        head += b"".join(tag for _, tag in slices)
    head += checksum(head)
    content = padded(head, 4096) + padded(representations, 4096)
    content += b"".join(data for data, _ in slices)
    assert len(content) == FILE_BYTES
    return content


for name, encrypted in (("plain", False), ("encrypted", True)):
    with open(f"{sys.argv[1]}/{name}.block", "wb") as file:
        file.write(block(encrypted))
