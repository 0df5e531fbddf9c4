"""EASE (Steck 2019) in closed form: a strong linear reference for tests and figures, for small catalogues only (n³)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from recsys.evaluation.baselines import item_matrix


@dataclass(frozen=True, eq=False)
class Ease:
    """scores = x·B; item_weights: (n_items, n_items) float32 with zero diagonal.

    half_life: when set, an item in the history counts 2^(−later events / half_life) instead of 1
        (that of its last event).
    """

    item_weights: npt.NDArray[np.float32]
    half_life: float | None = None
    name: str = "ease"

    def scores(self, histories: Interactions, users: npt.NDArray[np.int64], now: int) -> npt.NDArray[np.float32]:
        own = histories.users(users)
        had = np.zeros((len(users), own.n_items), dtype=np.float32)
        if self.half_life is None:
            had[own.user_idx, own.item_idx] = 1.0
        else:
            later = np.repeat(own.offsets[1:], own.counts) - 1 - np.arange(own.n_events)
            np.maximum.at(had, (own.user_idx, own.item_idx), np.exp2(-later / self.half_life).astype(np.float32))
        scores = had @ self.item_weights
        scores[own.counts == 0] = np.nan
        return scores


def fit_ease(train: Interactions, reg: float = 100.0, half_life: float | None = None) -> Ease:
    """B = I − P·diag(1 / diag P), P = (XᵀX + reg·I)⁻¹, X binary (n_users, n_items); reg is Steck's λ."""
    had = item_matrix(train).astype(np.float64)
    P = np.linalg.inv((had.T @ had).toarray() + reg * np.eye(train.n_items))
    B = -P / np.diag(P)
    np.fill_diagonal(B, 0.0)
    return Ease(B.astype(np.float32), half_life)
