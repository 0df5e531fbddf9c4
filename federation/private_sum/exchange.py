"""What the service asks the custodian, and what it answers: sealed seeds and tokens one way, half a sum the other.

Both have one spelling in bytes (docs/wire.md); reading raises MalformedBatch for any other. Of verified reports the
service adds what it opened of each proof, and the custodian names those whose proofs fail.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from federation.private_sum.encoding import Reader, encode_sized, u32
from federation.private_sum.fixed_point import Words
from federation.private_sum.plan import MAX_LENGTH
from federation.private_sum.refusals import MalformedBatch
from federation.private_sum.sealing import REPORT_ID_BYTES, TASK_HASH_BYTES, frame_fields
from federation.private_sum.shares import WIRE_WORD
from federation.private_sum.verified.field import ELEMENT_BYTES
from federation.private_sum.verified.transcript import COMMITMENTS_BYTES

BATCH_MAGIC = b"OSB1"
VERIFIED_BATCH_MAGIC = b"OSB2"
ANSWER_MAGIC = b"OSA1"
VERIFIED_ANSWER_MAGIC = b"OSA2"
DIGEST_BYTES = 32
MAX_REPORTS = 2**22
MAX_BATCH_BYTES = 128 * 2**20
"""The largest batch that a custodian reads, unless it is told otherwise."""
MAX_SEALED_BYTES = 4_096
MAX_TOKEN_BYTES = 354
"""Of the right to report once, a Privacy Pass token with a 2,048-bit signature."""
MAX_OPENED_BYTES = 2**18
U32 = 2**32 - 1


@dataclass(frozen=True)
class SealedSeed:
    """One report's sealed seed and token, as the service passes them on.

    Of a verified report also what the service's share commits to, and what the service opened of its proof.
    """

    report_id: bytes
    sealed_seed: bytes = field(repr=False)
    commitments: bytes = field(default=b"", repr=False)
    opened: bytes = field(default=b"", repr=False)
    token: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Batch:
    """All reports of one block that the service asks the custodian to sum. verified: each comes with its proof."""

    task_hash: bytes
    block: int
    seeds: tuple[SealedSeed, ...]
    verified: bool = False

    @property
    def digest(self) -> bytes:
        """SHA-256 of everything in the batch: the same question again has the same digest."""
        head = frame_fields(self.task_hash, self.block.to_bytes(4, "little"))
        body = frame_fields(*(part for seed in self.seeds for part in self._fields(seed)))
        return hashlib.sha256(head + body).digest()

    def to_bytes(self) -> bytes:
        """Encode the batch for the wire."""
        magic = VERIFIED_BATCH_MAGIC if self.verified else BATCH_MAGIC
        seeds = (b"".join((first, *map(encode_sized, rest))) for first, *rest in map(self._fields, self.seeds))
        return b"".join((magic, self.task_hash, u32(self.block), u32(len(self.seeds)), *seeds))

    def _fields(self, seed: SealedSeed) -> tuple[bytes, ...]:
        plain = (seed.report_id, seed.sealed_seed, seed.token)
        return (*plain, seed.commitments, seed.opened) if self.verified else plain

    @staticmethod
    def most_reports(max_bytes: int, seed_bytes: int) -> int:
        """Compute how many reports a batch of so many bytes has room for. seed_bytes: as report_share has it."""
        head = len(BATCH_MAGIC) + TASK_HASH_BYTES + 4 + 4
        each = REPORT_ID_BYTES + 4 + seed_bytes + 4 + MAX_TOKEN_BYTES
        return min(max(max_bytes - head, 0) // each, MAX_REPORTS)

    @staticmethod
    def from_bytes(data: bytes) -> Batch:
        """Decode the batch of its wire bytes, which may still be of any round."""
        read = Reader(memoryview(data), MalformedBatch)
        verified = _read_magic(read, BATCH_MAGIC, VERIFIED_BATCH_MAGIC) == VERIFIED_BATCH_MAGIC
        task_hash = read.take("task_hash", TASK_HASH_BYTES)
        block = read.number("block", 4, 0, U32)
        seeds = tuple(_read_seed(read, verified) for _ in range(read.number("reports", 4, 0, MAX_REPORTS)))
        read.end()
        return Batch(task_hash, block, seeds, verified)


@dataclass(frozen=True)
class Answer:
    """The custodian's half of one block's sum, noise included.

    counted: report ids in the sum; the service adds the shares of exactly these. broken: ids whose seal did not open.
    half: little-endian uint32 words; of a verified sum five-byte elements. failed: ids of verified reports whose proof
    does not hold.
    """

    block: int
    batch_digest: bytes
    counted: tuple[bytes, ...]
    broken: tuple[bytes, ...]
    half: bytes = field(repr=False)
    failed: tuple[bytes, ...] = ()
    verified: bool = False

    @property
    def words(self) -> Words:
        """(length,) uint32, of a sum that is not verified."""
        return np.frombuffer(self.half, dtype=WIRE_WORD)

    def to_bytes(self) -> bytes:
        """Encode the answer for the wire."""
        lists = (self.counted, self.broken, self.failed) if self.verified else (self.counted, self.broken)
        ids = (u32(len(listed)) + b"".join(listed) for listed in lists)
        magic = VERIFIED_ANSWER_MAGIC if self.verified else ANSWER_MAGIC
        return b"".join((magic, u32(self.block), self.batch_digest, *ids, encode_sized(self.half)))

    @staticmethod
    def from_bytes(data: bytes) -> Answer:
        """Decode the answer of its wire bytes."""
        read = Reader(memoryview(data), MalformedBatch)
        verified = _read_magic(read, ANSWER_MAGIC, VERIFIED_ANSWER_MAGIC) == VERIFIED_ANSWER_MAGIC
        word = ELEMENT_BYTES if verified else WIRE_WORD.itemsize
        block = read.number("block", 4, 0, U32)
        batch_digest = read.take("batch_digest", DIGEST_BYTES)
        counted, broken = _read_ids(read, "counted"), _read_ids(read, "broken")
        failed = _read_ids(read, "failed") if verified else ()
        half = read.field("half", 0, MAX_LENGTH * word)
        if len(half) % word:
            raise MalformedBatch(f"half of {len(half)} bytes: must be whole words")
        read.end()
        return Answer(block, batch_digest, counted, broken, half, failed, verified)


def _read_magic(read: Reader, *magics: bytes) -> bytes:
    magic = read.take("magic", len(magics[0]))
    if magic not in magics:
        raise MalformedBatch(f"magic: must be {' or '.join(map(repr, magics))}")
    return magic


def _read_seed(read: Reader, verified: bool) -> SealedSeed:
    report_id, sealed_seed = read.take("report_id", REPORT_ID_BYTES), read.field("sealed_seed", 0, MAX_SEALED_BYTES)
    token = read.field("token", 0, MAX_TOKEN_BYTES)
    if not verified:
        return SealedSeed(report_id, sealed_seed, token=token)
    commitments = read.field("commitments", COMMITMENTS_BYTES, COMMITMENTS_BYTES)
    return SealedSeed(report_id, sealed_seed, commitments, read.field("opened", 0, MAX_OPENED_BYTES), token)


def _read_ids(read: Reader, name: str) -> tuple[bytes, ...]:
    n = read.number(name, 4, 0, MAX_REPORTS)
    return tuple(read.take(name, REPORT_ID_BYTES) for _ in range(n))
