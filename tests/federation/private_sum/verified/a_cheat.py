"""A device that proves whatever helps it most, as if its vector kept the bounds, and both parties' check of it."""

from __future__ import annotations

import hashlib
from unittest import mock

import numpy as np
import numpy.typing as npt

import federation.private_sum.verified.proof as prover
from federation.private_sum.refusals import ProofFailed
from federation.private_sum.verified import field
from federation.private_sum.verified.projections import project_integers
from federation.private_sum.verified.proof import (
    Halves,
    ServiceShare,
    check_report,
    open_service_share,
    prove_with,
    vector_share,
)
from federation.private_sum.verified.proof_plan import ProofPlan, range_bits

CONTEXT = b"a report of a task"


def key(name: str) -> bytes:
    """32 bytes of a name."""
    return hashlib.sha256(name.encode()).digest()


def checked(proof: ProofPlan, halves: Halves, context: bytes = CONTEXT) -> npt.NDArray[np.int64]:
    """The vector of a report that both parties accept. Raises ProofFailed."""
    commitments, opened = open_service_share(proof, ServiceShare.from_bytes(proof, halves.share), context)
    mine = check_report(proof, halves.seed, context, commitments, opened)
    return field.centred(field.add(mine, vector_share(proof, halves.share)))


def cheat(proof: ProofPlan, vector: npt.NDArray[np.int64], name: str) -> bool:
    """Whether both parties accept: norms claimed as far as their bounds reach, projections cut to their range."""

    def norm_bits(proof: ProofPlan, whole: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        bits: list[int] = []
        for part, where in zip(proof.plan.parts, proof.plan.slices().values(), strict=True):
            squared = sum(x**2 for x in whole[where].tolist()) % field.MODULUS
            bits += range_bits(min(squared, part.bound_squared), part.bound_squared)
        return np.array(bits, dtype=np.uint64)

    def projected(key: bytes, checks: int, whole: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        reduced = field.centred(field.of_integers(project_integers(key, checks, whole)))
        return np.clip(reduced, -proof.half_width, proof.half_width)

    with (
        mock.patch.object(prover, "_norm_bits", norm_bits),
        mock.patch.object(prover, "project_integers", projected),
    ):
        halves = prove_with(proof, vector, CONTEXT, key(f"{name} seed"), key(f"{name} blind"))
    assert halves is not None
    try:
        checked(proof, halves)
    except ProofFailed:
        return False
    return True
