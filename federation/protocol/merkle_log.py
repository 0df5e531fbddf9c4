"""An append-only log as a Merkle tree (RFC 6962, section 2.1): its root, proofs of inclusion and of consistency.

Pure logic. Whoever holds two signed heads can check that the later log begins with the earlier one, and that an entry
is in it, from a few hashes: a log that shows one victim something else has two heads that no proof joins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from data.errors import FederationError
from federation.private_sum.encoding import Reader, u64
from federation.private_sum.signing import SIGNATURE_BYTES, SigningKey, is_signed

HASH_BYTES = 32
HEAD_DOMAIN = b"ownshelf/log-head/v1"
HEAD_MAGIC = b"OSH1"
MAX_SIZE = 2**48
EMPTY_ROOT = hashlib.sha256(b"").digest()


class LogRefused(FederationError):
    """A head is not signed, a proof does not hold, or a log is not the one that was seen before."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash of an entry: SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Root of a tree over leaf hashes."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    cut = _cut(len(leaves))
    return node_hash(root_of(leaves[:cut]), root_of(leaves[cut:]))


def prove_inclusion(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """List the siblings from a leaf to the root, lowest first. Raises LogRefused for a leaf that is not there."""
    if not 0 <= index < len(leaves):
        raise LogRefused(f"index={index}: must be 0..{len(leaves) - 1}")
    if len(leaves) == 1:
        return ()
    cut = _cut(len(leaves))
    if index < cut:
        return (*prove_inclusion(leaves[:cut], index), root_of(leaves[cut:]))
    return (*prove_inclusion(leaves[cut:], index - cut), root_of(leaves[:cut]))


def check_inclusion(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Raise LogRefused unless the leaf hash is at index of the log of this size and root."""
    if not 0 <= index < size:
        raise LogRefused(f"index={index}: must be 0..{size - 1}")
    siblings = list(proof)

    def climb(index: int, size: int) -> bytes:
        if size == 1:
            return leaf
        cut = _cut(size)
        if not siblings:
            raise LogRefused("inclusion: proof is too short")
        sibling = siblings.pop()
        if index < cut:
            return node_hash(climb(index, cut), sibling)
        return node_hash(sibling, climb(index - cut, size - cut))

    if climb(index, size) != root or siblings:
        raise LogRefused(f"inclusion: entry is not at {index} of the log of size {size}")


def prove_consistency(leaves: Sequence[bytes], old: int) -> tuple[bytes, ...]:
    """List the hashes that join the log's first `old` entries to all of it; none for an old size of 0 or of all."""
    if not 0 <= old <= len(leaves):
        raise LogRefused(f"old size={old}: must be 0..{len(leaves)}")

    def subproof(leaves: Sequence[bytes], old: int, is_whole: bool) -> tuple[bytes, ...]:
        if old == len(leaves):
            return () if is_whole else (root_of(leaves),)
        cut = _cut(len(leaves))
        if old <= cut:
            return (*subproof(leaves[:cut], old, is_whole), root_of(leaves[cut:]))
        return (*subproof(leaves[cut:], old - cut, False), root_of(leaves[:cut]))

    return subproof(leaves, old, True) if old else ()


def check_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Raise LogRefused unless the log of this size and root begins with that of the old size and root."""
    if not 0 <= old <= size:
        raise LogRefused(f"log of size {size}: is shorter than the {old} entries that were seen before")
    hashes = list(proof)

    def climb(old: int, size: int, is_whole: bool) -> tuple[bytes, bytes]:
        """Roots of the old and of the new log, as the proof says."""
        if old == size:
            found = old_root if is_whole else _pop(hashes)
            return found, found
        cut = _cut(size)
        sibling = _pop(hashes)
        if old <= cut:
            before, after = climb(old, cut, is_whole)
            return before, node_hash(after, sibling)
        before, after = climb(old - cut, size - cut, False)
        return node_hash(sibling, before), node_hash(sibling, after)

    found = (EMPTY_ROOT, root) if old == 0 else climb(old, size, True)
    if found != (old_root, root) or hashes:
        raise LogRefused(f"log of size {size}: does not begin with the {old} entries that were seen before")


@dataclass(frozen=True)
class LogHead:
    """How long a log is and what is in it, signed by its custodian. at: seconds since 1970-01-01 UTC."""

    size: int
    root: bytes
    at: int
    signature: bytes = field(default=b"", repr=False)

    @property
    def signed_bytes(self) -> bytes:
        """What is signed."""
        return b"".join((HEAD_MAGIC, u64(self.size), self.root, u64(self.at)))

    def signed_by(self, key: SigningKey) -> LogHead:
        """Sign the head with the custodian's signature."""
        return replace(self, signature=key.sign(HEAD_DOMAIN, self.signed_bytes))

    def check(self, public_key: bytes) -> None:
        """Raise LogRefused unless the head is signed by this Ed25519 public key (32 bytes)."""
        if not is_signed(public_key, HEAD_DOMAIN, self.signed_bytes, self.signature):
            raise LogRefused(f"head of size {self.size}: is not signed by the custodian")

    def to_bytes(self) -> bytes:
        """Encode the head for the wire."""
        return self.signed_bytes + self.signature

    @staticmethod
    def read(read: Reader) -> LogHead:
        """Read the head at a reader's place, its signature unchecked."""
        if read.take("magic", len(HEAD_MAGIC)) != HEAD_MAGIC:
            raise LogRefused(f"magic: must be {HEAD_MAGIC!r}")
        size = read.number("size", 8, 0, MAX_SIZE)
        root = read.take("root", HASH_BYTES)
        return LogHead(size, root, read.number("at", 8, 0, 2**63), read.take("signature", SIGNATURE_BYTES))

    @staticmethod
    def from_bytes(data: bytes) -> LogHead:
        """Decode the head of its wire bytes, signature unchecked. Raises LogRefused for anything else."""
        read = Reader(memoryview(data), LogRefused)
        head = LogHead.read(read)
        read.end()
        return head


def _cut(size: int) -> int:
    """Find the largest power of two below size, which is 2 or more."""
    return 1 << (size - 1).bit_length() - 1


def _pop(hashes: list[bytes]) -> bytes:
    if not hashes:
        raise LogRefused("consistency: proof is too short")
    return hashes.pop()
