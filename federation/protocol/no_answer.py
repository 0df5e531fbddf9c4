"""The custodian's word that a round's key is destroyed, and for which blocks it gave no answer and never will.

What a device reported to such a block is in nobody's sum: the service holds a share that is random without the seed,
and the seed is sealed to a key that is no more. So the device may take back what that report cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from data.errors import FederationError
from federation.private_sum.encoding import Reader, encode_sized, u32, u64
from federation.private_sum.signing import SIGNATURE_BYTES, SigningKey, is_signed
from federation.protocol.messages import MAX_BLOCKS, U32

MAGIC = b"OSN1"
DOMAIN = b"ownshelf/no-answer/v1"
HASH_BYTES = 32
MAX_NO_ANSWERS = 32
MAX_NO_ANSWERS_BYTES = 2**20
"""Of all that a service hands out together."""


class NoAnswerRefused(FederationError):
    """Bytes are no such statement, or the custodian did not sign it."""


@dataclass(frozen=True)
class NoAnswer:
    """blocks: in rising order, each below the task's. at: when the round was closed, seconds since 1970-01-01 UTC."""

    task_hash: bytes
    blocks: tuple[int, ...]
    at: int
    signature: bytes = field(default=b"", repr=False)

    @property
    def signed_bytes(self) -> bytes:
        """What is signed."""
        return b"".join((MAGIC, self.task_hash, u64(self.at), u32(len(self.blocks)), *map(u32, self.blocks)))

    def signed_by(self, key: SigningKey) -> NoAnswer:
        """Sign the statement with the custodian's key."""
        return replace(self, signature=key.sign(DOMAIN, self.signed_bytes))

    def check(self, public_key: bytes) -> None:
        """Raise NoAnswerRefused unless this Ed25519 public key (32 bytes) signed it."""
        if not is_signed(public_key, DOMAIN, self.signed_bytes, self.signature):
            raise NoAnswerRefused("no-answer: is not signed by the custodian")

    def to_bytes(self) -> bytes:
        """Encode the statement for the wire."""
        return self.signed_bytes + self.signature

    @staticmethod
    def from_bytes(data: bytes) -> NoAnswer:
        """Decode the statement of its wire bytes, signature unchecked. Raises NoAnswerRefused for anything else."""
        read = Reader(memoryview(data), NoAnswerRefused)
        if read.take("magic", len(MAGIC)) != MAGIC:
            raise NoAnswerRefused(f"magic: must be {MAGIC!r}")
        task_hash, at = read.take("task_hash", HASH_BYTES), read.number("at", 8, 0, 2**63)
        blocks = tuple(read.number("block", 4, 0, U32) for _ in range(read.number("blocks", 4, 0, MAX_BLOCKS)))
        signature = read.take("signature", SIGNATURE_BYTES)
        read.end()
        if any(low >= high for low, high in pairwise(blocks)):
            raise NoAnswerRefused("blocks: must rise")
        return NoAnswer(task_hash, blocks, at, signature)


def no_answers_to_bytes(newest_first: Sequence[bytes]) -> bytes:
    """Encode statements for devices, as many of the newest as the bounds allow."""
    taken: list[bytes] = []
    room = MAX_NO_ANSWERS_BYTES - 4
    for statement in newest_first[:MAX_NO_ANSWERS]:
        room -= 4 + len(statement)
        if room < 0:
            break
        taken.append(statement)
    return u32(len(taken)) + b"".join(map(encode_sized, taken))


def no_answers_from_bytes(data: bytes) -> list[NoAnswer]:
    """Decode the statements of their wire bytes, signatures unchecked. Raises NoAnswerRefused."""
    read = Reader(memoryview(data), NoAnswerRefused)
    most = range(read.number("statements", 4, 0, MAX_NO_ANSWERS))
    found = [NoAnswer.from_bytes(read.field("statement", 0, MAX_NO_ANSWERS_BYTES)) for _ in most]
    read.end()
    return found
