"""Who trains during a replay: a protocol. Replay knows no federation; it draws cohorts, hands their histories over."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from recsys.model.items import ItemTable

Arrays = dict[str, npt.NDArray[np.generic]]
"""A trainer's state between two rounds: named arrays, so that a checkpoint can hold it."""

_COHORT = 11
"""Purpose of a draw, beside those of federation/simulation/cohort.py."""


class Trainer(Protocol):
    """Learns the shared table round by round, from the devices of a cohort."""

    def identity(self) -> str:
        """Name whatever must be equal for a stopped replay to go on: settings and seed, as text."""
        ...

    def start(self, n_items: int) -> Arrays:
        """Make the state before the first round."""
        ...

    def round(self, state: Arrays, cohort: Interactions, now: int, number: int) -> Arrays:
        """Train one round: return the state after round `number` (0, 1, …) at `now` (µs).

        cohort: what each device of the cohort did before `now`; its users have no names.
        """
        ...

    def table(self, state: Arrays, trend: npt.NDArray[np.float32]) -> ItemTable:
        """Publish the table, with the trend (n_items,) float32 of the moment."""
        ...


def draw_cohort(active: npt.NDArray[np.int64], at_most: int, number: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw the devices of round `number` out of those active since the last, ascending.

    Returns all of them, or at_most of them at random.
    """
    if len(active) <= at_most:
        return active
    return np.sort(np.random.default_rng([seed, _COHORT, number]).choice(active, at_most, replace=False))
