"""Reward models for doubly robust estimates: what a round would earn with each item, fitted on other users' rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from data.logged_feedback import LoggedFeedback

Floats = npt.NDArray[np.float64]


class FittedRewards(Protocol):
    """A model that was fitted."""

    def predict(self, log: LoggedFeedback) -> Floats:
        """Predict the expected reward of every item in each round, (len(log), n_items) float64."""
        ...


class RewardModel(Protocol):
    """Anything that can be fitted on rounds."""

    def fit(self, log: LoggedFeedback) -> FittedRewards:
        """Fit a model of these rounds alone."""
        ...


@dataclass(frozen=True)
class SlotItemMeans:
    """The mean reward of an item in a slot, drawn towards the slot's mean as by `strength` rounds of it.

    strength: with clicks at 1 % a hundred rounds of an item hold one; its own mean should count as much by then.
    """

    strength: float = 100.0

    def fit(self, log: LoggedFeedback) -> SlotRewards:
        """Average the rounds; a slot without rounds has the mean of all."""
        shape = (len(log.slots), len(log.items))
        cells = np.ravel_multi_index((log.slot_idx, log.item_idx), shape)
        earned = np.bincount(cells, log.reward, shape[0] * shape[1]).reshape(shape)
        rounds = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
        overall = float(log.reward.mean())
        in_slot = rounds.sum(axis=1)
        prior = np.where(in_slot > 0, earned.sum(axis=1) / np.maximum(in_slot, 1), overall)[:, None]
        return SlotRewards((earned + self.strength * prior) / (rounds + self.strength))


@dataclass(frozen=True, eq=False)
class SlotRewards:
    """Expected rewards by slot and item: table (n_slots, n_items)."""

    table: Floats

    def predict(self, log: LoggedFeedback) -> Floats:
        """Predict each slot's means, (len(log), n_items)."""
        return self.table[log.slot_idx]


def cross_fitted(model: RewardModel, log: LoggedFeedback, *, folds: int, seed: int) -> Callable[[slice], Floats]:
    """Predict any rows, (rows, n_items), each by the model of the folds that the row's user is not in.

    Folds are of whole units (Chernozhukov et al. 2018). Raises DataError for fewer than 2 folds or too few units.
    """
    if not 2 <= folds <= log.n_units:
        raise DataError(f"folds={folds}: must be 2..{log.n_units}, the number of users or rounds")
    fold = (np.random.default_rng((seed, folds)).permutation(log.n_units) % folds)[log.unit_idx]
    fitted = [model.fit(log.take(np.flatnonzero(fold != left_out))) for left_out in range(folds)]

    def predict(rows: slice) -> Floats:
        part, of = log.take(rows), fold[rows]
        predictions = np.empty((len(part), len(log.items)))
        for left_out in range(folds):
            inside = np.flatnonzero(of == left_out)
            if len(inside):
                predictions[inside] = fitted[left_out].predict(part.take(inside))
        return predictions

    return predict
