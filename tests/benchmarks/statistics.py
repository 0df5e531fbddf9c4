"""Intervals and comparisons on simulated users: how often the truth is covered, how often equal models differ.

Users have 1 to 200 events, most of them few; each event has an ndcg@20, 0 for most; users differ in how often theirs is
not. A user's figure is the mean over the user's events, and users are what is resampled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.evaluation.statistics import mean_intervals, paired_difference

DATA_SETS = 1_000
USERS = (100, 200, 500)
DISCOUNT = 1 / np.log2(np.arange(2, 22))
HITS = (0.05, 0.15)
"""Share of events with a hit; the rarer, the more skewed is a mean over users."""


def run(
    seed: int = 0,
    data_sets: int = DATA_SETS,
    users: tuple[int, ...] = USERS,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """coverage: share of nominal 95 % intervals that hold the true mean, over data_sets data sets of mixed sizes.

    aa_rejects: share of comparisons of a model with its own second run (another seed, equal in distribution) with
    p < .05. by_users: both, for each number of users apart.
    """
    covered: dict[int, list[bool]] = {n: [] for n in users}
    rejected: dict[int, list[bool]] = {n: [] for n in users}
    for number in range(data_sets):
        n, hit = users[number % len(users)], HITS[number // len(users) % len(HITS)]
        truth = hit * float(DISCOUNT.mean())
        rng = np.random.default_rng((seed, number))
        events = np.minimum(1 + rng.lognormal(1, 1.2, n).astype(int), 200)
        skill = rng.beta(0.5, 0.5 * (1 - hit) / hit, n)
        a, b = figures(events, skill, rng), figures(events, skill, rng)
        low, high = mean_intervals(a[:, None], seed=number)[0]
        covered[n].append(bool(low <= truth <= high))
        rejected[n].append(paired_difference(a, b, seed=number).p_value < 0.05)
        if (number + 1) % 200 == 0:
            say(f"{number + 1} of {data_sets} data sets")
    by_users = {
        str(n): {"coverage": round(float(np.mean(covered[n])), 4), "aa_rejects": round(float(np.mean(rejected[n])), 4)}
        for n in users
    }
    return {
        "coverage": round(float(np.mean([one for n in users for one in covered[n]])), 4),
        "aa_rejects": round(float(np.mean([one for n in users for one in rejected[n]])), 4),
        "data_sets": data_sets,
        "by_users": by_users,
    }


def figures(
    events: npt.NDArray[np.int64], skill: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(n_users,) mean ndcg@20 of each user's events: a hit with probability `skill`, at a random place of the list."""
    hits = rng.binomial(events, skill)
    gains = DISCOUNT[rng.integers(0, 20, hits.sum())]
    total = np.bincount(np.repeat(np.arange(len(events)), hits), weights=gains, minlength=len(events))
    return np.asarray(total / events)
