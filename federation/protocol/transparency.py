"""What a custodian's public log holds, and what a device checks in it before it takes part.

Entries are the plan, the hash of every bundle and clusters file under its version, every task and every issuer's key,
as they are signed; and of each block of a task that it was answered, or that it never will be. A bundle, a task or a
key made for one victim is then either in the log, where anybody sees it, or refused by the victim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from federation.private_sum.encoding import Reader, encode_sized, u32, u64
from federation.private_sum.refusals import TaskRefused
from federation.private_sum.sealing import frame_fields
from federation.protocol.merkle_log import (
    HASH_BYTES,
    MAX_SIZE,
    LogHead,
    LogRefused,
    check_consistency,
    check_inclusion,
    leaf_hash,
)
from federation.protocol.messages import ID, MAX_ID_CHARS, MAX_TASK_BYTES, Task
from federation.protocol.no_answer import NoAnswer
from federation.protocol.tokens.issuer_key import IssuerKey

PROOF_MAGIC = b"OSP1"
MAX_HASHES = 64
MAX_ENTRIES = 1_000
MAX_ENTRY_BYTES = MAX_TASK_BYTES + 100


class EntryKind(StrEnum):
    """What an entry says."""

    PLAN = "plan"
    BUNDLE = "bundle"
    CLUSTERS = "clusters"
    TASK = "task"
    ANSWER = "answer"
    NO_ANSWER = "no-answer"
    ISSUER_KEY = "issuer-key"


def plan_entry(plan_json: str) -> bytes:
    """Record that the custodian answers for this privacy plan."""
    return frame_fields(EntryKind.PLAN.encode(), plan_json.encode())


def bundle_entry(task: Task) -> bytes:
    """Record that a version of a bundle has this hash and never another."""
    version = task.bundle_version.encode("ascii")
    return frame_fields(EntryKind.BUNDLE.encode(), task.purpose.value, version, task.bundle_hash)


def clusters_to_bytes(version: str, content_hash: bytes) -> bytes:
    """Encode what the service asks to be logged of a clusters file."""
    return encode_sized(version.encode("ascii")) + content_hash


def clusters_of_bytes(data: bytes) -> tuple[str, bytes]:
    """Decode version and content hash. Raises TaskRefused."""
    read = Reader(memoryview(data), TaskRefused)
    version, content_hash = read.text("bundle_version", MAX_ID_CHARS), read.take("clusters hash", HASH_BYTES)
    read.end()
    if not ID.fullmatch(version):
        raise TaskRefused(f"bundle_version={version!r}: must match {ID.pattern}")
    return version, content_hash


def clusters_entry(version: str, content_hash: bytes) -> bytes:
    """Record that the clusters file of a bundle's version has this content hash and never another."""
    return frame_fields(EntryKind.CLUSTERS.encode(), version.encode("ascii"), content_hash)


def task_entry(task: Task) -> bytes:
    """Record that the custodian signed this task."""
    return frame_fields(EntryKind.TASK.encode(), task.to_bytes())


def answer_entry(task_hash: bytes, block: int, batch_digest: bytes) -> bytes:
    """Record that a block of a task was answered, once and for this batch."""
    return frame_fields(EntryKind.ANSWER.encode(), task_hash, u32(block), batch_digest)


def no_answer_entry(statement: NoAnswer) -> bytes:
    """Record that a round is closed, and which of its blocks got no answer."""
    return frame_fields(EntryKind.NO_ANSWER.encode(), statement.to_bytes())


def issuer_key_entry(key: IssuerKey) -> bytes:
    """Record that tokens of this key are taken."""
    return frame_fields(EntryKind.ISSUER_KEY.encode(), key.to_bytes())


@dataclass(frozen=True)
class SeenHead:
    """The last head that somebody holds a log to."""

    size: int
    root: bytes


@dataclass(frozen=True)
class LogProof:
    """That an entry is in the log of a signed head, and that this log begins with an earlier one of size since."""

    head: LogHead
    index: int
    inclusion: tuple[bytes, ...]
    since: int
    consistency: tuple[bytes, ...]

    def check(self, entry: bytes, custodian_key: bytes, seen: SeenHead | None) -> SeenHead:
        """Check the proof and return the head to remember.

        Raises LogRefused unless the entry is in a log that goes on from the one seen before.
        """
        self.head.check(custodian_key)
        check_inclusion(leaf_hash(entry), self.index, self.head.size, self.head.root, self.inclusion)
        if seen is not None:
            if self.since != seen.size:
                raise LogRefused(f"consistency: is from size {self.since}, must be from {seen.size}")
            check_consistency(seen.size, seen.root, self.head.size, self.head.root, self.consistency)
        return SeenHead(self.head.size, self.head.root)

    def to_bytes(self) -> bytes:
        """Encode the proof for the wire."""
        lists = (u32(len(hashes)) + b"".join(hashes) for hashes in (self.inclusion, self.consistency))
        return b"".join((PROOF_MAGIC, self.head.to_bytes(), u64(self.index), u64(self.since), *lists))

    @staticmethod
    def from_bytes(data: bytes) -> LogProof:
        """Decode the proof of its wire bytes, nothing of it checked. Raises LogRefused for anything else."""
        read = Reader(memoryview(data), LogRefused)
        if read.take("magic", len(PROOF_MAGIC)) != PROOF_MAGIC:
            raise LogRefused(f"magic: must be {PROOF_MAGIC!r}")
        head = LogHead.read(read)
        index, since = read.number("index", 8, 0, MAX_SIZE), read.number("since", 8, 0, MAX_SIZE)
        inclusion, consistency = _read_hashes(read, "inclusion"), _read_hashes(read, "consistency")
        read.end()
        return LogProof(head, index, inclusion, since, consistency)


def entries_to_bytes(entries: Sequence[bytes]) -> bytes:
    """Encode some entries of a log for the wire."""
    return u32(len(entries)) + b"".join(map(encode_sized, entries))


def entries_from_bytes(data: bytes) -> list[bytes]:
    """Decode the entries of their wire bytes. Raises LogRefused."""
    read = Reader(memoryview(data), LogRefused)
    entries = [read.field("entry", 0, MAX_ENTRY_BYTES) for _ in range(read.number("entries", 4, 0, MAX_ENTRIES))]
    read.end()
    return entries


def _read_hashes(read: Reader, name: str) -> tuple[bytes, ...]:
    return tuple(read.take(name, HASH_BYTES) for _ in range(read.number(name, 4, 0, MAX_HASHES)))
