"""A world whose truth is known: contexts, items, a logging policy with known chances, users who click more or less."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from data.logged_feedback import LoggedFeedback, read_logged_feedback

Floats = npt.NDArray[np.float64]
CONTEXTS = 4


@dataclass(frozen=True, eq=False)
class World:
    """value (CONTEXTS, n_items): chance of a click. skill of logging: how much it leans to good items already.

    spread: half of the users click 1 + spread times as much, the others 1 − spread times; 0: rounds are independent.
    """

    n_items: int = 6
    base: float = 0.05
    skill: float = 1.0
    spread: float = 0.0
    seed: int = 0

    @cached_property
    def value(self) -> Floats:
        rng = np.random.default_rng((self.seed, 1))
        return self.base * np.exp(0.7 * rng.standard_normal((CONTEXTS, self.n_items)))

    @cached_property
    def logging(self) -> Floats:
        return 0.9 * _softmax(self.skill * np.log(self.value)) + 0.1 / self.n_items

    def target(self, sharpness: float = 2.0) -> ContextPolicy:
        return ContextPolicy("sharper", _softmax(sharpness * np.log(self.value)))

    def truth(self, policy: ContextPolicy) -> float:
        return float((policy.table * self.value).sum(axis=1).mean())

    def log(self, rounds: int, seed: int, per_user: int = 1) -> LoggedFeedback:
        rng = np.random.default_rng((self.seed, 2, seed))
        context = rng.integers(0, CONTEXTS, rounds)
        shown = (rng.random((rounds, 1)) > np.cumsum(self.logging, axis=1)[context]).sum(axis=1)
        shown = np.minimum(shown, self.n_items - 1)
        user = np.arange(rounds) // per_user
        eager = (1 + self.spread * np.sign(rng.random(user[-1] + 1) - 0.5))[user]
        clicked = rng.random(rounds) < self.value[context, shown] * eager
        frame = pl.DataFrame(
            {
                "user": user.astype(str),
                "item": [f"i{one}" for one in shown],
                "reward": clicked.astype(float),
                "propensity": self.logging[context, shown],
                "context": context,
            }
        )
        return read_logged_feedback(frame)


@dataclass(frozen=True, eq=False)
class ContextPolicy:
    """Chances by the column `context`: table (CONTEXTS, n_items) in the order of the names i0, i1, …"""

    name: str
    table: Floats

    def probabilities(self, log: LoggedFeedback) -> Floats:
        order = log.items.ids.str.slice(1).cast(pl.Int64).to_numpy()
        return self.table[log.rounds["context"].to_numpy()][:, order]


@dataclass(frozen=True, eq=False)
class KnownRewards:
    """A reward model that knows the truth, times `error`; as a model and as its own fit."""

    world: World
    error: float = 1.0

    def fit(self, log: LoggedFeedback) -> KnownRewards:
        return self

    def predict(self, log: LoggedFeedback) -> Floats:
        return self.error * ContextPolicy("value", self.world.value).probabilities(log)


def _softmax(scores: Floats) -> Floats:
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True)
