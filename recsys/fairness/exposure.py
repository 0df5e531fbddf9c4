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
