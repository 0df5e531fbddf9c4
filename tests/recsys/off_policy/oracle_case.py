"""Cases that our estimators and those of obp are both asked: plain arrays, made without either."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from data.logged_feedback import LoggedFeedback, open_logged_feedback, read_logged_feedback
from recsys.off_policy.policies import SlotPolicy
from recsys.off_policy.reward_model import SlotItemMeans

Floats = npt.NDArray[np.float64]
LAMBDAS = (1.0, 2.0, 5.0, 10.0, 50.0)


@dataclass(frozen=True, eq=False)
class Given:
    """Chances or expected rewards of every item, a row a round, (n, n_items): as a policy and as a reward model."""

    rows: Floats
    name: str = "given"

    def probabilities(self, log: LoggedFeedback) -> Floats:
        return self.rows[log.rounds["line"].to_numpy() - 1]

    def fit(self, log: LoggedFeedback) -> Given:
        return self

    def predict(self, log: LoggedFeedback) -> Floats:
        return self.rows[log.rounds["line"].to_numpy() - 1]


@dataclass(frozen=True, eq=False)
class Case:
    """A log, a policy that is not sure, one that is, and expected rewards by some model; all (n, n_items)."""

    log: LoggedFeedback
    policy: Given
    sure: Given
    rewards: Given

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What the oracle reads."""
        return {
            "item": self.log.item_idx,
            "slot": self.log.slot_idx,
            "reward": self.log.reward,
            "propensity": self.log.propensity,
            "policy": self.policy.rows,
            "sure": self.sure.rows,
            "rewards": self.rewards.rows,
        }


def random_case(uniform: bool, n: int = 2000, n_items: int = 6, n_slots: int = 2) -> Case:
    """Contextual chances of everything; with uniform, a log that shows each item with the same chance."""
    rng = np.random.Generator(np.random.PCG64(7))
    draws = rng.random((4, n, n_items))
    logging = np.full((n, n_items), 1 / n_items) if uniform else _sum_to_1(draws[0] ** 2 + 0.05)
    shown = np.minimum((rng.random((n, 1)) > np.cumsum(logging, axis=1)).sum(axis=1), n_items - 1)
    shown[:n_items] = np.arange(n_items)  # items are numbered as they come
    worth = 0.3 * draws[1]
    frame = pl.DataFrame(
        {
            "item": shown,
            "slot": (rng.random(n) * n_slots).astype(np.int64),
            "reward": (rng.random(n) < worth[np.arange(n), shown]).astype(np.float64),
            "propensity": logging[np.arange(n), shown],
        }
    )
    sure = np.eye(n_items)[draws[3].argmax(axis=1)]
    policy = _sum_to_1(worth**2 + 1e-3)
    return Case(read_logged_feedback(frame), Given(policy), Given(sure), Given(0.8 * worth))


def open_bandit_case(campaign: str = "men") -> Case:
    """The policy bts as it was on average, on the log of the policy random."""
    log = open_logged_feedback("sample:open-bandit").where(pl.col("campaign") == campaign)
    own = log.of_policy("bts")
    log = log.of_policy("random")
    log = read_logged_feedback(
        pl.DataFrame(
            {
                "item": log.items.ids.gather(log.item_idx),
                "slot": log.slots.ids.gather(log.slot_idx),
                "reward": log.reward,
                "propensity": log.propensity,
                "own_item": own.items.ids.gather(own.item_idx),
                "own_slot": own.slots.ids.gather(own.slot_idx),
            }
        )
    )
    asked = log.rounds.select("own_item", "own_slot").rename({"own_item": "item", "own_slot": "slot"})
    counts = (
        asked.group_by("item", "slot").len().with_columns(probability=pl.col("len") / pl.col("len").sum().over("slot"))
    )
    policy = SlotPolicy.from_frame(counts, log, "bts").probabilities(log)
    sure = np.eye(len(log.items))[policy.argmax(axis=1)]
    return Case(log, Given(policy), Given(sure), Given(SlotItemMeans().fit(log).predict(log)))


CASES = {
    "contextual": lambda: random_case(uniform=False),
    "uniform": lambda: random_case(uniform=True),
    "open_bandit_men": open_bandit_case,
}


def _sum_to_1(rows: Floats) -> Floats:
    return rows / rows.sum(axis=1, keepdims=True)
