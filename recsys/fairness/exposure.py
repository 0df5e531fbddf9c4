"""What a model's lists do to items: how much of all exposure goes where, and how unequally.

Exposure is counted per list place, or weighted by position; see ServedLists.exposure.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.evaluation.metrics import coverage, gini

Floats = npt.NDArray[np.float64]


def exposure_figures(
    exposure: Floats, counts: npt.NDArray[np.int64], candidates: npt.NDArray[np.bool_], tail: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Measure exposure (n_items,) over the candidates.

    tail_share: of all exposure, beside tail_share_of_events: what the tail has of the log's. coverage: share of the
    candidates that were listed at all. gini: 0 all alike, → 1 one item has all. average_popularity: mean number of
    events of a listed item, over the mean of a candidate.
    counts: (n_items,) events of each item. All are nan without exposure.
    """
    total = float(exposure.sum())
    if total <= 0:
        names = ("tail_share", "tail_share_of_events", "coverage", "gini", "average_popularity")
        return dict.fromkeys(names, float("nan"))
    return {
        "tail_share": float(exposure[tail].sum()) / total,
        "tail_share_of_events": float(counts[tail].sum()) / float(counts.sum()),
        "coverage": coverage(exposure[candidates]),
        "gini": gini(exposure[candidates]),
        "average_popularity": float(exposure @ counts) / total / float(counts[candidates].mean()),
    }


def exposure_by_band(exposure: Floats, band_of: npt.NDArray[np.int64], n_bands: int) -> Floats:
    """Share of all exposure that each band of items has, (n_bands,); band_of: (n_items,), −1 for none."""
    inside = band_of >= 0
    shares = np.bincount(band_of[inside], weights=exposure[inside], minlength=n_bands)
    return np.asarray(shares / exposure.sum())


def exposure_disparity(exposure: Floats) -> float:
    """Compute EE-D, the sum of squares of the items' expected exposure (Diaz et al. 2020): less is more equal."""
    return float(exposure @ exposure)


def exposure_relevance(exposure: Floats, merit: Floats) -> float:
    """Compute EE-R, the inner product of exposure with that of an ideal policy (Diaz et al. 2020): more is fairer."""
    return float(exposure @ merit)


def ideal_exposure(offsets: npt.NDArray[np.int64], relevant: npt.NDArray[np.int32], k: int, n_items: int) -> Floats:
    """Sum over users the exposure that each item earns (Diaz et al. 2020), (n_items,) float64.

    A user's relevant items share the attention of the first places equally, as many places as there are of them and k
    at most; what is left of k goes to the others alike. offsets, relevant: as ranked_hits takes them.
    """
    weights = 1.0 / np.log2(np.arange(2, k + 2))
    before = np.concatenate(([0.0], np.cumsum(weights)))
    sizes = np.diff(offsets)
    earned = before[np.minimum(sizes, k)]
    others = (before[k] - earned) / np.maximum(n_items - sizes, 1)
    each = np.divide(earned, sizes, out=np.zeros(len(sizes)), where=sizes > 0) - others
    return np.asarray(np.bincount(relevant, weights=np.repeat(each, sizes), minlength=n_items) + others.sum())


def miscalibration(history: Floats, listed: Floats, mix: float = 0.01) -> Floats:
    """Compute the divergence of each list from its shopper's own history, (n,) float64, in nats (Steck 2018).

    It is KL(p ‖ q̃) with q̃ = (1 − mix)·q + mix·p; 0 where the list has the history's shares, nan without either.
    history, listed: (n, n_categories) weights, not negative.
    """
    totals = history.sum(axis=1, keepdims=True), listed.sum(axis=1, keepdims=True)
    known = (totals[0] > 0)[:, 0] & (totals[1] > 0)[:, 0]
    p, q = history[known] / totals[0][known], listed[known] / totals[1][known]
    smoothed = (1 - mix) * q + mix * p
    ratio = np.divide(p, smoothed, out=np.ones_like(p), where=p > 0)
    result = np.full(len(history), np.nan)
    result[known] = (p * np.log(ratio)).sum(axis=1)
    return result
