"""Baselines of twenty lines that many a model loses to: the own counter, and EASE.

Like the others in recsys/evaluation/baselines.py they see pooled rows; they are here to be beaten, not to be served.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf, dpotri

from data.errors import ModelError
from data.interactions import Interactions
from recsys.evaluation.baselines import item_matrix, recent_popularity
from recsys.model.histories import merge_histories
from recsys.model.profile_config import ProfileConfig

OWN_HALF_LIFE_DAYS = 60.0
_EACH_ONCE = ProfileConfig(floor=0.0, kind_weights=(1.0, 1.0, 1.0, 1.0, 0.0))


@dataclass(frozen=True, eq=False)
class OwnCounter:
    """The shopper's own items by their decayed number of events, no dislikes; then the trend.

    trend: (n_items,) float32 in [0, 1), the order of all other items, and the list of a user without a history.
    """

    trend: npt.NDArray[np.float32]
    half_life_days: float = OWN_HALF_LIFE_DAYS
    name: str = "own_counter"

    def scores(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Score 1 + counter for own items, the trend for others: (len(users), n_items) float32."""
        config = replace(_EACH_ONCE, half_life=self.half_life_days)
        counted = merge_histories(histories.users(users), config, now)
        scores = np.tile(self.trend, (len(users), 1))
        scores[np.repeat(np.arange(len(users)), counted.counts), counted.item_idx] = 1.0 + counted.weight
        return scores


def own_counter(train: Interactions, now: int, trend_half_life: float) -> OwnCounter:
    """Make the own counter, with the recent popularity of `train` at `now` (µs) behind it."""
    recent = recent_popularity(train, now, trend_half_life).item_scores
    return OwnCounter(recent / np.float32(1.0 + recent.max(initial=0.0)))


EASE_AT_MOST = 8_000
"""Items: the inverse costs n³, 20 s of CPU here, and 0.5 GB."""


@dataclass(frozen=True, eq=False)
class Ease:
    """EASE (Steck 2019): scores = x·B, x the user's items. item_weights: (n_items, n_items) float32, zero diagonal."""

    item_weights: npt.NDArray[np.float32]
    name: str = "ease"

    def scores(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Score items, (len(users), n_items) float32; a row of nan for a user without a history."""
        had = item_matrix(histories.users(users))
        scores = np.asarray(had @ self.item_weights, dtype=np.float32)
        scores[histories.counts[users] == 0] = np.nan
        return scores


def ease(train: Interactions, reg: float = 100.0) -> Ease:
    """Fit B = I − P·diag(1 / diag P), P = (XᵀX + reg·I)⁻¹, X binary (n_users, n_items).

    Raises ModelError above EASE_AT_MOST items.
    """
    if train.n_items > EASE_AT_MOST:
        raise ModelError(f"ease: n_items={train.n_items}: must be at most {EASE_AT_MOST}, its cost grows with n³")
    had = item_matrix(train)
    system = (had.T @ had).toarray().astype(np.float64)
    system.flat[:: train.n_items + 1] += reg
    factor, info = dpotrf(system, lower=True, overwrite_a=True)
    inverse, info = dpotri(factor, lower=True, overwrite_c=True) if info == 0 else (factor, info)
    if info != 0:
        raise ModelError(f"ease: the system is not positive definite (LAPACK info={info}); reg={reg}")
    lower = np.tril(inverse)
    inverse = lower + np.tril(lower, -1).T
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return Ease(weights.astype(np.float32))
