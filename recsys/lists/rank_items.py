"""A shop's own list, of a search or a category, re-ordered for one shopper: a score beside the shop's order.

    s_i = b·base_i + personal_i + own_share·own_i + familiarity of own items

The shop decides what is in the list; nothing is added and nothing left out. Constants were fitted on Online Retail's
month before 2011-11-09 by a softmax over each list; docs/placements.md has their figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from data.errors import ModelError

Impact = Literal["low", "medium", "high"]
Surface = Literal["search", "category"]
IMPACTS: tuple[Impact, ...] = get_args(Impact)
SURFACES: tuple[Surface, ...] = get_args(Surface)
Floats = npt.NDArray[np.float32]

MAX_RANKED = 1000
MOST_MOVED = 3
"""Places that impact=low moves an item at most, up or down."""

BASE_WEIGHT: dict[Impact, float] = {"low": 0.5, "medium": 0.1, "high": 0.0}
"""Of the shop's own order beside what the device knows."""


@dataclass(frozen=True)
class SurfaceWeights:
    """Weights of what is known of an item beside its personal score, by surface.

    own: of the counters of own items. present: of an item's being an own one; it falls with own_distinct·log(distinct
    own items), rises with own_baskets·log(own baskets), and falls with own_share·(share of own items in the list): of
    much that a shopper knows, each single item is less likely to be the one.
    """

    own: float
    present: float
    own_distinct: float
    own_baskets: float
    own_share: float


WEIGHTS: dict[Surface, SurfaceWeights] = {
    "search": SurfaceWeights(0.2, 1.4, 0.3, 0.45, 1.8),
    "category": SurfaceWeights(1.0, 0.0, 0.0, 0.0, 0.0),
}


@dataclass(frozen=True, eq=False, repr=False)
class RankSignals:
    """What one device knows of every item, ready for any list; made anew when its history changes. All (n_items,).

    personal: score without the own history's counters. own: those counters, 0 for other items. present: own items.
    distinct, baskets: how many own items and own moments of purchase there are.
    """

    personal: Floats
    own: Floats
    present: npt.NDArray[np.bool_]
    distinct: int
    baskets: int


def base_heights(n: int, base: Sequence[float] | None) -> Floats:
    """Measure the shop's order: −log(1 + place) of an order (n,), or its scores standardised.

    Raises ModelError for scores of another length, or that are not finite.
    """
    if base is None:
        heights: Floats = (0.0 - np.log1p(np.arange(n, dtype=np.float64))).astype(np.float32)
        return heights
    scores = np.asarray(base, dtype=np.float64)
    if scores.shape != (n,) or not np.isfinite(scores).all():
        raise ModelError(f"base: must be {n} finite numbers, one for each item")
    spread = scores.std()
    standard: Floats = ((scores - scores.mean()) / (spread if spread > 0 else 1.0)).astype(np.float32)
    return standard


def rank_scores(
    signals: RankSignals, item_idx: npt.NDArray[np.int32], base: Floats, impact: Impact, surface: Surface
) -> Floats:
    """Score the items of a list, (n,) float32.

    item_idx: (n,), −1 for an item that the catalogue does not have, which scores as the mean of the others does.
    base: of base_heights.
    """
    known = item_idx >= 0
    at, weights = item_idx[known], WEIGHTS[surface]
    present = signals.present[at].astype(np.float32)
    familiar = (
        weights.present
        - weights.own_distinct * np.log(max(signals.distinct, 1))
        + weights.own_baskets * np.log(max(signals.baskets, 1))
        - weights.own_share * float(present.sum()) / max(len(item_idx), 1)
    )
    height = signals.personal[at] + np.float32(weights.own) * signals.own[at] + np.float32(familiar) * present
    scores = np.full(len(item_idx), height.mean() if len(height) else 0.0, dtype=np.float32)
    scores[known] = height
    return scores + np.float32(BASE_WEIGHT[impact]) * base


def reorder(scores: Floats, impact: Impact) -> npt.NDArray[np.int64]:
    """Order places 0..n−1 of the shop's list by score, equal ones as the shop had them.

    With impact=low no item is more than MOST_MOVED places from its own: at each place the best of the items that may
    stand there, unless one may stand nowhere later.
    """
    order = np.argsort(-scores, kind="stable")
    if impact != "low":
        return order
    n, placed = len(scores), np.zeros(len(scores), dtype=np.bool_)
    result = np.empty(n, dtype=np.int64)
    for place in range(n):
        due = place - MOST_MOVED
        if due >= 0 and not placed[due]:
            chosen = due
        else:
            reach = np.arange(max(due, 0), min(place + MOST_MOVED + 1, n))
            free = reach[~placed[reach]]
            chosen = int(free[np.argmax(scores[free])])
        placed[chosen] = True
        result[place] = chosen
    return result


def check_rank(item_ids: Sequence[str], impact: str, surface: str) -> None:
    """Check a list to be ranked. Raises ModelError for its length, an id given twice, or an unknown word."""
    if len(item_ids) > MAX_RANKED:
        raise ModelError(f"items: {len(item_ids)}: must be at most {MAX_RANKED}")
    if len(set(item_ids)) < len(item_ids):
        raise ModelError("items: one is given twice")
    if impact not in IMPACTS:
        raise ModelError(f"impact: must be one of {', '.join(IMPACTS)}")
    if surface not in SURFACES:
        raise ModelError(f"surface: must be one of {', '.join(SURFACES)}")
