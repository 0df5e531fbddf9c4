"""A quantile from the sums of a histogram: shares of shoppers above each edge, with the noise of privacy in them."""

from __future__ import annotations

import numpy as np

from data.errors import SumsTooSmall
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.metric_definitions import Metric

SPAN = 1
"""Edges on either side of the quantile's bucket that join in measuring the density: a bucket alone holds too few."""


def quantile_and_gradient(metric: Metric, sums: ArmSums) -> tuple[float, dict[str, float]]:
    """Compute the quantile, and its gradient with respect to the shares of shoppers who reached each edge.

    With S(e) the share at or above e, linear between edges and 1 at 0, the quantile p is where S is 1 − p. It moves by
    1/f with S there, f the density (Bahadur 1966); f is the slope of S over the bucket and its neighbours, which few
    shoppers in one bucket upset less. Raises SumsTooSmall where the last edge lies below the quantile.
    """
    assert metric.quantile is not None
    names, edges = list(metric.thresholds), np.array([0.0, *metric.edges])
    shares = np.minimum.accumulate([1.0, *(min(max(sums.mean(name), 0.0), 1.0) for name in names)])
    wanted = 1.0 - metric.quantile
    above = int(np.searchsorted(-shares, -wanted, side="right"))
    if above == len(edges):
        raise SumsTooSmall(
            f"metric {metric.name}: {shares[-1]:.1%} of the shoppers are at {edges[-1]:g} or above: the quantile lies "
            "beyond the last edge"
        )
    below = above - 1
    weight = (shares[below] - wanted) / (shares[below] - shares[above])
    value = edges[below] + weight * (edges[above] - edges[below])
    first, last = max(below - SPAN, 0), min(above + SPAN, len(edges) - 1)
    density = (shares[first] - shares[last]) / (edges[last] - edges[first])
    gradient: dict[str, float] = {}
    for at, part in ((below, 1.0 - weight), (above, weight)):
        if at > 0:
            gradient[names[at - 1]] = float(part / density)
    return float(value), gradient
