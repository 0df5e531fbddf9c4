"""The device's part of a sum: clip, round, split, seal. What comes out tells neither party anything alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy.typing as npt

from federation.private_sum.fixed_point import encode, to_signed
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import RandomBytes
from federation.private_sum.report_share import proof_plan
from federation.private_sum.sealing import Binding, Suite, seal
from federation.private_sum.shares import SEED_BYTES, service_share
from federation.private_sum.verified.proof import prove


@dataclass(frozen=True)
class Contribution:
    """Both halves of one device's vector: words for the service, a sealed seed for the custodian."""

    service_share: bytes = field(repr=False)
    sealed_seed: bytes = field(repr=False)


def contribute(
    plan: SumPlan,
    vectors: Mapping[str, npt.ArrayLike],
    suite: Suite,
    round_public_key: bytes,
    binding: Binding,
    random: RandomBytes,
) -> Contribution:
    """Make one device's halves. random rounds; the seed always comes from the operating system.

    With a verified suite the service's half holds the proof of the bounds too.
    """
    words = encode(plan, vectors, random)
    if suite.verified:
        halves = prove(proof_plan(plan), to_signed(words), binding.info)
        bound = replace(binding, commitments=halves.commitments.to_bytes())
        return Contribution(halves.share, seal(halves.seed, suite, round_public_key, bound))
    seed = os.urandom(SEED_BYTES)
    return Contribution(
        service_share=service_share(words, seed),
        sealed_seed=seal(seed, suite, round_public_key, binding),
    )
