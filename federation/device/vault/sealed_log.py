"""The bytes of a vault: a sealed snapshot, and behind it a log of sealed records. Pure functions, no files.

    snapshot   magic, format, key store, key name, key check, nonce, length       (clear, authenticated)
               AES-256-GCM ciphertext of the content, padded to whole pages
    record     length, index, nonce, CRC-32 of these                              (clear, authenticated)
               AES-256-GCM ciphertext, CRC-32 of it; the whole padded to blocks of 256 bytes

A record's associated data has its index and the tag of what stands before it, the first record's that of the snapshot.
So what opens is the snapshot and the first n records in their order, for some n: a record that is moved, repeated, left
out in the middle, or of another vault or an older snapshot does not open. The CRCs are no defence: they tell a record
that a crash tore, which is dropped if it is the last one, from one that was changed or moved, which is an error.

Whoever can write the file can cut records off its end, or put an older file back. Neither can be told from a crash or
from the past without memory elsewhere.
"""

from __future__ import annotations

import hmac
import secrets
import struct
import zlib
from dataclasses import dataclass, field
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KeyStore = Literal["keyring", "file"]
KEY_STORES: tuple[KeyStore, ...] = ("keyring", "file")

PAGE = 4096  # a snapshot tells the length of a history only to within a page
BLOCK = 256  # the log tells the number of records, and of each only how many blocks it needs
FORMAT = 2
SNAPSHOT_ONLY = 1
"""The format of before there was a log: the same snapshot, replaced by each write."""

_PURPOSE = b"ownshelf device vault"
_RECORD_PURPOSE = b"ownshelf device vault record"
_MAGIC = b"OWNSHELF"
_HEADER = struct.Struct("<8sHH16s16s12sQ")
_HEAD = struct.Struct("<IQ12s")
_CRC = struct.Struct("<I")
_TAG_BYTES = 16
HEADER_BYTES = _HEADER.size


class VaultChanged(Exception):
    """The bytes are not what was written; the message says how."""


@dataclass(frozen=True)
class Header:
    """The clear beginning of a vault. key_name: 16 random bytes; check: 16 bytes that tell a wrong key."""

    format: int
    key_store: KeyStore
    key_name: bytes
    check: bytes
    nonce: bytes = field(repr=False)
    length: int  # of the sealed snapshot, bytes

    @property
    def end(self) -> int:
        """Where the log begins."""
        return HEADER_BYTES + self.length


@dataclass(frozen=True)
class Position:
    """How far a vault was read or written: bytes, records, and the tag that the next record is bound to.

    start: the vault's first bytes, whose random nonce no other snapshot has.
    """

    start: bytes = field(repr=False)
    offset: int
    index: int
    tag: bytes = field(repr=False)

    @property
    def snapshot_bytes(self) -> int:
        """Size of the snapshot."""
        return parse_header(self.start).end

    @property
    def appendable(self) -> bool:
        """Whether records may stand behind the snapshot: not in a vault of the format before."""
        return parse_header(self.start).format == FORMAT

    @property
    def log_bytes(self) -> int:
        """Size of the records."""
        return self.offset - self.snapshot_bytes


def key_check(key: bytes) -> bytes:
    """Tell a wrong key from a changed file; 16 bytes that say nothing about the key."""
    return hmac.digest(key, b"ownshelf vault key check", "sha256")[:16]


def parse_header(blob: bytes) -> Header:
    """Read the clear beginning. Raises VaultChanged for another file or a format that this version does not know."""
    if len(blob) < HEADER_BYTES:
        raise VaultChanged(f"{len(blob)} bytes, a vault has at least {HEADER_BYTES}: truncated")
    magic, number, store, name, check, nonce, length = _HEADER.unpack_from(blob)
    if magic != _MAGIC or store >= len(KEY_STORES):
        raise VaultChanged("not a vault")
    if not SNAPSHOT_ONLY <= number <= FORMAT:
        raise VaultChanged(f"format={number}: this version reads formats {SNAPSHOT_ONLY} to {FORMAT}; use a newer one")
    return Header(number, KEY_STORES[store], name, check, nonce, length)


def seal_snapshot(key: bytes, key_store: KeyStore, key_name: bytes, content: bytes) -> bytes:
    """Seal the content as a vault without records."""
    padded = pad(content)
    store, length = KEY_STORES.index(key_store), len(padded) + _TAG_BYTES
    nonce = secrets.token_bytes(12)
    header = _HEADER.pack(_MAGIC, FORMAT, store, key_name, key_check(key), nonce, length)
    return header + AESGCM(key).encrypt(nonce, padded, _PURPOSE + header)


def open_snapshot(key: bytes, blob: bytes) -> tuple[bytes, Position]:
    """Open the snapshot of a whole vault; its content, and where the log begins. Raises VaultChanged."""
    header = parse_header(blob)
    sealed = blob[HEADER_BYTES : header.end]
    if len(sealed) < header.length or (header.format == SNAPSHOT_ONLY and len(blob) != header.end):
        raise VaultChanged(f"{len(blob) - HEADER_BYTES} sealed bytes, must be {header.length}: truncated or extended")
    try:
        padded = AESGCM(key).decrypt(header.nonce, sealed, _PURPOSE + blob[:HEADER_BYTES])
    except InvalidTag:
        raise VaultChanged("tampered with; its seal does not match") from None
    return unpad(padded), Position(blob[:HEADER_BYTES], header.end, 0, sealed[-_TAG_BYTES:])


def seal_record(key: bytes, content: bytes, after: Position) -> tuple[bytes, Position]:
    """Seal one more record, for the place where `after` ends; its bytes, and the position behind it."""
    clear = _HEAD.size + 2 * _CRC.size + _TAG_BYTES
    framed = struct.pack("<I", len(content)) + content
    padded = framed.ljust(-(-(len(framed) + clear) // BLOCK) * BLOCK - clear, b"\0")
    nonce = secrets.token_bytes(12)
    head = _HEAD.pack(len(padded) + _TAG_BYTES, after.index, nonce)
    sealed = AESGCM(key).encrypt(nonce, padded, _RECORD_PURPOSE + after.tag + head)
    record = head + _crc(head) + sealed + _crc(sealed)
    return record, Position(after.start, after.offset + len(record), after.index + 1, sealed[-_TAG_BYTES:])


def open_records(key: bytes, log: bytes, after: Position) -> tuple[list[bytes], Position]:
    """Open the records of a log from where `after` ends; their contents, and the position behind the last whole one.

    Bytes that a crash left of a last record are passed over. Raises VaultChanged for anything else that does not open.
    """
    contents, at = [], 0
    while (sealed := _whole(log, at)) is not None:
        head = log[at : at + _HEAD.size]
        nonce = _HEAD.unpack(head)[2]
        try:
            padded = AESGCM(key).decrypt(nonce, sealed, _RECORD_PURPOSE + after.tag + head)
        except InvalidTag:
            raise VaultChanged(f"record {after.index}: tampered with, or not where it was written") from None
        (length,) = struct.unpack_from("<I", padded)
        contents.append(padded[4 : 4 + length])
        size = _HEAD.size + len(sealed) + 2 * _CRC.size
        at += size
        after = Position(after.start, after.offset + size, after.index + 1, sealed[-_TAG_BYTES:])
    if any(_head(log, later) is not None for later in range(at + BLOCK, len(log), BLOCK)):
        raise VaultChanged(f"record {after.index}: tampered with, and there are records behind it")
    return contents, after


def pad(content: bytes) -> bytes:
    """Put the length before the content and zeros behind it, to whole pages."""
    framed = struct.pack("<Q", len(content)) + content
    return framed.ljust(-(-len(framed) // PAGE) * PAGE, b"\0")


def unpad(padded: bytes) -> bytes:
    """Take the content out of what pad made."""
    (length,) = struct.unpack_from("<Q", padded)
    return padded[8 : 8 + length]


def _crc(content: bytes) -> bytes:
    return _CRC.pack(zlib.crc32(content))


def _head(log: bytes, at: int) -> int | None:
    """Read the length of the sealed record whose head is here; None where no whole head is."""
    head = log[at : at + _HEAD.size]
    if log[at + _HEAD.size : at + _HEAD.size + _CRC.size] != _crc(head):
        return None
    return int(_HEAD.unpack(head)[0])


def _whole(log: bytes, at: int) -> bytes | None:
    """Read the sealed record that begins here; None where a crash left less than a whole one, or nothing."""
    length = _head(log, at) if at < len(log) else None
    if length is None:
        return None
    begin = at + _HEAD.size + _CRC.size
    sealed = log[begin : begin + length]
    return sealed if log[begin + length : begin + length + _CRC.size] == _crc(sealed) else None
