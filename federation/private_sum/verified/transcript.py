"""Commitments to the two shares of a report, and the challenges that follow from them (Fiat and Shamir 1986).

Both parties derive the challenges, each from its own share and the other's commitment. What the service's share commits
to is bound into the seal (sealing.Binding), so a service cannot choose other challenges than the device had.
The seed alone commits the custodian's share. A blind hides the service's, which would otherwise test guesses of x.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from federation.private_sum.sealing import frame_fields

DOMAIN = b"ownshelf/private-sum/verified/v1"
BLIND_BYTES = 32
HASH_BYTES = 32


@dataclass(frozen=True)
class Commitments:
    """Hashes of the service's share as the device made it: vector and norms, projections, proofs."""

    vector: bytes
    projections: bytes
    proofs: bytes

    def to_bytes(self) -> bytes:
        """96 bytes."""
        return self.vector + self.projections + self.proofs

    @staticmethod
    def from_bytes(data: bytes) -> Commitments:
        """Read commitments of their 96 bytes."""
        if len(data) != COMMITMENTS_BYTES:
            raise ValueError(f"commitments of {len(data)} bytes: must be {COMMITMENTS_BYTES}")
        return Commitments(data[:HASH_BYTES], data[HASH_BYTES : 2 * HASH_BYTES], data[2 * HASH_BYTES :])


COMMITMENTS_BYTES = 3 * HASH_BYTES


@dataclass(frozen=True)
class Transcript:
    """Hashes of one report. context: Binding.info of the report without commitments."""

    context: bytes

    def seed_commitment(self, seed: bytes) -> bytes:
        """Commit to the custodian's share: the seed that it is the stream of."""
        return _hash(b"seed", self.context, seed)

    def commit(self, stage: bytes, before: bytes, blind: bytes, share: bytes) -> bytes:
        """Commit to one stretch of the service's share. before: the challenge it answers, or nothing."""
        return _hash(stage, self.context, before, blind, share)

    def projection_key(self, seed_commitment: bytes, vector: bytes) -> bytes:
        """First challenge: the random projections."""
        return _hash(b"projection key", seed_commitment, vector)

    def weights_key(self, projection_key: bytes, projections: bytes) -> bytes:
        """Second challenge: weights of parts and of rows of bits."""
        return _hash(b"weights key", projection_key, projections)

    def opening_key(self, weights_key: bytes, proofs: bytes) -> bytes:
        """Third challenge: the point at which proofs are opened, and weights of what must be zero."""
        return _hash(b"opening key", weights_key, proofs)

    def mask_key(self, blind: bytes) -> bytes:
        """Key of the service's share of the masks."""
        return _hash(b"masks", self.context, blind)


@dataclass(frozen=True)
class Challenges:
    """Keys (32 bytes each) of the streams from which challenges are read."""

    projection_key: bytes = field(repr=False)
    weights_key: bytes = field(repr=False)
    opening_key: bytes = field(repr=False)


def challenges(transcript: Transcript, seed_commitment: bytes, commitments: Commitments) -> Challenges:
    """All three challenges, as either party derives them."""
    first = transcript.projection_key(seed_commitment, commitments.vector)
    second = transcript.weights_key(first, commitments.projections)
    return Challenges(first, second, transcript.opening_key(second, commitments.proofs))


def _hash(*fields: bytes) -> bytes:
    return hashlib.sha256(frame_fields(DOMAIN, *fields)).digest()
