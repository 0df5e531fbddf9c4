"""Whether declared segments of shoppers differ in their effect: one test of interaction a segment, at any design.

Only declared segments: looking for the split that shows most finds one always.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from recsys.experiments.analysis.always_valid import anytime_p
from recsys.experiments.analysis.designs import Design, LookDifference, clocks, mixture, timing
from recsys.experiments.analysis.estimates import Difference
from recsys.experiments.definition.definition import Method


def heterogeneity(levels: Sequence[Difference]) -> tuple[float, int]:
    """Compute Cochran's Q = Σ w(θ − θ̄)² with w = 1/variance (1954).

    It is χ² of levels − 1 degrees of freedom if effects are one.
    """
    effects = np.array([level.effect for level in levels])
    w = 1.0 / np.array([level.variance for level in levels])
    return float(w @ (effects - w @ effects / w.sum()) ** 2), len(levels) - 1


def interaction_p(design: Design, looks: Sequence[Sequence[LookDifference]]) -> float:
    """Compute the p-value that the levels' effects are one, valid at the last look.

    looks: oldest first, the levels' figures each.

    Planned looks share alpha as they spend it, and the least p of look over share counts (weighted Bonferroni: looks
    may depend on each other in any way). At any time: a Gaussian mixture over deviations, as for a single effect.
    """
    tests = [heterogeneity([level.difference for level in look]) for look in looks]
    if design.method is Method.ALWAYS_VALID:
        times = [sum(level) for level in zip(*(clocks(level) for level in zip(*looks, strict=True)), strict=True)]
        scale = mixture(design, looks[0][0].number, times[0])
        logs = [
            0.5 * q * n * scale / (1.0 + n * scale) - 0.5 * df * math.log1p(n * scale)
            for (q, df), n in zip(tests, times, strict=True)
        ]
        return anytime_p([math.exp(min(log, 700.0)) for log in logs])
    share = timing(design, [look[0] for look in looks]).spend(design.spending, design.alpha) * 2.0 / design.alpha
    return min(
        1.0,
        *(float(special.chdtrc(df, q)) / part if part > 0 else 1.0 for (q, df), part in zip(tests, share, strict=True)),
    )
