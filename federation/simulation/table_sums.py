"""Simulated sums of the public tables under a privacy plan: every device within its clip, the noise of both parties.

A release is a function of its seed, so that whoever needs it again gets the same one and pays for it once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from federation.learning.mix_step import noise_of
from federation.learning.table_sum import POPULARITY_CLIP, TableSum, table_plan
from federation.private_sum.fixed_point import decode
from federation.simulation.simulated_noise import both_parties_noise
from recsys.model.bucketed_popularity import N_BUCKETS, BucketedPopularity, bucketed, buckets_of

Floats = npt.NDArray[np.float64]

_PURPOSE: dict[TableSum, int] = {"popularity": 20, "statistics": 21, "half_life": 22}
"""Of draws, beside those of federation.simulation.training."""


def earlier_moment(log: Interactions) -> int:
    """Find the moment (µs) that the popularity of a log is split at: that of the question one step earlier."""
    return int(np.quantile(log.time, 0.8))


def sum_popularity(log: Interactions, now: int, noise_multiplier: float, *, seed: int) -> BucketedPopularity:
    """Sum the popularity by age of a log's devices, within their clip; noise_multiplier: of a training round."""
    moment = earlier_moment(log)
    user, cell, value = buckets_of(log, moment, now)
    norm = np.sqrt(np.bincount(user, value**2, log.n_users))
    scale = np.minimum(1.0, POPULARITY_CLIP / np.maximum(norm, 1e-12))
    clipped = np.bincount(cell, value * scale[user], 2 * N_BUCKETS * log.n_items).astype(np.float64)
    total, _ = publish("popularity", clipped, noise_multiplier, log, seed)
    return bucketed(total, log.n_items, moment, now)


def publish(
    kind: TableSum, total: Floats, noise_multiplier: float, log: Interactions, seed: int
) -> tuple[Floats, float]:
    """Publish a sum of devices' numbers (n,) as both parties would; and the noise's standard deviation in each."""
    devices = max(int((log.counts > 0).sum()), 1)
    plan = table_plan(kind, len(total), noise_multiplier, min_reports=1, max_reports=devices)
    if not plan.private:
        return total, 0.0
    drawn = decode(plan, both_parties_noise(plan, np.random.default_rng([seed, _PURPOSE[kind]])))
    return total + drawn[kind], noise_of(plan, kind)
