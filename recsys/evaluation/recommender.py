"""What can be evaluated: anything that scores items for users from their histories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from data.interactions import Interactions


class Recommender(Protocol):
    """Anything that scores items for users from their histories."""

    @property
    def name(self) -> str:
        """The model's name in tables."""
        ...

    def scores(self, histories: Interactions, users: npt.NDArray[np.int64], now: int) -> npt.NDArray[np.float32]:
        """Score all items for some users, (len(users), n_items) float32.

        Higher is better, −inf never lists an item, equal scores rank by item_idx.

        histories: what each user did before `now` (µs since 1970 UTC). A row of nan means no answer, which only a
        user without a history may get.
        """
        ...


@runtime_checkable
class TwoLists(Recommender, Protocol):
    """A recommender that ranks items outside of the own history by scores of their own."""

    def scores_by_list(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """Score as Recommender.scores does for the list of all items, and for that of "new" ones."""
        ...


def list_scores(
    model: Recommender, histories: Interactions, users: npt.NDArray[np.int64], now: int, n_items: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Score a batch for the list of all items and for that of new ones, each checked as in model_scores."""
    if not isinstance(model, TwoLists):
        scores = model_scores(model, histories, users, now, n_items)
        return scores, scores
    lists = model.scores_by_list(histories, users, now)
    shape = (len(users), n_items)
    for name in ("all", "new"):
        if lists[name].shape != shape or not np.isfinite(lists[name]).all():
            raise ModelError(f"{model.name}: list {name} {lists[name].shape}: must be {shape} and finite")
    return lists["all"], lists["new"]


def model_scores(
    model: Recommender, histories: Interactions, users: npt.NDArray[np.int64], now: int, n_items: int
) -> npt.NDArray[np.float32]:
    """Score a batch and check it: (len(users), n_items) float32. nan only in whole rows of users without a history."""
    scores = np.asarray(model.scores(histories, users, now), dtype=np.float32)
    if scores.shape != (len(users), n_items):
        raise ModelError(f"{model.name}: scores of shape {scores.shape}, must be {(len(users), n_items)}")
    missing = np.isnan(scores)
    silent = missing.any(axis=1)
    if (missing.sum(axis=1)[silent] != n_items).any() or (histories.counts[users][silent] > 0).any():
        raise ModelError(f"{model.name}: nan scores, allowed only for all items of a user without a history")
    return scores
