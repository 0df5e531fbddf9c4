"""What the service asks the custodian, and what it answers: sealed seeds one way, half a sum the other.

Both have one spelling in bytes (docs/wire.md); reading raises MalformedBatch for any other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from federation.private_sum.encoding import Reader, sized, u32
from federation.private_sum.fixed_point import Words
from federation.private_sum.plan import MAX_LENGTH
from federation.private_sum.refusals import MalformedBatch
from federation.private_sum.sealing import REPORT_ID_BYTES, TASK_HASH_BYTES, framed
from federation.private_sum.shares import WIRE_WORD

BATCH_MAGIC = b"OSB1"
ANSWER_MAGIC = b"OSA1"
DIGEST_BYTES = 32
MAX_REPORTS = 2**22
MAX_BATCH_BYTES = 128 * 2**20
"""The largest batch that a custodian reads, unless it is told otherwise."""
MAX_SEALED_BYTES = 4_096
U32 = 2**32 - 1


@dataclass(frozen=True)
class SealedSeed:
    """One report's sealed seed, as the service passes it on."""

    report_id: bytes
    sealed_seed: bytes = field(repr=False)


@dataclass(frozen=True)
class Batch:
    """All reports of one block that the service asks the custodian to sum."""

    task_hash: bytes
    block: int
    seeds: tuple[SealedSeed, ...]

    @property
    def digest(self) -> bytes:
        """SHA-256 of everything in the batch: the same question again has the same digest."""
        head = framed(self.task_hash, self.block.to_bytes(4, "little"))
        body = framed(*(part for seed in self.seeds for part in (seed.report_id, seed.sealed_seed)))
        return hashlib.sha256(head + body).digest()

    def to_bytes(self) -> bytes:
        """The batch on the wire."""
        seeds = (seed.report_id + sized(seed.sealed_seed) for seed in self.seeds)
        return b"".join((BATCH_MAGIC, self.task_hash, u32(self.block), u32(len(self.seeds)), *seeds))

    @staticmethod
    def most_reports(max_bytes: int, sealed_bytes: int) -> int:
        """Compute how many reports a batch of so many bytes has room for. sealed_bytes: of one sealed seed."""
        head = len(BATCH_MAGIC) + TASK_HASH_BYTES + 4 + 4
        return min(max(max_bytes - head, 0) // (REPORT_ID_BYTES + 4 + sealed_bytes), MAX_REPORTS)

    @staticmethod
    def from_bytes(data: bytes) -> Batch:
        """The batch of its wire bytes, which may still be of any round."""
        read = Reader(memoryview(data), MalformedBatch)
        _read_magic(read, BATCH_MAGIC)
        task_hash = read.take("task_hash", TASK_HASH_BYTES)
        block = read.number("block", 4, 0, U32)
        seeds = tuple(
            SealedSeed(read.take("report_id", REPORT_ID_BYTES), read.field("sealed_seed", 0, MAX_SEALED_BYTES))
            for _ in range(read.number("reports", 4, 0, MAX_REPORTS))
        )
        read.end()
        return Batch(task_hash, block, seeds)


@dataclass(frozen=True)
class Answer:
    """The custodian's half of one block's sum, noise included.

    counted: report ids in the sum; the service adds the shares of exactly these. broken: ids whose seal did not open.
    half: little-endian uint32 words.
    """

    block: int
    batch_digest: bytes
    counted: tuple[bytes, ...]
    broken: tuple[bytes, ...]
    half: bytes = field(repr=False)

    @property
    def words(self) -> Words:
        """(length,) uint32."""
        return np.frombuffer(self.half, dtype=WIRE_WORD)

    def to_bytes(self) -> bytes:
        """The answer on the wire."""
        ids = (u32(len(listed)) + b"".join(listed) for listed in (self.counted, self.broken))
        return b"".join((ANSWER_MAGIC, u32(self.block), self.batch_digest, *ids, sized(self.half)))

    @staticmethod
    def from_bytes(data: bytes) -> Answer:
        """The answer of its wire bytes."""
        read = Reader(memoryview(data), MalformedBatch)
        _read_magic(read, ANSWER_MAGIC)
        block = read.number("block", 4, 0, U32)
        batch_digest = read.take("batch_digest", DIGEST_BYTES)
        counted, broken = _read_ids(read, "counted"), _read_ids(read, "broken")
        half = read.field("half", 0, MAX_LENGTH * WIRE_WORD.itemsize)
        if len(half) % WIRE_WORD.itemsize:
            raise MalformedBatch(f"half of {len(half)} bytes: must be whole words")
        read.end()
        return Answer(block, batch_digest, counted, broken, half)


def _read_magic(read: Reader, magic: bytes) -> None:
    if read.take("magic", len(magic)) != magic:
        raise MalformedBatch(f"magic: must be {magic!r}")


def _read_ids(read: Reader, name: str) -> tuple[bytes, ...]:
    n = read.number(name, 4, 0, MAX_REPORTS)
    return tuple(read.take(name, REPORT_ID_BYTES) for _ in range(n))
