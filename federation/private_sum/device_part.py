"""The device's part of a sum: clip, round, split, seal. What comes out tells neither party anything alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy.typing as npt

from federation.private_sum.fixed_point import encode
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import RandomBytes
from federation.private_sum.sealing import Binding, Suite, seal
from federation.private_sum.shares import SEED_BYTES, service_share


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
    """Make one device's halves. random rounds; the seed always comes from the operating system."""
    seed = os.urandom(SEED_BYTES)
    return Contribution(
        service_share=service_share(encode(plan, vectors, random), seed),
        sealed_seed=seal(seed, suite, round_public_key, binding),
    )
