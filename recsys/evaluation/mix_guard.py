"""The guard: what is served for a list is the mix, unless something simpler ranks better on devices that never fitted.

Judged are the mix, the prior and each feature alone, by NDCG@20 on hold-out devices. A device reports its figures and
their differences to the mix, all bounded by 1, into one private sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.mix.features import FEATURES
from recsys.mix.priors import CAUTIOUS, weights_of

Floats = npt.NDArray[np.float64]

STANDARD_ERRORS = 3.0
"""By how many the mix must be beaten: about what Bonferroni asks of the best of twenty at 5 %."""

TIE_BREAK = 1e-3
"""Weight of the season's trend in a single signal: most of them say nothing about most items."""


def candidates(mix: Floats, prior: Floats, cautious: Floats) -> dict[str, Floats]:
    """Weights (F,) of everything that the guard judges, by name; the mix comes first.

    cautious: the trend and own items first (recsys/mix/priors.py), which no single feature is.
    """
    alone = {name: weights_of({"trend_90d": TIE_BREAK, name: 1.0}) for name in FEATURES}
    return {"mix": mix, "prior": prior, CAUTIOUS: cautious} | alone


@dataclass(frozen=True)
class GuardSums:
    """Sums over hold-out devices: n, and by candidate the figure's difference to the mix's and its square.

    noise: standard deviation of the noise in each of them.
    """

    n: float
    difference: Mapping[str, float]
    square: Mapping[str, float]
    noise: float = 0.0


def choose(sums: GuardSums, errors: float = STANDARD_ERRORS) -> str:
    """Choose what is served: the candidate furthest above the mix, by more than so many standard errors.

    Without hold-out devices it is the mix. Noise counts twice: in the mean, and as a square that may have been larger.
    """
    best, margin = "mix", 0.0
    if sums.n < 2:
        return best
    for name, total in sums.difference.items():
        mean = total / sums.n
        variance = max((sums.square[name] + 2.0 * sums.noise) / sums.n - mean**2, 0.0) / (sums.n - 1)
        lead = mean - errors * float(np.sqrt(variance + (sums.noise / sums.n) ** 2))
        if lead > margin:
            best, margin = name, lead
    return best
